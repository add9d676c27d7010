//! Links the guest by the guest kernel's linker script; on the host only the volume is built, without it.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let script = std::env::var("DEP_GUEST_KERNEL_SCRIPT").expect("from guest-kernel's build script");
    println!("cargo::rustc-link-arg-bins=--no-pie");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    // The network stack makes its array of sockets on the stack before it puts it in its place.
    println!("cargo::rustc-link-arg-bins=--defsym=GUEST_STACK_BYTES=0x10000");
}
