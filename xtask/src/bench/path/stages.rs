//! The stages of an event on its way to a handler, followed through a trace.
//! It exists because a delay that is one number says nothing of who could make it shorter.

use std::collections::{BTreeMap, HashMap};

use hypercall_abi::DomId;
use hypercall_abi::vcpu::RunState;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;
use serde::Serialize;

use crate::trace::{Spread, Summary};

/// What the target did when the event was raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Target {
    /// It had the processor.
    Runs,
    /// It was awake, and another had the processor.
    Waits,
    /// It slept.
    #[default]
    Sleeps,
}

impl Target {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Waits => "waits",
            Self::Sleeps => "sleeps",
        }
    }
}

/// A stage, named by what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// From the device's interrupt to the event that is raised for it.
    Raised,
    /// From there until the upcall handler can see it.
    Pending,
    /// Until the target's sleep ends.
    Woken,
    /// Until the target has the processor.
    SwitchedTo,
    /// Until its upcall handler is entered.
    Upcall,
    /// Until the handler has seen to all that was pending.
    HandlerDone,
    /// From the first to the last.
    Whole,
}

impl Stage {
    pub(super) const ALL: [Self; 7] = [
        Self::Raised,
        Self::Pending,
        Self::Woken,
        Self::SwitchedTo,
        Self::Upcall,
        Self::HandlerDone,
        Self::Whole,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Pending => "pending",
            Self::Woken => "woken",
            Self::SwitchedTo => "switched to",
            Self::Upcall => "upcall",
            Self::HandlerDone => "handler done",
            Self::Whole => "whole",
        }
    }
}

/// Durations of one stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations {
    spread: Spread,
    histogram: BTreeMap<u64, u64>,
}

impl Durations {
    fn add(&mut self, ns: u64) {
        self.spread.add(ns);
        *self.histogram.entry(ns.next_power_of_two()).or_default() += 1;
    }
}

/// The figures of one stage.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// Whether the event was raised by a device's interrupt.
    pub(super) of_device: bool,
    /// What the target did.
    pub(super) target: Target,
    /// The stage, named by its end.
    pub(super) stage: Stage,
    /// Its durations, in instructions of one ns each.
    #[serde(flatten)]
    pub(super) summary: Summary,
    /// How many took up to so many ns: powers of two.
    pub(super) histogram_ns: BTreeMap<u64, u64>,
}

/// An event on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    port: u32,
    target: Target,
    interrupt: Option<u64>,
    raised: u64,
    pending: Option<u64>,
    woken: Option<u64>,
    chosen: Option<u64>,
    upcall: u64,
}

#[derive(Debug, Default)]
struct Domain {
    state: Target,
    interrupt: Option<u64>,
    /// Events that no handler has seen.
    waiting: Vec<Way>,
    /// Those for which the handler was entered last.
    handled: Vec<Way>,
}

/// Events of all domains on their ways.
#[derive(Debug, Default)]
pub(super) struct Ways {
    domains: HashMap<DomId, Domain>,
    durations: BTreeMap<(bool, Target, Stage), Durations>,
    /// Ways that came to their end.
    pub(super) ended: u64,
}

impl Ways {
    /// Takes in a record.
    pub(super) fn see(&mut self, entry: &Entry) {
        let now = entry.time_ns;
        let of = self.domains.entry(entry.domain).or_default();
        match entry.record {
            Record::DeviceInterrupt { .. } => of.interrupt = Some(now),
            Record::EventRaised { merged: 0, port, .. } => {
                // One of the same port that is still here was taken without an upcall.
                of.waiting.retain(|way| way.port != port);
                let interrupt = of.interrupt.take();
                of.waiting.push(Way { port, target: of.state, interrupt, raised: now, ..Way::default() });
            }
            Record::EventPending { port, .. } => {
                if let Some(way) = of.waiting.iter_mut().find(|way| way.port == port) {
                    way.pending.get_or_insert(now);
                }
            }
            Record::EventMasked { port } => of.waiting.retain(|way| way.port != port),
            Record::Wake { .. } => of.waiting.iter_mut().for_each(|way| way.woken = way.woken.or(Some(now))),
            Record::RunState { state, .. } => match RunState::from_raw(state.into()) {
                Some(RunState::Running) => of.state = Target::Runs,
                Some(RunState::Runnable) => of.state = Target::Waits,
                Some(RunState::Blocked) => of.state = Target::Sleeps,
                Some(RunState::Offline) | None => *of = Domain::default(),
            },
            Record::Switch { .. } => {
                of.waiting.iter_mut().for_each(|way| way.chosen = way.chosen.or(Some(now)));
            }
            Record::Upcall { selector } => {
                let seen = |way: &Way| selector >> (way.port / 64).min(63) & 1 != 0;
                of.handled = of.waiting.iter().filter(|way| seen(way)).copied().collect();
                of.handled.iter_mut().for_each(|way| way.upcall = now);
                of.waiting.retain(|way| !seen(way));
            }
            Record::HandlerDone { ports } => {
                // More than it has served were taken without an upcall before: the oldest.
                let handled = core::mem::take(&mut of.handled);
                let stale = handled.len().saturating_sub(ports as usize);
                for way in handled.iter().skip(stale) {
                    self.ended += 1;
                    end(&mut self.durations, way, now);
                }
            }
            _ => {}
        }
    }

