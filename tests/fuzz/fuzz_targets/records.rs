//! A whole trace of records that say anything is seen in every view.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| xtask::look(&xtask::trace_of(bytes)));
