//! The machines that are measured: their scenarios, and what their domains say.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::qemu::{Clock, Next, aio, is_orderly};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::serial::Line;
use crate::{compile, paths};

/// The disks of a sweep, in the order of the guest.
pub(super) const DISKS: [&str; 4] = ["ram", "virtio", "overlay", "shared"];
const DISK_BYTES: u64 = 8 << 20;
/// How long a machine may be silent.
const PATIENCE: Duration = Duration::from_secs(300);
/// Virtual ms until guests that share begin, for each of them more, and how long they work.
const START_MS: u32 = 200;
const START_MS_A_GUEST: u32 = 10;
const WINDOW_MS: u32 = 40;
/// Reads that are compared by time, of which the first hundreds, while QEMU still translates code, do not matter, and by
/// instructions.
const COMPARED: u32 = 20_000;
const COUNTED: u32 = 512;
/// What guests do that share: bytes of a record, and how many at once.
const QUIET: (u32, u32) = (4096, 8);
/// What a guest does that floods.
pub(super) const FLOOD: (u32, u32) = (1 << 20, 32);

/// What a sweep goes through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep<'a> {
    pub(super) records: &'a [u32],
    pub(super) operations: &'a str,
    pub(super) patterns: &'a str,
    pub(super) depths: &'a str,
    pub(super) gather: bool,
    /// `queue` or `calls`: which of a disk's interfaces the guest uses.
    pub(super) way: &'static str,
    /// `mapped` or `copied`: what the back end may do with the guest's pages.
    pub(super) grants: &'static str,
}

/// What a guest says of a point.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    pub(super) label: u64,
    pub(super) disk: usize,
    pub(super) operation: String,
    pub(super) record: u64,
    pub(super) pattern: String,
    pub(super) depth: u64,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) sent: u64,
    pub(super) notified: u64,
    pub(super) suppressed: u64,
}

/// How the back end says that the data of a point went: by copies, and in pages where they are.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Moved {
    label: u64,
    pub(super) copied: u64,
    pub(super) in_place: u64,
}

/// Counters of the domains of one image.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Image {
    image: String,
    pub(super) raised: u64,
    pub(super) upcalls: u64,
    pub(super) running_ns: u64,
    #[serde(default)]
    pub(super) hypercalls: std::collections::BTreeMap<String, u64>,
}

/// The label of the first of two snapshots with nothing between them: what they cost is in each point as well.
const NOTHING: u64 = 0;

/// A snapshot over images.
#[derive(Clone, Debug, Deserialize)]
struct Snapshot {
    label: String,
    switches: u64,
    images: Vec<Image>,
}

/// A point with what was counted meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) said: Said,
    pub(super) moved: Moved,
    pub(super) guest: Image,
    pub(super) driver: Image,
    pub(super) switches: u64,
}

impl Image {
    fn since(&self, before: &Self) -> Self {
        let grown = |name: &String, count: &u64| {
            (name.clone(), count.saturating_sub(before.hypercalls.get(name).copied().unwrap_or(0)))
        };
        Self {
            image: self.image.clone(),
            raised: self.raised.saturating_sub(before.raised),
            upcalls: self.upcalls.saturating_sub(before.upcalls),
            running_ns: self.running_ns.saturating_sub(before.running_ns),
            hypercalls: self.hypercalls.iter().map(|(name, count)| grown(name, count)).collect(),
        }
    }

    /// Hypercalls of this name.
    pub(super) fn calls(&self, name: &str) -> u64 {
        self.hypercalls.get(name).copied().unwrap_or(0)
    }
}

/// Rates of one boot, in reads a second: the driver domain's own, and through a front end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) own: f64,
    pub(super) front: f64,
}

/// What a guest that shares a back end got.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Got {
    pub(super) requests: u64,
    failed: u64,
    late: bool,
    #[serde(skip)]
    pub(super) floods: bool,
}

/// A domain's entry.
fn entry(name: &str, image: &str, memory: &str, more: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nimage = \"{image}\"\nmemory = \"{memory}\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"poweroff\"\n{more}\n"
    )
}

const HEAD: &str = "description = \"Disks, measured\"\nslice = \"5ms\"\nseed = 1\n";

