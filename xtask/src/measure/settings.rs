//! What a sweep measures, from its options: the part of its JSON by which parts of one sweep know each other.
//! It exists so that a sweep is resumed or merged only with points that mean the same.

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::cli::{Batching, Course, Creation, Idle, IdleSweep, MeasuredLoad, Spread, Switch, Ticks, Window};
use crate::scenario::Delivery;

/// Most connections when nobody says otherwise.
const CONNECTIONS: u32 = 128;
/// Guests of one client that sends updates.
const TARGETS_A_CLIENT: u32 = 128;
/// Connections of one client: its stack looks at all its sockets with each packet.
const CONNECTIONS_A_CLIENT: u32 = 32;
/// The same where clients are to be as if they had processors of their own: they should take little of this one.
const CONNECTIONS_APART: u32 = 8;

/// Segments of a load from the host.
const HOST_WARM_MS: u32 = 300;
const HOST_SETTLED_MS: u32 = 2_000;

/// What a sweep measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// `batching`, `idle`, `window` or `ticks`.
    pub(crate) kind: String,
    /// Numbers of guests.
    pub(crate) guests: Vec<u32>,
    /// Policies that are compared side by side.
    pub(crate) policies: Vec<Policy>,
    /// `on` and `off`: whether ring indices may suppress notifications.
    pub(crate) suppress: Vec<String>,
    /// `timeout` and `plain`: how guests idle.
    pub(crate) idle: Vec<String>,
    /// Bytes of a document.
    pub(crate) document: u64,
    /// `zipf` or `even`.
    pub(crate) spread: String,
    /// Open loop: requests a second.
    pub(crate) rate: Option<u32>,
    /// Updates of a game in place of requests: ms between two to a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) period_ms: Option<u32>,
    /// Whether the load comes from the host, in real time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) host: bool,
    /// Clients and the driver domain take the processor whenever they want it, and clients look so often at what has come, in
    /// us; 0 for clients like everybody.
    #[serde(default)]
    pub(crate) look_us: u32,
    /// Connections, if they were chosen.
    pub(crate) connections: Option<u32>,
    /// Requests of a connection.
    pub(crate) visit: u32,
    /// Rounds.
    pub(crate) rounds: u32,
    /// Warm-up in ms of virtual time.
    pub(crate) warm_ms: u32,
    /// What is measured in a round, in ms of virtual time.
    pub(crate) settled_ms: u32,
    /// For requests under way at a segment's end, in ms of virtual time.
    pub(crate) pause_ms: u32,
    /// Seed.
    pub(crate) seed: u64,
    /// Memory of the machine in bytes.
    pub(crate) memory: u64,
}

/// One machine of a sweep: it measures all policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Guests.
    pub(crate) guests: u32,
    /// `on` or `off`.
    pub(crate) suppress: String,
    /// `timeout` or `plain`.
    pub(crate) idle: String,
}

impl Cell {
    /// A name for files.
    pub(crate) fn name(&self) -> String {
        format!("{}-suppress-{}-idle-{}", self.guests, self.suppress, self.idle)
    }
}

impl Settings {
    /// The sweep that compares policies.
    pub(crate) fn batching(Batching { sweep, host }: &Batching) -> Self {
        let policies = match sweep.axes.delivery.as_slice() {
            [] => Delivery::ALL.map(Policy::plain).to_vec(),
            chosen => chosen.to_vec(),
        };
        let suppress = sweep.axes.suppress.clone();
        let mut settings = Self::new(
            "batching",
            sweep.axes.guests.clone(),
            policies,
            &suppress,
            &[Idle::Timeout],
            &sweep.load,
        );
        if *host {
            settings.host = true;
            // As the host's load is made: to all alike, over connections that stay.
            settings.spread = "even".to_owned();
            settings.visit = u32::MAX;
            settings.warm_ms = sweep.load.course.warm.unwrap_or(HOST_WARM_MS);
            settings.settled_ms = sweep.load.course.settled.unwrap_or(HOST_SETTLED_MS);
        }
        settings
    }

    /// The sweep that compares ways to idle.
    pub(crate) fn idle(IdleSweep { sweep, look }: &IdleSweep) -> Self {
        let policies = match sweep.axes.delivery.as_slice() {
            [] => vec![Policy::plain(Delivery::Batched)],
            chosen => chosen.to_vec(),
        };
        let ways = [Idle::Timeout, Idle::Plain];
        let mut settings =
            Self::new("idle", sweep.axes.guests.clone(), policies, &sweep.axes.suppress, &ways, &sweep.load);
        settings.look_us = *look;
        // Guests that spin answer seldom.
        settings.settled_ms = sweep.load.course.settled.unwrap_or(2 * settings.settled_ms);
        settings
    }

