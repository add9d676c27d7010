//! The options of `measure`, apart because there are many.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Json, Switch};
use crate::measure::{Policy, Shard};
use crate::scenario::Size;

/// What `measure` measures.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MeasureKind {
    /// Batched interrupts: each number of guests under each delivery policy
    #[command(after_help = "Examples:
  cargo xtask measure batching --guests 1,32,128 --json batching.json
  cargo xtask measure batching --document 100K --guests 8,64
  cargo xtask measure batching --shard 0/4 --json part-0.json
  cargo xtask measure batching --host --guests 1,8,32")]
    Batching(Batching),
    /// Idle-with-timeout: each number of guests with both ways to idle
    #[command(after_help = "Examples:
  cargo xtask measure idle --guests 1,8,32 --json idle.json
  cargo xtask measure idle --document 100K --look 200")]
    Idle(IdleSweep),
    /// The batching window: events and microseconds at one number of guests
    #[command(after_help = "Examples:
  cargo xtask measure window --guests 32 --events 4,16 --microseconds 50,200")]
    Window(Window),
    /// Ticks of a game: each guest answers an update by UDP each period
    #[command(after_help = "Examples:
  cargo xtask measure ticks --guests 1,32,512 --json ticks.json
  cargo xtask measure ticks --period 20 --delivery synchronous,batched:8:500")]
    Ticks(Ticks),
    /// Creation: what the k-th guest costs, in instructions
    #[command(after_help = "Examples:
  cargo xtask measure creation --guests 1024 --json creation.json")]
    Creation(Creation),
    /// The scheduler: computing guests under several slices, weights, and bad neighbours
    #[command(after_help = "Examples:
  cargo xtask measure slices --json slices.json
  cargo xtask measure slices --guests 1,2,4,8,16,32,64,128 --slices 1,5")]
    Slices(Slices),
    /// Single operations beside few guests and many: whether anything grows with their number
    #[command(after_help = "Examples:
  cargo xtask measure scale --json scale.json
  cargo xtask measure scale --guests 1,256 --memory 1G")]
    Scale(Scale),
    /// Put the parts of a sweep together
    #[command(after_help = "Examples:
  cargo xtask measure merge part-0.json part-1.json --json whole.json")]
    Merge {
        /// JSON files of the parts
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where the figures go
        #[command(flatten)]
        json: Json,
    },
}

/// What varies from point to point.
#[derive(Clone, Debug, Args)]
pub(crate) struct Axes {
    /// Numbers of guests
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128,256,512,1024",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) guests: Vec<u32>,
    /// Delivery policies, each compared with the first; a window is written batched:EVENTS:US [default: all three; for idle: batched]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) delivery: Vec<Policy>,
    /// Whether ring indices may suppress notifications; they batch by themselves
    #[arg(long, value_name = "WHETHER", value_delimiter = ',', default_value = "off")]
    pub(crate) suppress: Vec<Switch>,
}

/// Options of a sweep.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sweep {
    /// What varies
    #[command(flatten)]
    pub(crate) axes: Axes,
    /// The load
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Options of `batching`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Batching {
    /// What varies, and the load
    #[command(flatten)]
    pub(crate) sweep: Sweep,
    /// Load from the host over real TCP, in real time: not repeatable, and the clients take no time from the guests
    #[arg(long, conflicts_with_all = ["spread", "rate", "visit", "jobs"])]
    pub(crate) host: bool,
}

/// Options of `idle`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdleSweep {
    /// What varies, and the load
    #[command(flatten)]
    pub(crate) sweep: Sweep,
    /// Microseconds between two looks of the clients at what has come: how far away they are; 0 for clients that take turns like everybody
    #[arg(long, value_name = "US", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) look: u32,
}

/// Options of `ticks`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ticks {
    /// What varies
    #[command(flatten)]
    pub(crate) axes: Axes,
    /// Milliseconds between two updates to a guest
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) period: u32,
    /// How it is carried out
    #[command(flatten)]
    pub(crate) course: Course,
}

/// Options of `window`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Window {
    /// Number of guests
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) guests: u32,
    /// Events that a window gathers at the most
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "2,8,32",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) events: Vec<u32>,
    /// Microseconds that it stays open at the most
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "20,100,500",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) microseconds: Vec<u32>,
    /// Whether ring indices may suppress notifications
    #[arg(long, value_name = "WHETHER", default_value = "off")]
    pub(crate) suppress: Switch,
    /// The load
    #[command(flatten)]
    pub(crate) load: Load,
}

/// Options of `creation`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Creation {
    /// How many guests are created
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(20..=10_000))]
    pub(crate) guests: u32,
    /// Seed of everything drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub(crate) memory: Size,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `slices`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Slices {
    /// Numbers of computing guests; one is always among them
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8,32,128",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) guests: Vec<u32>,
    /// Slices in milliseconds
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,5,10,50",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) slices: Vec<u32>,
    /// Milliseconds of virtual time in which work counts
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) window: u32,
    /// Seed of everything drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    pub(crate) memory: Size,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `scale`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scale {
    /// Numbers of guests beside the two that measure
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,32,1024",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) guests: Vec<u32>,
    /// Seed of everything drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub(crate) memory: Size,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// The load of a measurement.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Bytes of a document, like 2258 or 100K; at most 1M
    #[arg(long, value_name = "SIZE", default_value = "2258", value_parser = bytes)]
    pub(crate) document: u64,
    /// How requests spread over the guests
    #[arg(long, value_name = "HOW", default_value = "zipf")]
    pub(crate) spread: Spread,
    /// Open loop: so many requests a second, answered or not [default: closed loop]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Connections at once [default: two a guest, at most 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: Option<u32>,
    /// Requests of one connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) visit: u32,
    /// How it is carried out
    #[command(flatten)]
    pub(crate) course: Course,
}

/// How a measurement is carried out.
#[derive(Clone, Debug, Args)]
pub(crate) struct Course {
    /// Rounds, each with every policy
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Milliseconds of virtual time that a load settles before it is measured [default: 20, and more for long documents; two periods of
    /// ticks; 300 with --host]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) warm: Option<u32>,
    /// Milliseconds of virtual time that are measured in each round [default: 100, and more for long documents; twice that for idle; ten
    /// periods of ticks; 2000 with --host]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) settled: Option<u32>,
    /// Seed of everything drawn at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    pub(crate) memory: Size,
    /// Machines at a time [default: one a processor, while they take less than half of the memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) jobs: Option<u8>,
    /// Measure only every Nth machine, from the Ith on [default: from the job array's environment, else all]
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Forget what a stopped sweep has measured already
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// How requests spread over the guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Spread {
    /// The k-th most wanted guest gets 1/k of the first's
    Zipf,
    /// All alike
    Even,
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = match text.parse::<u64>() {
        Ok(bytes) => bytes,
        Err(_) => text.parse::<Size>()?.0,
    };
    if (1..=1 << 20).contains(&bytes) { Ok(bytes) } else { Err("a document has 1 byte to 1M".to_owned()) }
}