/// Measures each point of a sweep on each disk; with them the instructions of a read of the driver domain's own.
pub(super) fn sweep(sweep: &Sweep<'_>) -> Result<(Vec<Counted>, f64)> {
    let image = image()?;
    let records: Vec<String> = sweep.records.iter().map(u32::to_string).collect();
    let line = format!(
        "records={} operations={} patterns={} depths={} gather={} way={} grants={}",
        records.join(","),
        sweep.operations,
        sweep.patterns,
        sweep.depths,
        if sweep.gather { "on" } else { "off" },
        sweep.way,
        sweep.grants,
    );
    let size = format!("{}K", DISK_BYTES >> 10);
    let own = image.with_file_name("own.img");
    fs::copy(&image, &own).context("copying an image")?;
    let disks = format!(
        "{{ backend = \"driver\", ram = \"{size}\", mode = \"w\" }}, \
         {{ backend = \"driver\", image = {own:?}, mode = \"w\" }}, \
         {{ backend = \"driver\", image = {image:?}, mode = \"w\", overlay = \"{size}\" }}, \
         {{ backend = \"driver\", image = {image:?}, mode = \"r\" }}"
    );
    let text = HEAD.to_owned()
        + "memory = \"192M\"\n"
        + &entry(
            "driver",
            "driver-domain",
            "64M",
            &format!("command_line = \"disk_buffers=1024 own=4096,32,{COUNTED}\""),
        )
        + &entry(
            "bench",
            "disk-bench",
            "64M",
            &format!("control = true\ncommand_line = \"{line}\"\ndisk = [{disks}]"),
        );
    let lines = run("bench-block", text, Clock::Counted { seed: 1 }, Vec::new())?;
    let own = record(&lines, "own")?;
    Ok((counted(&lines)?, number(&own, "running_ns")? / number(&own, "requests")?))
}

/// What a domain said first of a kind, of which nothing failed.
fn record(lines: &[Line], wanted: &str) -> Result<Value> {
    let mut records = lines.iter().filter_map(Line::guest_record);
    let (.., body) =
        records.find(|(_, kind, _)| kind == wanted).with_context(|| format!("no @{wanted} was said"))?;
    ensure!(body["failed"] == 0, "reads failed: {body}");
    Ok(body)
}

fn number(body: &Value, key: &str) -> Result<f64> {
    body[key].as_f64().with_context(|| format!("no {key} in {body}"))
}

/// Puts points and their snapshots together.
fn counted(lines: &[Line]) -> Result<Vec<Counted>> {
    let mut snapshots: Vec<Snapshot> = Vec::new();
    let (mut points, mut data): (Vec<Said>, Vec<Moved>) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Record { kind, body } if kind == "snapshot" => {
                snapshots.push(serde_json::from_value(body.clone()).context("reading a snapshot")?);
            }
            line => match line.guest_record() {
                Some((_, kind, body)) if kind == "point" => {
                    let said: Said = serde_json::from_value(body).context("reading a point")?;
                    ensure!(said.failed == 0, "requests failed: {said:?}");
                    points.push(said);
                }
                Some((_, kind, body)) if kind == "data" => {
                    data.push(serde_json::from_value(body).context("reading what became of data")?);
                }
                _ => {}
            },
        }
    }
    ensure!(!points.is_empty(), "nothing was measured");
    let find = |label: u64| {
        let label = label.to_string();
        snapshots.iter().find(|snapshot| snapshot.label == label).context("a snapshot is missing")
    };
    let image = |snapshot: &Snapshot, name: &str| {
        let found = snapshot.images.iter().find(|image| image.image == format!("guests/{name}"));
        found.cloned().with_context(|| format!("{name} is not in a snapshot"))
    };
    let between = |label: u64, name: &str| -> Result<Image> {
        let (before, after) = (find(label)?, find(label + 1)?);
        Ok(image(after, name)?.since(&image(before, name)?))
    };
    points
        .into_iter()
        .map(|said| {
            let (before, after) = (find(said.label)?, find(said.label + 1)?);
            let moved = data.iter().find(|one| one.label == said.label).copied();
            let moved = moved.context("nobody said what became of data")?;
            let of =
                |name| Ok::<_, anyhow::Error>(between(said.label, name)?.since(&between(NOTHING, name)?));
            let switches = after.switches.saturating_sub(before.switches);
            Ok(Counted { guest: of("disk-bench")?, driver: of("driver-domain")?, switches, said, moved })
        })
        .collect()
}

/// Where the host keeps what is compared by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its disk: each read goes there, past the cache, as in a usual run.
    Disk,
    /// In its cache.
    Cache,
}

/// Whether the host can read the disks' image past its cache.
pub(super) fn has_disk() -> Result<bool> {
    Ok(aio::goes_direct(&image()?))
}

