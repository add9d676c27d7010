//! Control registers: the root of the address space, the FPU's trap, and the features that are switched on at boot.
//! What is switched on here is what guests are promised and held to.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

use hypervisor_core::registers::rflags;

use super::msr;
use crate::descriptors::gdt;
use crate::entry;
use hypercall_abi::layout::GUEST_CODE32;

const CR0_MP: u64 = 1 << 1;
const CR0_EM: u64 = 1 << 2;
const CR0_TS: u64 = 1 << 3;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_AM: u64 = 1 << 18;

const CR4_DE: u64 = 1 << 3;
const CR4_PAE: u64 = 1 << 5;
const CR4_MCE: u64 = 1 << 6;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_UMIP: u64 = 1 << 11;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_SMEP: u64 = 1 << 20;

/// In CPUID leaf 7, subleaf 1, EAX.
const FRED: u32 = 17;

const EFER_SCE: u64 = 1 << 0;
const EFER_NXE: u64 = 1 << 11;

/// Features of this processor that change what the machine does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// 1 GiB pages.
    pub(crate) huge_pages: bool,
    /// Instructions for the bases of FS and GS.
    pub(crate) fsgsbase: bool,
    /// Kernels of guests may run in ring 1. Processors whose events are delivered by FRED have only rings 0 and 3.
    pub(crate) ring1: bool,
    /// No execution of user pages in ring 0.
    smep: bool,
    /// No reading of descriptor tables' addresses in ring 3.
    umip: bool,
}

impl Features {
    /// Asks the processor.
    pub(crate) fn detect() -> Self {
        let extended = __cpuid_count(0x8000_0001, 0);
        let structured = if __cpuid_count(0, 0).eax >= 7 { Some(__cpuid_count(7, 0)) } else { None };
        let bit = |word: u32, bit: u32| word >> bit & 1 == 1;
        Self {
            huge_pages: bit(extended.edx, 26),
            ring1: !structured.is_some_and(|leaf| leaf.eax >= 1 && bit(__cpuid_count(7, 1).eax, FRED)),
            fsgsbase: structured.is_some_and(|leaf| bit(leaf.ebx, 0)),
            smep: structured.is_some_and(|leaf| bit(leaf.ebx, 7)),
            umip: structured.is_some_and(|leaf| bit(leaf.ecx, 2)),
        }
    }

    /// Switches on protections and the system call entry. No global pages, no XSAVE, no SMAP.
    pub(crate) fn enable(self) {
        let mut cr4 = CR4_DE | CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
        for (present, bit) in [(self.fsgsbase, CR4_FSGSBASE), (self.smep, CR4_SMEP), (self.umip, CR4_UMIP)] {
            cr4 |= if present { bit } else { 0 };
        }
        // SAFETY: the processor has these features; none changes how the hypervisor's own mappings work.
        unsafe { asm!("mov cr4, {}", in(reg) cr4, options(nostack, preserves_flags)) };
        write_cr0((cr0() | CR0_MP | CR0_NE | CR0_WP | CR0_AM | CR0_TS) & !CR0_EM);
        // `sysretq` adds 16 for code and 8 for data to the upper selector.
        let star = u64::from(GUEST_CODE32) << 48 | u64::from(gdt::CODE) << 32;
        let mask = rflags::INTERRUPT | rflags::TRAP | rflags::DIRECTION | rflags::NESTED | rflags::ALIGNMENT;
        // SAFETY: the selectors are those of the loaded descriptor table.
        unsafe { msr::write(msr::STAR, star) };
        // SAFETY: the entry is a stub of the hypervisor.
        unsafe { msr::write(msr::LSTAR, entry::syscall::address()) };
        // SAFETY: on the processors that use it, the same stub serves; the frame says 64-bit code either way.
        unsafe { msr::write(msr::CSTAR, entry::syscall::address()) };
        // SAFETY: the flags are what entry paths need clear.
        unsafe { msr::write(msr::SFMASK, mask) };
        // SAFETY: nobody's way in.
        unsafe { msr::write(msr::SYSENTER_CS, 0) };
        // SAFETY: long mode and no-execute stay on, system calls come on.
        unsafe { msr::write(msr::EFER, msr::read(msr::EFER) | EFER_SCE | EFER_NXE) };
    }
}

fn cr0() -> u64 {
    let value;
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {}, cr0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

fn write_cr0(value: u64) {
    // SAFETY: callers change FPU and protection bits only; paging and protection stay on.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Lets the next use of the FPU trap.
pub(crate) fn trap_fpu() {
    write_cr0(cr0() | CR0_TS);
}

/// Lets the FPU be used.
pub(crate) fn release_fpu() {
    // SAFETY: the flag has no bearing on memory.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
}

/// Machine address of the top-level table in use.
pub(crate) fn root() -> u64 {
    let value: u64;
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Loads a top-level table. Every domain's has the hypervisor's slots, which the core guarantees.
pub(crate) fn load_root(root: u64) {
    // SAFETY: the hypervisor is mapped alike in every root that the core validates and in its own.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Address of the last page fault.
pub(crate) fn fault_address() -> u64 {
    let value;
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
