//! For build scripts of guests: builds the programs that they carry.
//! A guest then has a program's bytes by `include_bytes!(env!("PROGRAM_name"))`, by cargo alone.

use std::path::Path;
use std::process::Command;

/// Builds programs of `images/programs/`, and links the guest by the guest kernel's script.
///
/// # Panics
/// When a program cannot be built; cargo has said why.
pub fn guest_with(programs: &[&str]) {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets no {name}"));
    println!("cargo::rustc-link-arg-bins=--no-pie");
    println!("cargo::rustc-link-arg-bins=-T{}", variable("DEP_GUEST_KERNEL_SCRIPT"));
    let here = variable("CARGO_MANIFEST_DIR");
    let Some(root) = Path::new(&here).ancestors().find(|folder| folder.join("Cargo.lock").is_file()) else {
        panic!("{here} lies in no workspace")
    };
    // A folder of its own: cargo holds the lock of its caller's.
    let target = Path::new(&variable("OUT_DIR")).join("programs");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(root).args(["build", "--quiet", "--locked", "--profile", "guest"]);
    cargo.args(["--target", "x86_64-unknown-none", "--target-dir"]).arg(&target);
    // What holds for the guest, or for its lints, is not meant for them.
    for name in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"]
    {
        cargo.env_remove(name);
    }
    for program in programs {
        cargo.args(["--package", program]);
        let built = target.join("x86_64-unknown-none/guest").join(program);
        println!("cargo::rustc-env=PROGRAM_{program}={}", built.display());
        println!("cargo::rerun-if-changed={}", root.join("images/programs").join(program).display());
    }
    for folder in ["images/programs/runtime", "guest-kernel/process-abi"] {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
    }
    match cargo.status() {
        Ok(status) if status.success() => {}
        other => panic!("programs could not be built: {other:?}"),
    }
}
