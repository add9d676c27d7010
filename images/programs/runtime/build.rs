//! Tells the build scripts of programs where their linker script is.

fn main() {
    let script = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("set by cargo"))
        .join("link/program.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::metadata=script={}", script.display());
}
