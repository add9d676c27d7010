//! The loads under which the trace is priced: web guests and a client that fetches from them, without the host, and two
//! guests that do nothing but tell each other.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::counters::Snapshot;
use crate::qemu::{Machine, Next, is_orderly};
use crate::scenario::{Plan, Scenario, lower};
use crate::serial::Line;
use crate::{compile, paths};

const PATIENCE: Duration = Duration::from_secs(120);
/// Longest that a load may take, in virtual seconds.
const SECONDS: &str = "20";
const GUESTS: u32 = 4;
/// Rounds of two guests that tell each other.
const PONGS: u32 = 5000;

/// What the client fetches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// Pages of the usual size: most work is in connections.
    Web,
    /// Long pages: most work is in packets.
    Network,
    /// Nothing: an event there and back is a request.
    PingPong,
}

impl Load {
    pub(super) const ALL: [Self; 3] = [Self::Web, Self::Network, Self::PingPong];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Network => "network",
            Self::PingPong => "ping-pong",
        }
    }

    /// The system under this load.
    pub(super) fn plan(self) -> Result<(Scenario, Plan)> {
        // A number of requests and no time: what is done is the same then, whatever it takes.
        match self {
            Self::Web => fetching("size=2258 requests=2000"),
            Self::Network => fetching("size=32768 requests=400"),
            Self::PingPong => pong(),
        }
    }
}

/// A client that fetches so.
fn fetching(size: &str) -> Result<(Scenario, Plan)> {
    let mut scenario = Scenario::open(&paths::root(), "inside")?;
    if let Some(subject) = scenario.subject_mut() {
        subject.count = Some(toml::Spanned::new(0..0, GUESTS));
    }
    scenario.keep(crate::scenario::Load::Inside);
    scenario.check(&compile::is_guest)?;
    let mut plan = lower(&scenario)?;
    let targets = plan.guests.first().map(|first| format!("{}+{GUESTS}", first.address));
    let words = [
        ("{policies}", "batched"),
        ("{seconds}", SECONDS),
        ("{connections}", "8"),
        ("{seed}", "1"),
        ("{targets}", targets.as_deref().unwrap_or_default()),
        ("size=2258", size),
    ];
    for domain in &mut plan.config.domains {
        for (word, value) in &words {
            domain.command_line = domain.command_line.replace(word, value);
        }
    }
    Ok((scenario, plan))
}

/// Two guests, of which the first counts.
fn pong() -> Result<(Scenario, Plan)> {
    let guest = |name: &str, peer: u16, more: &str| {
        format!(
            "[[domain]]\nname = \"{name}\"\nimage = \"compute\"\nmemory = \"1M\"\nweight = 256\nring = 3\n\
             delivery = \"batched\"\non_crash = \"poweroff\"\n{more}\
             command_line = \"act=pong start_ms=200 rounds={PONGS} peer={peer}\"\n"
        )
    };
    let head = "description = \"Events there and back\"\nmemory = \"64M\"\nslice = \"5ms\"\nseed = 1\n";
    let text = head.to_owned() + &guest("pong-1", 1, "control = true\n") + &guest("pong-2", 0, "");
    let scenario = Scenario::parse(&paths::root(), Path::new("pong.toml"), text)?;
    scenario.check(&compile::is_guest)?;
    let plan = lower(&scenario)?;
    Ok((scenario, plan))
}

/// What a load came to.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// ns in which somebody had the processor.
    pub(super) busy_ns: u64,
    /// Between its first and its last moment in ns, for which this is said.
    pub(super) during_ns: Range<u64>,
}

/// Follows a load to its end.
pub(super) fn follow(machine: &mut Machine) -> Result<Followed> {
    let mut snapshots = Vec::new();
    let mut requests = None;
    loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(Line::Record { kind, body }) if kind == "snapshot" => {
                snapshots.push(Snapshot::read(body)?);
            }
            Next::Line(line) => {
                if let Some((_, kind, body)) = line.guest_record()
                    && kind == "result"
                {
                    requests = body["requests"].as_u64();
                    if body["errors"].as_u64() != Some(0) {
                        bail!("the client met errors: {body}");
                    }
                }
            }
            Next::Timeout => bail!("silent for {} s", PATIENCE.as_secs()),
            Next::End => break,
        }
    }
    match machine.status() {
        Some(status) if is_orderly(status) => {}
        _ => return Err(machine.death()),
    }
    let requests = requests.context("the client gave no result")?;
    let [before, after, ..] = snapshots.as_slice() else { bail!("the client took no snapshots") };
    let idle = after.idle_ns.saturating_sub(before.idle_ns);
    let busy_ns = after.time_ns.saturating_sub(before.time_ns).saturating_sub(idle);
    Ok(Followed { requests, busy_ns, during_ns: before.time_ns..after.time_ns })
}
