//! The entry area: all that is mapped of the hypervisor while a guest in ring 1 runs.
//! Stubs, interrupt table, task state, descriptors and one constant are read-only for the guest; one page is writable,
//! which holds the stacks that the processor needs on the way in.
//!
//! The hypervisor's own root maps the same addresses, all but the stubs writable. What the guest can write is never
//! trusted: on the writable page lie frames that the processor has just pushed, which are taken over before anything
//! of the guest runs again, and frames of the guest's own registers on the way out.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypervisor_core::ring::{HYPERCALL_VECTOR, SYSTEM_CALL_VECTOR};
use hypervisor_core::vcpu::Vcpu;

use super::{anywhere, stubs};
use crate::cpu::{msr, string};
use crate::descriptors::idt::{self, Gate, Idt};
use crate::descriptors::{self, tss};
use crate::entry;
use crate::paging::Flags;
use crate::per_cpu::{AREA, AREA_USED, PER_CPU};

const PAGE: u64 = 4096;
/// Bytes of the stack of each vector that may strike anywhere.
const STACK_BYTES: usize = 256;

/// The page that a guest in ring 1 can write: four stacks from its start, by their numbers in the interrupt stack table;
/// the entry stack at its end.
#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[u8; PAGE as usize]>);

// SAFETY: only the processor itself touches its stacks, by its stack pointer.
unsafe impl Sync for Stacks {}

/// What stubs need and the guest may know.
#[repr(C, align(4096))]
struct Constants {
    /// Machine address of the hypervisor's own top-level table.
    root: AtomicU64,
}

/// The parts of the area that lie in per-CPU memory; stubs, task state and descriptors lie elsewhere.
#[repr(C)]
pub(crate) struct Area {
    constants: Constants,
    idt: Idt,
    stacks: Stacks,
}

/// Offset of the hypervisor's root in [`crate::per_cpu::PerCpu`].
pub(super) const ROOT: usize = AREA + offset_of!(Area, constants) + offset_of!(Constants, root);
const STACKS: usize = AREA + offset_of!(Area, stacks);
/// Offset of the end of the entry stack.
pub(super) const STACK_END: usize = STACKS + PAGE as usize;

/// Offset of the end of a stack of the interrupt stack table, by its number.
pub(super) const fn interrupt_stack_end(number: u8) -> usize {
    STACKS + number as usize * STACK_BYTES
}

const _: () = assert!(offset_of!(Area, idt).is_multiple_of(PAGE as usize), "the table is a page of its own");

impl Area {
    /// An area that leads nowhere.
    pub(crate) const fn new() -> Self {
        Self {
            constants: Constants { root: AtomicU64::new(0) },
            idt: Idt::new(),
            stacks: Stacks(UnsafeCell::new([0; PAGE as usize])),
        }
    }
}

/// Addresses, bytes and flags of all that a guest in ring 1 is shown, but for the descriptors.
pub(crate) fn pages() -> [(u64, u64, Flags); 5] {
    unsafe extern "C" {
        static ring1_text_start: u8;
        static ring1_text_end: u8;
    }
    let (text, text_end) = (&raw const ring1_text_start as u64, &raw const ring1_text_end as u64);
    let area = &PER_CPU.area;
    let data = if cfg!(feature = "plant-writable-area") {
        Flags::NO_EXECUTE | Flags::WRITE
    } else {
        Flags::NO_EXECUTE
    };
    [
        (text, text_end - text, Flags::empty()),
        (&raw const area.constants as u64, PAGE, data),
        (&raw const area.idt as u64, PAGE, data),
        (&raw const PER_CPU.tss as u64, PAGE, data),
        (&raw const area.stacks as u64, PAGE, Flags::NO_EXECUTE | Flags::WRITE),
    ]
}

