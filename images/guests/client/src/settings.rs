//! What the command line says: `targets=ADDRESS+COUNT policies=synchronous,batched seconds=2 connections=64 seed=1
//! size=2258 window_events=8 window_us=200`, each with a default but the targets. A measurement adds `role=ruler` or
//! `role=client clients=N visit=REQUESTS spread=zipf|even rate=PER_SECOND period_ms=MS own=POLICY look_us=US` and the times of
//! [`crate::schedule`]: the policy is the client's own, and it looks so often at what has come, as if it were far away.
//! `role=flood` is a bad neighbour, for traces and tests to find.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use embassy_net::Ipv4Address;
use embassy_time::Duration;
use guest_kernel::command_line::CommandLine;
use hypercall_abi::extension::{Delivery, DeliveryPolicy};

/// The most connections at once.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// The load that is wanted.
pub(crate) struct Settings {
    /// Whom to load.
    pub(crate) targets: Vec<Ipv4Address>,
    /// Under which policies, one after the other.
    pub(crate) policies: Vec<Delivery>,
    /// How long under each.
    pub(crate) length: Duration,
    /// How many requests at most under each.
    pub(crate) requests: u64,
    /// Connections at once.
    pub(crate) connections: usize,
    /// What chance draws from.
    pub(crate) seed: u64,
    /// Bytes of a page.
    pub(crate) size: usize,
    /// How our own events reach us, whatever the policy of the others.
    pub(crate) own_delivery: DeliveryPolicy,
    /// Microseconds between two looks at what has come.
    pub(crate) look_us: u64,
    /// Requests of one connection.
    pub(crate) visit: usize,
    /// Clients that share the load.
    pub(crate) clients: usize,
    /// Whether some targets are wanted more than others.
    pub(crate) zipf: bool,
    /// Updates of a game to each target by UDP in place of requests: the time between two.
    pub(crate) period: Option<Duration>,
    /// Open loop: microseconds between two requests of ours on the average.
    pub(crate) mean_pause_us: Option<f64>,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Loads, switches the policies and reports.
    Alone,
    /// Switches the policies at set times.
    Ruler,
    /// Loads at set times.
    Client,
    /// Sends whatever its ring takes, to nobody.
    Flood,
}

impl Role {
    pub(crate) fn read(line: &CommandLine<'static>) -> Result<Self, Bad> {
        match line.get("role") {
            None => Ok(Self::Alone),
            Some("ruler") => Ok(Self::Ruler),
            Some("client") => Ok(Self::Client),
            Some("flood") => Ok(Self::Flood),
            Some(other) => Err(Bad(alloc::format!("role: {other:?} is not ruler, client or flood"))),
        }
    }
}

/// A word of the command line that cannot be understood.
pub(crate) struct Bad(pub(crate) String);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Settings {
    pub(crate) fn read(line: &CommandLine<'static>) -> Result<Self, Bad> {
        let bad = |error: guest_kernel::command_line::BadValue<'_>| Bad(alloc::format!("{error}"));
        let seconds: f32 = line.parse("seconds", 2.0).map_err(bad)?;
        let clients: usize = line.parse("clients", 1).map_err(bad)?;
        let rate: f32 = line.parse("rate", 0.0).map_err(bad)?;
        let period_ms: u64 = line.parse("period_ms", 0).map_err(bad)?;
        let alone = Role::read(line)? == Role::Alone;
        Ok(Self {
            targets: targets(line.get("targets").unwrap_or_default())?,
            policies: if alone {
                let policies = line.get("policies").unwrap_or("synchronous,batched");
                policies.split(',').map(policy).collect::<Result<_, _>>()?
            } else {
                Vec::new()
            },
            length: Duration::from_millis((seconds.clamp(0.001, 86_400.0) * 1000.0) as u64),
            requests: line.parse("requests", u64::MAX).map_err(bad)?,
            connections: line.parse("connections", 64).map_err(bad)?.clamp(1, CONNECTIONS_MAX),
            seed: line.parse("seed", 1).map_err(bad)?,
            size: line.parse("size", 2258).map_err(bad)?,
            own_delivery: DeliveryPolicy {
                delivery: policy(line.get("own").unwrap_or("batched"))?.raw(),
                window_events: line.parse("window_events", 8).map_err(bad)?,
                window_ns: line.parse("window_us", 200_u64).map_err(bad)?.saturating_mul(1_000),
            },
            look_us: line.parse("look_us", 0).map_err(bad)?,
            visit: line.parse("visit", 1).map_err(bad)?,
            clients: clients.max(1),
            zipf: line.get("spread") != Some("even"),
            period: (period_ms > 0).then(|| Duration::from_millis(period_ms)),
            mean_pause_us: (rate > 0.0).then(|| 1e6 * clients.max(1) as f64 / f64::from(rate)),
        })
    }
}

/// The word for a policy.
pub(crate) const fn word(policy: Delivery) -> &'static str {
    match policy {
        Delivery::Synchronous => "synchronous",
        Delivery::Batched => "batched",
        Delivery::Adaptive => "adaptive",
    }
}

fn policy(name: &str) -> Result<Delivery, Bad> {
    Delivery::ALL
        .iter()
        .copied()
        .find(|&policy| word(policy) == name)
        .ok_or_else(|| Bad(alloc::format!("there is no policy {name:?}")))
}

/// The addresses `FIRST+COUNT`, as scenarios number their domains: the last byte runs from 1 to 250, then the one before
/// it grows.
fn targets(text: &str) -> Result<Vec<Ipv4Address>, Bad> {
    let wrong = || Bad(alloc::format!("targets: {text:?} is no ADDRESS or ADDRESS+COUNT"));
    let (first, count) = text.split_once('+').unwrap_or((text, "1"));
    let [a, b, c, d] = first.parse::<Ipv4Address>().map_err(|_| wrong())?.octets();
    let count: u16 = count.parse().map_err(|_| wrong())?;
    (0..count)
        .map(|index| {
            let last = u16::from(d).checked_sub(1).ok_or_else(wrong)? + index;
            let third = u8::try_from(u16::from(c) + last / 250).map_err(|_| wrong())?;
            Ok(Ipv4Address::new(a, b, third, (last % 250) as u8 + 1))
        })
        .collect()
}
