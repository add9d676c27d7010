//! What is done when: rounds of segments, one segment a policy, each with a warm-up and a settled phase.
//!
//! All domains read the same clock, so the times of the command line are the barrier at which everybody begins:
//! nobody has to tell anybody, and a domain that comes too late says so.

use alloc::vec::Vec;

use embassy_time::{Duration, Instant};
use guest_kernel::command_line::CommandLine;
use hypercall_abi::extension::{Delivery, DeliveryPolicy};

use crate::settings::{Bad, word};

/// The schedule of a measurement: `start_ms=100 warm_ms=20 settled_ms=100 pause_ms=30
/// rounds=3 policies=synchronous,batched:8:200` (events and us of a window).
pub(crate) struct Schedule {
    start: Instant,
    warm: Duration,
    settled: Duration,
    /// Between the end of a segment and the next, for requests under way.
    pause: Duration,
    rounds: usize,
    /// Whether one more follows under the trace.
    traced: bool,
    /// The policies that are compared, with their windows.
    pub(crate) policies: Vec<DeliveryPolicy>,
}

/// One segment of it.
pub(crate) struct Segment {
    /// Which one, from 0.
    pub(crate) number: usize,
    /// Of which round, from 0: all of a round draw the same chances, so that policies differ in nothing else.
    pub(crate) round: usize,
    /// Index of its policy.
    pub(crate) policy: usize,
    /// Begin of the load.
    pub(crate) begin: Instant,
    /// Begin of what is counted.
    pub(crate) settled: Instant,
    /// End of what is counted, and of the load.
    pub(crate) end: Instant,
    /// Whether it is under the trace, for which its figures do not count.
    pub(crate) traced: bool,
}

impl Schedule {
    pub(crate) fn read(line: &CommandLine<'static>) -> Result<Self, Bad> {
        let millis = |key, default| {
            line.parse(key, default)
                .map(Duration::from_millis)
                .map_err(|error| Bad(alloc::format!("{error}")))
        };
        let policies = line.get("policies").unwrap_or("synchronous,batched").split(',').map(policy);
        Ok(Self {
            start: Instant::from_ticks(0) + millis("start_ms", 100)?,
            warm: millis("warm_ms", 20)?,
            settled: millis("settled_ms", 100)?,
            pause: millis("pause_ms", 30)?,
            rounds: line.parse("rounds", 1).map_err(|error| Bad(alloc::format!("{error}")))?,
            traced: line.get("trace").is_some(),
            policies: policies.collect::<Result<_, _>>()?,
        })
    }

    /// The barrier.
    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    /// The segments. Each round begins with another policy, so that none always comes first.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> {
        let count = self.policies.len().max(1);
        (0..(self.rounds + usize::from(self.traced)) * count).map(move |number| {
            let begin = self.start + (self.warm + self.settled + self.pause) * number as u32;
            let settled = begin + self.warm;
            let round = number / count;
            let policy = (round + number % count) % count;
            let traced = round >= self.rounds;
            Segment { number, round, policy, begin, settled, end: settled + self.settled, traced }
        })
    }
}

/// `batched`, or `batched:EVENTS:US` with a window.
fn policy(text: &str) -> Result<DeliveryPolicy, Bad> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let delivery = Delivery::ALL
        .iter()
        .copied()
        .find(|&policy| word(policy) == name)
        .ok_or_else(|| Bad(alloc::format!("policies: there is no policy {name:?}")))?;
    let mut number = || match parts.next().map(str::parse::<u32>) {
        None => Ok(0),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(Bad(alloc::format!("policies: {text:?} has no window of EVENTS:US"))),
    };
    Ok(DeliveryPolicy {
        delivery: delivery.raw(),
        window_events: number()?,
        window_ns: u64::from(number()?) * 1_000,
    })
}
