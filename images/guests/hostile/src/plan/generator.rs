//! Draws what to do next.
//! One place decides how often what is tried; each family of calls has its own file beside.
//!
//! An attack of several steps is queued whole and then carried out step by step, so that each step may still be
//! spoilt on its way: most bugs lie in the second half of something that began well.

mod console;
mod devices;
mod events;
mod grants;
mod image;
mod mutation;
mod paging;
mod tables;
mod time;
mod traps;
mod trees;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hypercall_abi::{Hypercall, PAGE_SIZE};
use zerocopy::{Immutable, IntoBytes};

use crate::model::Answer;
use crate::{Action, Call, Deed, Estate, Expect, Random};

/// Steps that may wait at once.
const QUEUE_MAX: usize = 256;
/// Ports and mappings that are remembered.
const REMEMBERED: usize = 64;

/// Draws actions from a seed, its surroundings, and what came back so far.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Random,
    estate: Estate,
    queue: VecDeque<(Action, bool)>,
    cursor: u64,
    ports: Vec<u32>,
    mappings: Vec<grants::Mapping>,
    /// Helpings of ports that are still to be taken.
    appetite: u32,
}

impl Generator {
    /// The actions of a seed in these surroundings.
    #[must_use]
    pub fn new(seed: u64, estate: Estate) -> Self {
        let ports = estate.state_ports.clone();
        Self {
            random: Random::new(seed),
            estate,
            queue: VecDeque::new(),
            cursor: 0,
            ports,
            mappings: Vec::new(),
            appetite: 0,
        }
    }

    /// Tells the time.
    pub fn set_time(&mut self, now_ns: u64) {
        self.estate.now_ns = now_ns;
    }

    /// What it knows of its surroundings.
    #[must_use]
    pub fn estate(&self) -> &Estate {
        &self.estate
    }

    /// What to do next.
    pub fn draw(&mut self) -> Action {
        if self.queue.is_empty() {
            self.cursor = self.random.below(64) * 8;
            self.plan();
        }
        match self.queue.pop_front() {
            Some((mut action, steady)) => {
                if let Deed::Call(call) = &mut action.deed
                    && !steady
                    && call.expect == Expect::Any
                    && self.random.once_in(3)
                {
                    self.mutate(call);
                }
                action
            }
            None => Action { deed: Deed::Rearm, why: "nothing was drawn" },
        }
    }

    /// Puts everything back as it was: for the end of a round.
    pub fn tidy_up(&mut self) {
        self.queue.clear();
        self.cursor = 0;
        self.restore_paging();
        self.give_grants_back();
        self.close_ports();
        self.push(Deed::Rearm, "tidy up");
    }

    /// Whether steps that were drawn are still waiting.
    #[must_use]
    pub fn is_in_the_midst(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Tells what came of a call: the memory at [`Call::reads`], and what its answer was.
    pub fn observe(&mut self, call: &Call, after: &[u8], answer: Answer) {
        if answer != Answer::Accepted {
            return;
        }
        match Hypercall::from_raw(call.number as u32) {
            Some(Hypercall::EventChannelOp) => self.observe_event(call, after),
            Some(Hypercall::GrantTableOp) => self.observe_grant(call, after),
            _ => {}
        }
    }

    fn plan(&mut self) {
        if self.appetite != 0 {
            return self.exhaust_ports();
        }
        match self.random.below(100) {
            0..24 => self.event(),
            24..46 => self.paging(),
            46..64 => self.grant(),
            64..72 => self.time(),
            72..77 => self.console(),
            77..83 => self.trap(),
            83..88 => self.table(),
            88..92 => self.device(),
            92 | 93 => self.multicall(),
            94 => self.unknown(),
            95 => self.image(),
            96..99 => {
                let instruction = self.random.below(self.estate.instructions);
                self.push(Deed::Instruction(instruction), "an instruction");
            }
            _ if self.estate.backend < 0x7ff0 && self.random.once_in(2) => {
                let seed = self.random.bits();
                self.push(Deed::Ring(seed), "our network rings");
            }
            _ => self.scribble(),
        }
        if self.estate.deaths != 0 && self.random.once_in(400) {
            let death = self.random.below(self.estate.deaths);
            self.push(Deed::Die(death), "die");
        }
    }

    /// Queues something to do.
    fn push(&mut self, deed: Deed, why: &'static str) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_back((Action { deed, why }, false));
        }
    }

    /// Queues a call that is made as it stands, because a spoilt one would put the guest to sleep for good.
    fn push_steady(&mut self, call: Call, why: &'static str) {
        if self.queue.len() < QUEUE_MAX {
            self.queue.push_back((Action { deed: Deed::Call(call), why }, true));
        }
    }

    fn push_call(&mut self, call: Call, why: &'static str) {
        self.push(Deed::Call(call), why);
    }

    /// Finds a place among the argument pages for so many bytes.
    fn place(&mut self, bytes: usize) -> u64 {
        let room = self.estate.argument_pages * PAGE_SIZE as u64;
        let bytes = (bytes as u64).next_multiple_of(8).max(8);
        if self.cursor + bytes > room {
            self.cursor = 0;
        }
        let at = self.estate.argument + self.cursor;
        self.cursor += bytes;
        at
    }

