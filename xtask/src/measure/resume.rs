//! What a stopped sweep has measured already, one file a machine.
//! It exists because a sweep takes long and machines are turned off. Files of a sweep that came to its end are removed:
//! the same command measures anew.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::point::Point;
use super::settings::{Cell, Settings};
use super::shard::Shard;
use crate::{BadInput, paths};

/// The files of one sweep.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Held as long as this process lives.
    _lock: fs::File,
}

impl Store {
    /// The store of a part of a sweep of these settings with these images: another system's figures are not gone on with. Parts
    /// have stores of their own, since they may be measured at the same time.
    ///
    /// # Errors
    /// [`BadInput`] when another process measures this at this moment.
    pub(crate) fn open(settings: &Settings, images: u64, shard: Shard, fresh: bool) -> Result<Self> {
        let mut hasher = DefaultHasher::new();
        serde_json::to_string(settings).context("writing JSON")?.hash(&mut hasher);
        images.hash(&mut hasher);
        if shard.is_part() {
            shard.hash(&mut hasher);
        }
        let name = format!("{}-{:016x}", settings.kind, hasher.finish());
        let folder = paths::run("measure").join(name);
        if fresh && folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let lock = fs::File::create(folder.join("lock")).context("making a lock")?;
        if lock.try_lock().is_err() {
            return Err(BadInput("another process measures exactly this at this moment".to_owned()).into());
        }
        Ok(Self { folder, _lock: lock })
    }

    /// The name of the runs of one of several machines at a time: no other sweep's has the same.
    pub(crate) fn run(&self, number: usize) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("measure/{name}/{number}")
    }

    /// What is known of a machine.
    pub(crate) fn points(&self, cell: &Cell) -> Option<Vec<Point>> {
        serde_json::from_slice(&fs::read(self.file(cell)).ok()?).ok()
    }

    /// Keeps a machine's points. A file is there as a whole or not at all.
    pub(crate) fn keep(&self, cell: &Cell, points: &[Point]) -> Result<()> {
        let file = self.file(cell);
        let part = file.with_extension("part");
        let text = serde_json::to_vec(points).context("writing JSON")?;
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, &file))
            .with_context(|| format!("writing {}", file.display()))
    }

    /// The sweep is at its end.
    pub(crate) fn finish(&self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("removing {}", self.folder.display()))
    }

    fn file(&self, cell: &Cell) -> PathBuf {
        self.folder.join(cell.name()).with_extension("json")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, MeasureKind};

    fn settings(seed: u32) -> Settings {
        let line = format!("xtask measure batching --guests 1,2 --seed {seed}");
        let Command::Measure { what: MeasureKind::Batching(options) } =
            Cli::parse_from(line.split_whitespace()).command
        else {
            panic!("another command")
        };
        Settings::batching(&options)
    }

    #[test]
    fn what_a_stopped_sweep_measured_is_found_by_the_same_sweep_alone() {
        let part = |text: &str| text.parse::<Shard>().unwrap();
        let (whole, images) = (part("0/1"), u64::from(std::process::id()));
        let open = |seed, shard, fresh| Store::open(&settings(seed), images, shard, fresh);
        let cells = settings(1).cells();
        let store = open(1, whole, true).unwrap();
        assert!(store.points(&cells[0]).is_none());
        store.keep(&cells[0], &[Point { guests: 7, ..Point::default() }]).unwrap();
        assert!(open(1, whole, false).is_err(), "two processes at once");
        drop(store);

        let again = open(1, whole, false).unwrap();
        assert_eq!(again.points(&cells[0]).unwrap()[0].guests, 7);
        assert!(again.points(&cells[1]).is_none());
        let others = [open(2, whole, false).unwrap(), open(1, part("0/2"), false).unwrap()];
        for other in others {
            assert!(other.points(&cells[0]).is_none());
            other.finish().unwrap();
        }
        again.finish().unwrap();
        let anew = open(1, whole, false).unwrap();
        assert!(anew.points(&cells[0]).is_none(), "a sweep that ended is measured anew");
        anew.finish().unwrap();
    }
}
