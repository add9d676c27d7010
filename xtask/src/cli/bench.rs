//! Options of `bench`.

use clap::{Args, ValueEnum};

use super::Json;

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
