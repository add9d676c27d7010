//! Ending the system: QEMU's debug-exit port first, ACPI's S5 next, else a halt.
//! The debug port carries a code, by which a test tells an orderly end from a panic.

use crate::cpu::{self, port};

/// QEMU's `isa-debug-exit`; the process ends with `code << 1 | 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// Why the system ends.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Code {
    /// As asked: QEMU exits with 33.
    Orderly = 0x10,
    /// The hypervisor found itself wrong: QEMU exits with 35.
    Panic = 0x11,
}

/// Ends the system.
pub(crate) fn exit(code: Code) -> ! {
    port::write_u32(DEBUG_EXIT, code as u32);
    cpu::halt()
}
