//! Lives of a machine with a key-value server: each on the disk that the one before left, all under load.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::client::{Client, Signals};
use super::image::content;
use super::promise::{Promise, judge};
use super::recording::Recording;
use crate::cli::KvLoad;
use crate::run::boot::{self, How};
use crate::run::crash::{Crashes, LOOK};
use crate::run::session::Session;
use crate::scenario::{Entry, OnCrash, Plan, Scenario, lower};
use crate::{BadInput, compile, interrupt, paths, qemu, setup};

/// Bytes of the disk: so few that its log is moved every second or so.
const DISK_BYTES: usize = 1 << 20;
/// The longest load before QEMU is killed.
const LIFE: Duration = Duration::from_millis(800);
/// Power cuts that are made of each recording.
const CUTS: u32 = 12;
/// How long the rest of the crashes may take after the load's time.
const CRASHES: Duration = Duration::from_secs(600);
/// How long a domain may take to be there again.
const BACK: Duration = Duration::from_secs(10);

/// A server, its disk, its clients.
struct Server {
    scenario: Scenario,
    plan: Plan,
    disk: PathBuf,
    recording: PathBuf,
    clients: Vec<Client>,
    random: fastrand::Rng,
    cuts: u32,
    flushes: usize,
    unflushed: usize,
}

/// What a life that ended in order says.
struct Ended {
    store: Value,
    audit: Value,
}

type Working = Vec<JoinHandle<(Client, Result<()>)>>;

/// Loads a server, with deaths on the way.
pub(super) fn load(options: &KvLoad) -> Result<()> {
    let folder = paths::run("kv");
    let mut scenario = Scenario::open(&paths::root(), "kv")?;
    crashable(&scenario, &options.crash)?;
    let (_claim, disk) = emptied(&folder)?;
    let recording = folder.join("recording");
    for image in scenario.system.domain.iter_mut().flat_map(|domain| &mut domain.disk) {
        image.image = Some(toml::Spanned::new(0..0, disk.to_string_lossy().into_owned()));
    }
    scenario.check(&compile::is_image)?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    let mut plan = lower(&scenario)?;
    plan.drives.iter_mut().for_each(|drive| drive.recording = Some(recording.clone()));
    let clients = (0..options.connections).map(|number| Client::new(number, options.seed)).collect();
    let random = fastrand::Rng::with_seed(options.seed);
    let mut server =
        Server { scenario, plan, disk, recording, clients, random, cuts: 0, flushes: 0, unflushed: 0 };
    for kill in 1..=options.kills {
        server.killed().with_context(|| format!("kill {kill}"))?;
    }
    let ended = server.ended(options)?;
    server.report(options, &folder, &ended)
}

/// Makes an empty disk in place of that of an earlier load, unless a load is up, or between two of its lives. The folder is this
/// load's until what is returned goes.
///
/// # Errors
/// [`BadInput`] when there is another load, or a run of this name.
fn emptied(folder: &Path) -> Result<(File, PathBuf)> {
    let claim = boot::claim(&paths::made(folder.join("load"))?, "kv load")?;
    drop(boot::claim(folder, "kv")?);
    let disk = folder.join("kv.img");
    fs::write(&disk, vec![0; DISK_BYTES]).with_context(|| format!("making {}", disk.display()))?;
    Ok((claim, disk))
}

