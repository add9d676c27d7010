//! A fault of the hypervisor's own: print the registers and stop.
//! Nothing is repaired, because whatever the fault hit was believed to be impossible.

use core::fmt::Write;

use hypervisor_core::registers::Registers;

use crate::cpu::control;
use crate::{entry, power, serial};

/// An exception in ring 0, a double fault or a machine check.
pub(crate) extern "C" fn own_fault(regs: &Registers) -> ! {
    let mut port = serial::seize();
    let Registers { rip, rsp, rflags, cs, .. } = *regs;
    // A serial port cannot fail, and there is nobody left to tell.
    let _ = writeln!(
        port,
        "\ndenizen: panic: vector {} with error {:#x} in the hypervisor at {rip:#x}, address {:#x}\n\
         denizen: cs {cs:#x} rsp {rsp:#x} rflags {rflags:#x} cr3 {:#x}\n{regs:#x?}",
        entry::vector(regs),
        regs.entry as u32,
        control::fault_address(),
        control::root(),
    );
    power::exit(power::Code::Panic)
}
