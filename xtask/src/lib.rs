//! `cargo xtask`: builds Denizen's images, runs them in QEMU, measures and reports.
//! It exists so that one command does each whole job on a fresh machine.

// They panic where nobody reads: see `say`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod say;

mod archive;
mod bench;
mod cli;
mod compile;
mod cost;
mod counters;
mod ext4;
mod figures;
mod host;
mod html;
mod image;
mod interrupt;
mod load;
mod measure;
mod new_guest;
mod paths;
mod qemu;
mod replay;
mod run;
mod scenario;
mod serial;
mod setup;
mod suite;
mod table;
mod tidy;
mod tied;
mod trace;

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Command};

/// What the user asked for cannot be done as asked; ends the program with status 2.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) if say::is_lost() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("error: {error:#}");
            let input = error.is::<BadInput>() || error.is::<scenario::Refusal>();
            ExitCode::from(if input { 2 } else { 1 })
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Build => build(),
        Command::Run(options) => run::run(&options),
        Command::Kv { what } => run::kv::kv(&what),
        Command::Image(options) => image::image(&options),
        Command::New { name } => new_guest::lay_out(&name),
        Command::Test(options) => suite::test(&options),
        Command::Soak(options) => suite::soak(&options),
        Command::Check => suite::check(),
        Command::Setup => {
            setup::need(setup::QEMU)?;
            setup::need(setup::ISO)?;
            setup::need(setup::EXT4)?;
            setup::need_target()
        }
        Command::Strike { what } => run::strike::strike(&what),
        Command::Trace(options) => trace::trace(&options),
        Command::Tidy { bless } => tidy::tidy(bless),
        Command::Bench(options) => bench::bench(&options),
        Command::Measure { what } => measure::measure(&what),
    }
}

fn build() -> Result<()> {
    setup::need_target()?;
    let hypervisor = compile::hypervisor()?;
    say!("{}", paths::shown(&hypervisor));
    for guest in compile::guests(&compile::guest_names()?)? {
        say!("{}", paths::shown(&guest));
    }
    Ok(())
}

/// Looks at bytes in every view of a trace, as fuzzing wants it: what is no trace is refused, and nothing panics.
#[cfg(feature = "fuzz")]
pub fn look(bytes: &[u8]) {
    trace::look::at(bytes);
}

/// A trace of records made of these bytes, as fuzzing wants it: whole, so that what records say is what is tried.
#[cfg(feature = "fuzz")]
#[must_use]
pub fn trace_of(bytes: &[u8]) -> Vec<u8> {
    trace::look::file(&trace::look::records(bytes))
}
