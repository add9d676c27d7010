//! Disks that fail, as QEMU's `blkdebug` lets them: some sectors for ever, or all from some request on.
//! It exists because a disk that never fails proves nothing about what is done when it does.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::disks::{SECTOR, SECTORS, domain, head};
use super::judge::plain;
use super::keep::PATIENCE;
use super::kv::{answering, ask, on_disk};
use crate::qemu::{Clock, Next};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::serial::Line;
use crate::{compile, paths};

/// Requests that go well before the disk of a key-value server fails: more than it takes to come up.
const GOOD: u32 = 40;
/// Sectors that cannot be read, one for each of two of the guest's workers; of the others' parts some cannot be written.
const UNREADABLE: [usize; 2] = [100, 600];
const UNWRITABLE: [(usize, u32); 2] = [(1100, IO), (1600, NO_SPACE)];
/// The host's numbers of errors. By itself QEMU stops the machine when there is no space.
const IO: u32 = 5;
const NO_SPACE: u32 = 28;

/// QEMU's options that give the first drive, which has this image, these faults.
fn with_faults(image: &Path, faults: &str) -> Result<Vec<String>> {
    let rules = image.with_extension("blkdebug");
    fs::write(&rules, faults).context("writing a disk's faults")?;
    Ok(vec!["-set".to_owned(), format!("drive.d0.file=blkdebug:{}:{}", rules.display(), image.display())])
}

/// A sector that always fails.
fn bad_sector(kind: &str, sector: usize, error: u32) -> String {
    format!(
        "[inject-error]\nevent = \"none\"\niotype = \"{kind}\"\nsector = \"{sector}\"\nerrno = \"{error}\"\n"
    )
}

/// All requests of a kind fail once [`GOOD`] of them went well. `event` is QEMU's name for one that comes.
fn from_some_on(kind: &str, event: &str) -> String {
    let step = |state| {
        format!("[set-state]\nevent = \"{event}\"\nstate = \"{state}\"\nnew_state = \"{}\"\n", state + 1)
    };
    let steps: String = (1..=GOOD).map(step).collect();
    format!(
        "{steps}[inject-error]\nevent = \"{event}\"\nstate = \"{}\"\niotype = \"{kind}\"\nerrno = \"{IO}\"\n",
        GOOD + 1
    )
}

/// A guest works on a disk with bad sectors, another beside it on a good one, through one driver domain. The former is told of
/// each failure and reads nothing that it did not write; the latter sees none of it.
pub(super) fn sectors() -> Result<String> {
    let folder = paths::run("suite").join("bad-sectors");
    fs::create_dir_all(&folder).context("making a folder for disks")?;
    let image = |name: &str| folder.join(name).with_extension("img");
    let work = "image = \"disk\"\nmemory = \"2M\"\ncommand_line = \"work_ms=1500\"";
    let mut text = head("A disk with bad sectors", "128M")
        + &domain("driver", "image = \"driver-domain\"\nmemory = \"8M\"");
    for name in ["bad", "good"] {
        fs::write(image(name), vec![0; SECTORS * SECTOR]).context("writing an image")?;
        text += &domain(
            name,
            &format!("{work}\ndisk = [{{ backend = \"driver\", image = {:?}, mode = \"w\" }}]", image(name)),
        );
    }
    let faults: String = UNREADABLE
        .map(|sector| bad_sector("read", sector, IO))
        .into_iter()
        .chain(UNWRITABLE.map(|(sector, error)| bad_sector("write", sector, error)))
        .collect();
    let scenario = Scenario::parse(&paths::root(), &folder.join("scenario.toml"), text)?;
    scenario.check(&compile::is_guest)?;
    let more = with_faults(&image("bad"), &faults)?;
    let mut machine = boot::boot_with(How::new(Clock::Real), &scenario, lower(&scenario)?, more)?.machine;
    let (mut bad, mut good, mut ended) = (Value::Null, Value::Null, 0);
    while ended < 2 {
        let next = machine.next(Instant::now() + PATIENCE)?;
        let Next::Line(line) = next else { return Err(machine.death()) };
        if let Some((name, kind, body)) = line.guest_record() {
            match (name, kind.as_str()) {
                ("bad", "work") => bad = body,
                ("good", "work") => good = body,
                ("good", "disk") => {
                    ensure!(body["good"] == body["of"], "beside a bad disk not every check held: {body}");
                    ended += 1;
                }
                _ => {}
            }
        } else if let Line::Console { domain, text } = &line {
            // It cannot read the disk to its end.
            ended += u32::from(domain == "bad" && text.starts_with("disk 0: "));
        }
    }
    machine.tell("poweroff")?;
    let count = |body: &Value, key: &str| body[key].as_u64().with_context(|| format!("no {key} in {body}"));
    let (failed, operations) = (count(&bad, "failed")?, count(&bad, "operations")?);
    ensure!(failed > 0 && failed < operations / 2, "of a disk with bad sectors: {bad}");
    ensure!(count(&bad, "wrong")? == 0 && count(&bad, "gone")? == 0, "of a disk with bad sectors: {bad}");
    ensure!(
        count(&good, "failed")? == 0 && count(&good, "wrong")? == 0 && count(&good, "gone")? == 0,
        "beside a disk with bad sectors: {good}"
    );
    Ok(format!("{failed} of {operations} operations failed, none of {} beside", count(&good, "operations")?))
}

