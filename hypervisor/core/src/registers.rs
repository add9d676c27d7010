//! A vCPU's registers as the entry paths store them and the core edits them.

use hypercall_abi::layout;

use crate::ring::Selectors;

/// What the entry path saves, lowest address first; the machine's stubs push in this order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the registers of their names")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Vector in the upper half, error code in the lower; not a register of the guest.
    pub entry: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Flags of RFLAGS.
pub mod rflags {
    /// Always set.
    pub const RESERVED: u64 = 1 << 1;
    /// Single step.
    pub const TRAP: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const INTERRUPT: u64 = 1 << 9;
    /// String direction.
    pub const DIRECTION: u64 = 1 << 10;
    /// I/O privilege level.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NESTED: u64 = 1 << 14;
    /// Resume.
    pub const RESUME: u64 = 1 << 16;
    /// Alignment check.
    pub const ALIGNMENT: u64 = 1 << 18;
    /// What a guest may choose: arithmetic flags, TF, DF, RF, AC and ID.
    pub const GUEST: u64 = 0x0025_0dd5;
}

impl Registers {
    /// Makes the frame one that `iretq` and `sysretq` cannot refuse: a guest's selectors, a canonical RIP outside the
    /// hypervisor's range or the offending address kept but harmless, interrupts enabled, IOPL 0.
    ///
    /// Returns whether RIP was acceptable; if not, the caller must deliver a fault instead of returning.
    pub fn sanitise(&mut self, selectors: Selectors) -> bool {
        self.cs = selectors.code;
        self.ss = selectors.stack;
        self.rflags = (self.rflags & rflags::GUEST) | rflags::RESERVED | rflags::INTERRUPT;
        layout::is_guest(self.rip)
    }
}