    /// A call with an operation and the address of one argument, which is read back afterwards.
    fn operate<T: IntoBytes + Immutable>(&mut self, call: Hypercall, op: u32, argument: &T) -> Call {
        self.operate_bytes(call, op, argument.as_bytes())
    }

    fn operate_bytes(&mut self, call: Hypercall, op: u32, bytes: &[u8]) -> Call {
        let at = self.place(bytes.len());
        Call {
            number: call.raw().into(),
            args: [op.into(), at, 0, 0, 0],
            writes: alloc::vec![(at, bytes.to_vec())],
            reads: (at, bytes.len()),
            expect: Expect::Any,
        }
    }

    /// A call whose arguments are words alone.
    fn words(call: Hypercall, args: [u64; 5]) -> Call {
        Call { number: call.raw().into(), args, ..Call::default() }
    }

    /// Some other domain's number, which may not exist.
    fn other_domain(&mut self) -> u16 {
        let drawn = self.some_domain();
        if drawn == self.estate.own || drawn == 0x7ff0 { drawn ^ 1 } else { drawn }
    }

    fn some_domain(&mut self) -> u16 {
        match self.random.below(4) {
            0 => self.estate.backend,
            1 => self.random.below(48) as u16,
            2 => self.random.pick(&[0x7ff1, 0x7ff2, 0x7ff4, 0x7fff, 0xffff, 0x7fef]),
            _ => self.random.bits() as u16,
        }
    }

    /// Several calls in one.
    fn multicall(&mut self) {
        let waiting = core::mem::take(&mut self.queue);
        let mut parts: Vec<Call> = Vec::new();
        let mut may_sleep = false;
        for _ in 0..=self.random.below(6) {
            let family = self.random.below(8);
            match family {
                0 => self.event(),
                1 => self.grant(),
                2 => self.table(),
                3 => self.device(),
                4 => self.paging(),
                5 | 6 => self.time_in_batch(),
                _ => self.unknown(),
            }
            // What must not be spoilt is a part where the whole batch is not.
            let sleeps = matches!(family, 5 | 6);
            may_sleep |= sleeps;
            for (action, steady) in self.queue.drain(..) {
                if let Deed::Call(call) = action.deed
                    && (sleeps || !steady)
                    && parts.len() < 40
                {
                    parts.push(call);
                }
            }
        }
        self.queue = waiting;
        if may_sleep && self.random.once_in(3) {
            self.block_in_batch(&mut parts);
        }
        let call = self.join(parts);
        if may_sleep {
            self.push_steady(call, "multicall that may sleep");
            self.push(Deed::Rearm, "after sleeping");
        } else {
            self.push_call(call, "multicall");
        }
    }

    fn join(&mut self, parts: Vec<Call>) -> Call {
        use hypercall_abi::multicall::MulticallEntry;
        let mut entries: Vec<MulticallEntry> = Vec::new();
        let mut writes = Vec::new();
        for call in parts {
            let [a, b, c, d, e] = call.args;
            let nested = self.random.once_in(40);
            let op = if nested { Hypercall::Multicall.raw().into() } else { call.number };
            entries.push(MulticallEntry { op, result: 0, args: [a, b, c, d, e, 0] });
            writes.extend(call.writes);
        }
        let at = self.place(size_of::<MulticallEntry>() * entries.len());
        writes.push((at, entries.as_bytes().to_vec()));
        let args = [at, entries.len() as u64, 0, 0, 0];
        Call { number: Hypercall::Multicall.raw().into(), args, writes, ..Call::default() }
    }

    /// A number that no hypercall has.
    fn unknown(&mut self) {
        let number = match self.random.below(3) {
            0 => {
                self.random.pick(&[6, 7, 11, 16, 19, 22, 27, 28, 31, 34, 37, 40, 48, 56, 61, 63, 64, 65, 255])
            }
            1 => self.random.pick(&[u64::MAX, 1 << 63, 1 << 32, (1 << 32) | 17, 0xffff_ffff, 4096]),
            _ => self.random.bits() | 64,
        };
        let args = core::array::from_fn(|_| self.random.any_size());
        let call = Call { number, args, expect: Expect::Refusal, ..Call::default() };
        self.push_call(call, "a number that no hypercall has");
    }

    /// Writes into pages that are shared with the hypervisor.
    fn scribble(&mut self) {
        for _ in 0..=self.random.below(24) {
            let offset = self.random.below(3136 / 8) * 8;
            let value = self.random.pick(&[0, u64::MAX, 1, 0x0101_0101_0101_0101]) ^ self.random.any_size();
            self.push(
                Deed::Poke { va: self.estate.shared_info + offset, value },
                "scribble on the shared page",
            );
        }
        if self.random.once_in(2) {
            self.event();
        }
        self.push(Deed::Rearm, "after scribbling");
    }
}
