//! The command line: every command and option that `cargo xtask` knows.
//! It is one place so that names and help stay alike across commands.

mod kv;
mod measure;
mod replay;
mod strike;
mod trace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::kv::{Kv, KvCheck, KvLoad};
pub(crate) use self::measure::{
    Batching, Course, Creation, IdleSweep, Load as MeasuredLoad, MeasureKind, Scale, Slices, Spread, Ticks,
    Window,
};
pub(crate) use self::replay::Replay;
pub(crate) use self::strike::{StrikeKind, StrikePaced, StrikeSweep};
pub(crate) use self::trace::{Control, Live, Record, RecordMode, Report, Sort, Timeline};
use crate::scenario::{Delivery, Load, Size};

/// Builds, runs and measures Denizen.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
#[command(after_help = "Examples:
  cargo xtask run                     32 web guests, both interrupt policies, a report
  cargo xtask run hello               one guest that says hello
  cargo xtask run --keep              stay up for curl
  cargo xtask test                    all tests, under ten minutes")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the hypervisor and all guests
    Build,
    /// Run a scenario in QEMU and measure it
    #[command(after_help = "Examples:
  cargo xtask run --guests 200 --memory 1G --json run.json
  cargo xtask run --delivery both --suppress off
  cargo xtask run --icount --guests 32      the same figures each time
  cargo xtask run hostile --icount --seconds 60 --delivery batched
  cargo xtask run --crash driver --crashes 5     the driver domain dies and is built again
  cargo xtask run hello --icount --record hello.replay
  cargo xtask run hello --trace-set on --trace-set categories=hypercall,event

Settings of --trace-set: on, mode=flight|live, buffer=BYTES, categories=LIST, domains=PATTERNS, calls=LIST,
longer=NS, stop=call:NS|delay:NS|death; each of them turns the trace on")]
    Run(Run),
    /// Load a key-value server that keeps its data on a disk, and check what is on the disk
    Kv {
        /// What to do
        #[command(subcommand)]
        what: Kv,
    },
    /// Write a bootable ISO of a scenario
    #[command(after_help = "Examples:
  cargo xtask image
  cargo xtask image hello --output hello.iso")]
    Image(Image),
    /// Measure single operations
    #[command(after_help = "Examples:
  cargo xtask bench operations
  cargo xtask bench operations --peer xen --json bench.json
  cargo xtask bench sensitive --json sensitive.json
  cargo xtask bench rings --peer xen --json rings.json
  cargo xtask bench tracing --json tracing.json
  cargo xtask bench block --full --json block.json")]
    Bench(Bench),
    /// Measure a curve: many runs, one figure each
    Measure {
        /// What to measure
        #[command(subcommand)]
        what: MeasureKind,
    },
    /// Strike the processor with NMIs and machine checks, and see that all goes on
    Strike {
        /// How
        #[command(subcommand)]
        what: StrikeKind,
    },
    /// Record, watch and read traces
    #[command(after_help = "Examples:
  cargo xtask trace record inside --icount --guests 4 --output trace.bin
  cargo xtask trace stats target/denizen/web/trace.bin
  cargo xtask trace text target/denizen/web/trace.bin | less")]
    Trace(Trace),
    /// Lay out a new guest: its crate and its scenario
    New {
        /// Name of the guest: small letters, digits and hyphens
        name: String,
    },
    /// Run all tests, each part timed
    #[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --only hostile --json test.json")]
    Test(Test),
    /// Run the long tests: many guests, a minute of hostility, a hundred seeds
    #[command(after_help = "Examples:
  cargo xtask soak --json soak.json
  cargo xtask soak --only seeds --seeds 20")]
    Soak(Soak),
    /// Run all that CI runs
    Check,
    /// Check the repository itself
    Tidy {
        /// Rewrite generated files instead of comparing them
        #[arg(long)]
        bless: bool,
    },
    /// Install what this machine lacks
    Setup,
}

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
    /// Ring of the guests' kernels
    #[arg(long, value_name = "RING", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) ring: Option<u8>,
    /// Memory of the machine [default: the scenario's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Length of each load; without load, of the run
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
    /// How often
    #[arg(long, value_name = "N", default_value_t = 1, requires = "crash")]
    pub(crate) crashes: u32,
    /// Use KVM instead of emulation
    #[arg(long, conflicts_with = "icount")]
    pub(crate) kvm: bool,
    /// First host port of the guests [default: free ones from 18000]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Copy the trace here as well
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Trace from the start, and what: `on` or a setting, for which see below (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) trace_set: Vec<String>,
    /// Open QEMU's monitor at this socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) monitor: Option<PathBuf>,
    /// Write down here whatever comes into the hypervisor's core, for `trace replay`
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Wait for gdb on port 1234 before the first instruction
    #[arg(long)]
    pub(crate) gdb: bool,
    /// Stay up after the guests have come up, and say on which ports
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// The option of each command that reports.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Json {
    /// Write the figures here as JSON
    #[arg(long, value_name = "FILE", value_parser = in_a_folder)]
    pub(crate) json: Option<PathBuf>,
}

