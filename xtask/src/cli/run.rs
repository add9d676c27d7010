//! Options of `run`, which `trace record` takes too.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Json;
use super::output::{in_a_folder, writable};
use crate::scenario::{Delivery, Load, Size};

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Name in images/, or path of a .toml file [default: web, or inside with --load inside]
    pub(crate) scenario: Option<String>,
    /// How many of the scenario's subject (the web guests)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) guests: Option<u32>,
    /// When events reach the measured guests
    #[arg(long, value_name = "POLICY", default_value = "both")]
    pub(crate) delivery: Policies,
    /// Whether ring indices may suppress notifications
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    pub(crate) suppress: Switch,
    /// How idle guests wait
    #[arg(long, value_name = "HOW", default_value = "timeout")]
    pub(crate) idle: Idle,
    /// Ring of the guests' kernels, 1 or 3 [default: the scenario's]
    #[arg(long, value_name = "RING", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) ring: Option<u8>,
    /// Memory of the machine [default: the scenario's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Seconds of each load, or at the most of a run without load [default: 5 from the host; 2 from inside, or for a recording]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// Connections of the load [default: two a guest, at most 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: Option<u32>,
    /// Seed of everything drawn at random [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Where the requests come from
    #[arg(long, value_name = "WHERE")]
    pub(crate) load: Option<Load>,
    /// Count instructions instead of time: exact figures, load from inside, no network card
    #[arg(long)]
    pub(crate) icount: bool,
    /// Crash this domain under load; its scenario builds it again
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) crash: Option<String>,
    /// How often to crash it
    #[arg(long, value_name = "N", default_value_t = 1, requires = "crash", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) crashes: u32,
    /// Use KVM instead of emulation (no test does, see docs/CAVEATS.md)
    #[arg(long, conflicts_with = "icount")]
    pub(crate) kvm: bool,
    /// First host port of the guests [default: free ones from 18000]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Copy the trace here as well
    #[arg(long, value_name = "FILE", value_parser = writable)]
    pub(crate) trace: Option<PathBuf>,
    /// Trace from the start, and what: `on` or a setting, for which see below (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) trace_set: Vec<String>,
    /// Open QEMU's monitor at this socket
    #[arg(long, value_name = "SOCKET", value_parser = in_a_folder)]
    pub(crate) monitor: Option<PathBuf>,
    /// Write down here whatever comes into the hypervisor's core, for `trace replay`
    #[arg(long, value_name = "FILE", value_parser = writable)]
    pub(crate) record: Option<PathBuf>,
    /// Wait for gdb on port 1234 before the first instruction
    #[arg(long)]
    pub(crate) gdb: bool,
    /// Stay up after the guests have come up, and say on which ports
    #[arg(long, conflicts_with_all = ["crash", "connections", "seconds", "trace", "json"])]
    pub(crate) keep: bool,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Which policies a run measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policies {
    /// Only when a guest next runs
    Batched,
    /// Only at once
    Synchronous,
    /// Next, when whoever runs has had a moment to finish
    Adaptive,
    /// Synchronous, then batched
    Both,
    /// One after the other
    All,
}

impl Policies {
    /// In the order in which they are measured.
    pub(crate) fn list(self) -> &'static [Delivery] {
        match self {
            Self::Batched => &[Delivery::Batched],
            Self::Synchronous => &[Delivery::Synchronous],
            Self::Adaptive => &[Delivery::Adaptive],
            Self::Both => &[Delivery::Synchronous, Delivery::Batched],
            Self::All => &Delivery::ALL,
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// How idle guests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Idle {
    /// Until an event or the next timer, in one call
    Timeout,
    /// Sleep only when no timer is pending
    Plain,
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 86_400.0 => Ok(number),
        _ => Err("not a number of seconds above 0".to_owned()),
    }
}
