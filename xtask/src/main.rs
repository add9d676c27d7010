//! `cargo xtask`: see the library of this package, which is all of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
