//! A fault of the hypervisor's own: print the registers and stop. A machine check that can be survived is counted.
//! Nothing is repaired, because whatever the fault hit was believed to be impossible.

use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;

use hypervisor_core::registers::Registers;

use crate::cpu::{control, msr};
use crate::per_cpu::PER_CPU;
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

/// A machine check: counted if the processor says that all is as it was, else the end. It touches nothing that whatever
/// it interrupted might hold, the serial port aside when all is lost.
pub(crate) extern "C" fn machine_check() {
    /// In the status of all: what was interrupted can go on.
    const RESTART: u64 = 1 << 0;
    /// In the status of a bank: it says something; what the processor holds is lost.
    const VALID: u64 = 1 << 63;
    const CORRUPT: u64 = 1 << 57;
    let status = msr::read(msr::MCG_STATUS);
    let banks = msr::read(msr::MCG_CAP) as u32 & 0xff;
    let mut lost = status & RESTART == 0;
    for bank in 0..banks {
        let register = msr::MC0_STATUS + 4 * bank;
        let said = msr::read(register);
        if said & VALID == 0 {
            continue;
        }
        if lost || said & CORRUPT != 0 {
            lost = true;
            let _ = writeln!(serial::seize(), "\ndenizen: machine check: bank {bank} says {said:#x}");
        }
        // SAFETY: the bank is there, and 0 clears it.
        unsafe { msr::write(register, 0) };
    }
    if lost {
        let _ = writeln!(serial::seize(), "\ndenizen: panic: machine check, status {status:#x}");
        power::exit(power::Code::Panic)
    }
    PER_CPU.machine_checks.fetch_add(1, Relaxed);
    // SAFETY: another machine check may come now.
    unsafe { msr::write(msr::MCG_STATUS, 0) };
}
