//! Links the guest by the guest kernel's linker script.

fn main() {
    let script = std::env::var("DEP_GUEST_KERNEL_SCRIPT").expect("from guest-kernel's build script");
    println!("cargo::rustc-link-arg-bins=--no-pie");
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
