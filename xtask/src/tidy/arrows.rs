//! Which package may name which.
//! It exists because the layers are the architecture, and one careless dependency ends them.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

const GROUND: &str = "hypercall-abi";
/// What a guest kernel and its programs share.
const PROCESS: &str = "process-abi";
/// What programs of a guest kernel link, and nothing else.
const RUNTIME: &str = "program-runtime";
/// A disk's content as a guest and the host know it.
const STORE: &str = "key-value";
/// Drivers as they should not be, for tests and guests.
const LIARS: &str = "bad-ends";
/// What programs and tests of the host may name.
const HOST: &[&str] = &[GROUND, "hypervisor-core", "drivers-frontend", "drivers-backend", STORE, LIARS];

/// Packages that a package of this name or folder may name; nothing of the workspace otherwise.
fn allowed(name: &str, is_guest: bool) -> &'static [&'static str] {
    match name {
        "hypercall-abi" | "process-abi" | "program-build" | "key-value" => &[],
        "program-runtime" => &[PROCESS],
        "hypervisor-core" | "drivers-frontend" | "drivers-backend" => &[GROUND],
        "bad-ends" => &[GROUND, "drivers-frontend", "drivers-backend"],
        "guest-kernel" => &[GROUND, PROCESS, "drivers-frontend", "drivers-backend"],
        "http-server" => &["guest-kernel"],
        "hypervisor" => &[GROUND, "hypervisor-core"],
        "xtask" | "tests" => HOST,
        _ if is_guest => &[
            GROUND,
            PROCESS,
            "drivers-frontend",
            "drivers-backend",
            "guest-kernel",
            "http-server",
            "program-build",
            // What a guest turns into that was something else at first.
            "driver-domain",
            STORE,
            LIARS,
        ],
        _ => &[],
    }
}

/// Dependencies that point the wrong way.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("asking cargo for the packages")?;
    let guests = root.join("images").join("guests");
    let programs = root.join("images").join("programs");
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let is_guest = package.manifest_path.as_std_path().starts_with(&guests);
        // A dependency with a path is one of the workspace.
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let name = dependency.name.as_str();
            let is_program = package.manifest_path.as_std_path().starts_with(&programs);
            if is_program && package.name.as_str() != RUNTIME && name == RUNTIME {
                continue;
            }
            let in_test = dependency.kind == DependencyKind::Development && HOST.contains(&name);
            if !in_test && !allowed(&package.name, is_guest).contains(&name) {
                wrong.push(format!("{}: may not depend on {}", package.name, name));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn hypervisor_and_guests_share_the_ground_alone() {
        let hypervisor = allowed("hypervisor", false);
        let both: Vec<_> = allowed("web", true).iter().filter(|name| hypervisor.contains(name)).collect();
        assert_eq!(both, [&"hypercall-abi"]);
    }

    #[test]
    fn an_unknown_package_may_name_none() {
        assert!(allowed("new-package", false).is_empty());
    }
}
