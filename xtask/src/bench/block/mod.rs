//! `cargo xtask bench block`: what a disk costs through front end and back end, in instructions by domain and beside the
//! back end's own use of it.
//! It exists because a paravirtual disk is judged by its small records, where the way costs more than the data.

mod figures;
mod machine;
mod report;

use anyhow::Result;

use self::figures::{Bound, Figures, Neighbour, Point, Shared};
use self::machine::{FLOOD, Place, Sweep, bounded, has_disk, share, sweep};
use super::{command, write};
use crate::cli::Bench;
use crate::qemu::aio;
use crate::{interrupt, paths, setup};

/// Boots of the comparison by time; its median counts.
const ROUNDS: usize = 15;
/// What is compared by time: a way of the guest, and where the host keeps the disk.
const COMPARED: [(&str, Place); 4] =
    [("queue", Place::Disk), ("calls", Place::Disk), ("queue", Place::Cache), ("calls", Place::Cache)];
/// Bytes of a record, in the usual choice and in full.
const RECORDS: &[u32] = &[512, 4096, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const ALL_RECORDS: &[u32] =
    &[512, 1024, 2048, 4096, 8192, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20];
/// Guests on one back end.
const GUESTS: &[u32] = &[1, 4, 16, 64];
const ALL_GUESTS: &[u32] = &[1, 2, 4, 8, 16, 32, 64];
/// Guests beside one that floods.
const BESIDE: u32 = 8;

/// Measures.
pub(super) fn bench(options: &Bench) -> Result<()> {
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let full = options.full;
    let wanted = Sweep {
        records: if full { ALL_RECORDS } else { RECORDS },
        operations: "read,write,flush",
        patterns: "random,sequential",
        depths: if full { "1,8,32" } else { "1,32" },
        gather: false,
        way: "queue",
        grants: "mapped",
    };
    tell!("counting instructions ...");
    let (points, own) = sweep(&wanted)?;
    tell!("counting instructions, requests gathered ...");
    let together = Sweep {
        records: &[512, 4096],
        operations: "read",
        patterns: "random",
        depths: "8,32",
        gather: true,
        way: "calls",
        grants: "mapped",
    };
    let (gathered, _) = sweep(&together)?;
    let mut ways = Vec::new();
    for (way, grants) in [("queue", "copied"), ("calls", "mapped"), ("calls", "copied")] {
        tell!("counting instructions, {way}, {grants} ...");
        let other =
            Sweep { records: &[512, 4096, 64 << 10], operations: "read,write", way, grants, ..wanted };
        ways.extend(sweep(&other)?.0.iter().map(|point| Point::of(point, &other)));
    }
    // Side by side, so that whatever else the machine does meets all of them.
    let mut rates = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let has_disk = has_disk()?;
    for round in 1..=ROUNDS {
        tell!("beside the driver domain's own reads, {round} of {ROUNDS} ...");
        for (rates, (way, place)) in rates.iter_mut().zip(COMPARED) {
            if has_disk || place == Place::Cache {
                rates.push(bounded(way, place)?);
            }
        }
    }
    let [bound, bound_of_calls, bound_from_cache, bound_of_calls_from_cache] =
        rates.map(|rates| Bound::of(&rates, own));
    let mut shares = Vec::new();
    for &guests in if full { ALL_GUESTS } else { GUESTS } {
        tell!("{guests} guests on one back end ...");
        shares.push(Shared::of(guests, &share(guests, None)?));
    }
    tell!("{BESIDE} guests beside one that floods ...");
    let (quiet, loud) = (share(BESIDE, None)?, share(BESIDE, Some(FLOOD))?);
    let figures = Figures {
        command: command(),
        aio: aio::chosen(),
        rounds: ROUNDS,
        points: points.iter().map(|point| Point::of(point, &wanted)).collect(),
        gathered: gathered.iter().map(|point| Point::of(point, &together)).collect(),
        ways,
        bound: has_disk.then_some(bound),
        bound_of_calls: has_disk.then_some(bound_of_calls),
        bound_from_cache,
        bound_of_calls_from_cache,
        guests: shares,
        neighbour: Neighbour::of(&quiet, &loud),
    };
    report::print(&figures);
    let page = paths::run("bench-block").join("report.html");
    std::fs::create_dir_all(paths::run("bench-block"))?;
    std::fs::write(&page, report::page(&figures)?)?;
    say!("report: {}", paths::shown(&page));
    write(&options.json, &figures)
}