/// Fills the read-only parts. `root` is the hypervisor's own top-level table.
pub(crate) fn fill(root: u64) {
    let area = &PER_CPU.area;
    area.constants.root.store(root, Relaxed);
    for vector in 0..idt::COUNT {
        let (address, stack) = match vector {
            1 => (anywhere::debug_stub(), tss::DEBUG),
            2 => (anywhere::nmi_stub(), tss::NMI),
            8 => (anywhere::double_fault_stub(), tss::DOUBLE_FAULT),
            18 => (anywhere::machine_check_stub(), tss::MACHINE_CHECK),
            0..32 => (stubs::exception(vector), 0),
            _ => (stubs::interrupt(vector), 0),
        };
        area.idt.set(vector, Gate::Hypervisor { address, stack, from: idt::least_privileged(vector) });
    }
    let hypercall = Gate::Hypervisor { address: stubs::hypercall(), stack: 0, from: 1 };
    area.idt.set(usize::from(HYPERCALL_VECTOR), hypercall);
    area.idt.set(usize::from(SYSTEM_CALL_VECTOR), Gate::Closed);
}

/// Makes the processor enter the hypervisor by the area. The hypervisor's own root is loaded.
pub(crate) fn enter() {
    // An NMI may have left its frame there.
    PER_CPU.area_used.store(1, Relaxed);
    let end = |offset: usize| &raw const PER_CPU as u64 + offset as u64;
    let before = struck();
    PER_CPU.tss.set_stacks(end(STACK_END), [1, 2, 3, 4].map(|number| end(interrupt_stack_end(number))));
    // SAFETY: every gate leads to a stub that expects the stacks just set, or into a guest.
    unsafe { PER_CPU.area.idt.load() };
    clear_if_struck(before);
    // SAFETY: the stub expects no stack and finds the rest at fixed addresses.
    unsafe { msr::write(msr::LSTAR, stubs::system_call()) };
    // SAFETY: as above.
    unsafe { msr::write(msr::CSTAR, stubs::system_call()) };
}

/// Makes the processor enter the hypervisor as for guests in ring 3.
pub(crate) fn leave() {
    let before = struck();
    // The table first: its stubs work on any stack, those of the area on the area's alone.
    // SAFETY: until the next line, all that can come is an NMI, which works on the area's stack too.
    unsafe { idt::load() };
    descriptors::set_stacks();
    clear_if_struck(before);
    // SAFETY: the entry is a stub of the hypervisor, which is mapped while a guest in ring 3 runs.
    unsafe { msr::write(msr::LSTAR, entry::syscall::address()) };
    // SAFETY: as above.
    unsafe { msr::write(msr::CSTAR, entry::syscall::address()) };
}

/// NMIs and machine checks so far.
fn struck() -> u64 {
    PER_CPU.nmis.load(Relaxed) + PER_CPU.machine_checks.load(Relaxed)
}

/// What strikes between new stacks and their table uses the area's stacks with the usual stubs, which need more of them
/// than the way out clears.
fn clear_if_struck(before: u64) {
    if struck() != before {
        clear();
    }
}

/// Clears the page that guests in ring 1 can write, so that none sees what another wrote there.
pub(crate) fn clear() {
    let page = PER_CPU.area.stacks.0.get();
    // SAFETY: whole words of the page; no stack there is in use, because an entry is long taken over and an NMI uses one
    // only between two instructions.
    unsafe { string::clear(page.cast(), PAGE as usize / 8) };
}

/// Tells the processor where a guest's processes may enter its kernel, and on which stack.
pub(crate) fn set_gates(vcpu: &Vcpu) {
    let gate = match vcpu.system_call_gate() {
        Some(address) => Gate::Kernel { address },
        None => Gate::Closed,
    };
    PER_CPU.area.idt.set(usize::from(SYSTEM_CALL_VECTOR), gate);
    PER_CPU.tss.set_ring1_stack(vcpu.kernel_stack);
}

/// Offset of the mark that the area's stacks are to be cleared.
pub(super) const USED: usize = AREA_USED;
