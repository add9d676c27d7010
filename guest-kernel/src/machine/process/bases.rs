//! Bases of FS and GS of processes. The kernel itself uses neither.
//! Where the processor has instructions for them, processes change them by themselves, so that the kernel asks at each
//! switch; elsewhere only a system call changes them, and the hypervisor loads them.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use hypercall_abi::trap::SegmentBase;

use crate::machine::hypercall::domain;

/// How bases are loaded.
mod way {
    /// By the instructions.
    pub(super) const INSTRUCTIONS: u8 = 0;
    /// By hypercalls, for processes beside a kernel in ring 3.
    pub(super) const OF_PROCESSES: u8 = 1;
    /// By hypercalls, for kernel and processes alike.
    pub(super) const OF_ALL: u8 = 2;
}

static WAY: AtomicU8 = AtomicU8::new(way::OF_PROCESSES);

/// What the hypervisor was told last. A process can make it 0 by loading a selector, but nothing else.
static LOADED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Finds out how bases are loaded, once. Denizen has switched the instructions on if there are any; on Xen a guest finds them off.
pub(super) fn set_up(ring1: bool, on_denizen: bool) {
    let there = __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).ebx & 1 != 0;
    let way = match (on_denizen && there, ring1) {
        (true, _) => way::INSTRUCTIONS,
        (false, true) => way::OF_ALL,
        (false, false) => way::OF_PROCESSES,
    };
    WAY.store(way, Relaxed);
}

/// The bases of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bases {
    pub(super) fs: u64,
    pub(super) gs: u64,
}

impl Bases {
    /// Notes what the process that had its turn has left in the processor.
    #[inline]
    pub(super) fn keep(&mut self) {
        if WAY.load(Relaxed) == way::INSTRUCTIONS {
            // SAFETY: the instructions are there and on; reading changes nothing.
            unsafe {
                asm!("rdfsbase {}", "rdgsbase {}", out(reg) self.fs, out(reg) self.gs,
                     options(nomem, nostack, preserves_flags));
            }
        }
    }

    /// Loads them for the process whose turn it is.
    #[inline]
    pub(super) fn load(self) {
        if WAY.load(Relaxed) == way::INSTRUCTIONS {
            // SAFETY: the instructions are there and on, the addresses are such that a processor had them or a system
            // call has checked them, and this kernel uses neither register.
            unsafe {
                asm!("wrfsbase {}", "wrgsbase {}", in(reg) self.fs, in(reg) self.gs,
                     options(nomem, nostack, preserves_flags));
            }
        } else {
            self.load_by_calls();
        }
    }

    #[cold]
    fn load_by_calls(self) {
        let gs = if WAY.load(Relaxed) == way::OF_ALL { SegmentBase::GsKernel } else { SegmentBase::GsUser };
        for (loaded, which, base) in [(&LOADED[0], SegmentBase::Fs, self.fs), (&LOADED[1], gs, self.gs)] {
            // 0 stays 0 whatever selector was loaded.
            if (loaded.load(Relaxed), base) == (0, 0) {
                continue;
            }
            // It is refused for no address that a process may set.
            if domain::set_segment_base(which, base).is_ok() {
                loaded.store(base, Relaxed);
            }
        }
    }
}
