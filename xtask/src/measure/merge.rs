//! `measure merge`: the parts of one sweep put together.
//! It exists so that a sweep over many machines gives the same file as one on a single machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::sweep::Sweep;
use crate::BadInput;
use crate::table::guests;

/// Reads parts and puts them together.
///
/// # Errors
/// [`BadInput`] when they are not parts of one sweep.
pub(crate) fn merge(files: &[PathBuf]) -> Result<Sweep> {
    let mut parts = files.iter().map(|file| anyhow::Ok((file.as_path(), read(file)?)));
    let (first, mut whole) = parts.next().context("clap asks for a file")??;
    for part in parts {
        let (file, part) = part?;
        add(&mut whole, part).map_err(|why| {
            BadInput(format!("{} and {} are no parts of one sweep: {why}", first.display(), file.display()))
        })?;
    }
    for cell in whole.settings.cells() {
        let is_there = |point: &super::point::Point| {
            point.guests == cell.guests && point.suppress == cell.suppress && point.idle == cell.idle
        };
        if !whole.points.iter().any(is_there) {
            let name = cell.name();
            return Err(BadInput(format!("a part is missing: no file has the points of {name}")).into());
        }
    }
    whole.command = of_whole(&whole.command);
    Ok(whole)
}

/// The command of a sweep from that of a part of it.
fn of_whole(command: &str) -> String {
    let mut words = command.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--shard" | "--json" => drop(words.next()),
            word if word.starts_with("--shard=") || word.starts_with("--json=") => {}
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

fn read(file: &Path) -> Result<Sweep> {
    let text = crate::paths::read(file).map_err(|error| BadInput(format!("{}: {error}", file.display())))?;
    let sweep = serde_json::from_slice(&text);
    Ok(sweep.map_err(|error| BadInput(format!("{}: not a sweep's figures: {error}", file.display())))?)
}

/// Adds a part's points; says what does not fit.
fn add(whole: &mut Sweep, part: Sweep) -> Result<(), String> {
    if whole.settings != part.settings {
        return Err(format!("the commands differ: {:?} and {:?}", whole.command, part.command));
    }
    if whole.images != part.images {
        return Err("they measured different builds".to_owned());
    }
    if whole.qemu != part.qemu {
        return Err(format!("QEMU {} and {}", whole.qemu, part.qemu));
    }
    for point in part.points {
        let same = |other: &super::point::Point| {
            (other.guests, &other.delivery, &other.suppress, &other.idle)
                == (point.guests, &point.delivery, &point.suppress, &point.idle)
        };
        if whole.points.iter().any(same) {
            return Err(format!("both have {} under {} delivery", guests(point.guests), point.delivery));
        }
        whole.points.push(point);
    }
    let order = whole.settings.policies.iter().map(ToString::to_string).collect::<Vec<_>>();
    whole.points.sort_by_key(|point| {
        let policy = order.iter().position(|name| *name == point.delivery);
        (point.guests, point.suppress.clone(), std::cmp::Reverse(point.idle.clone()), policy)
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::point::Point;
    use super::super::settings::Settings;
    use super::*;
    use crate::cli::{Cli, Command, MeasureKind};
    use clap::Parser;

    fn part(guests: u32, line: &str) -> Sweep {
        let line = format!("xtask measure batching --guests 1,8 --delivery synchronous {line}");
        let Command::Measure { what: MeasureKind::Batching(sweep) } =
            Cli::parse_from(line.split_whitespace()).command
        else {
            panic!("another command")
        };
        let point = Point {
            guests,
            delivery: "synchronous".to_owned(),
            suppress: "off".to_owned(),
            idle: "timeout".to_owned(),
            ..Point::default()
        };
        Sweep {
            command: line,
            settings: Settings::batching(&sweep),
            images: "1".to_owned(),
            qemu: "7".to_owned(),
            accelerator: String::new(),
            points: vec![point],
        }
    }

    #[test]
    fn parts_of_one_sweep_make_the_whole() {
        let mut whole = part(8, "--shard 1/2");
        add(&mut whole, part(1, "--shard 0/2")).unwrap();
        assert_eq!(whole.points.iter().map(|point| point.guests).collect::<Vec<_>>(), [1, 8]);
    }

    #[test]
    fn the_whole_has_the_command_that_measures_it() {
        let command = "cargo xtask measure batching --shard 0/2 --guests 1,8 --json=p.json";
        assert_eq!(of_whole(command), "cargo xtask measure batching --guests 1,8");
    }

    #[test]
    fn parts_of_different_sweeps_are_refused() {
        for other in ["--seed 2", "--document 100K", "--rounds 1"] {
            assert!(add(&mut part(8, ""), part(1, other)).is_err(), "{other}");
        }
        let newer = Sweep { images: "2".to_owned(), ..part(1, "") };
        assert!(add(&mut part(8, ""), newer).is_err());
        assert!(add(&mut part(8, ""), part(8, "")).is_err(), "the same point twice");
    }
}