    /// The sweep over windows.
    pub(crate) fn window(window: &Window) -> Self {
        let mut policies = vec![Policy::plain(Delivery::Synchronous), Policy::plain(Delivery::Batched)];
        for &events in &window.events {
            let of = |&us: &u32| Policy { delivery: Delivery::Batched, window: (events, us) };
            policies.extend(window.microseconds.iter().map(of));
        }
        let guests = vec![window.guests];
        Self::new("window", guests, policies, &[window.suppress], &[Idle::Timeout], &window.load)
    }

    /// The sweep of a game's ticks.
    pub(crate) fn ticks(ticks: &Ticks) -> Self {
        let policies = match ticks.axes.delivery.as_slice() {
            [] => Delivery::ALL.map(Policy::plain).to_vec(),
            chosen => chosen.to_vec(),
        };
        let load = MeasuredLoad {
            document: 1,
            spread: Spread::Even,
            rate: None,
            connections: None,
            visit: 1,
            course: ticks.course.clone(),
        };
        let mut settings = Self::new(
            "ticks",
            ticks.axes.guests.clone(),
            policies,
            &ticks.axes.suppress,
            &[Idle::Timeout],
            &load,
        );
        settings.period_ms = Some(ticks.period);
        // Several updates to each guest.
        settings.warm_ms = ticks.course.warm.unwrap_or(2 * ticks.period);
        settings.settled_ms = ticks.course.settled.unwrap_or(10 * ticks.period);
        settings
    }

    /// A machine of so many guests, for one that is looked at without load.
    pub(crate) fn creation(options: &Creation) -> Self {
        Self {
            kind: "creation".to_owned(),
            guests: vec![options.guests],
            policies: vec![Policy::plain(Delivery::Batched)],
            suppress: vec!["off".to_owned()],
            idle: vec!["timeout".to_owned()],
            document: 2258,
            spread: "even".to_owned(),
            rate: None,
            period_ms: None,
            host: false,
            look_us: 0,
            connections: None,
            visit: 1,
            rounds: 1,
            warm_ms: 1,
            settled_ms: 1,
            pause_ms: 1,
            seed: options.seed,
            memory: options.memory.0,
        }
    }

    fn new(
        kind: &str,
        mut guests: Vec<u32>,
        policies: Vec<Policy>,
        suppress: &[Switch],
        idle: &[Idle],
        load: &MeasuredLoad,
    ) -> Self {
        let Course { rounds, warm, settled, seed, memory, .. } = &load.course;
        guests.sort_unstable();
        guests.dedup();
        // A large document takes its time on each of many connections.
        let slow = u32::try_from(load.document / 4096).unwrap_or(u32::MAX).min(1000);
        Self {
            kind: kind.to_owned(),
            guests,
            policies,
            suppress: suppress.iter().map(|switch| on_or_off(*switch).to_owned()).collect(),
            idle: idle.iter().map(|idle| way(*idle).to_owned()).collect(),
            document: load.document,
            spread: if load.spread == Spread::Zipf { "zipf" } else { "even" }.to_owned(),
            rate: load.rate,
            period_ms: None,
            host: false,
            look_us: 0,
            connections: load.connections,
            visit: load.visit,
            rounds: *rounds,
            warm_ms: warm.unwrap_or(20 + 4 * slow),
            settled_ms: settled.unwrap_or(100 + 8 * slow),
            pause_ms: 30 + 16 * slow,
            seed: *seed,
            memory: memory.0,
        }
    }

    /// The machines of the sweep, in their order.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &guests in &self.guests {
            for suppress in &self.suppress {
                for idle in &self.idle {
                    cells.push(Cell { guests, suppress: suppress.clone(), idle: idle.clone() });
                }
            }
        }
        cells
    }

    /// Connections of the load, and the clients that share them.
    pub(crate) fn connections(&self, guests: u32) -> (u32, u32) {
        if self.period_ms.is_some() {
            return (1, guests.div_ceil(TARGETS_A_CLIENT).max(1));
        }
        let all = self.connections.unwrap_or_else(|| guests.saturating_mul(2).min(CONNECTIONS));
        let each = if self.look_us > 0 { CONNECTIONS_APART } else { CONNECTIONS_A_CLIENT };
        let clients = all.div_ceil(each).max(1);
        (all.div_ceil(clients), clients)
    }
}

const fn on_or_off(switch: Switch) -> &'static str {
    match switch {
        Switch::On => "on",
        Switch::Off => "off",
    }
}

const fn way(idle: Idle) -> &'static str {
    match idle {
        Idle::Timeout => "timeout",
        Idle::Plain => "plain",
    }
}
