//! Measures its disks.
//!
//! Command line of a sweep: `records=BYTES,... operations=read,write,flush patterns=random,sequential depths=N,...`,
//! `budget=BYTES` that a point moves within 32 and 512 requests, or `requests=N`, `pages=N` of the front end, `gather=on` to push what is
//! begun together, `grants=copied` to have the back end copy what it could map, `way=calls` for a task and a copy a request
//! where otherwise one task does them all in the disk's own memory. For each point and disk it takes a snapshot, works, takes another, and says `@point` and `@data`. With
//! `start_ms=MS stop_ms=MS` of system time it works at one point for that long instead and says `@share`, beside others
//! that do the same.

#![no_std]
#![no_main]

extern crate alloc;

mod control;
mod point;

use alloc::vec::Vec;

use embassy_time::{Instant, Timer};
use guest_kernel::block::{Disk, Settings};
use guest_kernel::{Guest, println};

use self::point::{Operation, Point, Ready, Way, until_time, work};

guest_kernel::main!(run);

/// Bytes that a point moves, unless the command line says otherwise.
const BUDGET: u64 = 2 << 20;
/// The fewest and the most requests of a point.
const REQUESTS: (u64, u64) = (32, 512);
/// Requests before those that count, or one in each place: what is named for the first time has its pages mapped.
const WARM_UP: u64 = 16;
/// Pages of the front end, unless the command line says otherwise: 1 MiB under way.
const PAGES: u16 = 257;

async fn run(guest: Guest) {
    let line = guest.command_line();
    let pages = line.parse("pages", PAGES).unwrap_or_else(|error| panic!("{error}"));
    let settings = Settings {
        pages,
        gather: line.get("gather") == Some("on"),
        lend: line.get("grants") != Some("copied"),
    };
    let way = Way::of(line.get("way").unwrap_or("queue"), pages.into());
    let way = way.unwrap_or_else(|| panic!("way={:?}", line.get("way")));
    let mut disks = Vec::new();
    while let Ok(disk) = Disk::open_with(&guest, disks.len(), settings).await {
        disks.push(disk);
    }
    if line.get("start_ms").is_some() {
        return share(&guest, &disks, way).await;
    }
    sweep(&guest, &disks, way).await;
    control::power_off();
}

/// The values of a list on the command line.
fn list<T>(guest: &Guest, key: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let words = guest.command_line().get(key).unwrap_or_default();
    words.split(',').map(|word| read(word).unwrap_or_else(|| panic!("{key}={words}: {word:?}"))).collect()
}

/// Every point on every disk. Reads come first, so that an overlay has nothing of its own to read then.
async fn sweep(guest: &Guest, disks: &[Disk], way: Way) {
    let records: Vec<usize> = list(guest, "records", |word| word.parse().ok());
    let operations = list(guest, "operations", Operation::of);
    let random = list(guest, "patterns", |word| {
        ["sequential", "random"].iter().position(|known| *known == word).map(|at| at == 1)
    });
    let depths: Vec<usize> = list(guest, "depths", |word| word.parse().ok());
    let budget = guest.command_line().parse("budget", BUDGET).unwrap_or_else(|error| panic!("{error}"));
    let line = guest.command_line();
    let requests: Option<u64> = line.get("requests").and_then(|number| number.parse().ok());
    // Two with nothing between them, since what a snapshot costs lies in the window that it begins.
    control::snapshot(0);
    control::snapshot(1);
    let mut label = 2;
    for operation in operations {
        for &record in &records {
            for &random in &random {
                for &depth in &depths {
                    let point = Point { operation, record, random, depth };
                    let requests =
                        requests.unwrap_or((budget / record.max(1) as u64).clamp(REQUESTS.0, REQUESTS.1));
                    for (number, disk) in disks.iter().enumerate() {
                        if disk.is_read_only() && operation != Operation::Read {
                            continue;
                        }
                        work(disk, Ready::new(disk, way, point), point, WARM_UP.max(depth as u64)).await;
                        one(number, disk, way, point, requests, label).await;
                        label += 2;
                    }
                }
            }
        }
    }
}

/// One point between two snapshots.
async fn one(number: usize, disk: &Disk, way: Way, point: Point, requests: u64, label: u64) {
    let ready = Ready::new(disk, way, point);
    let (before, data_before) = (disk.counters(), disk.copied_and_in_place());
    control::snapshot(label);
    let start = Instant::now();
    let failed = work(disk, ready, point, requests).await;
    let us = start.elapsed().as_micros();
    control::snapshot(label + 1);
    let (after, data) = (disk.counters(), disk.copied_and_in_place());
    println!(
        "@point {{\"label\":{label},\"disk\":{number},{point},\"requests\":{requests},\"failed\":{failed},\"us\":{us},\
         \"sent\":{},\"notified\":{},\"suppressed\":{}}}",
        after.requests - before.requests,
        after.notified - before.notified,
        after.suppressed - before.suppressed,
    );
    // A record of its own: a line of the console has its length.
    println!(
        "@data {{\"label\":{label},\"copied\":{},\"in_place\":{}}}",
        data.0 - data_before.0,
        data.1 - data_before.1,
    );
}

/// One point for a time that all guests know.
async fn share(guest: &Guest, disks: &[Disk], way: Way) {
    let line = guest.command_line();
    let number = |key| line.parse(key, 0_u64).unwrap_or_else(|error| panic!("{error}"));
    let [record, depth] = [number("records"), number("depths")].map(|value| value as usize);
    let point = Point { operation: Operation::Read, record, random: true, depth };
    let [start, stop] = [number("start_ms"), number("stop_ms")].map(Instant::from_millis);
    let disk = disks.first().unwrap_or_else(|| panic!("there is no disk"));
    let ready = Ready::new(disk, way, point);
    let late = Instant::now() >= start;
    Timer::at(start).await;
    let (requests, failed) = until_time(disk, ready, point, stop).await;
    println!("@share {{\"requests\":{requests},\"failed\":{failed},\"late\":{late},{point}}}");
}