/// A file that can be made where it is to be: what takes an hour must not fail when it is written down.
fn in_a_folder(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let folder = path.parent().unwrap_or(&path);
    if path.is_dir() {
        Err("that is a folder".to_owned())
    } else if folder.as_os_str().is_empty() || folder.is_dir() {
        Ok(path)
    } else {
        Err(format!("there is no folder {}", folder.display()))
    }
}

/// Options of `image`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Image {
    /// Name in images/, or path of a .toml file
    #[arg(default_value = "web")]
    pub(crate) scenario: String,
    /// Where the ISO goes [default: target/denizen/SCENARIO/denizen.iso]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Options of `bench`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// What to measure
    pub(crate) what: BenchKind,
    /// Measure the same guest on another hypervisor as well
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<Peer>,
    /// Measure every point, where the usual choice is smaller: disks; categories of the trace one by one
    #[arg(long)]
    pub(crate) full: bool,
    /// Numbers of guests, for path [default: 1,8,64,256]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) guests: Vec<u32>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What `bench` measures.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BenchKind {
    /// Single operations, in instructions
    Operations,
    /// Processes and their kernel in ring 1 and in ring 3, in instructions and in time
    Rings,
    /// What becomes of each sensitive instruction in each ring, held against docs/SENSITIVE.md
    Sensitive,
    /// Disks: instructions by record, operation, depth and kind of disk; many guests on one back end
    Block,
    /// What the trace costs: compiled out, off, as a flight recorder, live
    Tracing,
    /// Exports of a trace of ten million records: time and memory
    Export,
    /// How long an interrupt takes to its handler, by stages, for targets that run, wait and sleep
    Path,
}

/// Another hypervisor.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Peer {
    /// Debian's Xen 4.17
    Xen,
}

/// Options of `trace`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Trace {
    /// What to show
    #[command(subcommand)]
    pub(crate) view: TraceView,
}

/// A view of a trace.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TraceView {
    /// Record a run of a scenario, or a run that is up, into a file of any length
    #[command(after_help = trace::RECORD_HELP)]
    Record(Box<Record>),
    /// Watch a run that is up: domains, run states, hypercalls, events, rings
    #[command(after_help = trace::LIVE_HELP)]
    Live(Live),
    /// Choose what a run that is up records, and show how its trace stands
    #[command(after_help = trace::CONTROL_HELP)]
    Control(Control),
    /// Counts and durations: hypercalls, run states, batches, delays by stage, who interrupts whom
    #[command(after_help = "Examples:
  cargo xtask trace stats trace.bin --json stats.json
  cargo xtask trace stats trace.bin --domain 'web-*' --from 1.2 --to 1.3")]
    Stats {
        /// The trace
        file: PathBuf,
        /// Which records
        #[command(flatten)]
        filter: Filter,
        /// Where the figures go
        #[command(flatten)]
        json: Json,
    },
    /// A short time seen closely: who had the processor when, and each record in between
    #[command(after_help = "Examples:
  cargo xtask trace timeline trace.bin --around 0.25
  cargo xtask trace timeline trace.bin --around 250ms --window 200 --domain driver --domain 'web-*'")]
    Timeline(Timeline),
    /// An HTML page with plots: timelines, delays by stage, batches, who calls what
    #[command(after_help = "Examples:
  cargo xtask trace report trace.bin
  cargo xtask trace report trace.bin --output page.html --json stats.json")]
    Report(Report),
    /// What changed between two runs, by hypercall and stage, with its share of the whole
    #[command(after_help = "Examples:
  cargo xtask trace diff synchronous.bin batched.bin
  cargo xtask trace diff before.bin after.bin --per upcall --json diff.json")]
    Diff {
        /// The trace of the first run
        one: PathBuf,
        /// The trace of the second
        other: PathBuf,
        /// Give figures for one record of this name instead of a second
        #[arg(long, value_name = "RECORD")]
        per: Option<String>,
        /// Where the figures go
        #[command(flatten)]
        json: Json,
    },
    /// Write it in a format that other tools read
    #[command(after_help = "Examples:
  cargo xtask trace export perfetto trace.bin trace.pftrace    open it in https://ui.perfetto.dev
  cargo xtask trace export ctf trace.bin folder && babeltrace2 folder
  cargo xtask trace export csv trace.bin trace.csv --record 'ring*' --domain driver")]
    Export {
        /// The format
        format: Format,
        /// The trace
        file: PathBuf,
        /// The file to write; for ctf a folder
        output: PathBuf,
        /// Which records
        #[command(flatten)]
        filter: Filter,
        /// Where the figures go: how many events there are, and what is missing
        #[command(flatten)]
        json: Json,
    },
    /// What requests waited for: the run queue, other domains' turns, the back end
    #[command(after_help = "Examples:
  cargo xtask trace why trace.bin --slowest 5
  cargo xtask trace why trace.bin 'web-*' --slowest 3 --json why.json
  cargo xtask trace why trace.bin web-1 --at 0.1234

