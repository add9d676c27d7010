//! A file of any bytes is refused, or read as far as it is sound, in every view of a trace.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| xtask::look(bytes));
