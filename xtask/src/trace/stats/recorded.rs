//! What was recorded, and which figures can be told from that.
//! It exists because a switch that was not recorded looks like a long turn, and sums of such turns are nonsense.

use hypervisor_core::trace::Category;
use hypervisor_core::trace::reader::Header;
use serde::Serialize;

use crate::trace::control::words;
use crate::trace::filter::Filter;

/// Bits of what is left out on purpose, as headers have them, and their names.
const DOMAINS: u64 = 1;
const CALLS: u64 = 2;
const SHORT: u64 = 4;
const LEFT: [(u64, &str); 3] = [(DOMAINS, "domains"), (CALLS, "hypercalls"), (SHORT, "short hypercalls")];

const HYPERCALL: u32 = Category::Hypercall.bit();
const EVENT: u32 = Category::Event.bit();
const RUN_STATE: u32 = Category::RunState.bit();
const RING: u32 = Category::Ring.bit();

/// What was recorded all the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Recorded {
    /// Categories.
    categories: Vec<&'static str>,
    /// Whether some domains, some hypercalls, short hypercalls were left out.
    left_out: Vec<&'static str>,
    #[serde(skip)]
    bits: u32,
    #[serde(skip)]
    left: u64,
}

/// A figure, or several of the same needs.
pub(super) struct Figure {
    name: &'static str,
    /// Categories without which it cannot be told.
    needs: u32,
    /// What must not have been left out.
    whole: u64,
    /// Categories that must have been asked for.
    asked: u32,
}

pub(super) const RUN_STATES: Figure =
    Figure { name: "run states", needs: RUN_STATE, whole: DOMAINS, asked: 0 };
pub(super) const PROCESSOR: Figure = Figure {
    name: "the processor's time",
    needs: HYPERCALL | EVENT | RUN_STATE,
    whole: DOMAINS | CALLS | SHORT,
    asked: Category::EVERY,
};
pub(super) const CALLS_OF: Figure =
    Figure { name: "hypercalls of each domain", needs: HYPERCALL, whole: CALLS | SHORT, asked: HYPERCALL };
pub(super) const DURATIONS: Figure = Figure {
    name: "durations of hypercalls",
    needs: HYPERCALL | RUN_STATE,
    whole: DOMAINS,
    asked: HYPERCALL,
};
/// Where only long ones are recorded, the hypervisor has measured each of them itself.
pub(super) const LONG_DURATIONS: Figure = Figure { needs: HYPERCALL, whole: 0, ..DURATIONS };
pub(super) const EVENTS: Figure = Figure { name: "events and upcalls", needs: EVENT, whole: 0, asked: EVENT };
pub(super) const DELAYS: Figure =
    Figure { name: "delays of events", needs: EVENT | RUN_STATE, whole: DOMAINS, asked: EVENT };
pub(super) const SWITCHES: Figure = Figure {
    name: "switches to each domain, and who preempts whom",
    needs: RUN_STATE,
    whole: 0,
    asked: RUN_STATE,
};
pub(super) const RINGS: Figure = Figure { name: "rings", needs: RING, whole: 0, asked: RING };

impl Recorded {
    /// As the trace's own records of it and its header say.
    pub(super) fn new(categories: Option<u32>, header: Option<&Header>) -> Self {
        let now = header.map(|header| header.categories).filter(|bits| *bits != 0);
        let bits = categories.or(now).unwrap_or(Category::EVERY) & Category::EVERY;
        let left = header.map_or(0, |header| header.left_out);
        Self { categories: words(bits), left_out: left_out(left), bits, left }
    }

    /// Whether only hypercalls of some length were recorded.
    pub(super) const fn only_long(&self) -> bool {
        self.left & SHORT != 0
    }

    /// Whether all domains were.
    pub(super) const fn all_domains(&self) -> bool {
        self.left & DOMAINS == 0
    }

    /// Why a figure cannot be told of what is asked for; `None` if it can.
    pub(super) fn lacks(&self, figure: &Figure, filter: &Filter) -> Option<String> {
        let missing = figure.needs & !self.bits;
        let left = left_out(self.left & figure.whole).join(", ");
        let why = if missing != 0 {
            format!("{} was not recorded", words(missing).join(", "))
        } else if !left.is_empty() {
            format!("some {left} were not recorded")
        } else if figure.asked & !filter.categories() != 0
            || (figure.asked == Category::EVERY && !filter.all_domains())
        {
            "that takes more records than are asked for".to_owned()
        } else {
            return None;
        };
        Some(format!("{}: {why}", figure.name))
    }

    /// What two traces have recorded differently.
    pub(crate) fn differs(&self, other: &Self) -> Option<String> {
        (self != other).then(|| format!("recorded differently: {}; then {}", self.told(), other.told()))
    }

    /// Whether the same was left out of both.
    pub(crate) const fn leaves_out_as(&self, other: &Self) -> bool {
        self.left == other.left
    }

    fn told(&self) -> String {
        let all = self.bits == Category::EVERY;
        let categories = if all { "all categories".to_owned() } else { self.categories.join(", ") };
        match self.left_out.join(", ") {
            left if left.is_empty() => categories,
            left => format!("{categories} without some {left}"),
        }
    }
}

/// What is left out on purpose, by name.
pub(in crate::trace) fn left_out(bits: u64) -> Vec<&'static str> {
    LEFT.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect()
}

impl Default for Recorded {
    fn default() -> Self {
        Self::new(None, None)
    }
}