/// Refuses a domain whose crash its clients would see: it must serve others, and be built again.
fn crashable(scenario: &Scenario, name: &str) -> Result<(), BadInput> {
    let domains = &scenario.system.domain;
    let serves = |name: &str| domains.iter().flat_map(Entry::backends).any(|backend| backend == name);
    let can = |domain: &&Entry| domain.on_crash == OnCrash::Restart && serves(domain.name.get_ref());
    let names: Vec<&str> = domains.iter().filter(can).map(|domain| domain.name.get_ref().as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let text = format!(
        "--crash: {name:?} is no driver domain that is built again; scenario kv has {}",
        names.join(", ")
    );
    Err(BadInput(text))
}

impl Server {
    /// All that clients were told.
    fn promises(&self) -> Vec<Promise> {
        self.clients.iter().flat_map(|client| client.promises.clone()).collect()
    }

    fn start(&self) -> Result<(Session, SocketAddr)> {
        fs::write(&self.recording, []).context("making the recording")?;
        let how = How { forwarded: true, ..How::new(qemu::Clock::Real) };
        let booted = boot::boot(how, &self.scenario, self.plan.clone())?;
        let mut session = Session::new(booted, &self.scenario);
        session.await_guests()?;
        let address = session.targets.first().context("the scenario has no server")?.address;
        Ok((session, address))
    }

    /// Sets the clients to work.
    fn work(&mut self, address: SocketAddr, signals: &Arc<Signals>) -> Working {
        let begin = |mut client: Client| {
            let signals = Arc::clone(signals);
            std::thread::spawn(move || {
                let result = client.run(address, &signals);
                (client, result)
            })
        };
        self.clients.drain(..).map(begin).collect()
    }

    /// Takes the clients back.
    fn rest(&mut self, working: Working) -> Result<()> {
        let mut first = Ok(());
        for thread in working {
            let (client, result) = thread.join().map_err(|_panic| anyhow!("a client panicked"))?;
            self.clients.push(client);
            first = first.and(result.context("an error that a client saw"));
        }
        first
    }

    /// A life that ends with QEMU's death under load. The disk is judged as it was left, and as a power cut may have left it;
    /// the next life begins with the one or the other.
    fn killed(&mut self) -> Result<()> {
        let before = fs::read(&self.disk).context("reading the disk")?;
        let (mut session, address) = self.start()?;
        let signals = Arc::new(Signals::default());
        let working = self.work(address, &signals);
        let length = LIFE.mul_f64(self.random.f64());
        let begin = loop {
            session.drain()?;
            let begun = signals.changes.load(Ordering::Acquire) > 0;
            if begun || working.iter().any(JoinHandle::is_finished) {
                break Instant::now();
            }
            std::thread::sleep(LOOK / 5);
        };
        while begin.elapsed() < length && !working.iter().any(JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What clients see from now on is nobody's fault but ours.
        signals.over.store(true, Ordering::Release);
        session.machine.kill();
        self.rest(working)?;
        let left = fs::read(&self.disk).context("reading the disk")?;
        let promises = self.promises();
        let judged = |image: &[u8]| judge(&promises, &content(image)?).map_err(|why| anyhow!(why));
        judged(&left).context("the disk as QEMU left it")?;
        let log = fs::read(&self.recording).context("reading the recording")?;
        let recording = Recording::read(&log).map_err(|why| anyhow!(why))?;
        self.flushes += recording.flushes;
        self.unflushed += recording.unflushed();
        let mut image = left;
        for cut in 1..=CUTS {
            let after = recording.cut(&before, &mut self.random);
            judged(&after).with_context(|| format!("the disk after power cut {cut}"))?;
            self.cuts += 1;
            if self.random.u32(..2 * CUTS) == 0 {
                image = after;
            }
        }
        fs::write(&self.disk, image).context("writing the disk")
    }

    /// A life that ends in order, with crashes of a driver domain in it.
    fn ended(&mut self, options: &KvLoad) -> Result<Ended> {
        let (mut session, address) = self.start()?;
        let frames = |audit: &Value| audit["free_frames"].as_u64();
        let signals = Arc::new(Signals::default());
        let working = self.work(address, &signals);
        let mut crashes = Crashes::of(options.crash.clone(), options.crashes);
        let begin = Instant::now();
        let mut before = None;
        loop {
            session.drain()?;
            if before.is_none() && !session.watch.stores.is_empty() {
                before = Some(session.command("audit")?);
            }
            crashes.tend(&mut session)?;
            let enough = begin.elapsed().as_secs_f64() >= options.seconds && crashes.left() == 0;
            if enough || working.iter().any(JoinHandle::is_finished) {
                break;
            }
            ensure!(begin.elapsed() < CRASHES, "{} crashes are still to come", crashes.left());
            std::thread::sleep(LOOK);
        }
        // After the last crash as before the first.
        let settled = begin.elapsed() + Duration::from_secs_f64(options.seconds.min(2.0));
        while begin.elapsed() < settled && !working.iter().any(JoinHandle::is_finished) {
            session.drain()?;
            std::thread::sleep(LOOK);
        }
        signals.over.store(true, Ordering::Release);
        self.rest(working)?;
        let before = before.as_ref().and_then(frames);
        let settled = |audit: &Value| frames(audit) == before && audit["zombies"] == 0;
        let mut audit = session.command("audit")?;
        // What was crashed last may be on its way back.
        let deadline = Instant::now() + BACK;
        while options.crashes > 0 && !settled(&audit) {
            ensure!(Instant::now() < deadline, "frames are lost: {before:?} free before, {audit} after");
            std::thread::sleep(LOOK);
            audit = session.command("audit")?;
        }
        let store = session.watch.stores.last().cloned().unwrap_or_default();
        let deaths = session.watch.deaths.iter().filter(|(name, _)| *name == options.crash).count();
        session.end()?;
        if let [first, ..] = session.watch.faults.as_slice() {
            bail!("{} faults of the hypervisor, the first: {first}", session.watch.faults.len());
        }
        ensure!(deaths == options.crashes as usize, "{deaths} deaths of {}", options.crash);
        let left = fs::read(&self.disk).context("reading the disk")?;
        judge(&self.promises(), &content(&left)?)
            .map_err(|why| anyhow!(why))
            .context("the disk at the end")?;
        Ok(Ended { store, audit })
    }

    fn report(&self, options: &KvLoad, folder: &Path, ended: &Ended) -> Result<()> {
        let promises = self.promises();
        let list = folder.join("acknowledged.json");
        let text = serde_json::to_string_pretty(&promises).context("writing JSON")? + "\n";
        fs::write(&list, text).with_context(|| format!("writing {}", list.display()))?;
        let sum = |of: fn(&Client) -> u64| self.clients.iter().map(of).sum::<u64>();
        let (changes, reads) = (sum(|client| client.done.changes), sum(|client| client.done.reads));
        let longest = self.clients.iter().map(|client| client.done.longest).max().unwrap_or_default();
        say!("{changes} changes acknowledged and {reads} values read, no error, no promise broken");
        say!(
            "{} crashes of {}, {} kills of QEMU, {} power cuts of {} flushes ({} sectors not flushed); longest wait {:.2} s",
            options.crashes,
            options.crash,
            options.kills,
            self.cuts,
            self.flushes,
            self.unflushed,
            longest.as_secs_f64()
        );
        say!("disk:         {}", paths::shown(&self.disk));
        say!("acknowledged: {}", paths::shown(&list));
        super::write(
            &options.json,
            &json!({
                "changes": changes, "reads": reads, "longest_ms": longest.as_millis() as u64,
                "crashed": options.crash, "crashes": options.crashes, "kills": options.kills,
                "power_cuts": self.cuts, "flushes": self.flushes, "unflushed_sectors": self.unflushed,
                "store": ended.store, "audit": ended.audit,
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_leaves_the_disk_of_another_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (first, disk) = emptied(folder.path()).unwrap();
        fs::write(&disk, "what was acknowledged").unwrap();
        let refused = emptied(folder.path()).unwrap_err();
        assert!(refused.is::<BadInput>() && refused.to_string().starts_with("another run of kv load is up"));
        assert_eq!(fs::read(&disk).unwrap(), b"what was acknowledged");
        drop(first);
        let (_second, disk) = emptied(folder.path()).unwrap();
        assert_eq!(fs::read(&disk).unwrap(), vec![0; DISK_BYTES]);
    }

    #[test]
    fn only_a_driver_domain_that_is_built_again_is_crashed_under_load() {
        let scenario = Scenario::open(&paths::root(), "kv").unwrap();
        for name in ["storage", "network"] {
            assert!(crashable(&scenario, name).is_ok(), "{name}");
        }
        for name in ["kv", "nobody", ""] {
            let why = crashable(&scenario, name).unwrap_err().to_string();
            assert!(why.contains(&format!("{name:?}")) && why.ends_with("has network, storage"), "{why}");
        }
    }
}
