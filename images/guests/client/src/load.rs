//! The load: a closed loop on each connection, the next request as soon as the last is answered.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use embassy_net::{Ipv4Address, Stack};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use crate::http::{Buffers, Connection, Failure};
use crate::samples::Samples;
use crate::settings::Settings;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long targets may take to come up.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// The wait after a failure.
const PAUSE: Duration = Duration::from_millis(20);
/// Requests to one target before the next, when there are more targets than connections.
const VISIT: usize = 16;
/// The span over which connections begin, so that they do not march in step.
const SPREAD_US: u64 = 2_000;

/// What a load came to.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) latencies_us: Samples,
}

/// Fetches from each target until it answers; returns how many did.
pub(crate) async fn await_ready(stack: Stack<'_>, settings: &Settings, targets: &[Ipv4Address]) -> usize {
    let deadline = Instant::now() + READY_PATIENCE;
    stream::iter(targets.iter().copied())
        .map(|target| async move {
            let mut buffers = Buffers::new(settings.size);
            while Instant::now() < deadline {
                if one_request(stack, &mut buffers, target, settings.size).await.is_ok() {
                    return 1;
                }
                Timer::after(PAUSE).await;
            }
            log::warn!("{target} does not answer");
            0
        })
        .buffer_unordered(settings.connections)
        .fold(0, async |sum, one| sum + one)
        .await
}

async fn one_request(
    stack: Stack<'_>,
    buffers: &mut Buffers,
    target: Ipv4Address,
    size: usize,
) -> Result<(), Failure> {
    let mut connection = patiently(Connection::open(stack, buffers, target)).await?;
    let result = patiently(connection.fetch(size)).await;
    connection.close().await;
    result
}

/// Waits for work as long as an answer may take.
pub(crate) async fn patiently<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    with_timeout(PATIENCE, work).await.unwrap_or(Err(Failure::Broken))
}

/// Loads the targets for the wanted time or requests, whichever ends first; requests under way at its end are awaited.
pub(crate) async fn run(stack: Stack<'_>, settings: &Settings) -> Outcome {
    let mut chance = fastrand::Rng::with_seed(settings.seed);
    let mut targets = settings.targets.clone();
    chance.shuffle(&mut targets);
    let outcome = RefCell::new(Outcome { requests: 0, errors: 0, latencies_us: Samples::new(settings.seed) });
    let until = Instant::now() + settings.length;
    let left = Cell::new(settings.requests);
    let connections: Vec<_> = (0..settings.connections)
        .map(|index| {
            let begin = Duration::from_micros(chance.u64(0..SPREAD_US));
            let (targets, outcome, left) = (&targets, &outcome, &left);
            async move {
                Timer::after(begin).await;
                Loop { stack, settings, targets, outcome, until, left }.run(index).await;
            }
        })
        .collect();
    join_all(connections).await;
    outcome.into_inner()
}

/// What all connections of a load share.
struct Loop<'a> {
    stack: Stack<'a>,
    settings: &'a Settings,
    targets: &'a [Ipv4Address],
    outcome: &'a RefCell<Outcome>,
    until: Instant,
    /// Requests that are still to be begun.
    left: &'a Cell<u64>,
}

impl Loop<'_> {
    /// Runs connection `index` until the time is over.
    async fn run(&self, index: usize) {
        let mut buffers = Buffers::new(self.settings.size);
        let stays = self.settings.connections >= self.targets.len();
        let mut turn = 0;
        while Instant::now() < self.until && self.left.get() > 0 {
            let place = (index + turn * self.settings.connections) % self.targets.len().max(1);
            let Some(&target) = self.targets.get(place) else { return };
            let visit = if stays { usize::MAX } else { VISIT };
            if let Err(failure) = self.visit(&mut buffers, target, visit).await {
                log::warn!("{target}: {failure:?}");
                self.outcome.borrow_mut().errors += 1;
                Timer::after(PAUSE).await;
            }
            if !stays {
                turn += 1;
            }
        }
    }

    /// Makes up to `requests` requests on one connection.
    async fn visit(
        &self,
        buffers: &mut Buffers,
        target: Ipv4Address,
        requests: usize,
    ) -> Result<(), Failure> {
        let mut connection = patiently(Connection::open(self.stack, buffers, target)).await?;
        let mut result = Ok(());
        for _ in 0..requests {
            let start = Instant::now();
            if start >= self.until || self.left.get() == 0 {
                break;
            }
            self.left.set(self.left.get() - 1);
            result = patiently(connection.fetch(self.settings.size)).await;
            if result.is_err() {
                break;
            }
            let mut outcome = self.outcome.borrow_mut();
            outcome.requests += 1;
            outcome.latencies_us.add(start.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
        }
        connection.close().await;
        result
    }
}