    /// The figures of all stages that anything went through.
    pub(super) fn figures(&self) -> Vec<Figures> {
        let one = |(&(of_device, target, stage), durations): (&(bool, Target, Stage), &Durations)| Figures {
            of_device,
            target,
            stage,
            summary: durations.spread.summary(),
            histogram_ns: durations.histogram.clone(),
        };
        self.durations.iter().map(one).collect()
    }
}

/// Adds a way that has come to its end at `done`.
fn end(durations: &mut BTreeMap<(bool, Target, Stage), Durations>, way: &Way, done: u64) {
    let mut add = |stage: Stage, from: u64, to: u64| {
        let key = (way.interrupt.is_some(), way.target, stage);
        durations.entry(key).or_default().add(to.saturating_sub(from));
    };
    let mut last = way.interrupt.unwrap_or(way.raised);
    let steps = [
        (Stage::Raised, way.interrupt.map(|_| way.raised)),
        (Stage::Pending, way.pending),
        (Stage::Woken, way.woken),
        (Stage::SwitchedTo, way.chosen),
        (Stage::Upcall, Some(way.upcall)),
        (Stage::HandlerDone, Some(done)),
    ];
    for (stage, time) in steps {
        if let Some(time) = time {
            add(stage, last, time);
            last = time.max(last);
        }
    }
    add(Stage::Whole, way.interrupt.unwrap_or(way.raised), done);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(ways: &mut Ways, time_ns: u64, record: Record) {
        ways.see(&Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(3), record });
    }

    fn of(ways: &Ways, target: Target) -> Vec<(Stage, u64)> {
        let figures = ways.figures();
        figures
            .iter()
            .filter(|one| one.target == target)
            .map(|one| (one.stage, one.summary.total_ns))
            .collect()
    }

    fn state(state: RunState) -> Record {
        Record::RunState { state: state.raw() as u8, reason: 0 }
    }

    #[test]
    fn a_devices_interrupt_wakes_its_driver() {
        let mut ways = Ways::default();
        see(&mut ways, 5, state(RunState::Blocked));
        see(&mut ways, 10, Record::DeviceInterrupt { pirq: 1 });
        see(&mut ways, 12, Record::EventRaised { merged: 0, port: 7, from: 1 });
        see(&mut ways, 15, Record::EventPending { masked: 0, port: 7 });
        see(&mut ways, 19, Record::Wake { ahead: 0 });
        see(&mut ways, 19, state(RunState::Runnable));
        see(&mut ways, 50, Record::Switch { why: 1, from: 1 });
        see(&mut ways, 50, state(RunState::Running));
        see(&mut ways, 60, Record::Upcall { selector: 1 });
        see(&mut ways, 160, Record::HandlerDone { ports: 1 });
        assert_eq!(
            of(&ways, Target::Sleeps),
            [
                (Stage::Raised, 2),
                (Stage::Pending, 3),
                (Stage::Woken, 4),
                (Stage::SwitchedTo, 31),
                (Stage::Upcall, 10),
                (Stage::HandlerDone, 100),
                (Stage::Whole, 150)
            ]
        );
        assert!(ways.figures().iter().all(|one| one.of_device));
    }

    #[test]
    fn an_event_for_who_runs_waits_for_nobody_and_what_was_taken_without_an_upcall_does_not_count() {
        let mut ways = Ways::default();
        see(&mut ways, 5, state(RunState::Running));
        see(&mut ways, 10, Record::EventRaised { merged: 0, port: 2, from: 3 });
        see(&mut ways, 11, Record::EventPending { masked: 1, port: 2 });
        see(&mut ways, 200, Record::EventRaised { merged: 0, port: 1, from: 3 });
        see(&mut ways, 202, Record::EventPending { masked: 0, port: 1 });
        see(&mut ways, 209, Record::Upcall { selector: 1 });
        see(&mut ways, 219, Record::HandlerDone { ports: 1 });
        let stages = of(&ways, Target::Runs);
        let expected =
            [(Stage::Pending, 2), (Stage::Upcall, 7), (Stage::HandlerDone, 10), (Stage::Whole, 19)];
        assert_eq!((stages.as_slice(), ways.ended), (expected.as_slice(), 1));
    }
}
