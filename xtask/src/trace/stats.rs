//! Counts and durations from a trace, in the manner of `perf kvm stat`.
//! It exists because counters say how often, and only a trace says how long.

mod gather;
mod print;
mod recorded;
mod rings;

use std::collections::BTreeMap;

use hypervisor_core::trace::reader::Tally;
use serde::Serialize;

use super::audit::Counters;
use super::spread::Summary;

pub(crate) use gather::{Gather, of, of_some};
pub(super) use print::print;
pub(crate) use recorded::Recorded;
pub(super) use recorded::left_out;
pub(crate) use rings::Ring;

/// What a trace amounts to.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stats {
    /// Records in it.
    pub(crate) records: u64,
    /// Records that should be in it but are not.
    pub(crate) lost: u64,
    /// Of those, the ones that newer records overwrote.
    pub(crate) overwritten: u64,
    /// Of those, the ones of kinds that this tool does not know.
    pub(crate) unknown: u64,
    /// Blocks that did not add up.
    pub(crate) damaged_blocks: u64,
    /// Whether the file ends too early.
    pub(crate) truncated: bool,
    /// From the first record to the last, as far as that time is asked for.
    pub(crate) span_ns: u64,
    /// Times of both, whatever is asked for.
    #[serde(skip)]
    pub(crate) reach: Option<(u64, u64)>,
    /// What was recorded.
    pub(crate) recorded: Recorded,
    /// Whether hypercalls have durations.
    #[serde(skip)]
    pub(crate) durations: bool,
    /// Figures that cannot be told from that, and why; they are null.
    pub(crate) left_out: Vec<String>,
    /// By name of the hypercall.
    pub(crate) hypercalls: BTreeMap<String, Call>,
    /// By hypercall and domain.
    pub(crate) calls: Vec<CallOf>,
    /// Records by kind.
    pub(crate) kinds: BTreeMap<String, u64>,
    /// By domain, in order of number.
    pub(crate) domains: Vec<Domain>,
    /// Where the processor's time went.
    pub(crate) processor: Option<Processor>,
    /// Upcalls by the number of events that each found.
    pub(crate) batches: Option<BTreeMap<u64, u64>>,
    /// Delays of events, by what the target did when they were raised and by stage.
    pub(crate) delays: Option<Vec<Delay>>,
    /// Who raised events for whom.
    pub(crate) interrupts: Option<Vec<Interrupt>>,
    /// What went through rings, by domain and side.
    pub(crate) rings: Option<Vec<Ring>>,
    /// The hypervisor's own counters over the trace's time, if it holds them and lacks nothing else.
    pub(crate) counters: Option<Counters>,
    /// What is missing, in words.
    pub(crate) remark: String,
}

impl Stats {
    /// Takes in what the reader missed.
    pub(crate) fn note(&mut self, tally: &Tally) {
        self.lost = tally.lost;
        self.overwritten = tally.overwritten;
        self.unknown = tally.unknown;
        self.damaged_blocks = tally.damaged_blocks;
        self.truncated = tally.truncated;
        self.remark = super::remark(tally);
    }

    /// Whether records are missing that nobody left out on purpose.
    pub(crate) const fn is_short(&self) -> bool {
        self.lost > 0 || self.unknown > 0 || self.damaged_blocks > 0 || self.truncated
    }
}

/// One hypercall.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Call {
    /// Entries, those of parts of multicalls included.
    pub(crate) count: u64,
    /// Pairs of entry and exit, from which durations come; parts have none of their own here.
    pub(crate) paired: u64,
    /// Mean duration.
    pub(crate) mean_ns: Option<f64>,
    /// Sum of durations.
    pub(crate) total_ns: Option<u64>,
    /// Shortest.
    pub(crate) min_ns: Option<u64>,
    /// Median.
    pub(crate) p50_ns: Option<u64>,
    /// 99 of 100 are no longer.
    pub(crate) p99_ns: Option<u64>,
    /// Longest.
    pub(crate) max_ns: Option<u64>,
    /// Share of the time of all hypercalls.
    pub(crate) share: Option<f64>,
    /// Exits with an error.
    pub(crate) errors: u64,
}

/// One hypercall of one domain.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallOf {
    /// Its name.
    pub(crate) hypercall: String,
    /// The domain's name.
    pub(crate) domain: String,
    /// The figures.
    #[serde(flatten)]
    pub(crate) call: Call,
}

/// One domain.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Domain {
    /// Its number.
    pub(crate) id: u16,
    /// Its name.
    pub(crate) name: String,
    /// Records about it.
    pub(crate) records: u64,
    /// Hypercalls that it made.
    pub(crate) hypercalls: Option<u64>,
    /// Events raised for it.
    pub(crate) raised: Option<u64>,
    /// Of those, merged.
    pub(crate) merged: Option<u64>,
    /// Upcalls.
    pub(crate) upcalls: Option<u64>,
    /// Times that it was switched to.
    pub(crate) switches: Option<u64>,
    /// Time with the processor.
    pub(crate) running_ns: Option<u64>,
    /// Time of waiting for it.
    pub(crate) runnable_ns: Option<u64>,
    /// Time of sleep.
    pub(crate) blocked_ns: Option<u64>,
    /// Time that the trace says nothing about; after its end, or before its first sign of life.
    pub(crate) unknown_ns: Option<u64>,
}

/// Where the processor's time went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Processor {
    /// In domains, their hypercalls apart.
    pub(crate) guests_ns: u64,
    /// In hypercalls.
    pub(crate) hypercalls_ns: u64,
    /// From one domain to another.
    pub(crate) switches_ns: u64,
    /// Changes of the domain that has it.
    pub(crate) switches: u64,
    /// From getting it to the upcall's handler.
    pub(crate) upcalls_ns: u64,
    /// With nothing to do.
    pub(crate) idle_ns: u64,
    /// Time too much: several domains ran at once, which one processor cannot. Records are missing or made up.
    pub(crate) overlap_ns: u64,
}

/// Delays of one stage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delay {
    /// What the target did when the event was raised.
    pub(crate) target: &'static str,
    /// What the event waited for.
    pub(crate) stage: &'static str,
    /// How long.
    #[serde(flatten)]
    pub(crate) spread: Summary,
}

/// Events from one domain to another.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Interrupt {
    /// Who ran when they were raised.
    pub(crate) from: String,
    /// For whom they are.
    pub(crate) to: String,
    /// How many.
    pub(crate) raised: u64,
    /// Of those, merged.
    pub(crate) merged: u64,
    /// Times that the one lost the processor to the other before its turn was over.
    pub(crate) preempted: Option<u64>,
}

#[cfg(test)]
mod tests;