A request of a domain begins with an event for it. It ends when the domain sleeps again or, if it has produced
something for a back end, when that has taken it. For the last, trace the category ring too.")]
    Why(Why),
    /// Play a recording of `run --record` to the hypervisor's core on the host; status 1 at the first difference
    #[command(after_help = "Examples:
  cargo xtask run hello --icount --record hello.replay && cargo xtask trace replay hello.replay
  cargo xtask trace replay failed.replay --test lost-event
  cargo xtask trace replay failed.replay --until 48213 --test wrong-answer

--test keeps the recording in tests/replays, up to the call that matters: where the core panics, breaks its state or
differs, or the last one of --until, whose answer must then become another one")]
    Replay(Replay),
    /// One line a record
    #[command(after_help = "Examples:
  cargo xtask trace text trace.bin --domain web-1 --record 'hypercall*'
  cargo xtask trace text trace.bin --from 120ms --to 121ms --columns delta,domain,record,fields")]
    Text {
        /// The trace
        file: PathBuf,
        /// Which records
        #[command(flatten)]
        filter: Filter,
        /// What each line shows [default: time,domain,record,fields]
        #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
        columns: Vec<Column>,
        /// Where the records go, with their fields as numbers
        #[command(flatten)]
        json: Json,
    },
}

/// Options of `trace why`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Why {
    /// The trace
    pub(crate) file: PathBuf,
    /// Only requests of this domain: a name, a prefix with *, or a number
    pub(crate) domain: Option<String>,
    /// Only requests under way at this time
    #[arg(long, value_name = "T", value_parser = crate::trace::time)]
    pub(crate) at: Option<Ns>,
    /// So many, the slowest first
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) slowest: usize,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Which records of a trace are wanted.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only of this domain: a name, a prefix with *, or a number; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Vec<String>,
    /// Only of this category: hypercall, event, run-state, ring, ...; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) category: Vec<String>,
    /// Only of this kind: a name of docs/TRACE.md, or a prefix with *; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) record: Vec<String>,
    /// Only from this time on: seconds, or with a unit (250ms, 3us)
    #[arg(long, value_name = "T", value_parser = crate::trace::time)]
    pub(crate) from: Option<Ns>,
    /// Only up to this time
    #[arg(long, value_name = "T", value_parser = crate::trace::time)]
    pub(crate) to: Option<Ns>,
}

/// A format that other tools read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Perfetto's native protobuf
    Perfetto,
    /// Common Trace Format 1.8
    Ctf,
    /// Comma-separated values, a line a record
    Csv,
}

/// A point of time in a trace, in ns of system time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ns(pub(crate) u64);

/// What a line of a trace's text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// System time
    Time,
    /// Nanoseconds since the line before
    Delta,
    /// Whom it is about
    Domain,
    /// What happened
    Record,
    /// All that the record says
    Fields,
}

/// Options of `test`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Test {
    /// Only the parts whose name holds this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `soak`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Soak {
    /// Seeds of the hostile runs
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) seeds: u32,
    /// Only the parts whose name holds this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
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

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 86_400.0 => Ok(number),
        _ => Err("not a number of seconds above 0".to_owned()),
    }
}
