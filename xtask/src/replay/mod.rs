//! `run --record` and `trace replay`: a run of the hypervisor in a file, and the same run again on the host.
//! It exists so that whatever happens in QEMU can be looked at, again and again, where tests and debuggers are.

mod keep;
mod play;
mod recording;

use std::io::Read;
use std::path::Path;

use anyhow::Result;
use hypervisor_core::replay::file::File;
use hypervisor_core::replay::kept;
use serde::Serialize;

use crate::cli::Replay;
use crate::table::grouped;
use crate::trace::write_json;
use crate::{BadInput, paths};
use play::{Outcome, Played};

pub(crate) use recording::Recording;

/// The figures of a replay.
#[derive(Debug, Serialize)]
struct Figures<'a> {
    recording: &'a kept::About,
    #[serde(flatten)]
    played: &'a Played,
    /// Where it is kept as a test, if that was asked for.
    test: Option<String>,
}

/// Plays a recording.
///
/// # Errors
/// [`BadInput`] if it is none; an error if something is not as it was.
pub(crate) fn replay(options: &Replay) -> Result<()> {
    let path = &options.file;
    let bad = |why: String| BadInput(format!("{}: {why}", path.display()));
    if let Some(name) = &options.test {
        keep::check(name)?;
    }
    let file = open(path)?;
    let about = kept::about(&file).map_err(bad)?;
    let played = play::play(&file, options.until)
        .ok_or_else(|| bad("its log begins as none of this version does".to_owned()))?;
    show(&about, &file, &played);
    let kept = match &options.test {
        Some(name) => Some(keep::keep(name, &file, about.clone(), &played, options.until.is_some())?),
        None => None,
    };
    if let Some(kept) = &kept {
        say!("{kept}");
    }
    write_json(
        &options.json,
        &Figures { recording: &about, played: &played, test: kept.map(|kept| kept.path) },
    )?;
    match played.outcome {
        Outcome::Same => Ok(()),
        _ => anyhow::bail!("{}", played.verdict()),
    }
}

/// Reads a recording.
fn open(path: &Path) -> Result<File> {
    let bad = |why: String| BadInput(format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    let read = paths::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| bad(format!("cannot be read: {error}")))?;
    Ok(File::read(&bytes).map_err(bad)?)
}

/// Prints what came of it.
fn show(about: &kept::About, file: &File, played: &Played) {
    let kept::About { scenario, version, command, .. } = about;
    say!("{scenario}, hypervisor {version}: {command}");
    let summary = &played.summary;
    let rows = [
        ("calls", summary.calls),
        ("  hypercalls", summary.hypercalls),
        ("  exceptions", summary.exceptions),
        ("  interrupts", summary.interrupts),
        ("compared", summary.compared),
        ("digests", summary.digests),
        ("bytes", file.log.len() as u64),
    ];
    for (name, number) in rows {
        say!("{name:<12} {:>16}", grouped(number));
    }
    say!("last digest  {:>16}", summary.digest);
    // Anything else is this program's error.
    if played.outcome == Outcome::Same {
        say!("{}", played.verdict());
    }
}

/// Where kept recordings lie.
fn folder() -> std::path::PathBuf {
    paths::root().join("tests").join("replays")
}
