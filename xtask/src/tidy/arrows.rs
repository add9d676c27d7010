//! Which package may name which.
//! It exists because the layers are the architecture, and one careless dependency ends them.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

const GROUND: &str = "hypercall-abi";
/// What programs and tests of the host may name.
const HOST: &[&str] = &[GROUND, "hypervisor-core", "drivers-frontend", "drivers-backend"];

/// Packages that a package of this name or folder may name; nothing of the workspace otherwise.
fn allowed(name: &str, is_guest: bool) -> &'static [&'static str] {
    match name {
        "hypercall-abi" => &[],
        "hypervisor-core" | "drivers-frontend" | "drivers-backend" => &[GROUND],
        "guest-kernel" => &[GROUND, "drivers-frontend", "drivers-backend"],
        "hypervisor" => &[GROUND, "hypervisor-core"],
        "xtask" | "tests" => HOST,
        _ if is_guest => &[GROUND, "drivers-frontend", "drivers-backend", "guest-kernel"],
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
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let is_guest = package.manifest_path.as_std_path().starts_with(&guests);
        // A dependency with a path is one of the workspace.
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let name = dependency.name.as_str();
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
