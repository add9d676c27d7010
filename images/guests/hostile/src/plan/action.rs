//! One thing that the hostile guest does.
//! It is plain data, so that what was drawn from a seed can be printed, repeated, and carried out elsewhere.

use alloc::vec::Vec;

use hypercall_abi::grant_table::GrantEntry;

use crate::Operation;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub deed: Deed,
    /// What attack it is part of, for who reads a report.
    pub why: &'static str,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A hypercall.
    Call(Call),
    /// Writes an entry of our own grant table.
    Grant {
        /// Which entry.
        reference: u32,
        /// What it says from now on.
        entry: GrantEntry,
    },
    /// Writes a word of memory that is mapped writable.
    Poke {
        /// Where.
        va: u64,
        /// What.
        value: u64,
    },
    /// Executes the instruction with this number in the executor's list.
    Instruction(u64),
    /// Plays a bad front end for a while, by this seed.
    Ring(u64),
    /// Puts handlers, callbacks, masks and stack back in order.
    Rearm,
    /// Ends this domain, in the way with this number.
    Die(u64),
}

/// A hypercall, with the memory that it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// RAX.
    pub number: u64,
    /// RDI RSI RDX R10 R8.
    pub args: [u64; 5],
    /// What is laid into memory before: where, and bytes.
    pub writes: Vec<(u64, Vec<u8>)>,
    /// Where the answer is read from memory afterwards, and how many bytes.
    pub reads: (u64, usize),
    /// What must come back.
    pub expect: Expect,
}

/// What the answer to a call must be for the hypervisor to be sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Anything that the interface documents.
    #[default]
    Any,
    /// A refusal: to accept would be a breach.
    Refusal,
}

impl Call {
    /// What the call asks, as far as its arguments say.
    #[must_use]
    pub fn operation(&self) -> Operation {
        use hypercall_abi::Hypercall as H;
        let known = u32::try_from(self.number).ok().and_then(H::from_raw);
        let selector = match known {
            // A batch of none asks for nothing, whatever lies in memory.
            Some(H::MmuUpdate | H::MmuextOp) if self.args[1] & 0xffff_ffff == 0 => u64::MAX,
            Some(H::MmuUpdate) => self.laid_word(self.args[0]) & 3,
            Some(H::MmuextOp) => self.laid_word(self.args[0]) & 0xffff_ffff,
            // These look at half of the word.
            Some(H::MemoryOp | H::GrantTableOp) => self.args[0] & 0xffff_ffff,
            _ => self.args[0],
        };
        Operation::of(self.number, selector)
    }

    /// The word that the call itself lays at an address; `u64::MAX` if it lays none.
    fn laid_word(&self, va: u64) -> u64 {
        let laid = self.writes.iter().rev().find(|(at, _)| *at == va);
        laid.and_then(|(_, bytes)| bytes.first_chunk().copied()).map_or(u64::MAX, u64::from_le_bytes)
    }
}
