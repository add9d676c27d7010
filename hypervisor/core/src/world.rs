//! The whole state of the hypervisor, and the entry points by which the machine comes in.
//! There is one, so that one lock can guard it and one function can list what must hold.

use hypercall_abi::{DomId, Errno, layout};

use crate::domain::Domain;
use crate::domains::Domains;
use crate::effects::{Effects, Todo};
use crate::frames::FrameTable;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::time::{Time, TimeScale};

/// What the machine does when the core has been told of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Return with the registers given; the same domain goes on.
    Resume,
    /// Return with the registers given, which are now those of `to`: switch the rest of the processor.
    Switched {
        /// Who had the processor; `None` after idling, or if that domain is gone.
        from: Option<DomId>,
        /// Who has it now.
        to: DomId,
    },
    /// Nobody wants the processor: wait for an interrupt with the hypervisor's own root loaded.
    Idle {
        /// Who had the processor; `None` if it was idle before.
        from: Option<DomId>,
    },
}

/// An exception that a guest caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector.
    pub vector: u8,
    /// Its error code; 0 without one.
    pub error: u32,
    /// CR2 for a page fault.
    pub address: u64,
}

/// What the machine knows at the start and the core needs.
#[derive(Debug)]
pub struct Setup {
    /// All memory that domains can have.
    pub frames: FrameTable,
    /// Machine address of the machine-to-physical table, one `u64` a frame, contiguous.
    pub machine_to_phys: MachineAddress,
    /// What each root gets in its slots 256 to 271.
    pub hypervisor_slots: [u64; layout::HYPERVISOR_SLOT_LAST - layout::HYPERVISOR_SLOT_FIRST + 1],
    /// How the TSC becomes system time.
    pub scale: TimeScale,
    /// Frequency of the TSC.
    pub tsc_khz: u64,
    /// Seconds since 1970 at system time 0.
    pub wall_clock: u64,
    /// Words of the trace's storage; 0 for none.
    pub trace_words: usize,
    /// Bytes of the hypervisor's heap.
    pub heap_bytes: u64,
}

/// All that the hypervisor knows.
#[derive(Debug)]
pub struct World {
    /// What the machine knew at the start; its frame table has moved to `frames`.
    pub constants: Constants,
    /// All memory.
    pub frames: FrameTable,
    /// The domains.
    pub domains: Domains,
    /// Who has the processor.
    pub current: Option<DomId>,
    /// What the machine has to do.
    pub effects: Effects,
}

/// What never changes after the start.
#[derive(Debug)]
pub struct Constants {
    /// Machine address of the machine-to-physical table.
    pub machine_to_phys: MachineAddress,
    /// What each root gets in its slots 256 to 271.
    pub hypervisor_slots: [u64; layout::HYPERVISOR_SLOT_LAST - layout::HYPERVISOR_SLOT_FIRST + 1],
    /// How the TSC becomes system time.
    pub scale: TimeScale,
    /// Frequency of the TSC.
    pub tsc_khz: u64,
    /// Seconds since 1970 at system time 0.
    pub wall_clock: u64,
    /// Bytes of the hypervisor's heap.
    pub heap_bytes: u64,
}

impl World {
    /// A world without domains.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup {
            frames,
            machine_to_phys,
            hypervisor_slots,
            scale,
            tsc_khz,
            wall_clock,
            trace_words: _,
            heap_bytes,
        } = setup;
        let mut frames = frames;
        frames.set_maps(hypervisor_slots, machine_to_phys);
        Self {
            constants: Constants {
                machine_to_phys,
                hypervisor_slots,
                scale,
                tsc_khz,
                wall_clock,
                heap_bytes,
            },
            frames,
            domains: Domains::default(),
            current: None,
            effects: Effects::default(),
        }
    }

    /// The domain with this number.
    ///
    /// # Errors
    /// [`Errno::Srch`] if there is none.
    pub fn domain(&self, id: DomId) -> Result<&Domain, Errno> {
        self.domains.get(id).ok_or(Errno::Srch)
    }

    /// The domain with this number, to change.
    ///
    /// # Errors
    /// [`Errno::Srch`] if there is none.
    pub fn domain_mut(&mut self, id: DomId) -> Result<&mut Domain, Errno> {
        self.domains.get_mut(id).ok_or(Errno::Srch)
    }

    /// The domain that has the processor.
    #[must_use]
    pub fn current_mut(&mut self) -> Option<&mut Domain> {
        self.domains.get_mut(self.current?)
    }

    /// What is to be done, once.
    pub fn take_effects(&mut self) -> Effects {
        core::mem::take(&mut self.effects)
    }

    /// A guest executed `syscall`: number in RAX, arguments in RDI RSI RDX R10 R8; the result goes to RAX.
    pub fn hypercall<M: Machine>(&mut self, m: &mut M, regs: &mut Registers) {
        crate::dispatch::hypercall(self, m, regs);
    }

    /// A guest caused an exception.
    pub fn exception<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, exception: Exception) {
        let _ = (m, regs, exception);
    }

    /// The timer fired.
    pub fn timer_interrupt<M: Machine>(&mut self, m: &mut M) {
        let _ = m;
        self.effects.todo |= Todo::TIMER | Todo::RESCHEDULE;
    }

    /// A device raised the interrupt `pirq`.
    pub fn device_interrupt<M: Machine>(&mut self, m: &mut M, pirq: u32) {
        let _ = (m, pirq);
    }

    /// A byte came in on the serial line.
    pub fn serial_input<M: Machine>(&mut self, m: &mut M, byte: u8) {
        let _ = (m, byte);
    }

    /// Called last before each return to a guest, and again after each interrupt while idle: decides who runs,
    /// exchanges `regs` for that domain's on a switch, and delivers a pending upcall.
    pub fn before_return<M: Machine>(&mut self, m: &mut M, regs: &mut Registers) -> Next {
        let _ = (m, regs);
        match self.current {
            Some(_) => Next::Resume,
            None => Next::Idle { from: None },
        }
    }

    /// When the timer must fire next; [`Time::NEVER`] if nothing waits for a time.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        Time::NEVER
    }

    /// Hands out text for the serial line, as much as there is.
    pub fn take_output(&mut self, write: &mut dyn FnMut(&[u8])) {
        let _ = write;
    }
}
