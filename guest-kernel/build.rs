//! Tells the build scripts of guests where the linker script is.
//! Cargo passes link arguments only from a binary's own package, so each guest repeats three lines and learns the
//! path from here.

fn main() {
    let script = std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("set by cargo"))
        .join("link/guest.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::metadata=script={}", script.display());
}
