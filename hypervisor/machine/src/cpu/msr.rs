//! Model-specific registers, by name.
//! Only those that cannot break memory safety with any value are written through here, or with checked values.

use core::arch::asm;

/// System call selectors.
pub(crate) const STAR: u32 = 0xc000_0081;
/// System call entry.
pub(crate) const LSTAR: u32 = 0xc000_0082;
/// System call entry from 32-bit code.
pub(crate) const CSTAR: u32 = 0xc000_0083;
/// Flags that a system call clears.
pub(crate) const SFMASK: u32 = 0xc000_0084;
/// Features of long mode.
pub(crate) const EFER: u32 = 0xc000_0080;
/// Base of FS.
pub(crate) const FS_BASE: u32 = 0xc000_0100;
/// Base of GS.
pub(crate) const GS_BASE: u32 = 0xc000_0101;
/// Code selector of SYSENTER; 0 makes it fault.
pub(crate) const SYSENTER_CS: u32 = 0x174;
/// How many banks a machine check has to say something in.
pub(crate) const MCG_CAP: u32 = 0x179;
/// Whether a machine check can be returned from.
pub(crate) const MCG_STATUS: u32 = 0x17a;
/// What the first bank says; each next one is 4 further.
pub(crate) const MC0_STATUS: u32 = 0x401;
/// Where the local APIC is and whether it is on.
pub(crate) const APIC_BASE: u32 = 0x1b;

/// Reads a register that exists.
pub(crate) fn read(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the registers above exist on every processor with long mode; reading changes nothing.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a register.
///
/// # Safety
/// The register exists, takes the value, and the hypervisor goes on working with it.
pub(crate) unsafe fn write(register: u32, value: u64) {
    // SAFETY: the caller vouches for register and value.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}
