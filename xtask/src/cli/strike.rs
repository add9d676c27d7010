//! The options of `strike`.

use clap::{Args, Subcommand};

use super::Json;

/// How to strike.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StrikeKind {
    /// Stop before each instruction of the ways in and out, strike with a machine check and with an NMI, and go on
    #[command(after_help = "Examples:
  cargo xtask strike sweep --ring 1 --json sweep.json
  cargo xtask strike sweep --ring 3 --brief     # the first load alone, some 20 s

It ends with `N of M instructions struck`, and for each of the rest why no run comes there. What has no such reason and
was not visited is an error, unless the sweep is brief. docs/RING1.md says what a strike does.")]
    Sweep(StrikeSweep),
    /// NMIs one after the other under load, wherever they hit
    #[command(after_help = "Examples:
  cargo xtask strike paced --ring 1 --count 200 --json paced.json
  cargo xtask strike paced --ring 3 --count 10000

Two guests of images/ways.toml are on their way into the hypervisor or back most of the time, and QEMU runs with
`-singlestep`, so that an NMI may come between any two instructions. Each is waited for. It ends with how many came before
each instruction of the ways in and out; one that was left out where many came is an error.")]
    Paced(StrikePaced),
}

/// Options of `strike sweep`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StrikeSweep {
    /// Ring of the guests' kernels
    #[arg(long, value_name = "RING", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) ring: u8,
    /// Only a guest with user processes runs meanwhile; what it does not visit is told and is no error
    #[arg(long)]
    pub(crate) brief: bool,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Options of `strike paced`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StrikePaced {
    /// Ring of the guests' kernels
    #[arg(long, value_name = "RING", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) ring: u8,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Where the figures go
    #[command(flatten)]
    pub(crate) json: Json,
}
