//! A client's part in a measurement: the load of each segment, and what came of it as records.
//!
//! Closed loop: each connection's next request follows its last answer. Open loop: requests come as a Poisson process
//! whether or not the last ones were answered, and their latency counts from the time at which they were due.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Write;

use embassy_net::Stack;
use embassy_time::{Duration, Instant, Timer};
use futures_util::future::join_all;
use guest_kernel::println;

use crate::control;
use crate::histogram::Histogram;
use crate::http::{Buffers, Connection, Failure};
use crate::load::{await_ready, patiently};
use crate::schedule::{Schedule, Segment};
use crate::settings::Settings;
use crate::spread::{Spread, pause_us};
use crate::ticks;

/// How long clients take to say their results.
pub(crate) const FAREWELL: Duration = Duration::from_millis(2_000);
/// After the ruler has set everybody's policy, we set our own again.
const OWN_POLICY: Duration = Duration::from_micros(300);
/// The span over which connections begin, so that they do not march in step.
const SPREAD_US: u64 = 2_000;
/// The wait after a failure.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes of a record that a line of the console has room for.
const LINE_BYTES: usize = 150;

/// What came of a segment.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Answers in the settled phase.
    pub(crate) requests: u64,
    /// What was not answered.
    pub(crate) errors: u64,
    /// Of the answers.
    pub(crate) latency: Histogram,
}

/// What a target gave in all settled phases under one policy.
#[derive(Clone, Copy, Default)]
pub(crate) struct Served {
    /// Answers.
    pub(crate) requests: u32,
    /// The sum of their latencies.
    pub(crate) latency_us: u64,
}

/// Takes part in each segment, and says what came of it.
pub(crate) async fn run(stack: Stack<'_>, settings: &Settings, schedule: &Schedule, index: usize) {
    let mine: Vec<_> = settings.targets.iter().copied().skip(index).step_by(settings.clients).collect();
    let ready = await_ready(stack, settings, &mine).await;
    let late = Instant::now() > schedule.start();
    println!("@ready {{\"client\":{index},\"ready\":{ready},\"targets\":{},\"late\":{late}}}", mine.len());
    let spread = Spread::new(settings.targets.len(), settings.zipf, settings.seed);
    let mut served = Vec::new();
    served.resize(schedule.policies.len(), alloc::vec![Served::default(); settings.targets.len()]);
    for segment in schedule.segments() {
        Timer::at(segment.begin + OWN_POLICY).await;
        control::set_own_delivery(settings.own_delivery);
        let counts = served.get_mut(segment.policy).filter(|_| !segment.traced);
        let served = counts.map(Vec::as_mut_slice).unwrap_or_default();
        let outcome = match settings.period {
            Some(period) => ticks::one(stack, settings, &segment, period, index, served).await,
            None => one(stack, settings, &segment, &spread, index, served).await,
        };
        println!(
            "@segment {{\"client\":{index},\"number\":{},\"policy\":{},\"requests\":{},\"errors\":{}}}",
            segment.number, segment.policy, outcome.requests, outcome.errors
        );
        let pairs = outcome.latency.filled().map(|(bucket, count)| (bucket as u64, u64::from(count)));
        say("latency", &alloc::format!("\"number\":{}", segment.number), pairs);
    }
    for (policy, served) in served.iter().enumerate() {
        let counts = served.iter().map(|one| (u64::from(one.requests), one.latency_us));
        say("served", &alloc::format!("\"client\":{index},\"policy\":{policy}"), counts);
    }
}

/// Says pairs of numbers in records that fit into lines; `first` counts the pairs before.
fn say(kind: &str, about: &str, pairs: impl Iterator<Item = (u64, u64)>) {
    let mut text = String::new();
    let (mut first, mut count) = (0, 0);
    let flush = |text: &mut String, first: usize| {
        println!("@{kind} {{{about},\"first\":{first},\"pairs\":[{text}]}}");
        text.clear();
    };
    for (one, two) in pairs {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{one},{two}");
        count += 1;
        if kind.len() + about.len() + text.len() > LINE_BYTES - 60 {
            flush(&mut text, first);
            first = count;
        }
    }
    if !text.is_empty() {
        flush(&mut text, first);
    }
}

