//! The parts that need no machine: form, lints, tests on the host.
//! It exists so that `test` and `check` name them alike.

use anyhow::Result;

use super::part::Part;
use crate::compile;

/// Unit, property, hostile-sequence and joined tests, loom included.
pub(super) fn tests() -> Vec<Part> {
    vec![Part::command("cargo test", "cargo", &["test", "--quiet"], &[])]
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
