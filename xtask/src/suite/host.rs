//! The parts that need no machine: form, lints, tests on the host.
//! It exists so that `test` and `check` name them alike.

use anyhow::{Context, Result};

use super::part::{self, Part};
use crate::compile;

/// Unit, property, hostile-sequence and joined tests, loom included.
pub(super) fn tests() -> Vec<Part> {
    vec![Part::command("cargo test", "cargo", &["test", "--quiet", "--no-fail-fast"], &[])]
}

/// The properties, each with other cases than those of `cargo test`, which are the same each time.
pub(super) fn other_cases(rounds: u32) -> Result<String> {
    let packages = ["--package=hypervisor-core", "--package=drivers-backend", "--package=xtask"];
    let arguments = ["test", "--quiet", "--no-fail-fast", "--lib"].into_iter().chain(packages);
    let arguments: Vec<String> = arguments.map(str::to_owned).collect();
    for _ in 0..rounds {
        let seed = fastrand::u64(..).to_string();
        let environment = [("PROPTEST_RNG_SEED".to_owned(), seed.clone())];
        part::run("cargo", &arguments, &environment, &part::log("properties"))
            .with_context(|| format!("PROPTEST_RNG_SEED={seed}"))?;
    }
    Ok(format!("{rounds} seeds"))
}

/// Form and lints, on the host and on bare metal.
pub(super) fn formed() -> Result<Vec<Part>> {
    let mut bare = vec![
        "clippy",
        "--quiet",
        "--target",
        compile::TARGET,
        "--package",
        "hypervisor",
        "--package",
        "guest-kernel",
    ];
    let mut packages = compile::guest_names()?;
    packages.extend(compile::program_names()?);
    bare.extend(packages.iter().flat_map(|name| ["--package", name.as_str()]));
    bare.extend(["--", "-D", "warnings"]);
    Ok(vec![
        Part::command("cargo fmt", "cargo", &["fmt", "--all", "--check"], &[]),
        Part::command(
            "clippy, host",
            "cargo",
            &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"],
            &[],
        ),
        Part::command("clippy, bare metal", "cargo", &bare, &[]),
    ])
}
