//! The whole state of the hypervisor, and the entry points by which the machine comes in.
//! There is one, so that one lock can guard it and one function can list what must hold.

use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno, Mfn, layout};

use crate::attention::Attention;
use crate::birth;
use crate::config;
use crate::console::Output;
use crate::control::{self, Input};
use crate::devices::{self, DeviceRequest, Devices};
use crate::dispatch::{self, Begun};
use crate::domain::{Domain, State};
use crate::domains::Domains;
use crate::effects::{Effects, Todo};
use crate::frames::FrameTable;
use crate::images::Images;
use crate::life::{self, Life};
use crate::machine::{Machine, PciAddress};
use crate::memory::MachineAddress;
use crate::pci::Function;
use crate::registers::Registers;
use crate::scheduler::Scheduler;
use crate::time::{Time, TimeScale};
use crate::timers::Timers;
use crate::trace::{self, Trace};
use crate::{events, report, sched, switch, traps};

/// Slice before a system's configuration is known.
const SLICE_NS_DEFAULT: u64 = 5_000_000;

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

/// What a short way came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Short {
    /// It is not for this case and has changed nothing: the long way comes next.
    No,
    /// What was asked for is done; [`World::before_return`] comes next.
    Begun,
    /// Nothing is left to be done before the return.
    Done,
}

