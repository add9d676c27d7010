//! What the hypervisor counts for each domain, always.
//! Counters are plain additions on paths that are taken anyway, so that a figure needs no trace.

use hypercall_abi::hypercall;

/// A domain's counters since its start.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Events raised for it.
    pub raised: u64,
    /// Of those, the ones that found their bit already pending.
    pub merged: u64,
    /// Upcalls delivered.
    pub upcalls: u64,
    /// Times that it was switched to from another domain.
    pub switches: u64,
    /// Exceptions bounced to it.
    pub bounced: u64,
    /// System calls of its processes passed on to its kernel.
    pub system_calls: u64,
    /// Hypercalls by number, those in multicalls included.
    pub hypercalls: [u64; hypercall::COUNT],
    /// Hypercalls with numbers past the table.
    pub unknown: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            raised: 0,
            merged: 0,
            upcalls: 0,
            switches: 0,
            bounced: 0,
            system_calls: 0,
            hypercalls: [0; hypercall::COUNT],
            unknown: 0,
        }
    }
}

impl Counters {
    /// All hypercalls.
    #[must_use]
    pub fn hypercalls_total(&self) -> u64 {
        self.hypercalls.iter().fold(self.unknown, |sum, count| sum.saturating_add(*count))
    }
}
