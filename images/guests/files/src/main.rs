//! Serves the files of its first disk, an ext4 file system, over HTTP: files, pages of directories, 404 for what is not there.
//!
//! Command line: `connections=N` at once.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod guest;

#[cfg(target_os = "none")]
guest_kernel::main!(guest::run);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("files is a guest: `cargo xtask run files` starts it");
}
