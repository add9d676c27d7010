//! Carries out one action and judges what came back.

use core::arch::naked_asm;

use alloc::vec;

use guest_kernel::{clock, println, upcall};
use hostile_plan::model::{self, Answer};
use hostile_plan::{Action, Call, Coverage, Deed, Expect, Generator, InstructionOutcome};
use hypercall_abi::Hypercall;
use hypercall_abi::mmu::{flush, pte};
use hypercall_abi::shared_info::{VcpuInfo, VcpuTimeInfo};

use super::image::Image;
use super::instructions::INSTRUCTIONS;
use super::probe::{self, probe};
use super::surroundings::Home;
use super::syscall::syscall;
use super::{death, entry_area, rings};

/// The guest in action.
pub(super) struct Actor {
    /// Where it is.
    pub(super) home: Home,
    /// What it has done.
    pub(super) coverage: Coverage,
    /// What decides all.
    pub(super) seed: u64,
    /// Its own clock.
    pub(super) clock: Clock,
    /// Its image, as it was at the start.
    pub(super) image: Image,
}

/// A copy of the clock's record, since the guest writes rubbish over the shared one.
pub(super) struct Clock(VcpuTimeInfo);

impl Clock {
    /// Copies the record while it is sound.
    pub(super) fn start() -> Self {
        let at = guest_kernel::window::SHARED_INFO + core::mem::offset_of!(VcpuInfo, time);
        // SAFETY: the shared page is mapped there.
        Self(unsafe { (at as *const VcpuTimeInfo).read_volatile() })
    }

    /// System time in ns.
    pub(super) fn now_ns(&self) -> u64 {
        self.0.system_time_at(clock::tsc())
    }
}

/// Whether a call may put the domain to sleep.
fn may_sleep(call: &Call) -> bool {
    let calls = [Hypercall::SchedOp, Hypercall::Extension, Hypercall::Multicall];
    calls.iter().any(|sleeping| call.number == u64::from(sleeping.raw()))
}

