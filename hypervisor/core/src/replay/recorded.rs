//! The world while a run is recorded: its entry points once more, each noted with its arguments and its answer.
//! It exists so that the machine calls the world in the same words whether it is recorded or not.

use core::ops::{Deref, DerefMut};

use hypercall_abi::DomId;

use super::entries::{Answer, Entry, NOTHING, of_begun, of_bool, of_domain, of_next, of_place, of_short};
use super::recorder::{Recorder, Sink};
use crate::config;
use crate::dispatch::Begun;
use crate::machine::{Machine, PciAddress};
use crate::pci::Function;
use crate::registers::Registers;
use crate::world::{Exception, Next, Short, World};

/// A world whose entries are noted. What the machine takes from it otherwise, the effects and what they tell of, shows
/// at the next entry.
#[derive(Debug)]
pub struct Recorded(World);

impl Deref for Recorded {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl DerefMut for Recorded {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0
    }
}

impl Recorded {
    /// The entries of a new world, noted.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self(world)
    }

    /// Notes an entry without registers.
    fn noted<M, S: Sink, T>(
        &mut self,
        m: &mut Recorder<M, S>,
        entry: (Entry, [u64; 3]),
        answer: impl FnOnce(&T) -> Answer,
        enter: impl FnOnce(&mut World, &mut Recorder<M, S>) -> T,
    ) -> T {
        m.enter(&self.0, entry, None);
        let value = enter(&mut self.0, m);
        m.leave(&self.0, answer(&value), None);
        value
    }

    /// Notes an entry with registers.
    fn noted_with<M, S: Sink, T: Copy>(
        &mut self,
        m: &mut Recorder<M, S>,
        entry: (Entry, [u64; 3]),
        regs: &mut Registers,
        answer: fn(T) -> Answer,
        enter: impl FnOnce(&mut World, &mut Recorder<M, S>, &mut Registers) -> T,
    ) -> T {
        m.enter(&self.0, entry, Some(regs));
        let value = enter(&mut self.0, m, regs);
        m.leave(&self.0, answer(value), Some(regs));
        value
    }

    /// See [`World::add_function`].
    pub fn add_function<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        place: PciAddress,
    ) -> Option<Function> {
        let entry = (Entry::AddFunction, [of_place(place), 0, 0]);
        self.noted(
            m,
            entry,
            |found: &Option<_>| of_bool(found.is_some()),
            |world, m| world.add_function(m, place),
        )
    }

    /// See [`World::create_domains`].
    pub fn create_domains<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        system: config::System,
        archive: impl Fn(&str) -> Option<&'static [u8]>,
    ) {
        let entry = (Entry::CreateDomains, [0; 3]);
        self.noted(m, entry, |()| NOTHING, |world, m| world.create_domains(m, system, archive));
    }

    /// See [`World::begin_hypercall`].
    pub fn begin_hypercall<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
    ) -> Begun {
        let entry = (Entry::BeginHypercall, [0; 3]);
        self.noted_with(m, entry, regs, of_begun, |world, m, regs| world.begin_hypercall(m, regs))
    }

    /// See [`World::send`].
    pub fn send<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        caller: DomId,
    ) -> Short {
        let entry = (Entry::Send, [of_domain(Some(caller)), 0, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| world.send(m, regs, caller))
    }

    /// See [`World::return_from_handler`].
    pub fn return_from_handler<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        caller: DomId,
    ) -> Short {
        let entry = (Entry::ReturnFromHandler, [of_domain(Some(caller)), 0, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| world.return_from_handler(m, regs, caller))
    }

    /// See [`World::return_to_process`].
    pub fn return_to_process<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        caller: DomId,
    ) -> Short {
        let entry = (Entry::ReturnToProcess, [of_domain(Some(caller)), 0, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| world.return_to_process(m, regs, caller))
    }

    /// See [`World::call_of_process`].
    pub fn call_of_process<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        caller: DomId,
    ) -> Short {
        let entry = (Entry::CallOfProcess, [of_domain(Some(caller)), 0, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| world.call_of_process(m, regs, caller))
    }

    /// See [`World::page_fault`].
    pub fn page_fault<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        let entry = (Entry::PageFault, [u64::from(error), address, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| world.page_fault(m, regs, error, address))
    }

    /// See [`World::recorded_page_fault`].
    pub fn recorded_page_fault<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        let entry = (Entry::RecordedPageFault, [u64::from(error), address, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| {
            world.recorded_page_fault(m, regs, error, address)
        })
    }

    /// See [`World::page_fault_of_process`].
    pub fn page_fault_of_process<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        let entry = (Entry::PageFaultOfProcess, [u64::from(error), address, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| {
            world.page_fault_of_process(m, regs, error, address)
        })
    }

    /// See [`World::page_fault_in_ring1`].
    pub fn page_fault_in_ring1<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        error: u32,
        address: u64,
    ) -> Short {
        let entry = (Entry::PageFaultInRing1, [u64::from(error), address, 0]);
        self.noted_with(m, entry, regs, of_short, |world, m, regs| {
            world.page_fault_in_ring1(m, regs, error, address)
        })
    }

    /// See [`World::finish_hypercall`].
    pub fn finish_hypercall<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        begun: Begun,
    ) -> bool {
        let [kind, caller] = of_begun(begun);
        let entry = (Entry::FinishHypercall, [kind, caller, 0]);
        self.noted_with(m, entry, regs, of_bool, |world, m, regs| world.finish_hypercall(m, regs, begun))
    }

    /// See [`World::recorded_hypercall`].
    pub fn recorded_hypercall<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        caller: DomId,
    ) -> bool {
        let entry = (Entry::RecordedHypercall, [of_domain(Some(caller)), 0, 0]);
        self.noted_with(m, entry, regs, of_bool, |world, m, regs| world.recorded_hypercall(m, regs, caller))
    }

    /// See [`World::system_call`].
    pub fn system_call<M: Machine, S: Sink>(&mut self, m: &mut Recorder<M, S>, regs: &mut Registers) {
        let entry = (Entry::SystemCall, [0; 3]);
        self.noted_with(m, entry, regs, |()| NOTHING, |world, m, regs| world.system_call(m, regs));
    }

    /// See [`World::is_quiet`].
    #[must_use]
    pub fn is_quiet<M: Machine, S: Sink>(&self, m: &Recorder<M, S>) -> bool {
        m.enter(&self.0, (Entry::IsQuiet, [0; 3]), None);
        let quiet = self.0.is_quiet(m);
        m.leave(&self.0, of_bool(quiet), None);
        quiet
    }

    /// See [`World::exception`].
    pub fn exception<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
        exception: Exception,
    ) -> bool {
        let Exception { vector, error, address } = exception;
        // The machine keeps it, and a guest may ask for it.
        let gs = self.0.current_mut().map_or(0, |domain| domain.vcpu.segments.gs_base_user);
        let entry = (Entry::Exception, [u64::from(vector) | (u64::from(error) << 32), address, gs]);
        self.noted_with(m, entry, regs, of_bool, |world, m, regs| world.exception(m, regs, exception))
    }

    /// See [`World::timer_interrupt`].
    pub fn timer_interrupt<M: Machine, S: Sink>(&mut self, m: &mut Recorder<M, S>) {
        self.noted(m, (Entry::TimerInterrupt, [0; 3]), |()| NOTHING, |world, m| world.timer_interrupt(m));
    }

    /// See [`World::device_interrupt`].
    pub fn device_interrupt<M: Machine, S: Sink>(&mut self, m: &mut Recorder<M, S>, pirq: u32) {
        let entry = (Entry::DeviceInterrupt, [u64::from(pirq), 0, 0]);
        self.noted(m, entry, |()| NOTHING, |world, m| world.device_interrupt(m, pirq));
    }

    /// See [`World::serial_input`].
    pub fn serial_input<M: Machine, S: Sink>(&mut self, m: &mut Recorder<M, S>, byte: u8) {
        let entry = (Entry::SerialInput, [u64::from(byte), 0, 0]);
        self.noted(m, entry, |()| NOTHING, |world, m| world.serial_input(m, byte));
    }

    /// See [`World::before_return`].
    pub fn before_return<M: Machine, S: Sink>(
        &mut self,
        m: &mut Recorder<M, S>,
        regs: &mut Registers,
    ) -> Next {
        let entry = (Entry::BeforeReturn, [0; 3]);
        self.noted_with(m, entry, regs, of_next, |world, m, regs| world.before_return(m, regs))
    }
}