/// The load of one segment.
async fn one(
    stack: Stack<'_>,
    settings: &Settings,
    segment: &Segment,
    spread: &Spread,
    index: usize,
    served: &mut [Served],
) -> Outcome {
    let mut chance = chance_of(settings, segment, index);
    let begins: Vec<_> = (0..settings.connections).map(|_| chance.u64(0..SPREAD_US)).collect();
    let load = Load {
        stack,
        settings,
        segment,
        spread,
        arrivals: RefCell::new(chance.fork()),
        chance: RefCell::new(chance),
        due: RefCell::new(segment.begin),
        outcome: RefCell::default(),
        served: RefCell::new(served),
    };
    join_all(begins.into_iter().map(|begin| load.connection(Duration::from_micros(begin)))).await;
    load.outcome.into_inner()
}

/// The chances of a client's segment, the same for each policy of a round.
pub(crate) fn chance_of(settings: &Settings, segment: &Segment, index: usize) -> fastrand::Rng {
    fastrand::Rng::with_seed(settings.seed ^ ((segment.round as u64) << 32) ^ ((index as u64 + 1) << 16))
}

/// What all connections of a segment share.
struct Load<'a> {
    stack: Stack<'a>,
    settings: &'a Settings,
    segment: &'a Segment,
    spread: &'a Spread,
    chance: RefCell<fastrand::Rng>,
    /// Open loop: times between requests, apart from the rest, whose order depends on the answers.
    arrivals: RefCell<fastrand::Rng>,
    /// Open loop: when the next request is due.
    due: RefCell<Instant>,
    outcome: RefCell<Outcome>,
    served: RefCell<&'a mut [Served]>,
}

impl Load<'_> {
    /// One connection after the other until the segment ends.
    async fn connection(&self, begin: Duration) {
        let mut buffers = Buffers::new(self.settings.size);
        Timer::after(begin).await;
        loop {
            let first = self.next_due();
            if let Some(due) = first {
                Timer::at(due.min(self.segment.end)).await;
            }
            if Instant::now() >= self.segment.end {
                return;
            }
            let target = self.spread.draw(&mut self.chance.borrow_mut());
            if self.visit(&mut buffers, target, first).await.is_err() {
                self.outcome.borrow_mut().errors += 1;
                Timer::after(PAUSE).await;
            }
        }
    }

    /// When the next request of an open loop is due.
    fn next_due(&self) -> Option<Instant> {
        let mean_us = self.settings.mean_pause_us?;
        let mut due = self.due.borrow_mut();
        let now = *due;
        *due = now + Duration::from_micros(pause_us(&mut self.arrivals.borrow_mut(), mean_us));
        Some(now)
    }

    /// The requests of one connection to a target.
    async fn visit(
        &self,
        buffers: &mut Buffers,
        target: usize,
        mut due: Option<Instant>,
    ) -> Result<(), Failure> {
        let Some(&address) = self.settings.targets.get(target) else { return Ok(()) };
        let mut start = due.take().unwrap_or_else(Instant::now);
        let mut connection = patiently(Connection::open(self.stack, buffers, address)).await?;
        let mut result = Ok(());
        for _ in 0..self.settings.visit {
            result = patiently(connection.fetch(self.settings.size)).await;
            let now = Instant::now();
            if result.is_err() {
                break;
            }
            self.note(target, start, now);
            if now >= self.segment.end {
                break;
            }
            start = now;
        }
        connection.close().await;
        result
    }

    /// Counts an answer, if it came in the settled phase.
    fn note(&self, target: usize, start: Instant, end: Instant) {
        if end < self.segment.settled || end >= self.segment.end {
            return;
        }
        let us = (end - start).as_micros();
        let mut outcome = self.outcome.borrow_mut();
        outcome.requests += 1;
        outcome.latency.add(us.try_into().unwrap_or(u32::MAX));
        if let Some(one) = self.served.borrow_mut().get_mut(target) {
            one.requests += 1;
            one.latency_us += us;
        }
    }
}
