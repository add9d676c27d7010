//! What each processor has of its own, at a fixed address in its address space.
//! Entry paths reach it relative to RIP, so that no register that a guest can set (GS) is ever trusted.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

/// Bytes of a processor's stack; entries from guests start at its end.
const STACK_BYTES: usize = 32 * 1024;

/// A stack.
#[repr(C, align(4096))]
pub(crate) struct Stack<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

// SAFETY: only the processor itself touches its stack, by its stack pointer.
unsafe impl<const BYTES: usize> Sync for Stack<BYTES> {}

impl<const BYTES: usize> Stack<BYTES> {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; BYTES]))
    }
}

/// A processor's own memory. Whole pages, so that each processor's root can map other frames here.
#[repr(C, align(4096))]
pub(crate) struct PerCpu {
    stack: Stack<STACK_BYTES>,
    /// Where the `syscall` entry keeps the guest's RSP until it has a stack.
    guest_rsp: AtomicU64,
}

/// The first processor's.
pub(crate) static PER_CPU: PerCpu = PerCpu { stack: Stack::new(), guest_rsp: AtomicU64::new(0) };

/// Offset of the end of the stack in [`PerCpu`].
pub(crate) const STACK_END: usize = offset_of!(PerCpu, stack) + STACK_BYTES;
/// Offset of [`PerCpu::guest_rsp`].
pub(crate) const GUEST_RSP: usize = offset_of!(PerCpu, guest_rsp);
