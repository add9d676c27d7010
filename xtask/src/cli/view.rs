//! Views of traces, and which records they are of.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::output::in_a_folder;
use super::trace::{CONTROL_HELP, Control, LIVE_HELP, Live, RECORD_HELP, Record, Report, Timeline};
use super::{Json, Replay};

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
    #[command(after_help = RECORD_HELP)]
    Record(Box<Record>),
    /// Watch a run that is up: domains, run states, hypercalls, events, rings
    #[command(after_help = LIVE_HELP)]
    Live(Live),
    /// Choose what a run that is up records, and show how its trace stands
    #[command(after_help = CONTROL_HELP)]
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
        #[arg(value_parser = in_a_folder)]
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
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slowest: u32,
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
