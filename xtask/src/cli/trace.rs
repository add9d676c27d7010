//! Options of the commands that make traces, `trace record`, `trace live` and `trace control`, and of two that draw them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::writable;
use super::{Json, Ns, Run};
use crate::scenario::Size;

/// Examples of `trace record`.
pub(super) const RECORD_HELP: &str = "Examples:
  cargo xtask trace record inside --icount --guests 4 --seconds 0.2 --output t.bin
  cargo xtask trace record web --guests 8 --categories hypercall,event,ring --domains 'web-*'
  cargo xtask trace record inside --icount --longer 5000      only hypercalls of 5 us and more
  cargo xtask trace record web --stop delay:2000000           until an event waits for 2 ms
  cargo xtask trace record --attach --seconds 10              of a run that was started with --keep

What the host loads is recorded under load, everything else from its start. --mode live writes while the system runs,
as much as --limit allows; --mode flight keeps the newest 64 MiB.";

/// Examples of `trace live`.
pub(super) const LIVE_HELP: &str = "Examples:
  cargo xtask run web --keep &
  cargo xtask trace live
  cargo xtask trace live web --load 16 --sort events
  cargo xtask trace live --categories hypercall,run-state --domains 'web-*'
  cargo xtask trace live --intervals 5 | cat                  tables, one after the other

Keys: q quits, s and S choose the column to sort by, r turns the order, p pauses, + and - change the interval, arrows
scroll, h shows this. A colon begins a setting of the trace, as `trace control` takes them: `:categories=event,ring`.";

/// Examples of `trace control`.
pub(super) const CONTROL_HELP: &str = "Examples:
  cargo xtask trace control                                   how the trace stands
  cargo xtask trace control --run web on
  cargo xtask trace control categories=hypercall,event domains='web-*'
  cargo xtask trace control stop=call:100000 on
  cargo xtask trace control off mode=flight buffer=1048576 on

Settings, in their order: on, off, mode=flight|live, buffer=BYTES|all, categories=LIST|all, domains=PATTERNS|all,
calls=LIST|all, longer=NS, stop=call:NS|delay:NS|death|never.";

/// What is to be recorded.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Choice {
    /// Only these categories: hypercall,event,ring, ...
    #[arg(long, value_name = "LIST")]
    pub(crate) categories: Option<String>,
    /// Only domains of these names: web-*,driver
    #[arg(long, value_name = "PATTERNS")]
    pub(crate) domains: Option<String>,
    /// Only these hypercalls: sched_op,event_channel_op, ...
    #[arg(long, value_name = "LIST")]
    pub(crate) calls: Option<String>,
    /// Only hypercalls that take at least so long
    #[arg(long, value_name = "NS")]
    pub(crate) longer: Option<u64>,
    /// End the recording at a long hypercall, a late event or a death
    #[arg(long, value_name = "call:NS|delay:NS|death")]
    pub(crate) stop: Option<String>,
}

impl Choice {
    /// As settings, key and value; the keys are the options' names.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let texts = [
            ("categories", self.categories.clone()),
            ("domains", self.domains.clone()),
            ("calls", self.calls.clone()),
            ("longer", self.longer.map(|ns| ns.to_string())),
            ("stop", self.stop.clone()),
        ];
        texts.into_iter().filter_map(|(key, value)| value.map(|value| (key, value)))
    }
}

/// Options of `trace record`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Record {
    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = "trace.bin", value_parser = writable)]
    pub(crate) output: PathBuf,
    /// Record a run that is up, instead of one of its own; SCENARIO says which, --connections loads it
    #[arg(long, conflicts_with_all = OF_OWN_RUNS)]
    pub(crate) attach: bool,
    /// What happens when the shared memory is full
    #[arg(long, value_name = "MODE", default_value = "live")]
    pub(crate) mode: RecordMode,
    /// Most bytes of the file in mode live [default: 1G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) limit: Option<Size>,
    /// What is recorded
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// The run
    #[command(flatten)]
    pub(crate) run: Run,
}

/// Options that say how a run is started: one that is up does not take them.
const OF_OWN_RUNS: [&str; 17] = [
    "guests", "delivery", "suppress", "idle", "ring", "memory", "seed", "load", "icount", "crash", "kvm",
    "port", "monitor", "record", "gdb", "keep", "trace",
];

impl Record {
    /// Most bytes of the file in mode live.
    pub(crate) fn most(&self) -> u64 {
        self.limit.map_or(1 << 30, |limit| limit.0)
    }
}

/// What happens when the shared memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordMode {
    /// It is written to the file while it fills
    Live,
    /// The newest records win
    Flight,
}

/// Options of `trace live`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Live {
    /// The run, by its scenario's name [default: the only one]
    pub(crate) run: Option<String>,
    /// Between two pictures
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub(crate) interval: u64,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub(crate) intervals: Option<u64>,
    /// Sort by this
    #[arg(long, value_name = "COLUMN", default_value = "cpu")]
    pub(crate) sort: Sort,
    /// Load its web servers with so many connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) load: Option<u32>,
    /// What is recorded
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What the live view is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Share of time with the processor
    Cpu,
    /// Share of time of waiting for it
    Queue,
    /// Hypercalls
    Calls,
    /// Events raised for it
    Events,
    /// Events that an upcall finds
    Batch,
    /// Switches to it
    Switches,
    /// Entries waiting in its rings
    Rings,
    /// Name
    Name,
}

/// Options of `trace control`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Control {
    /// Settings, see below; none only shows how the trace stands
    #[arg(value_name = "SETTING")]
    pub(crate) settings: Vec<String>,
    /// The run, by its scenario's name [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `trace timeline`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Timeline {
    /// The trace
    pub(crate) file: PathBuf,
    /// The middle: seconds, or with a unit (250ms, 3us)
    #[arg(long, value_name = "T", value_parser = crate::trace::time)]
    pub(crate) around: Ns,
    /// How much is shown, in microseconds
    #[arg(long, value_name = "US", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) window: u64,
    /// Only this domain: a name, a prefix with *, or a number; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Vec<String>,
    /// Most records that are listed: the ones nearest to the middle
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) lines: usize,
    /// Letters across
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(20..=160))]
    pub(crate) width: u16,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `trace report`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Report {
    /// The trace
    pub(crate) file: PathBuf,
    /// The page to write [default: FILE with .html]
    #[arg(long, short, value_name = "PAGE", value_parser = writable)]
    pub(crate) output: Option<PathBuf>,
    /// Where the figures go: those of `trace stats`
    #[command(flatten)]
    pub(crate) json: Json,
}
