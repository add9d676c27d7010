//! What each processor has of its own, at a fixed address in its address space.
//! Entry paths reach it relative to RIP, so that no register that a guest can set (GS) is ever trusted.
//!
//! [`PerCpu`] consists of whole pages: another processor's root maps other frames at the same address.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

use crate::descriptors::gdt::Gdt;
use crate::descriptors::idt::Idt;
use crate::descriptors::tss::Tss;
use crate::ring1::area::Area;
use hypervisor_core::registers::Registers;

/// Bytes of a processor's stack; entries from guests start at its end.
const STACK_BYTES: usize = 62 * 1024;
/// Bytes of the stacks for the vectors that may strike anywhere.
pub(crate) const INTERRUPT_STACK_BYTES: usize = 8 * 1024;

/// A stack.
#[repr(C, align(16))]
pub(crate) struct Stack<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

// SAFETY: only the processor itself touches its stack, by its stack pointer.
unsafe impl<const BYTES: usize> Sync for Stack<BYTES> {}

impl<const BYTES: usize> Stack<BYTES> {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; BYTES]))
    }

    /// Address past its end, where it starts.
    pub(crate) fn end(&self) -> u64 {
        self.0.get() as u64 + BYTES as u64
    }
}

/// A processor's own memory.
#[repr(C, align(4096))]
pub(crate) struct PerCpu {
    /// Entries from guests and all work of the hypervisor. The words that follow lie in its last page, which is in use anyway,
    /// and so do the first gates: those of devices.
    pub(crate) stack: Stack<STACK_BYTES>,
    /// Root of the guest in ring 1 that has the processor.
    pub(crate) guest_root: AtomicU64,
    /// Whether something of the entry area's stacks must be cleared before a guest in ring 1 sees them.
    pub(crate) area_used: AtomicU64,
    /// Vectors that came in while the processor was idle, a bit each.
    pub(crate) pending: [AtomicU64; 4],
    /// Non-maskable interrupts taken. These three words may be read from outside, in this order.
    pub(crate) nmis: AtomicU64,
    /// Address of the instruction before which the last of them came.
    nmi_at: AtomicU64,
    /// Machine checks survived.
    pub(crate) machine_checks: AtomicU64,
    /// The interrupt table while no guest in ring 1 has the processor.
    pub(crate) idt: Idt,
    /// For #DF, NMI, #MC and #DB, by their number in the interrupt stack table minus one.
    pub(crate) interrupt_stacks: [Stack<INTERRUPT_STACK_BYTES>; 4],
    /// Descriptors from selector 0xe000 upwards.
    pub(crate) gdt: Gdt,
    /// Where the processor finds the stacks.
    pub(crate) tss: Tss,
    /// What a guest in ring 1 sees beside descriptors and stubs.
    pub(crate) area: Area,
}

/// The first processor's.
pub(crate) static PER_CPU: PerCpu = PerCpu {
    stack: Stack::new(),
    guest_root: AtomicU64::new(0),
    area_used: AtomicU64::new(1),
    pending: [const { AtomicU64::new(0) }; 4],
    nmis: AtomicU64::new(0),
    nmi_at: AtomicU64::new(0),
    machine_checks: AtomicU64::new(0),
    idt: Idt::new(),
    interrupt_stacks: [const { Stack::new() }; 4],
    gdt: Gdt::new(),
    tss: Tss::new(),
    area: Area::new(),
};

/// Offset of the end of the stack in [`PerCpu`].
pub(crate) const STACK_END: usize = offset_of!(PerCpu, stack) + STACK_BYTES;
/// Offset of the frame in which a guest's registers are saved, at the stack's end.
pub(crate) const FRAME: usize = STACK_END - size_of::<Registers>();
/// Offset of [`PerCpu::pending`].
pub(crate) const PENDING: usize = offset_of!(PerCpu, pending);
/// Offset of [`PerCpu::nmis`].
pub(crate) const NMIS: usize = offset_of!(PerCpu, nmis);
/// Offset of [`PerCpu::nmi_at`].
pub(crate) const NMI_AT: usize = offset_of!(PerCpu, nmi_at);
/// Offset of [`PerCpu::guest_root`].
pub(crate) const GUEST_ROOT: usize = offset_of!(PerCpu, guest_root);
/// Offset of [`PerCpu::area_used`].
pub(crate) const AREA_USED: usize = offset_of!(PerCpu, area_used);
/// Offset of [`PerCpu::area`].
pub(crate) const AREA: usize = offset_of!(PerCpu, area);
/// Offset of the first interrupt stack in [`PerCpu`].
const INTERRUPT_STACKS: usize = offset_of!(PerCpu, interrupt_stacks);

/// Offset of the end of an interrupt stack, by its number in the interrupt stack table.
pub(crate) const fn interrupt_stack_end(number: u8) -> usize {
    INTERRUPT_STACKS + number as usize * INTERRUPT_STACK_BYTES
}

const _: () = assert!(
    NMI_AT == NMIS + 8 && offset_of!(PerCpu, machine_checks) == NMIS + 16,
    "what is read from outside"
);