#[unsafe(naked)]
unsafe extern "C" fn poke() -> u64 {
    naked_asm!("mov [rdi], rsi", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn copy() -> u64 {
    naked_asm!("mov rcx, rdx", "rep movsb", "ret")
}

impl Actor {
    /// Does it.
    pub(super) fn carry_out(&mut self, generator: &mut Generator, action: &Action) {
        match &action.deed {
            Deed::Call(call) => self.call(generator, call, action.why),
            Deed::Grant { reference, entry } => {
                let word =
                    u64::from(entry.flags) | u64::from(entry.domid) << 16 | u64::from(entry.frame) << 32;
                self.poke(self.home.grant_table + u64::from(*reference) * 8, word);
            }
            Deed::Poke { va, value } => self.poke(*va, *value),
            Deed::Instruction(index) => self.instruction(*index as usize),
            Deed::Ring(seed) => rings::attack(self, *seed),
            Deed::Rearm => self.rearm(),
            Deed::Die(way) => {
                self.report();
                death::die(self, *way);
            }
        }
    }

    /// Writes a word where it may or may not be allowed.
    fn poke(&self, va: u64, value: u64) {
        // SAFETY: the plan names only memory that it may lose; a fault comes back here.
        let _ = unsafe { probe(poke, [va, value, 0]) };
    }

    fn call(&mut self, generator: &mut Generator, call: &Call, why: &'static str) {
        Self::lay(call);
        let mut laid = Self::is_laid(call);
        // What is not as the plan laid it could be a sleep without an end: an attack has put other pages there.
        if may_sleep(call) && !laid {
            self.arguments_are_ours();
            Self::lay(call);
            laid = Self::is_laid(call);
            if !laid {
                return;
            }
        }
        // SAFETY: the plan asks for changes of what it may lose.
        let rax = unsafe { syscall(call.number, call.args) };
        // Whatever stood there instead was asked, and what it was nobody knows.
        if !laid {
            return;
        }
        let (at, bytes) = call.reads;
        let mut after = vec![0; bytes];
        // SAFETY: it writes the buffer, which has so many bytes; a fault comes back here.
        let _ = unsafe { probe(copy, [after.as_mut_ptr() as u64, at, bytes as u64]) };
        let answer = model::answer(call, rax, &after);
        if let Answer::Odd(rax) = answer {
            // An attack may have put other pages under the arguments, whose bytes then mean nothing.
            if self.arguments_are_ours() {
                self.check_image();
                self.coverage.count(call.operation(), answer);
                println!(
                    "\n@breach {{\"seed\":{},\"odd\":{rax},\"why\":\"{why}\",\"args\":\"{:x?}\",\"after\":\"{after:x?}\"}}",
                    self.seed, call.args
                );
            }
            return;
        }
        self.coverage.count(call.operation(), answer);
        if call.expect == Expect::Refusal && answer == Answer::Accepted {
            self.check_image();
            self.coverage.breaches += 1;
            println!(
                "\n@breach {{\"seed\":{},\"accepted\":\"{}\",\"why\":\"{why}\",\"args\":\"{:x?}\"}}",
                self.seed,
                call.operation(),
                call.args
            );
        }
        generator.observe(call, &after, answer);
    }

    /// Lays the arguments of a call into memory.
    fn lay(call: &Call) {
        for (at, bytes) in &call.writes {
            // SAFETY: the plan lays arguments into the pages set aside for them; a fault comes back here.
            let _ = unsafe { probe(copy, [*at, bytes.as_ptr() as u64, bytes.len() as u64]) };
        }
    }

    /// Whether the arguments of a call lie in memory as they should.
    fn is_laid(call: &Call) -> bool {
        call.writes.iter().all(|(at, bytes)| {
            let mut found = vec![0; bytes.len()];
            // SAFETY: it writes the buffer, which has so many bytes; a fault comes back here.
            let read = unsafe { probe(copy, [found.as_mut_ptr() as u64, *at, bytes.len() as u64]) };
            read.is_ok() && found == *bytes
        })
    }

    /// Tries an instruction.
    pub(super) fn instruction(&mut self, index: usize) {
        let Some(instruction) = INSTRUCTIONS.get(index) else { return };
        if (instruction.name == "load ss null" && entry_area::null_stack_escapes()) || !self.show_page_table()
        {
            return;
        }
        let words = [self.home.estate.read_only, self.home.estate.argument, 0xffff_8080_0020_0000];
        // SAFETY: it faults, or does what a guest may do; a fault comes back here.
        let outcome = unsafe { probe(instruction.code, words) };
        self.coverage.instruction(
            index,
            match outcome {
                Ok(_) => InstructionOutcome::Silent,
                Err(vector) => InstructionOutcome::Trapped(vector),
            },
        );
        match outcome {
            Ok(_) if instruction.must_trap => self.breach(instruction.name, "did not trap"),
            Ok(flags) if instruction.name == "popf all" && (flags & 0x200 == 0 || flags & 0x3000 != 0) => {
                self.breach(instruction.name, "changed the interrupt flag or level");
            }
            _ => {}
        }
        self.rearm();
    }

    /// Maps the page table for reading where it was at first: an attack may have put a page of ours there, which may
    /// well be written. Returns whether it is there.
    fn show_page_table(&self) -> bool {
        let table = self.home.estate.tables[2];
        let entry = table.address() | pte::PRESENT | pte::USER | pte::ACCESSED;
        let number = Hypercall::UpdateVaMapping.raw().into();
        // SAFETY: nobody writes there, and whoever reads reads the table.
        unsafe { syscall(number, [self.home.estate.read_only, entry, flush::INVLPG, 0, 0]) == 0 }
    }

    /// Whether the pages for arguments still are the frames that they were at first; if not, they are put back.
    fn arguments_are_ours(&self) -> bool {
        let mut intact = true;
        for &(va, entry) in &self.home.argument_entries {
            let number = Hypercall::UpdateVaMapping.raw().into();
            let found = self.show_page_table().then(|| self.entry_of(va)).is_some_and(|now| {
                now & (pte::ADDRESS | pte::WRITABLE) == entry & (pte::ADDRESS | pte::WRITABLE)
            });
            if !found {
                intact = false;
                // SAFETY: the page's own frame comes back to its place.
                unsafe { syscall(number, [va, entry, flush::INVLPG, 0, 0]) };
            }
        }
        intact
    }

    /// The entry that maps an address of our image, from the page table that is shown.
    fn entry_of(&self, va: u64) -> u64 {
        let at = self.home.estate.read_only + ((va >> 12) & 511) * 8;
        // SAFETY: the page table is mapped there for reading.
        unsafe { (at as *const u64).read_volatile() }
    }

    /// Says that something happened that must not.
    pub(super) fn breach(&mut self, what: &str, how: &str) {
        self.coverage.breaches += 1;
        println!("\n@breach {{\"seed\":{},\"why\":\"{what} {how}\"}}", self.seed);
    }

    /// Handlers, masks and flags as they should be.
    pub(super) fn rearm(&self) {
        upcall::mask();
        probe::register();
    }

    /// Prints which answers have to come.
    pub(super) fn report_due(&self) {
        let done = Coverage::report_due(self.seed, |line| {
            println!("{line}");
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    /// Ends this life if somebody has written to our image: what we say after that means nothing.
    pub(super) fn check_image(&mut self) {
        if Image::now() != self.image {
            self.breach("somebody wrote to our image", "");
            self.report();
            death::die(self, 0);
        }
    }

    /// Prints what was done since the last time.
    pub(super) fn report(&mut self) {
        let name = |index: usize| INSTRUCTIONS.get(index).map_or("?", |instruction| instruction.name);
        // Attacks leave lines unfinished.
        println!();
        let done = self.coverage.report(self.seed, name, |line| {
            println!("{line}");
            Ok(())
        });
        debug_assert!(done.is_ok());
    }
}
