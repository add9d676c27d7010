//! What a record is about: the unit by which recording is chosen and losses are counted.

use hypercall_abi::abi_enum;

abi_enum! {
    /// What a record is about.
    pub enum Category: u8 {
        /// Hypercalls: entry, exit, parts of multicalls.
        Hypercall = 0,
        /// Exceptions, and what was done about them.
        Trap = 1,
        /// Page-table work.
        PageTable = 2,
        /// Events from raise to handler.
        Event = 3,
        /// Timers.
        Timer = 4,
        /// Who has the processor, and in which state each vCPU is.
        RunState = 5,
        /// Births and deaths of domains.
        Life = 6,
        /// Grants.
        Grant = 7,
        /// Memory of domains.
        Memory = 8,
        /// What guests record of themselves.
        Guest = 9,
        /// Rings between front and back ends.
        Ring = 10,
        /// Interrupts of the machine.
        Interrupt = 11,
        /// The trace itself: counters at both ends, triggers.
        Trace = 12,
    }
}

/// How many there are.
pub const CATEGORIES: usize = Category::ALL.len();

impl Category {
    /// Its bit in a set of categories.
    #[must_use]
    #[inline]
    pub const fn bit(self) -> u32 {
        1 << self.raw()
    }

    /// All of them.
    pub const EVERY: u32 = {
        let mut bits = 0;
        let mut left = Self::ALL;
        while let [first, rest @ ..] = left {
            bits |= first.bit();
            left = rest;
        }
        bits
    };

    /// Its name in commands and scenarios.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hypercall => "hypercall",
            Self::Trap => "trap",
            Self::PageTable => "page-table",
            Self::Event => "event",
            Self::Timer => "timer",
            Self::RunState => "run-state",
            Self::Life => "life",
            Self::Grant => "grant",
            Self::Memory => "memory",
            Self::Guest => "guest",
            Self::Ring => "ring",
            Self::Interrupt => "interrupt",
            Self::Trace => "trace",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|category| category.word() == word)
    }
}
