//! `cargo xtask new`: a guest of one's own, ready to run.
//! It exists so that the first guest costs twenty lines and no study of the others.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{BadInput, paths};

/// Lays out the crate `images/guests/NAME` and the scenario `images/NAME.toml`.
pub(crate) fn lay_out(name: &str) -> Result<()> {
    lay_out_in(&paths::root(), name)?;
    say!("images/guests/{name}/src/main.rs   the guest\nimages/{name}.toml                its scenario");
    say!("run it with: cargo xtask run {name}");
    Ok(())
}

fn lay_out_in(root: &Path, name: &str) -> Result<()> {
    let sound = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.len() > 24
        || !name.starts_with(|first: char| first.is_ascii_lowercase())
        || !name.chars().all(sound)
    {
        let message =
            format!("{name:?}: a guest's name is up to 24 small letters, digits and hyphens, a letter first");
        return Err(BadInput(message).into());
    }
    let folder = root.join("images/guests").join(name);
    let scenario = root.join("images").join(format!("{name}.toml"));
    let package = root.join(name).join("Cargo.toml");
    for path in [&folder, &scenario, &package] {
        if path.exists() {
            return Err(BadInput(format!("{name}: {} is there already", paths::shown(path))).into());
        }
    }
    fs::create_dir_all(folder.join("src")).with_context(|| format!("making {}", folder.display()))?;
    let build = root.join("images/guests/hello/build.rs");
    let build = fs::read_to_string(&build).with_context(|| format!("reading {}", build.display()))?;
    let files = [
        (folder.join("Cargo.toml"), manifest(name)),
        (folder.join("build.rs"), build),
        (folder.join("src/main.rs"), program(name)),
        (scenario, system(name)),
    ];
    for (path, text) in files {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn manifest(name: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
description = "A guest of Denizen"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true

[lints]
workspace = true

[dependencies]
guest-kernel.workspace = true
"#
    )
}

fn program(name: &str) -> String {
    format!(
        r#"//! The guest {name}: says its name and ends. Here begins your own.

#![no_std]
#![no_main]

use guest_kernel::{{Guest, println}};

guest_kernel::main!(run);

async fn run(guest: Guest) {{
    say!("{{}} runs on {{}}", guest.name(), guest.hypervisor());
}}
"#
    )
}

fn system(name: &str) -> String {
    format!(
        r#"# One guest of this kind, alone.
description = "The guest {name}"
memory = "64M"
slice = "5ms"
seed = 1

[[domain]]
name = "{name}"
image = "{name}"
memory = "1M"
weight = 256
slice = "5ms"
ring = 3
command_line = ""
delivery = "batched"
on_crash = "destroy"
control = false
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("images/guests/hello")).unwrap();
        fs::write(folder.path().join("images/guests/hello/build.rs"), "fn main() {}").unwrap();
        folder
    }

    #[test]
    fn a_new_guest_has_a_crate_and_a_sound_scenario() {
        let root = repository();
        lay_out_in(root.path(), "my-guest").unwrap();
        let scenario = Scenario::open(root.path(), "my-guest").unwrap();
        scenario
            .check(&|image| root.path().join("images/guests").join(image).join("Cargo.toml").is_file())
            .unwrap();
    }

    #[test]
    fn a_guest_that_is_there_is_not_overwritten() {
        let root = repository();
        let error = lay_out_in(root.path(), "hello").unwrap_err();
        assert!(error.is::<BadInput>(), "{error}");
        assert!(!root.path().join("images/hello.toml").exists());
    }

    #[test]
    fn a_bad_name_is_refused() {
        for name in ["", "../x", "Big", "1st", "a b"] {
            assert!(lay_out_in(repository().path(), name).unwrap_err().is::<BadInput>(), "{name}");
        }
    }
}
