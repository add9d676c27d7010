//! Ending the system: QEMU's debug-exit port first, ACPI's S5 next, else a halt.
//! The debug port carries a code, by which a test tells an orderly end from a panic.

use spin::Once;

use crate::acpi::sleep::PowerOff;
use crate::cpu::{self, port};

/// QEMU's `isa-debug-exit`; the process ends with `code << 1 | 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// How ACPI switches this machine off.
static POWER_OFF: Once<PowerOff> = Once::new();

/// Why the system ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    /// As asked: QEMU exits with 33.
    Orderly = 0x10,
    /// The hypervisor found itself wrong: QEMU exits with 35.
    Panic = 0x11,
}

/// Remembers how ACPI switches this machine off.
pub(crate) fn install(off: PowerOff) {
    POWER_OFF.call_once(|| off);
}

/// Ends the system. After a panic it is not switched off, so that real hardware keeps the last words on its screen.
pub(crate) fn exit(code: Code) -> ! {
    port::write_u32(DEBUG_EXIT, code as u32);
    if code == Code::Orderly
        && let Some(off) = POWER_OFF.get()
    {
        for (port, command) in off.commands() {
            port::write_u16(port, command);
        }
    }
    cpu::halt()
}
