//! Instructions that a guest asks to have carried out for it, by Xen's prefix: `ud2`, "xen", and the instruction.
//! `cpuid` is the only one. Executed plainly it shows the processor; by the prefix, what of it a guest can use.

use hypercall_abi::{DomId, layout};

use crate::guest_access;
use crate::machine::Machine;
use crate::registers::Registers;
use crate::version::INTERFACE;
use crate::world::World;

/// `ud2; .ascii "xen"; cpuid`.
const CPUID: [u8; 7] = [0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2];

/// Answers of `cpuid` in their order: EAX, EBX, ECX, EDX.
type Leaf = [u32; 4];

/// Carries out what follows the prefix, if RIP is at one. Returns whether it did.
pub(super) fn invalid_opcode<M: Machine>(world: &World, m: &M, id: DomId, regs: &mut Registers) -> bool {
    let Some(domain) = world.domains.get(id) else { return false };
    let after = regs.rip.wrapping_add(7);
    let found = guest_access::read::<[u8; 7], _>(m, &world.frames, domain.vcpu.root(), regs.rip);
    if found != Ok(CPUID) || !layout::is_guest(after) {
        return false;
    }
    let word = |register: u64| u32::try_from(register & 0xffff_ffff).unwrap_or(0);
    let (leaf, subleaf) = (word(regs.rax), word(regs.rcx));
    let [a, b, c, d] = shown(leaf, subleaf, m.cpuid(leaf, subleaf));
    (regs.rax, regs.rbx, regs.rcx, regs.rdx) = (a.into(), b.into(), c.into(), d.into());
    regs.rip = after;
    true
}

/// The highest leaves that are shown.
const LAST_BASIC: u32 = 7;
const LAST_EXTENDED: u32 = 0x8000_0008;
const HYPERVISOR: u32 = 0x4000_0000;

/// Bits of a word.
const fn bits(numbers: &[u32]) -> u32 {
    let mut word = 0;
    let mut left = numbers;
    while let [first, rest @ ..] = left {
        word |= 1 << *first;
        left = rest;
    }
    word
}

/// Leaf 1, ECX: SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND. No XSAVE, so no AVX.
const BASIC_C: u32 = bits(&[0, 1, 9, 13, 19, 20, 22, 23, 25, 30]);
/// The same: a hypervisor is there.
const PRESENT: u32 = 1 << 31;
/// Leaf 1, EDX: FPU, TSC, MSR, PAE, CX8, CMOV, CLFLUSH, MMX, FXSR, SSE, SSE2. No large or global pages.
const BASIC_D: u32 = bits(&[0, 4, 5, 6, 8, 15, 19, 23, 24, 25, 26]);
/// Leaf 7, EBX: FSGSBASE, BMI1, BMI2, ERMS, RDSEED, ADX, CLFLUSHOPT, CLWB, SHA.
const STRUCTURED_B: u32 = bits(&[0, 3, 8, 9, 18, 19, 23, 24, 29]);
/// Leaf 7, EDX: fast short `rep movsb`.
const STRUCTURED_D: u32 = bits(&[4]);
/// Leaf 0x80000001, ECX: LAHF, LZCNT, SSE4A, misaligned SSE, PREFETCHW.
const EXTENDED_C: u32 = bits(&[0, 5, 6, 7, 8]);
/// Leaf 0x80000001, EDX: SYSCALL, NX, MMX extensions, RDTSCP, long mode.
const EXTENDED_D: u32 = bits(&[11, 20, 22, 27, 29]);

/// What a guest is shown of a leaf whose real content is `real`: a feature is shown if it works in a guest.
fn shown(leaf: u32, subleaf: u32, real: Leaf) -> Leaf {
    let [a, b, c, d] = real;
    match (leaf, subleaf) {
        (0, _) => [a.min(LAST_BASIC), b, c, d],
        (1, _) => [a, b & 0xff00, c & BASIC_C | PRESENT, d & BASIC_D],
        // Caches.
        (2..=4, _) => real,
        (7, 0) => [0, b & STRUCTURED_B, 0, d & STRUCTURED_D],
        (HYPERVISOR, _) => {
            let [first, second, third] = [*b"XenV", *b"MMXe", *b"nVMM"].map(u32::from_le_bytes);
            [HYPERVISOR | 2, first, second, third]
        }
        (0x4000_0001, _) => [u32::try_from(INTERFACE).unwrap_or(0), 0, 0, 0],
        // No hypercall page by MSR; updates of page tables can keep accessed and dirty bits.
        (0x4000_0002, _) => [0, 0, 1, 0],
        (0x8000_0000, _) => [a.min(LAST_EXTENDED), b, c, d],
        (0x8000_0001, _) => [a, b, c & EXTENDED_C, d & EXTENDED_D],
        // The processor's name, its caches, its addresses.
        (0x8000_0002..=0x8000_0006 | LAST_EXTENDED, _) => real,
        _ => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Leaf = [u32::MAX; 4];

    #[test]
    fn what_needs_xsave_or_the_hypervisors_own_registers_is_not_shown() {
        let [_, _, c, d] = shown(1, 0, ALL);
        let hidden = bits(&[3, 5, 12, 17, 21, 26, 27, 28, 29]);
        assert_eq!(c & hidden, 0, "monitor, VMX, FMA, PCID, x2APIC, XSAVE, OSXSAVE, AVX, F16C");
        assert_eq!(d & bits(&[3, 9, 12, 13, 17]), 0, "large pages, APIC, MTRR, global pages, PSE36");
        assert_ne!(c & PRESENT, 0);
        let [_, b, c, _] = shown(7, 0, ALL);
        assert_eq!(b & bits(&[5, 7, 10, 16, 20]), 0, "AVX2, SMEP, INVPCID, AVX-512, SMAP");
        assert_eq!(c, 0, "PKU, UMIP, five levels");
        assert_eq!(shown(0xd, 0, ALL), [0; 4]);
        assert_eq!(shown(0x8000_0001, 0, ALL)[2] & bits(&[2, 11, 16]), 0, "SVM, XOP, FMA4");
    }

    #[test]
    fn nothing_is_shown_that_is_not_there() {
        for leaf in [0, 1, 2, 7, 0x8000_0001, 0x8000_0008] {
            let [a, b, c, d] = shown(leaf, 0, [0; 4]);
            assert_eq!([a, b, c & !PRESENT, d], [0; 4], "{leaf:#x}");
        }
    }

    #[test]
    fn the_hypervisor_signs_as_xen_does() {
        let [last, b, c, d] = shown(HYPERVISOR, 0, [0; 4]);
        let name: alloc::vec::Vec<u8> = [b, c, d].into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!((last, name.as_slice()), (0x4000_0002, b"XenVMMXenVMM".as_slice()));
    }
}
