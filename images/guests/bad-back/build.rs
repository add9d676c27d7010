//! Links the guest by the guest kernel's linker script.

fn main() {
    let script = std::env::var("DEP_GUEST_KERNEL_SCRIPT").expect("from guest-kernel's build script");
    println!("cargo::rustc-link-arg-bins=--no-pie");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    // The virtio driver makes its queues on the stack before they are put in their place.
    println!("cargo::rustc-link-arg-bins=--defsym=GUEST_STACK_BYTES=0x28000");
}
