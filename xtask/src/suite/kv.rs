//! A key-value server whose driver domain dies under load, and whose machine does.
//! It exists because what a server says is durable has to be there after anything.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::judge::{figures, number};
use super::keep::{Kept, PATIENCE, connect};
use crate::qemu::Clock;
use crate::run::boot::{self, Booted, How};
use crate::scenario::{Scenario, lower};
use crate::{compile, paths, setup, tied};

/// Connections that the server has at once.
const CONNECTIONS: usize = 16;
/// What is said of a disk that holds something else.
const NO_STORE: &str = "the disk holds something that is no store";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A driver domain of the server crashes under load so often. No client sees an error, no change that was acknowledged is
/// lost, all frames are there in the end: `kv load` fails otherwise.
pub(super) fn crashed(domain: &str, times: u32) -> Result<String> {
    let count = times.to_string();
    let line = ["kv", "load", "--seconds", "1", "--crash", domain, "--crashes", &count];
    let figures = figures(&format!("kv-{domain}"), &line)?;
    ensure!(figures["crashes"] == times && figures["crashed"] == domain, "other crashes: {figures}");
    let changes = changes(&figures, times)?;
    let longest = number(&figures, "/longest_ms")?;
    Ok(format!("{changes} changes, {times} crashes, the longest wait {longest} ms"))
}

/// QEMU is killed under load so often. Each time the disk holds what was acknowledged, as it was left and as a power cut
/// may have left it: `kv load` fails otherwise.
pub(super) fn killed(times: u32) -> Result<String> {
    let count = times.to_string();
    let figures = figures("kv-kills", &["kv", "load", "--seconds", "1", "--kills", &count])?;
    ensure!(figures["kills"] == times, "other kills: {figures}");
    let (changes, flushes) = (changes(&figures, times)?, number(&figures, "/flushes")?);
    let cuts = number(&figures, "/power_cuts")?;
    ensure!(cuts >= f64::from(times), "only {cuts} power cuts");
    ensure!(flushes >= 2.0 * f64::from(times), "only {flushes} flushes before {times} kills");
    Ok(format!("{changes} changes, {times} kills, {cuts} power cuts"))
}

/// Connections that ask nothing hold every socket of the server. One more is served, and the others stay.
pub(super) fn crowded() -> Result<String> {
    let (_, scenario) = on_disk("kv-crowded", &vec![0; 1 << 20])?;
    let mut run = Kept::start("kv-crowded", &[&scenario.to_string_lossy()])?;
    let said = run.said();
    let address = said.lines().find_map(|line| line.strip_prefix("kv ")).map(str::trim);
    let address = address.with_context(|| format!("the run names no port:\n{said}"))?;

    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = connect(address)?;
        ensure!(ask(&mut client, "COUNT")?.starts_with("COUNT 0 "), "the store is not empty");
        silent.push(client);
    }
    let mut late = connect(address)?;
    ensure!(ask(&mut late, "SET late 1")? == "OK", "a change was not acknowledged");
    let mut ended = 0;
    for client in &mut silent {
        client.set_nonblocking(true).context("looking without waiting")?;
        match client.read(&mut [0]) {
            Ok(0) => ended += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.set_nonblocking(false).context("waiting again")?;
                ensure!(ask(client, "GET late")? == "VALUE 1", "who was kept is not served");
            }
            other => bail!("a silent connection was told {other:?}"),
        }
    }
    // A machine that stands still for a while may make the first of them silent for long enough before the last has come.
    ensure!((1..=2).contains(&ended), "{ended} connections were ended for one");
    run.interrupt()?;
    ensure!(run.end()?, "the run did not end well:\n{}", run.said());
    Ok(format!("{CONNECTIONS} that ask nothing, one more: {ended} gave way, the others are served"))
}

