//! One process: its registers, its memory, its page tables.
//! It can be run until something stops it, copied and dropped; whose turn it is, others decide.

extern crate alloc;

use alloc::rc::Rc;

use hypercall_abi::trap::Vector;
use process_abi::layout::GATE;
use process_abi::{Call, Error, Exit};

use super::context::{Context, Stop};
use super::tables::Tables;
use super::{Setup, gate_code};
use crate::machine::memory::Page;
use crate::process::leaf::Frame;
use crate::process::program::Program;
use crate::process::space::{Refusal, Space};

/// What a process has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It made a system call that is not its own business alone, with this argument.
    Call(Call, u64),
    /// Something else may have to run.
    Upcall,
    /// It is at its end.
    End(Exit),
}

/// One process.
#[derive(Debug)]
pub struct Member {
    setup: Setup,
    pub(super) context: Context,
    // Before the space, so that no table shows frames that are given back.
    pub(super) tables: Tables,
    pub(super) space: Space<Page>,
}

impl Member {
    /// A process at the first instruction of a program, which may have `pages` pages.
    ///
    /// # Errors
    /// [`Refusal::Memory`].
    pub fn new(program: &Program, argument: u64, pages: u64) -> Result<Self, Refusal> {
        let setup = Setup::get().map_err(|_| Refusal::Memory)?;
        let mut space = Space::new(program, pages);
        let gate = Page::new().ok_or(Refusal::Memory)?;
        gate.write(0, gate_code(setup));
        // The tables are made below and show it from the beginning.
        space.show(GATE, Rc::new(gate), &mut Nobody)?;
        let tables = Tables::new(setup, &space)?;
        Ok(Self { setup, context: Context::new(program.entry(), argument), tables, space })
    }

    /// A copy that shares all memory until one of the two writes it.
    ///
    /// # Errors
    /// [`Refusal::Memory`].
    pub fn fork(&mut self) -> Result<Self, Refusal> {
        let shared = self.space.fork(&mut self.tables);
        // Also after a refusal: what has been told must be true.
        self.tables.commit()?;
        let space = shared?;
        let tables = Tables::new(self.setup, &space)?;
        Ok(Self { setup: self.setup, context: self.context.copy(), tables, space })
    }

    /// What it computes with.
    pub const fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Pages that it has, its page tables counted.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.space.pages()
    }

    /// Makes its address space the processes' one.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn activate(&self) -> super::hypercall::Result {
        self.tables.activate()
    }

    /// Runs it up to something that is not its own business alone. Its address space must be active.
    pub fn step(&mut self) -> Step {
        loop {
            let stop = self.context.execute();
            if let Some(step) = self.serve(stop) {
                return step;
            }
        }
    }

    /// Serves what stopped it; `None` if it can go on.
    pub fn serve(&mut self, stop: Stop) -> Option<Step> {
        const PAGE_FAULT: u8 = Vector::PageFault.raw();
        const NO_FPU: u8 = Vector::DeviceNotAvailable.raw();
        match stop {
            Stop::SystemCall => self.system_call(),
            Stop::Upcall => Some(Step::Upcall),
            Stop::PageFault { address, wanted } => {
                let served = self.space.fault(address, wanted, &mut self.tables);
                let refusal = served.and_then(|()| self.tables.commit_fault()).err()?;
                let rip = self.context.registers().rip;
                Some(Step::End(match refusal {
                    Refusal::Access => Exit::Fault { vector: PAGE_FAULT, rip, address },
                    Refusal::Memory => Exit::Memory,
                }))
            }
            Stop::Exception { vector: NO_FPU } => {
                self.context.hand_over_fpu();
                None
            }
            Stop::Exception { vector } => {
                let rip = self.context.registers().rip;
                Some(Step::End(Exit::Fault { vector, rip, address: 0 }))
            }
        }
    }

    /// Serves a system call, unless others have a part in it.
    fn system_call(&mut self) -> Option<Step> {
        let registers = self.context.registers();
        let (number, a, b) = (registers.rax, registers.rdi, registers.rsi);
        let answer = match Call::from_number(number) {
            None => Err(Error::NoCall),
            Some(Call::Nothing) => Ok(0),
            Some(Call::Exit) => return Some(Step::End(Exit::Status(a as u32))),
            Some(Call::Write) => self.write(a, b),
            Some(Call::Grow) => self.grow(a),
            Some(Call::Map) => self.map(a),
            Some(Call::Unmap) => self.unmap(a, b),
            Some(Call::FsBase) => self.set_base(a, Context::set_fs_base),
            Some(Call::GsBase) => self.set_base(a, Context::set_gs_base),
            Some(call) => return Some(Step::Call(call, a)),
        };
        self.answer(answer);
        None
    }

    /// Tells it how its system call went.
    pub fn answer(&mut self, answer: Result<u64, Error>) {
        self.context.registers().rax = answer.unwrap_or_else(Error::to_result);
    }

    /// Reads its memory.
    pub(super) fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Error> {
        self.space.read(address, into, &mut self.tables)?;
        self.tables.commit()?;
        Ok(())
    }
}

/// Nobody has page tables yet.
struct Nobody;

impl crate::process::space::Told for Nobody {
    fn change(&mut self, _change: crate::process::space::Change, _fresh: bool) -> Result<(), Refusal> {
        Ok(())
    }
}
