//! Exceptions and upcalls: how a guest registers for them, and the frames that pass.

abi_struct! {
    /// One entry of the table of [`crate::Hypercall::SetTrapTable`]; an address of 0 ends it (`trap_info`).
    pub struct TrapInfo(16) {
        /// IN: vector.
        0 => vector: u8,
        /// IN: bits 0 to 1: highest ring that may raise it by `int`; bit 2: mask upcalls on entry.
        1 => flags: u8,
        /// IN: code selector.
        2 => cs: u16,
        /// Unused.
        4 => pad: u32,
        /// IN: handler.
        8 => address: u64,
    }
}

/// Bits of [`TrapInfo::flags`] (`TI_*`).
pub mod trap_flags {
    /// Highest ring that may raise it by `int`.
    pub const DPL: u8 = 3;
    /// Mask upcalls on entry.
    pub const MASK_EVENTS: u8 = 4;
}

abi_struct! {
    /// What [`crate::Hypercall::Iret`] finds on the stack (`iret_context`).
    pub struct IretContext(72) {
        /// RAX to load.
        0 => rax: u64,
        /// R11 to load.
        8 => r11: u64,
        /// RCX to load.
        16 => rcx: u64,
        /// [`IRET_IN_SYSCALL`] if RCX and R11 may be lost.
        24 => flags: u64,
        /// RIP to go to.
        32 => rip: u64,
        /// Code selector; RPL 3 means user mode when the kernel's is shown as 0.
        40 => cs: u64,
        /// RFLAGS; IF says whether upcalls are to be unmasked.
        48 => rflags: u64,
        /// RSP to load.
        56 => rsp: u64,
        /// Stack selector.
        64 => ss: u64,
    }
}

/// In [`IretContext::flags`]: the frame came from a system call (`VGCF_in_syscall`).
pub const IRET_IN_SYSCALL: u64 = 0x100;

abi_struct! {
    /// What an upcall or exception without an error code pushes on the kernel's stack, lowest address first.
    /// With an error code, that lies between `r11` and `rip`.
    pub struct BounceFrame(56) {
        /// RCX as interrupted.
        0 => rcx: u64,
        /// R11 as interrupted.
        8 => r11: u64,
        /// RIP as interrupted.
        16 => rip: u64,
        /// CS as interrupted, RPL 0 for the kernel; the saved upcall mask in bits 32 to 39.
        24 => cs: u64,
        /// RFLAGS as interrupted; IF is the inverse of the saved upcall mask.
        32 => rflags: u64,
        /// RSP as interrupted.
        40 => rsp: u64,
        /// SS as interrupted.
        48 => ss: u64,
    }
}

abi_enum! {
    /// Kind of callback (`CALLBACKTYPE_*`).
    pub enum CallbackType: u16 {
        /// Events.
        Event = 0,
        /// A frame that could not be returned to.
        Failsafe = 1,
        /// A system call from user mode.
        Syscall = 2,
        /// A system enter from user mode.
        Sysenter = 5,
        /// An NMI.
        Nmi = 4,
        /// A system call from 32-bit user mode.
        Syscall32 = 7,
    }
}

abi_enum! {
    /// Operation of [`crate::Hypercall::CallbackOp`] (`CALLBACKOP_*`).
    pub enum CallbackOp: u32 {
        /// `(&CallbackRegister)`.
        Register = 0,
        /// `(&CallbackRegister)`: its address is not used.
        Unregister = 1,
    }
}

abi_struct! {
    /// Argument of [`CallbackOp::Register`] (`callback_register`).
    pub struct CallbackRegister(16) {
        /// IN: a [`CallbackType`].
        0 => kind: u16,
        /// IN: bit 0: mask upcalls on entry.
        2 => flags: u16,
        /// Unused.
        4 => pad: u32,
        /// IN: handler.
        8 => address: u64,
    }
}

abi_enum! {
    /// Which base [`crate::Hypercall::SetSegmentBase`] sets (`SEGBASE_*`).
    pub enum SegmentBase: u32 {
        /// FS.
        Fs = 0,
        /// GS of user mode.
        GsUser = 1,
        /// GS of kernel mode.
        GsKernel = 2,
        /// The selector of user GS.
        GsUserSelector = 3,
    }
}

abi_enum! {
    /// Exception vectors (Intel SDM volume 3, 6.3).
    pub enum Vector: u8 {
        /// Division by zero.
        DivideError = 0,
        /// Debug.
        Debug = 1,
        /// Non-maskable interrupt.
        Nmi = 2,
        /// `int3`.
        Breakpoint = 3,
        /// `into`.
        Overflow = 4,
        /// `bound`.
        BoundRange = 5,
        /// Invalid opcode.
        InvalidOpcode = 6,
        /// No FPU, or its state is another's.
        DeviceNotAvailable = 7,
        /// Double fault.
        DoubleFault = 8,
        /// Invalid TSS.
        InvalidTss = 10,
        /// Segment not present.
        SegmentNotPresent = 11,
        /// Stack fault.
        StackFault = 12,
        /// General protection.
        GeneralProtection = 13,
        /// Page fault.
        PageFault = 14,
        /// x87 error.
        X87 = 16,
        /// Alignment check.
        AlignmentCheck = 17,
        /// Machine check.
        MachineCheck = 18,
        /// SIMD error.
        Simd = 19,
    }
}

impl Vector {
    /// Whether the processor pushes an error code.
    #[must_use]
    pub const fn has_error_code(self) -> bool {
        matches!(
            self,
            Self::DoubleFault
                | Self::InvalidTss
                | Self::SegmentNotPresent
                | Self::StackFault
                | Self::GeneralProtection
                | Self::PageFault
                | Self::AlignmentCheck
        )
    }
}
