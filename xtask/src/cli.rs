//! The command line: every command and option that `cargo xtask` knows.
//! It is one place so that names and help stay alike across commands.

mod bench;
mod kv;
mod measure;
mod output;
mod replay;
mod run;
mod strike;
mod suite;
mod trace;
mod view;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::bench::{Bench, BenchKind, Peer};
pub(crate) use self::kv::{Kv, KvCheck, KvLoad};
pub(crate) use self::measure::{
    Batching, Course, Creation, IdleSweep, Load as MeasuredLoad, MeasureKind, Scale, Slices, Spread, Ticks,
    Window,
};
pub(crate) use self::output::{Json, spare};
pub(crate) use self::replay::Replay;
pub(crate) use self::run::{Idle, Policies, Run, Switch};
pub(crate) use self::strike::{StrikeKind, StrikePaced, StrikeSweep};
pub(crate) use self::suite::{Soak, Test};
pub(crate) use self::trace::{Choice, Control, Live, Record, RecordMode, Report, Sort, Timeline};
pub(crate) use self::view::{Column, Filter, Format, Ns, Trace, TraceView, Why};

/// Builds, runs, tests and measures Denizen: a hypervisor and its guests, in QEMU.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
#[command(after_help = "Examples:
  cargo xtask run                     32 web guests, both interrupt policies, a report
  cargo xtask run hello               one guest that says hello
  cargo xtask run --keep              stay up for curl
  cargo xtask test                    all tests, under ten minutes

What commands write lies below target/denizen/. README.md shows what else there is to do.")]
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
  cargo xtask bench block --full --json block.json
  cargo xtask bench path --guests 1,64")]
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
    #[command(after_help = "Examples:
  cargo xtask new mine && cargo xtask run mine

It writes images/guests/NAME and images/NAME.toml, and overwrites nothing. docs/GUEST.md says what to do with them.")]
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
    /// Run all that CI runs: form, lints, tidy, all tests
    #[command(
        after_help = "It takes ten minutes on two cores, and fifteen the first time. `cargo xtask test --only TEXT` runs single parts of it."
    )]
    Check,
    /// Check the repository itself: which crate may name which, form of files, tests that docs/SPECIFICATION.md names, generated documents
    #[command(after_help = "Examples:
  cargo xtask tidy
  cargo xtask tidy --bless       after a change of the ABI, or of unsafe code")]
    Tidy {
        /// Rewrite generated files instead of comparing them
        #[arg(long)]
        bless: bool,
    },
    /// Install what this machine lacks: QEMU, what makes ISOs and file systems, the Rust target
    #[command(
        after_help = "As root on Debian or Ubuntu it installs; elsewhere it names the command that does. Other commands do the same for what they need."
    )]
    Setup,
}

/// Options of `image`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Image {
    /// Name in images/, or path of a .toml file
    #[arg(default_value = "web")]
    pub(crate) scenario: String,
    /// Where the ISO goes [default: target/denizen/SCENARIO/denizen.iso]
    #[arg(long, value_name = "FILE", value_parser = output::writable)]
    pub(crate) output: Option<PathBuf>,
}