impl Short {
    /// Whether nothing is left to be done before the return; `None` when the long way comes next.
    #[inline(always)]
    pub(crate) const fn settled(self) -> Option<bool> {
        match self {
            Self::No => None,
            Self::Begun => Some(false),
            Self::Done => Some(true),
        }
    }
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
    /// The same of a domain whose kernel is in ring 1, which must not see the hypervisor; `None` if the processor has
    /// no such ring.
    pub ring1_slots: Option<[u64; layout::HYPERVISOR_SLOT_LAST - layout::HYPERVISOR_SLOT_FIRST + 1]>,
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

/// All that the hypervisor knows. The order is that of memory: what a change of the domain looks at lies together, for the
/// processor looks up each page anew after it; the trace is larger than a page, and its end is for records alone.
#[derive(Debug)]
#[repr(C)]
pub struct World {
    /// All memory.
    pub frames: FrameTable,
    /// Whether anything is out of the ordinary.
    pub(crate) attention: Attention,
    /// What the machine has to do.
    pub effects: Effects,
    /// Who has the processor.
    pub current: Option<DomId>,
    /// Who had the processor last, over idling.
    pub(crate) last: Option<DomId>,
    /// First word of the shared page of who has the processor.
    pub(crate) shared_page: MachineAddress,
    /// Whose root the processor keeps while nobody has it, and which.
    pub(crate) kept: Option<(DomId, Mfn)>,
    pub(crate) idle_ns: u64,
    pub(crate) idle_since: Option<Time>,
    /// Domain switches.
    pub switches: u64,
    /// The domains.
    pub domains: Domains,
    /// Who runs when.
    pub scheduler: Scheduler,
    /// All deadlines.
    pub timers: Timers,
    /// Devices and the links between their halves.
    pub devices: Devices,
    /// What never changes.
    pub constants: Constants,
    pub(crate) life: Life,
    pub(crate) input: Input,
    /// Text for the serial line.
    pub output: Output,
    /// Images of the boot archive, by path.
    pub(crate) images: Images,
    /// Slice of a domain that does not say, in ns.
    pub(crate) slice_ns: u64,
    /// The trace.
    pub trace: Trace,
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
            mut frames,
            machine_to_phys,
            hypervisor_slots,
            ring1_slots,
            scale,
            tsc_khz,
            wall_clock,
            trace_words,
            heap_bytes,
        } = setup;
        frames.set_maps(hypervisor_slots, machine_to_phys);
        frames.set_ring1_slots(ring1_slots);
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
            scheduler: Scheduler::default(),
            timers: Timers::default(),
            trace: Trace::new(trace_words),
            devices: Devices::default(),
            output: Output::default(),
            switches: 0,
            life: Life::default(),
            input: Input::default(),
            images: Images::default(),
            slice_ns: SLICE_NS_DEFAULT,
            attention: Attention::PICK,
            shared_page: MachineAddress(0),
            last: None,
            kept: None,
            idle_ns: 0,
            idle_since: Some(Time(0)),
        }
    }

    /// Creates the domains of a system from the images of the boot archive, which stay for restarts. Call it
    /// once, after [`World::add_function`] for each PCI function that a domain may have.
    pub fn create_domains<M: Machine>(
        &mut self,
        m: &mut M,
        system: config::System,
        archive: impl Fn(&str) -> Option<&'static [u8]>,
    ) {
        self.slice_ns = u64::from(system.slice_us).saturating_mul(1000);
        for setting in &system.trace_settings {
            let words: Vec<&str> = setting.split_whitespace().collect();
            if let Err(why) = self.trace.choice.set(&words) {
                self.output.log(&why);
            }
        }
        self.trace.begin(m, self.constants.tsc_khz);
        if system.trace && !trace::set_on(self, m, true) {
            self.output.log("there is no storage for a trace");
        }
        for domain in &system.domains {
            if !self.images.has(&domain.image)
                && let Some(image) = archive(&domain.image)
            {
                self.images.add(domain.image.clone(), image);
            }
        }
        // What is there once for all domains is no domain's; without memory for it none is admitted.
        let _ = self.timers.prepare();
        let heap_before = m.heap_used();
        birth::create_all(self, m, system.domains);
        report::boot(self, m, heap_before);
    }

    /// Takes a PCI function into the list of those that a domain may have; returns what is there.
    pub fn add_function<M: Machine>(&mut self, m: &mut M, place: PciAddress) -> Option<Function> {
        self.devices.add_function(m, place)
    }

    /// What the machine has to do about device interrupts, for [`Todo::DEVICES`].
    pub fn take_device_requests(&mut self) -> Vec<DeviceRequest> {
        self.devices.take_requests()
    }

    /// The running domain with this name. Not for hot paths.
    #[must_use]
    pub fn living(&self, name: &str) -> Option<DomId> {
        let named = |domain: &&Domain| domain.state == State::Running && *domain.name == *name;
        self.domains.iter().find(named).map(|domain| domain.id)
    }

    /// ns in which nobody had the processor, up to `now`.
    #[must_use]
    pub fn idle_ns_at(&self, now: Time) -> u64 {
        self.idle_ns.saturating_add(self.idle_since.map_or(0, |since| now.since(since)))
    }

    /// Notes that who runs must be decided before the next return, and that a turn may end sooner.
    #[inline]
    pub(crate) fn reschedule(&mut self) {
        self.attention |= Attention::PICK;
        self.effects.todo |= Todo::TIMER;
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

    /// The root that stays loaded while nobody has the processor, if one does: [`Machine::leave_root`] is called before it goes.
    #[must_use]
    #[inline]
    pub fn kept_root(&self) -> Option<Mfn> {
        self.kept.map(|(_, root)| root)
    }

    /// What is to be done, once.
    pub fn take_effects(&mut self) -> Effects {
        core::mem::take(&mut self.effects)
    }

    /// A guest executed `syscall`: number in RAX, arguments in RDI RSI RDX R10 R8; the result goes to RAX.
    ///
    /// If the call is not answered yet, [`World::finish_hypercall`] comes next. If it is, the machine may return to the
    /// guest without [`World::before_return`].
    #[inline]
    pub fn begin_hypercall<M: Machine>(&mut self, m: &M, regs: &mut Registers) -> Begun {
        dispatch::begin(self, m, regs)
    }

    /// What [`World::begin_hypercall`] has left. Returns whether nothing is left to be done before the return; of `regs`
    /// only what `syscall` and a hypercall may change has changed then.
    #[inline(always)]
    pub fn finish_hypercall<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, begun: Begun) -> bool {
        dispatch::rest(self, m, regs, begun)
    }

    /// The short way of [`Begun::Send`].
    #[inline(always)]
    pub fn send<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, caller: DomId) -> Short {
        events::send_short(self, m, regs, caller)
    }

    /// The short way of [`Begun::Return`].
    #[inline(always)]
    pub fn return_from_handler<M: Machine>(
        &mut self,
        m: &mut M,
        regs: &mut Registers,
        caller: DomId,
    ) -> Short {
        traps::iret_short::<M, false>(self, m, regs, caller)
    }

    /// The short way of [`Begun::ReturnToProcess`]; where it is not it, [`World::return_from_handler`] may be.
    #[inline(always)]
    pub fn return_to_process<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, caller: DomId) -> Short {
        traps::iret_to_process(self, m, regs, caller)
    }

    /// The short way of [`Begun::Process`].
    #[inline(always)]
    pub fn call_of_process<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, caller: DomId) -> Short {
        traps::system_call_short(self, m, regs, caller)
    }

    /// The short way for a page fault of a process whose kernel is in ring 3.
    #[inline(always)]
    pub fn page_fault_of_process<M: Machine>(
        &mut self,
        m: &mut M,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        traps::page_fault_of_process(self, m, regs, error, address)
    }

    /// The short way for a page fault of a process whose kernel is in ring 1.
    #[inline(always)]
    pub fn page_fault_in_ring1<M: Machine>(
        &mut self,
        m: &mut M,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        traps::page_fault_in_ring1(self, m, regs, error, address)
    }

    /// Whether a process of a kernel in ring 3 runs, so that [`World::page_fault_of_process`] is the way to try.
    #[must_use]
    #[inline(always)]
    pub fn is_in_process(&self) -> bool {
        self.attention == Attention::USER
    }

    /// Answers a hypercall that is [`Begun::Recorded`], and records it. Returns as [`World::finish_hypercall`] does, but
    /// more of `regs` may have changed.
    #[inline(always)]
    pub fn recorded_hypercall<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, caller: DomId) -> bool {
        dispatch::recorded(self, m, regs, caller)
    }

    /// All together.
    #[inline]
    pub fn hypercall<M: Machine>(&mut self, m: &mut M, regs: &mut Registers) -> bool {
        let begun = self.begin_hypercall(m, regs);
        let short = match begun {
            Begun::Recorded(caller) => return self.recorded_hypercall(m, regs, caller),
            Begun::Send(caller) => self.send(m, regs, caller),
            Begun::Return(caller) => self.return_from_handler(m, regs, caller),
            Begun::ReturnToProcess(caller) => match self.return_to_process(m, regs, caller) {
                Short::No => self.return_from_handler(m, regs, caller),
                short => short,
            },
            Begun::Process(caller) => self.call_of_process(m, regs, caller),
            _ => Short::No,
        };
        short.settled().unwrap_or_else(|| self.finish_hypercall(m, regs, begun))
    }

    /// A process executed `syscall` and its kernel is in ring 1: the kernel is entered. The kernel's own hypercalls come
    /// by another way.
    pub fn system_call<M: Machine>(&mut self, m: &mut M, regs: &mut Registers) {
        if let Some(id) = self.current {
            traps::system_call(self, m, regs, id);
        }
    }

    /// Whether [`World::before_return`] would change nothing and there is nothing to carry out.
    #[must_use]
    #[inline]
    pub fn is_quiet<M: Machine>(&self, m: &M) -> bool {
        !self.attention.intersects(Attention::RETURN)
            && self.effects.todo.is_empty()
            && !switch::upcall_due(self, m)
    }

    /// The short way for a page fault.
    #[inline(always)]
    pub fn page_fault<M: Machine>(
        &mut self,
        m: &mut M,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        traps::page_fault_short::<M, false>(self, m, regs, error, address)
    }

    /// The same while records are written.
    #[inline(always)]
    pub fn recorded_page_fault<M: Machine>(
        &mut self,
        m: &mut M,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        traps::page_fault_short::<M, true>(self, m, regs, error, address)
    }

    /// A guest caused an exception. Returns as [`World::hypercall`] does.
    pub fn exception<M: Machine>(&mut self, m: &mut M, regs: &mut Registers, exception: Exception) -> bool {
        traps::exception(self, m, regs, exception);
        self.is_quiet(m)
    }

    /// The timer fired.
    pub fn timer_interrupt<M: Machine>(&mut self, m: &mut M) {
        let now = sched::expire(self, m);
        life::bury(self, m);
        life::expire(self, now);
        self.attention |= Attention::PICK;
    }

    /// A device raised the interrupt `pirq`.
    pub fn device_interrupt<M: Machine>(&mut self, m: &mut M, pirq: u32) {
        devices::interrupt(self, m, pirq);
    }

    /// A byte came in on the serial line.
    pub fn serial_input<M: Machine>(&mut self, m: &mut M, byte: u8) {
        control::typed(self, m, byte);
    }

    /// Called last before each return to a guest, and again after each interrupt while idle: decides who runs,
    /// exchanges `regs` for that domain's on a switch, and delivers a pending upcall.
    #[inline]
    pub fn before_return<M: Machine>(&mut self, m: &mut M, regs: &mut Registers) -> Next {
        switch::before_return(self, m, regs)
    }

    /// When the timer must fire next; [`Time::NEVER`] if nothing waits for a time. Work that a death has left waits
    /// for no time at all.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        self.life.next().min(self.timers.next()).min(self.scheduler.deadline())
    }

    /// Hands out text for the serial line, as much as there is.
    pub fn take_output(&mut self, write: &mut dyn FnMut(&[u8])) {
        self.output.take(write);
    }
}
