//! What a program links: its start, system calls, text, the end.
//! It exists so that a program is a function of one number and nothing else.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! program_runtime::main!(run);
//!
//! fn run(argument: u64) -> u32 {
//!     program_runtime::println!("called with {argument}");
//!     0
//! }
//! ```

#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
pub mod calls;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
pub mod text;

#[cfg(target_os = "none")]
pub use start::enter;

pub use process_abi::{Call, Error, Exit, layout};

/// Declares the program: an `fn(u64) -> u32` of the argument that its guest gives it; what it returns is its status.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn program_main(argument: u64) -> ! {
            $crate::enter($main, argument)
        }
    };
}
