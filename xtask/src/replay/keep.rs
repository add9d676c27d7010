//! A recording kept as a test on the host: cut after the call that matters, with what must come of it.
//! It exists so that a run that failed in QEMU becomes a test by one command.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use hypervisor_core::replay::cut;
use hypervisor_core::replay::file::File;
use hypervisor_core::replay::kept::{About, Expects};

use super::folder;
use super::play::{Outcome, Played};
use crate::{BadInput, paths};

/// A test that was made.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) path: String,
    expects: Expects,
    calls: u64,
    bytes: usize,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wants = match self.expects {
            Expects::Same => "all of it must be as recorded",
            Expects::Survives => "the core must come back from the last call, and its state hold",
            Expects::Otherwise => "the last call must be answered otherwise, and the state hold",
        };
        let Self { path, calls, bytes, .. } = self;
        write!(
            f,
            "kept as a test: {path}, {calls} calls, {} KiB; {wants}\nrun it: cargo test -p tests --test replays",
            bytes >> 10
        )
    }
}

/// Whether a test may be called so.
///
/// # Errors
/// [`BadInput`] if not.
pub(super) fn check(name: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(BadInput(format!("--test {name:?}: letters, digits, - and _ make a name")).into());
    }
    Ok(())
}

/// Keeps a recording as the test of this name. `chosen` is whether the last call was named as the one whose answer is
/// wrong.
pub(super) fn keep(name: &str, file: &File, about: About, played: &Played, chosen: bool) -> Result<Kept> {
    let expects = match played.outcome {
        Outcome::Panics | Outcome::Broken => Expects::Survives,
        Outcome::Differs => Expects::Otherwise,
        Outcome::Same if played.summary.broken_off => Expects::Survives,
        Outcome::Same if chosen => Expects::Otherwise,
        Outcome::Same => Expects::Same,
    };
    let calls = played.call().unwrap_or(played.summary.calls);
    let cut = cut(&file.log, calls).context("a log that was played can be cut")?;
    let about = About { expects, calls: cut.calls, ..about };
    let kept = File {
        about: serde_json::to_string(&about).context("writing JSON")?,
        members: file.members.clone(),
        log: cut.log,
    };
    let path = folder().join(format!("{name}.replay"));
    let bytes = kept.bytes();
    write(&path, &bytes)?;
    Ok(Kept { path: paths::shown(&path), expects, calls: cut.calls, bytes: bytes.len() })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder()).context("making the folder of kept recordings")?;
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
