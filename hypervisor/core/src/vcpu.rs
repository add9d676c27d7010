//! A virtual CPU: registers, where its kernel wants to be entered, and what it sleeps for.
//! It is the part of a domain that the entry and exit paths work on.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::trap::trap_flags;
use hypercall_abi::vcpu::RunState;
use hypercall_abi::{Mfn, Port};

use crate::registers::Registers;
use crate::ring::Ring;
use crate::segments::Segments;
use crate::time::Time;

/// Exceptions that the processor can raise; vectors below this have their handler in place.
pub const EXCEPTIONS: usize = 32;

/// A guest's handler of one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handler {
    /// Where it is entered; 0 for none.
    pub address: u64,
    /// Bits of [`hypercall_abi::trap::trap_flags`].
    pub flags: u8,
}

/// A guest's handlers.
#[derive(Clone, Debug, Default)]
pub struct TrapTable {
    /// Exceptions by vector.
    pub exceptions: [Handler; EXCEPTIONS],
    /// Software interrupts, few.
    pub software: Vec<(u8, Handler)>,
}

impl TrapTable {
    /// The handler of a vector, if one is set.
    #[must_use]
    #[inline]
    pub fn handler(&self, vector: u8) -> Option<Handler> {
        let handler = match self.exceptions.get(usize::from(vector)) {
            Some(handler) => *handler,
            None => self.software.iter().find(|(at, _)| *at == vector)?.1,
        };
        (handler.address != 0).then_some(handler)
    }
}

/// Entry points beside the trap table; 0 where none is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Events.
    pub event: u64,
    /// A frame that could not be returned to.
    pub failsafe: u64,
    /// A system call from user mode.
    pub syscall: u64,
    /// Whether system calls mask upcalls on entry.
    pub syscall_masks: bool,
}

/// The FPU's registers in the form of FXSAVE.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct FpuState(pub [u8; 512]);

impl FpuState {
    /// As after a reset: all exceptions masked, nothing in the registers.
    #[must_use]
    pub fn initial() -> Self {
        let mut bytes = [0; 512];
        for (at, value) in [(0, 0x7f), (1, 0x03), (24, 0x80), (25, 0x1f)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        Self(bytes)
    }
}

/// A vCPU's part in the FPU.
#[derive(Clone, Debug, Default)]
pub struct Fpu {
    /// Its registers while they are not in the FPU; `None` if it never used them.
    pub state: Option<Box<FpuState>>,
    /// Whether its registers are in the FPU now. The machine saves them when it switches away.
    pub live: bool,
    /// Whether the guest wants its next use to trap.
    pub trap: bool,
}

/// What a vCPU sleeps for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sleep {
    /// It does not.
    #[default]
    No,
    /// An upcall.
    Block,
    /// An upcall or the time of its sleep timer.
    Idle,
    /// A pending port, or the time of its sleep timer.
    Poll(PollFor),
}

/// Which port ends a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFor {
    /// This one.
    One(Port),
    /// Any: the guest polls several and looks again when it wakes.
    Any,
}

/// Times spent in each run state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTimes {
    /// The present state.
    pub state: RunState,
    /// Since when.
    pub since: Time,
    /// ns in each state before that, by [`RunState`].
    pub spent: [u64; 4],
}

impl RunTimes {
    /// A vCPU that comes into being.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self { state: RunState::Offline, since: now, spent: [0; 4] }
    }

    /// Goes over to a state.
    pub fn enter(&mut self, state: RunState, now: Time) {
        Self::add(&mut self.spent, self.state, now.since(self.since));
        self.since = now;
        self.state = state;
    }

    /// ns in each state up to `now`.
    #[must_use]
    pub fn spent_at(&self, now: Time) -> [u64; 4] {
        let mut spent = self.spent;
        Self::add(&mut spent, self.state, now.since(self.since));
        spent
    }

    fn add(spent: &mut [u64; 4], state: RunState, ns: u64) {
        if let Some(spent) = usize::try_from(state.raw()).ok().and_then(|at| spent.get_mut(at)) {
            *spent = spent.saturating_add(ns);
        }
    }
}

/// How it is known who runs, the guest's kernel or a process of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel, in ring 3.
    Kernel,
    /// A process, beside a kernel in ring 3.
    User,
    /// CS tells: the kernel is in ring 1, and goes to its processes and back without the hypervisor.
    BySelector,
}

/// A virtual CPU.
#[derive(Clone, Debug)]
pub struct Vcpu {
    /// Registers while it does not run.
    pub registers: Registers,
    /// Segment bases. The machine saves what the guest could change by itself when it switches away.
    pub segments: Segments,
    /// Root of the kernel's address space.
    pub kernel_root: Mfn,
    /// Root of user mode's address space.
    pub user_root: Option<Mfn>,
    /// Ring of its kernel.
    pub ring: Ring,
    /// Who runs.
    pub mode: Mode,
    /// Stack on which the kernel is entered from user mode.
    pub kernel_stack: u64,
    /// Handlers.
    pub traps: TrapTable,
    /// Entry points.
    pub callbacks: Callbacks,
    /// FPU.
    pub fpu: Fpu,
    /// Run states.
    pub times: RunTimes,
    /// What it sleeps for.
    pub sleep: Sleep,
}

impl Vcpu {
    /// A vCPU without registers or address space.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self {
            registers: Registers::default(),
            segments: Segments::default(),
            kernel_root: Mfn(0),
            user_root: None,
            ring: Ring::Three,
            mode: Mode::Kernel,
            kernel_stack: 0,
            traps: TrapTable::default(),
            callbacks: Callbacks::default(),
            fpu: Fpu::default(),
            times: RunTimes::new(now),
            sleep: Sleep::No,
        }
    }

    /// Root of the address space that it runs in.
    #[must_use]
    pub fn root(&self) -> Mfn {
        match self.user_root {
            Some(root) if self.mode == Mode::User => root,
            _ => self.kernel_root,
        }
    }

    /// Puts its kernel into a ring, before it ever runs.
    pub const fn set_ring(&mut self, ring: Ring) {
        self.ring = ring;
        self.mode = match ring {
            Ring::One => Mode::BySelector,
            Ring::Three => Mode::Kernel,
        };
    }

    /// Whether a process runs, whose registers are in `regs`.
    #[must_use]
    #[inline]
    pub const fn is_user(&self, regs: &Registers) -> bool {
        match self.mode {
            Mode::Kernel => false,
            Mode::User => true,
            Mode::BySelector => regs.cs & 3 == 3,
        }
    }

    /// The handler of [`crate::ring::SYSTEM_CALL_VECTOR`] if the processor itself may lead processes there: the
    /// kernel is in ring 1, opened the vector to them, and wants no upcalls masked on the way.
    #[must_use]
    pub fn system_call_gate(&self) -> Option<u64> {
        let handler = self.traps.handler(crate::ring::SYSTEM_CALL_VECTOR)?;
        (self.ring == Ring::One && handler.flags == trap_flags::DPL).then_some(handler.address)
    }
}