/// One boot in which the driver domain reads from a disk itself, and then a guest does through it, in one of its ways.
pub(super) fn bounded(way: &str, place: Place) -> Result<Rates> {
    let image = image()?;
    let mut more = Vec::new();
    if place == Place::Disk {
        // What is only in the cache would be written first.
        fs::File::open(&image).and_then(|file| file.sync_all()).context("writing an image to the disk")?;
    } else {
        more.extend(["-set", "drive.d0.cache.direct=off"].map(str::to_owned));
    }
    let line =
        format!("records=4096 operations=read patterns=random depths=32 requests={COMPARED} way={way}");
    let text = HEAD.to_owned()
        + "memory = \"128M\"\n"
        + &entry(
            "driver",
            "driver-domain",
            "32M",
            &format!("command_line = \"disk_buffers=512 own=4096,32,{COMPARED}\""),
        )
        + &entry(
            "bench",
            "disk-bench",
            "16M",
            &format!(
                "control = true\ncommand_line = \"{line}\"\n\
                 disk = [{{ backend = \"driver\", image = {image:?}, mode = \"r\" }}]"
            ),
        );
    let lines = run("bench-block-bound", text, Clock::Real, more)?;
    let (own, front) = (record(&lines, "own")?, record(&lines, "point")?);
    let rate = |body: &Value| Ok::<_, anyhow::Error>(number(body, "requests")? / number(body, "us")? * 1e6);
    Ok(Rates { own: rate(&own)?, front: rate(&front)? })
}

/// So many guests with a disk in memory each on one back end, and perhaps one more that floods it.
pub(super) fn share(guests: u32, flood: Option<(u32, u32)>) -> Result<Vec<Got>> {
    let start = START_MS + START_MS_A_GUEST * guests;
    let stop = start + WINDOW_MS;
    let guest = |name: &str, count: &str, memory: &str, pages: u32, (record, depth): (u32, u32)| {
        let line = format!("start_ms={start} stop_ms={stop} records={record} depths={depth} pages={pages}");
        let disk = "disk = [{ backend = \"driver\", ram = \"8M\", mode = \"w\" }]";
        entry(name, "disk-bench", memory, &format!("{count}command_line = \"{line}\"\n{disk}"))
    };
    let mut text = HEAD.to_owned()
        + "memory = \"384M\"\n"
        + &entry("driver", "driver-domain", "32M", "command_line = \"disk_buffers=1024\"")
        + &guest("bench", &format!("count = {guests}\n"), "2M", 33, QUIET);
    if let Some(flood) = flood {
        text += &guest("flood", "", "64M", 257, flood);
    }
    let text = text.replace("on_crash = \"poweroff\"", "on_crash = \"destroy\"");
    let lines = run("bench-block-share", text, Clock::Counted { seed: 1 }, Vec::new())?;
    let mut all = Vec::new();
    for (domain, kind, body) in lines.iter().filter_map(Line::guest_record) {
        if kind == "share" {
            let got: Got = serde_json::from_value(body).context("reading a share")?;
            ensure!(!got.late && got.failed == 0, "{domain} started late or failed: {got:?}");
            all.push(Got { floods: domain == "flood", ..got });
        }
    }
    let wanted = guests as usize + usize::from(flood.is_some());
    ensure!(all.len() == wanted, "{} of {wanted} guests said what they got", all.len());
    Ok(all)
}

/// The image of the disks.
fn image() -> Result<PathBuf> {
    let folder = paths::run("bench-block");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("disk.img");
    let bytes: Vec<u8> = (0..DISK_BYTES).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Runs a machine, with more of QEMU's own options, until its end, or until all its guests have ended.
fn run(name: &str, text: String, clock: Clock, more: Vec<String>) -> Result<Vec<Line>> {
    let scenario = Scenario::parse(&paths::root(), Path::new(&format!("{name}.toml")), text)?;
    scenario.check(&compile::is_guest)?;
    let how = How::new(clock);
    let plan = lower(&scenario)?;
    let guests = plan.config.domains.iter().filter(|domain| domain.name != "driver").count();
    let mut machine = boot::boot_with(how, &scenario, plan, more)?.machine;
    let mut lines = Vec::new();
    let mut said = 0;
    loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) => {
                said += usize::from(line.guest_record().is_some_and(|(_, kind, _)| kind == "share"));
                if said == guests {
                    said = 0;
                    machine.tell("poweroff")?;
                }
                if let Line::Console { domain, text } = &line
                    && text.contains("panicked")
                {
                    bail!("{domain}: {text}; the log is {}", machine.log().display());
                }
                lines.push(line);
            }
            Next::Timeout => {
                bail!("silent for {} s; the log is {}", PATIENCE.as_secs(), machine.log().display())
            }
            Next::End => break,
        }
    }
    match machine.status() {
        Some(status) if is_orderly(status) => Ok(lines),
        _ => Err(machine.death()),
    }
}
