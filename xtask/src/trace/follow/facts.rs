//! The facts that a trace amounts to.

use hypercall_abi::DomId;
use hypercall_abi::vcpu::RunState;

/// Something that a trace shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// A hypercall, or a part of a multicall, was answered.
    Call(Call),
    /// A domain was in a run state.
    State(Span),
    /// The processor went from one to another.
    Gap(Gap),
    /// Nobody had the processor.
    Idle {
        /// Beginning.
        from: u64,
        /// End.
        to: u64,
    },
    /// An event reached its handler.
    Delivered(Delivery),
    /// A handler was entered.
    Upcall(Upcall),
}

/// A hypercall from entry to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Who asked.
    pub(crate) domain: DomId,
    /// Number.
    pub(crate) number: u8,
    /// When it was entered, if that is in the trace.
    pub(crate) begun: Option<u64>,
    /// When it was left.
    pub(crate) ended: u64,
    /// Time of it in which the domain had the processor; of a part, all.
    pub(crate) spent: u64,
    /// Result or negative error.
    pub(crate) result: u64,
    /// Whether it is a part of a multicall.
    pub(crate) part: bool,
    /// Whether a single record stands for entry and exit.
    pub(crate) alone: bool,
}

/// A run state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// It has the processor.
    Running,
    /// It waits for the processor.
    Runnable,
    /// It sleeps.
    Blocked,
    /// It has ended.
    Ended,
}

impl State {
    /// By its number in records.
    pub(crate) fn from_raw(raw: u8) -> Option<Self> {
        match RunState::from_raw(u32::from(raw))? {
            RunState::Running => Some(Self::Running),
            RunState::Runnable => Some(Self::Runnable),
            RunState::Blocked => Some(Self::Blocked),
            RunState::Offline => Some(Self::Ended),
        }
    }

    /// In tables and JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Runnable => "runnable",
            Self::Blocked => "blocked",
            Self::Ended => "ended",
        }
    }
}

/// A time in one run state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Whose.
    pub(crate) domain: DomId,
    /// Which.
    pub(crate) state: State,
    /// Beginning.
    pub(crate) from: u64,
    /// End.
    pub(crate) to: u64,
}

/// A change of domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Who had the processor.
    pub(crate) from: Option<DomId>,
    /// Who got it.
    pub(crate) to: Option<DomId>,
    /// The last that the one did.
    pub(crate) begun: u64,
    /// When the other had it.
    pub(crate) ended: u64,
    /// Part of it in which the one still counted as running, in ns.
    pub(crate) still: u64,
}

/// A handler that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upcall {
    /// Whose.
    pub(crate) domain: DomId,
    /// When.
    pub(crate) time: u64,
    /// Ports that it finds pending.
    pub(crate) ports: u64,
    /// Events raised at them.
    pub(crate) events: u64,
    /// From getting the processor to here, if it got it for these events.
    pub(crate) entry: Option<u64>,
}

/// An event from raise to handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// For whom.
    pub(crate) domain: DomId,
    /// Its port.
    pub(crate) port: u32,
    /// Who ran when it was raised.
    pub(crate) from: DomId,
    /// What the target did then.
    pub(crate) state: State,
    /// When it was raised.
    pub(crate) raised: u64,
    /// When the target woke for it.
    pub(crate) woken: Option<u64>,
    /// When the target got the processor.
    pub(crate) chosen: Option<u64>,
    /// When the handler was entered.
    pub(crate) upcall: u64,
    /// Further events merged into it.
    pub(crate) merged: u32,
}

impl Delivery {
    /// How long it took.
    pub(crate) fn total(&self) -> u64 {
        self.upcall.saturating_sub(self.raised)
    }

    /// What it waited for, in order.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let awake = self.woken.unwrap_or(self.raised);
        let wake = self.woken.map(|woken| ("wake", woken.saturating_sub(self.raised)));
        let (queue, entry) = match self.chosen {
            Some(chosen) => (
                Some(("run queue", chosen.saturating_sub(awake))),
                ("upcall entry", self.upcall.saturating_sub(chosen)),
            ),
            // It ran all the time: the event waited for it to take events.
            None => (None, ("pending", self.upcall.saturating_sub(awake))),
        };
        wake.into_iter().chain(queue).chain([entry])
    }
}
