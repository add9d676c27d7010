//! HTTP load from the host: who answers, and how fast under many connections.
//! It exists so that guests are measured over real TCP by a client that nobody on this project wrote.

mod connection;
mod door;
mod rounds;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use connection::Connection;
pub(crate) use connection::Fetched;
use rounds::{Place, Rounds};

/// How long a connection rests after an error.
const REST: Duration = Duration::from_millis(50);
/// How long the first try to reach a guest may take; each further one twice as long, up to the longest.
const FIRST_TRY: Duration = Duration::from_millis(300);
const LONGEST_TRY: Duration = Duration::from_secs(10);
/// How often the end of the machine is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Longest latency that the histogram holds, in microseconds.
const LONGEST_US: u64 = 60_000_000;
/// Guests that are fetched from at a time while they come up.
const FETCHES: usize = 8;

/// A web server to be loaded.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// The host's way to it.
    pub(crate) address: SocketAddr,
    /// What the load fetches from it.
    pub(crate) page: String,
}

/// What a load amounted to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Requests that were answered in full with status 200.
    pub(crate) requests: u64,
    /// Requests and connections that were not.
    pub(crate) errors: u64,
    /// The first of them in words.
    pub(crate) first_error: Option<String>,
    /// Errors by guest.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Bytes of all bodies.
    pub(crate) bytes: u64,
    /// Time from a request to the end of its answer, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Longest time that a connection took to open, in microseconds.
    pub(crate) connect_max_us: u64,
    /// From its beginning to the end of its last answer.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    fn empty() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).context("making a histogram")?;
        Ok(Self {
            requests: 0,
            errors: 0,
            first_error: None,
            failed: BTreeMap::new(),
            bytes: 0,
            latency,
            connect_max_us: 0,
            elapsed: Duration::ZERO,
        })
    }

    fn failed(&mut self, target: &Target, error: &anyhow::Error) {
        self.errors += 1;
        *self.failed.entry(target.name.clone()).or_default() += 1;
        self.first_error.get_or_insert_with(|| format!("{}: {error:#}", target.name));
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.requests += other.requests;
        self.errors += other.errors;
        self.bytes += other.bytes;
        for (name, errors) in other.failed {
            *self.failed.entry(name).or_default() += errors;
        }
        self.first_error = self.first_error.take().or(other.first_error);
        self.connect_max_us = self.connect_max_us.max(other.connect_max_us);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latency.add(other.latency).context("adding histograms")
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the load generator")
}

/// Loads the targets with so many concurrent connections for so long. Requests under way at the end are awaited.
///
/// Ends early, with what there is so far, when `stop` turns true.
pub(crate) fn load(
    targets: &[Target],
    connections: usize,
    length: Duration,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome> {
    let start = Instant::now();
    let rounds = Arc::new(Rounds::new(targets.to_vec(), start, length));
    let mut total = Outcome::empty()?;
    runtime()?.block_on(async {
        let mut tasks = JoinSet::new();
        for lane in 0..connections {
            tasks.spawn(drive(Arc::clone(&rounds), lane, Arc::clone(stop), start));
        }
        while let Some(part) = tasks.join_next().await {
            total.merge(part.context("a connection's task failed")??)?;
        }
        anyhow::Ok(())
    })?;
    Ok(total)
}

async fn drive(rounds: Arc<Rounds>, lane: usize, stop: Arc<AtomicBool>, start: Instant) -> Result<Outcome> {
    let mut outcome = Outcome::empty()?;
    while let Some(place) = rounds.now(lane).filter(|_| !stop.load(Ordering::Acquire)) {
        if let Err(error) = visit(&place, &mut outcome, &stop).await {
            outcome.failed(place.target, &error);
            tokio::time::sleep(REST).await;
        }
    }
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

/// Asks a guest over one connection as long as it may be there.
async fn visit(place: &Place<'_>, outcome: &mut Outcome, stop: &AtomicBool) -> Result<()> {
    let arrive = async {
        let asked = Instant::now();
        let mut connection = Connection::open(place.target.address).await?;
        outcome.connect_max_us = outcome.connect_max_us.max(us_since(asked));
        ask(&mut connection, place.target, outcome).await?;
        anyhow::Ok(connection)
    };
    let Some(arrived) = place.door.enter(place.until, arrive).await else { return Ok(()) };
    let mut connection = arrived?;
    while connection.usable() && Instant::now() < place.until && !stop.load(Ordering::Acquire) {
        ask(&mut connection, place.target, outcome).await?;
    }
    Ok(())
}

async fn ask(connection: &mut Connection, target: &Target, outcome: &mut Outcome) -> Result<()> {
    let sent = Instant::now();
    let body = connection.get(&target.page).await?;
    outcome.latency.saturating_record(us_since(sent));
    outcome.requests += 1;
    outcome.bytes += body.len() as u64;
    Ok(())
}

/// At least 1, and no more than a histogram holds.
fn us_since(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed().as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US)
}

/// Fetches pages over one connection, whatever the answers are.
pub(crate) fn fetch(address: SocketAddr, paths: &[&str]) -> Result<Vec<Fetched>> {
    runtime()?.block_on(async {
        let mut connection = Connection::open(address).await?;
        let mut all = Vec::new();
        for path in paths {
            all.push(connection.fetch(path).await.with_context(|| (*path).to_owned())?);
        }
        Ok(all)
    })
}

/// Fetches from every target until it answers or `deadline` passes; `answered` is told of each that does.
///
/// Returns those that did not, with the reason. Ends early when `stop` turns true.
pub(crate) fn fetch_each(
    targets: &[Target],
    deadline: Instant,
    stop: &Arc<AtomicBool>,
    mut answered: impl FnMut(&Target),
) -> Result<Vec<(String, String)>> {
    let mut silent = Vec::new();
    runtime()?.block_on(async {
        let mut waiting = targets.iter().cloned();
        let mut tasks = JoinSet::new();
        loop {
            while tasks.len() < FETCHES
                && let Some(target) = waiting.next()
            {
                tasks.spawn(reach(target, deadline, Arc::clone(stop)));
            }
            match tasks.join_next().await {
                None => break,
                Some(result) => match result.context("a fetch's task failed")? {
                    (target, Ok(())) => answered(&target),
                    (target, Err(error)) => silent.push((target.name, format!("{error:#}"))),
                },
            }
        }
        anyhow::Ok(())
    })?;
    Ok(silent)
}

async fn reach(target: Target, deadline: Instant, stop: Arc<AtomicBool>) -> (Target, Result<()>) {
    // A guest that is not up yet loses the first packet, which is sent again after seconds: ask anew before that.
    let mut patience = FIRST_TRY;
    loop {
        let tried = tokio::time::timeout(patience, greet(&target)).await;
        match tried.map_err(anyhow::Error::new).and_then(|result| result) {
            Ok(()) => return (target, Ok(())),
            Err(error) if Instant::now() >= deadline || stop.load(Ordering::Acquire) => {
                return (target, Err(error));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
        patience = (patience * 2).min(LONGEST_TRY);
    }
}

/// Fetches the front page and looks whether it is this guest's and no other's.
async fn greet(target: &Target) -> Result<()> {
    let body = Connection::open(target.address).await?.get("/").await?;
    let named = String::from_utf8_lossy(&body)
        .split(|letter: char| !is_of_name(letter))
        .any(|word| word == target.name);
    anyhow::ensure!(named, "the front page does not name {}", target.name);
    Ok(())
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-'
}
