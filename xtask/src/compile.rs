//! Builds the hypervisor and the guests for bare metal, by cargo.
//! It exists so that nobody needs to know profiles, targets and package names.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The target of all that runs without an operating system.
pub(crate) const TARGET: &str = "x86_64-unknown-none";

/// Environment variable of the suites: the fault that is planted into the hypervisor.
pub(crate) const PLANTED: &str = "DENIZEN_PLANTED_FAULT";

/// The image of a hypervisor that has no trace in it.
pub(crate) fn traceless() -> Result<PathBuf> {
    apart("traceless", &["--no-default-features"])
}

/// The image of a hypervisor that counts its own instructions.
pub(crate) fn accounting() -> Result<PathBuf> {
    apart("accounting", &["--features", "account"])
}

/// The image of a hypervisor that writes its runs down.
pub(crate) fn recording() -> Result<PathBuf> {
    if let Some(fault) = std::env::var_os(PLANTED) {
        return planted(&format!("replay,plant-{}", fault.to_string_lossy()));
    }
    apart("recording", &["--features", "replay"])
}

/// Another hypervisor, apart from where the usual one is built.
fn apart(name: &str, features: &[&str]) -> Result<PathBuf> {
    cargo(&["hypervisor".to_owned()], "release", features)?;
    let built = paths::target().join(TARGET).join("release").join("hypervisor");
    let folder = paths::run(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("hypervisor");
    std::fs::copy(&built, &path).with_context(|| format!("copying {}", built.display()))?;
    Ok(path)
}

/// The hypervisor's image.
pub(crate) fn hypervisor() -> Result<PathBuf> {
    if let Some(fault) = std::env::var_os(PLANTED) {
        return planted(&format!("plant-{}", fault.to_string_lossy()));
    }
    cargo(&["hypervisor".to_owned()], "release", &[])?;
    let path = paths::target().join(TARGET).join("release").join("hypervisor");
    path.try_exists().context("looking for the hypervisor's image")?;
    Ok(path)
}

/// The hypervisor's image with these features, one of which plants a fault, apart from the others.
fn planted(features: &str) -> Result<PathBuf> {
    let folder = paths::target().join("planted");
    let status = Command::new(program())
        .current_dir(paths::root())
        .args(["build", "--quiet", "--target", TARGET, "--release", "--package", "hypervisor"])
        .arg(format!("--features={features}"))
        .arg("--target-dir")
        .arg(&folder)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("cargo could not build the hypervisor with {features}");
    }
    Ok(folder.join(TARGET).join("release").join("hypervisor"))
}

/// The images of these guests, in their order.
pub(crate) fn guests(names: &[String]) -> Result<Vec<PathBuf>> {
    cargo(names, "guest", &[])?;
    let folder = paths::run("guests");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let images: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    for (name, image) in names.iter().zip(&images) {
        let built = paths::target().join(TARGET).join("guest").join(name);
        std::fs::copy(&built, image).with_context(|| format!("copying {}", built.display()))?;
    }
    embed_symbols(&images)?;
    Ok(images)
}

/// Puts names of functions into images, for their reports of panics.
fn embed_symbols(images: &[PathBuf]) -> Result<()> {
    let status = Command::new(program())
        .current_dir(paths::root())
        .args([
            "run",
            "--quiet",
            "--package",
            "guest-kernel",
            "--features",
            "embed",
            "--bin",
            "embed-symbols",
            "--",
        ])
        .args(images)
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("the names of functions could not be put into the images");
    }
    Ok(())
}

fn program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Names of all guests.
pub(crate) fn guest_names() -> Result<Vec<String>> {
    packages_in("guests")
}

/// Packages of the programs that guests carry; build scripts of guests build them.
pub(crate) fn program_names() -> Result<Vec<String>> {
    let mut names = packages_in("programs")?;
    // For the host.
    names.retain(|name| name != "build");
    for name in &mut names {
        if name == "runtime" {
            "program-runtime".clone_into(name);
        }
    }
    Ok(names)
}

/// Names of the folders with packages in a folder of `images/`.
fn packages_in(kind: &str) -> Result<Vec<String>> {
    let folder = paths::root().join("images").join(kind);
    let mut names = Vec::new();
    for item in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let item = item?;
        if item.path().join("Cargo.toml").is_file() {
            names.push(item.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The image that a scenario names by its path, which only a name with a slash is; not one of ours, and not built.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    name.contains('/').then(|| paths::root().join(name)).filter(|path| path.is_file())
}

/// Whether a scenario may name this as an image.
pub(crate) fn is_image(name: &str) -> bool {
    is_guest(name) || file(name).is_some()
}

/// Whether there is a guest of this name.
pub(crate) fn is_guest(name: &str) -> bool {
    let plain = Path::new(name).components().count() == 1;
    plain && paths::root().join("images").join("guests").join(name).join("Cargo.toml").is_file()
}

/// Runs cargo for packages in one profile; its own progress shows.
fn cargo(packages: &[String], profile: &str, more: &[&str]) -> Result<()> {
    let mut command = Command::new(program());
    command.current_dir(paths::root()).args(["build", "--target", TARGET, "--profile", profile]).args(more);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo could not build {}", packages.join(", "));
    }
    Ok(())
}
