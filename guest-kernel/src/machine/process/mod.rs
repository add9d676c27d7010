//! User processes: programs in address spaces of their own, at CPL 3, below this kernel.
//!
//! A process is run by an async call, so that it takes its turns among the guest's tasks: `Process::run` returns how
//! it ended, and dropping the call kills it. It is interrupted by whatever interrupts the guest, and by a timer at the
//! end of its slice. Read [`run`] first, then `calls`, `context` and `entry`; what needs no machine is
//! [`crate::process`].

mod bases;
mod calls;
mod context;
mod entry;
mod fpu;
mod member;
mod run;
mod tables;

pub use context::{Context, Registers, Stop};
pub use member::{Member, Step};
pub use run::{Limits, Process};

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hypercall_abi::Errno;
use hypercall_abi::event_channel::Virq;
use hypercall_abi::mmu::MmuextOp;
use hypercall_abi::trap::{CallbackType, TrapInfo, trap_flags};

use super::hypercall::{self, domain, memory as calls_of_memory};
use super::ports::EventPort;
use super::{Hypervisor, memory, trap};

/// The vector by which processes call where the processor leads them to the kernel itself.
const GATE: u8 = 0x80;

/// Whether this kernel has been set up for processes.
static READY: AtomicBool = AtomicBool::new(false);

/// What processes depend on in the ring and on the hypervisor that the guest was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// The first entry of each root, where processes and kernel share roots.
    kernel_entry: Option<u64>,
    /// Whether user pages stay in the TLB when the root of processes changes.
    flush_on_switch: bool,
}

impl Setup {
    /// Sets the kernel up for processes, once.
    ///
    /// # Errors
    /// As the hypervisor says.
    fn get() -> hypercall::Result<Self> {
        let ring1 = trap::code_selector() & 3 == 1;
        let on_denizen = Hypervisor::detect().is_denizen();
        if !READY.load(Relaxed) {
            register(ring1)?;
            bases::set_up(ring1, on_denizen);
            if on_denizen {
                // On Xen the executor has it; all that counts here is that it interrupts.
                let _ = EventPort::virq(Virq::Timer)?.release();
            } else {
                memory::map_rest()?;
            }
            READY.store(true, Relaxed);
        }
        Ok(Self { kernel_entry: ring1.then(tables::kernel_entry), flush_on_switch: !on_denizen })
    }

    /// Makes the root in a machine frame the one of processes; 0 is none.
    fn switch_to(self, root: u64) -> hypercall::Result {
        if self.kernel_entry.is_some() {
            let own = || memory::machine_frame_at(memory::root()).ok_or(Errno::Fault);
            let root = if root == 0 { own()?.0 } else { root };
            return calls_of_memory::mmuext(&mut [tables::request(MmuextOp::NewBaseptr, root)]);
        }
        let switch = tables::request(MmuextOp::NewUserBaseptr, root);
        if self.flush_on_switch {
            calls_of_memory::mmuext(&mut [switch, tables::request(MmuextOp::TlbFlushLocal, 0)])
        } else {
            calls_of_memory::mmuext(&mut [switch])
        }
    }
}

/// Registers everything by which the kernel is entered.
fn register(ring1: bool) -> hypercall::Result {
    type Code = unsafe extern "C" fn();
    let (system_call, gate, leave): (Code, Code, Code) = if ring1 {
        (entry::process_system_call_ring1, entry::process_gate, entry::process_leave_ring1)
    } else {
        (entry::process_system_call_ring3, entry::process_system_call_ring3, entry::process_leave_ring3)
    };
    entry::LEAVE.store(leave as *const () as u64, Relaxed);
    // SAFETY: the entry stack is nobody else's, and has room.
    unsafe { domain::set_entry_stack(context::entry_stack()) }?;
    // SAFETY: the entry code handles these frames, and passes those on that are not of processes.
    unsafe { trap::set_entries(entry::process_exceptions, entry::process_upcall) }?;
    // SAFETY: the entry code handles frames of system calls.
    unsafe { domain::set_callback(CallbackType::Syscall, system_call as *const () as u64) }?;
    let gate = TrapInfo {
        vector: GATE,
        flags: trap_flags::DPL,
        cs: trap::code_selector(),
        pad: 0,
        address: gate as *const () as u64,
    };
    // SAFETY: the entry code handles frames of system calls.
    unsafe { domain::set_trap_table(&mut [gate, TrapInfo::zeroed()]) }?;
    domain::trap_fpu(true)
}

/// Notes that tasks may have been woken, so that they run before a process does.
#[inline]
pub(super) fn tell() {
    entry::TOLD.store(true, Relaxed);
}

/// The instructions of the gate: a call of the kernel, and back to the program.
fn gate_code(setup: Setup) -> &'static [u8] {
    // `int 0x80` or `syscall`, then `ret`.
    if setup.kernel_entry.is_some() { &[0xcd, GATE, 0xc3] } else { &[0x0f, 0x05, 0xc3] }
}
