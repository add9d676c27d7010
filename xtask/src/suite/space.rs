//! Space on the disk: whether a suite has it, and the traces that need not stay.
//! It exists so that a suite says at its start what would otherwise break it in its midst.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::{BadInput, paths};

/// What a build of everything and a run of each kind take, in MiB, when nothing is built yet; measured: 3.3 GB.
const WHOLE: u64 = 4 << 10;

/// What cargo keeps beside that to build faster the next time, unless it is told not to; measured: 3.2 GB.
const INCREMENTAL: u64 = 3 << 10;

/// What a run takes when all is built.
const RUN: u64 = 1 << 10;

/// Sees to it that the tests will not fill the disk.
///
/// # Errors
/// [`BadInput`] with what is free and what is needed.
pub(super) fn need() -> Result<()> {
    let target = paths::target();
    let disk = rustix::fs::statvfs(&target).with_context(|| format!("looking at {}", target.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    // The tests of the host are the largest of what is built.
    let built = paths::run("suite").join("cargo-test.log").exists();
    let incremental = std::env::var_os("CARGO_INCREMENTAL").is_none_or(|value| value != "0");
    let needed = match (built, incremental) {
        (true, _) => RUN,
        (false, true) => WHOLE + INCREMENTAL,
        (false, false) => WHOLE,
    };
    if free >= needed {
        return Ok(());
    }
    let target = paths::shown(&target);
    let text =
        format!("the disk of {target} has {free} MiB free; building and testing take up to {needed} MiB");
    Err(BadInput(text).into())
}

/// Removes the traces that runs left since a time: each is as large as its window, and the suite has looked at them.
pub(super) fn tidied(since: SystemTime) {
    let folders = std::fs::read_dir(paths::run("")).into_iter().flatten().flatten();
    for folder in folders {
        let trace = folder.path().join("trace.bin");
        if newer(&trace, since) {
            // What cannot be removed only takes space.
            let _ = std::fs::remove_file(trace);
        }
    }
}

/// Whether a file was begun after a time.
fn newer(file: &Path, since: SystemTime) -> bool {
    std::fs::metadata(file).and_then(|known| known.modified()).is_ok_and(|time| time >= since)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_there_before_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trace.bin");
        std::fs::write(&file, b"x").expect("a file");
        let now = SystemTime::now();
        assert!(newer(&file, now - Duration::from_secs(60)));
        assert!(!newer(&file, now + Duration::from_secs(60)));
        assert!(!newer(&folder.path().join("none"), now));
    }
}