/// A disk with a file system, whose first sectors are zeros: guest and checker say that it is no store, and it stays as it is.
pub(super) fn refused() -> Result<String> {
    let folder = paths::run("suite").join("kv-refused");
    std::fs::create_dir_all(&folder).context("making a folder")?;
    let made = folder.join("ext4.img");
    std::fs::write(&made, vec![0; 4 << 20]).context("making a disk")?;
    let status = tied::command(setup::MKE2FS)
        .args(["-q", "-F", "-t", "ext4", "-b", "1024", "-d"])
        .args([&paths::root().join("docs"), &made])
        .status()
        .context("starting mke2fs")?;
    ensure!(status.success(), "mke2fs ended with {status}");
    let before = std::fs::read(&made).context("reading a file system")?;
    let empty = |sector: usize| before[sector * 512..][..512].iter().all(|byte| *byte == 0);
    ensure!(empty(0) && empty(8), "the file system looks unlike a new disk where superblocks are");
    let (image, scenario) = on_disk("kv-refused", &before)?;
    let mut run = Kept::start("kv-refused", &[&scenario.to_string_lossy()])?;
    let deadline = Instant::now() + PATIENCE;
    while !run.said().contains(NO_STORE) {
        ensure!(Instant::now() < deadline, "the run does not say that the disk is refused:\n{}", run.said());
        std::thread::sleep(LOOK);
    }
    run.interrupt()?;
    ensure!(run.end()?, "the run did not end well:\n{}", run.said());
    ensure!(std::fs::read(&image).context("reading the disk")? == before, "the disk has changed");

    let program = std::env::current_exe().context("finding this program")?;
    let check = tied::command(&program.to_string_lossy())
        .args(["kv", "check", &image.to_string_lossy()])
        .output()
        .context("checking the disk")?;
    let said = String::from_utf8_lossy(&check.stderr);
    ensure!(check.status.code() == Some(2) && said.contains(NO_STORE), "{}: {said}", check.status);
    Ok(format!("{} bytes of ext4 refused", before.len()))
}

/// A driver domain dies, and with it the overlay to which a server wrote. The server acknowledges nothing from then on, and says why.
pub(super) fn lost() -> Result<String> {
    let before = vec![0; 1 << 20];
    let (image, path) = on_disk("kv-lost", &before)?;
    let text = std::fs::read_to_string(&path).context("reading a scenario")?;
    let text = text.replace("mode = \"w\"", "mode = \"w\", overlay = \"1M\"");
    let scenario = Scenario::parse(&paths::root(), &path, text)?;
    scenario.check(&compile::is_guest)?;
    let how = How { forwarded: true, ..How::new(Clock::Real) };
    let mut booted = boot::boot(how, &scenario, lower(&scenario)?)?;
    let mut client = answering(&booted)?;
    let deadline = Instant::now() + PATIENCE;
    booted.machine.tell("crash storage")?;
    // It is told at once, and dies some time after that.
    let mut changes = 1;
    let why = loop {
        ensure!(Instant::now() < deadline, "{changes} changes were acknowledged");
        match ask(&mut client, &format!("SET key {changes}"))? {
            answer if answer == "OK" => changes += 1,
            answer => break answer,
        }
    };
    let again = ask(&mut client, "DEL key")?;
    for answer in [why, again] {
        ensure!(answer.starts_with("ERR the disk has begun anew"), "after the overlay's loss: {answer:?}");
    }
    booted.machine.tell("poweroff")?;
    ensure!(std::fs::read(&image).context("reading the disk")? == before, "the image below has changed");
    Ok(format!("{changes} changes acknowledged before it, none after"))
}

/// A connection to the server of a machine that comes up, which has acknowledged that `key` is 1.
pub(super) fn answering(booted: &Booted) -> Result<TcpStream> {
    let (port, _) = booted.forwards.first().context("the scenario has no server")?;
    let address = format!("127.0.0.1:{port}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // QEMU may not listen yet, nor the server behind it.
        let asked = connect(&address).and_then(|mut client| Ok((ask(&mut client, "SET key 1")?, client)));
        match asked {
            Ok((answer, client)) if answer == "OK" => return Ok(client),
            other => {
                ensure!(Instant::now() < deadline, "to SET the server says {:?}", other.map(|asked| asked.0))
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// A scenario of this name with a disk that holds this; both paths.
pub(super) fn on_disk(name: &str, content: &[u8]) -> Result<(PathBuf, PathBuf)> {
    let folder = paths::run("suite").join(name);
    std::fs::create_dir_all(&folder).context("making a folder")?;
    let (image, scenario) = (folder.join("kv.img"), folder.join("scenario.toml"));
    std::fs::write(&image, content).context("making a disk")?;
    let text = std::fs::read_to_string(paths::root().join("images/kv.toml")).context("reading a scenario")?;
    std::fs::write(&scenario, text.replace("target/kv.img", &image.to_string_lossy()))
        .context("writing a scenario")?;
    Ok((image, scenario))
}

/// Sends a line; the line that is answered.
pub(super) fn ask(client: &mut TcpStream, line: &str) -> Result<String> {
    client.write_all(format!("{line}\n").as_bytes()).context("asking")?;
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).context("hearing an answer")?;
    Ok(answer.trim_end().to_owned())
}

/// How many changes were acknowledged; some for each death.
fn changes(figures: &Value, deaths: u32) -> Result<f64> {
    let changes = number(figures, "/changes")?;
    ensure!(changes >= f64::from(deaths), "only {changes} changes with {deaths} deaths");
    ensure!(figures["audit"]["ok"] == true, "no audit held: {}", figures["audit"]);
    Ok(changes)
}
