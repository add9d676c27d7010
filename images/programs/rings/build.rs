//! Links the program by the runtime's linker script.

fn main() {
    let script = std::env::var("DEP_PROGRAM_RUNTIME_SCRIPT").expect("from program-runtime's build script");
    println!("cargo::rustc-link-arg-bins=--no-pie");
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