/// The disk of a key-value server fails all flushes from some on, or all writes. The server acknowledges nothing from then on and says
/// why, still reads, and what it had acknowledged is on the disk.
pub(super) fn server() -> Result<String> {
    let flushes = served("flush", "flush_to_disk")?;
    let writes = served("write", "write_aio")?;
    Ok(format!("{flushes} changes acknowledged before flushes failed, {writes} before writes did"))
}

fn served(kind: &str, event: &str) -> Result<u32> {
    let (image, path) = on_disk(&format!("kv-failing-{kind}"), &vec![0; 1 << 20])?;
    let scenario = Scenario::open(&paths::root(), &path.to_string_lossy())?;
    scenario.check(&compile::is_guest)?;
    let more = with_faults(&image, &from_some_on(kind, event))?;
    let how = How { forwarded: true, ..How::new(Clock::Real) };
    let mut booted = boot::boot_with(how, &scenario, lower(&scenario)?, more)?;
    let mut client = answering(&booted)?;
    let deadline = Instant::now() + PATIENCE;
    let mut acknowledged = 0;
    let why = loop {
        ensure!(Instant::now() < deadline, "{acknowledged} changes were acknowledged");
        match ask(&mut client, &format!("SET key{acknowledged} {acknowledged}"))? {
            answer if answer == "OK" => acknowledged += 1,
            answer => break answer,
        }
    };
    ensure!(why.starts_with("ERR the disk failed"), "when its {kind} fails the server says {why:?}");
    ensure!(acknowledged > 0, "no change was acknowledged before");
    for line in ["SET key0 other", "DEL key0"] {
        let answer = ask(&mut client, line)?;
        ensure!(answer.starts_with("ERR the disk has failed before"), "to {line} the server says {answer:?}");
    }
    ensure!(ask(&mut client, "GET key0")? == "VALUE 0", "a value is not read any more");
    booted.machine.tell("poweroff")?;
    while !matches!(booted.machine.next(deadline)?, Next::End) {}

    let mut promises: Vec<Value> = (0..acknowledged)
        .map(|key| json!({ "key": format!("key{key}"), "acknowledged": key.to_string() }))
        .collect();
    let last = acknowledged.to_string();
    promises.push(json!({ "key": format!("key{last}"), "acknowledged": null, "under_way": { "set": last } }));
    promises.push(json!({ "key": "key", "acknowledged": "1" }));
    let told = image.with_extension("json");
    fs::write(&told, serde_json::to_vec(&promises)?).context("writing what was acknowledged")?;
    let log = format!("kv-failing-{kind}-check");
    plain(&log, &["kv", "check", &image.to_string_lossy(), "--acknowledged", &told.to_string_lossy()])?;
    Ok(acknowledged)
}
