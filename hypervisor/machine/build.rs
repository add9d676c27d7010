//! Links the hypervisor at its fixed addresses.
//! The target's default would be a position-independent executable, which the boot protocols cannot relocate.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=link/hypervisor.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's folder");
        println!("cargo:rustc-link-arg-bins=--no-pie");
        println!("cargo:rustc-link-arg-bins=-T{root}/link/hypervisor.ld");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
        println!("cargo:rustc-link-arg-bins=--build-id=none");
    }
}
