//! `cargo xtask strike`: NMIs and machine checks where they hurt most, and whether all goes on.
//! It exists because the ways in and out are the one place where a processor in the wrong state is deadly and where a
//! usual run is never struck.

mod gdb;
mod monitor;
mod paced;
mod stubs;
mod sweep;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use hypervisor_core::ring::Ring;
use serde::Serialize;

use self::gdb::Gdb;
use self::monitor::Monitor;
use self::stubs::Stubs;
use super::session::Session;
use super::{boot, options};
use crate::cli::{Cli, Command, Json, StrikeKind};
use crate::scenario::Scenario;
use crate::{BadInput, compile, interrupt, paths, setup};

/// How long QEMU may take to open its sockets.
const OPENING: Duration = Duration::from_secs(20);

/// Strikes.
pub(crate) fn strike(what: &StrikeKind) -> Result<()> {
    let number = match what {
        StrikeKind::Sweep(options) => options.ring,
        StrikeKind::Paced(options) => options.ring,
    };
    let ring = Ring::from_number(number)
        .ok_or_else(|| BadInput(format!("--ring {number}: a guest's kernel runs in ring 1 or 3")))?;
    setup::need(setup::QEMU)?;
    setup::need_target()?;
    interrupt::install()?;
    match what {
        StrikeKind::Sweep(options) => sweep::sweep(options, ring),
        StrikeKind::Paced(options) => paced::paced(options, ring),
    }
}

/// The counters that the hypervisor keeps for those who look from outside.
#[derive(Clone, Copy, Debug)]
struct Counters {
    nmis: u64,
    /// Address of the instruction before which the last NMI came.
    nmi_at: u64,
    machine_checks: u64,
}

impl Counters {
    /// Words to read.
    const WORDS: usize = 3;

    fn of(words: &[u64]) -> Result<Self> {
        match *words {
            [nmis, nmi_at, machine_checks] => Ok(Self { nmis, nmi_at, machine_checks }),
            _ => bail!("{} words are no counters", words.len()),
        }
    }
}

/// A running machine and the ways into it.
#[derive(Debug)]
struct Struck {
    session: Session,
    monitor: Monitor,
    gdb: Option<Gdb>,
}

/// Sockets of one QEMU, removed in the end.
struct Sockets(PathBuf);

impl Sockets {
    fn new() -> Result<Self> {
        // The path of a socket must be short, which that of the repository need not be.
        let folder = std::env::temp_dir().join(format!("denizen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn option(&self, name: &str) -> String {
        format!("unix:{},server=on,wait=off", self.0.join(name).display())
    }

    fn open(&self, name: &str) -> Result<UnixStream> {
        let deadline = Instant::now() + OPENING;
        loop {
            match UnixStream::connect(self.0.join(name)) {
                Ok(stream) => return Ok(stream),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error).with_context(|| format!("connecting to QEMU's {name}")),
            }
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts a run as it would be typed, with sockets; `stopped`: with the gdb stub, before the first instruction.
fn start(line: &str, stopped: bool) -> Result<Struck> {
    let words = ["xtask", "run"].into_iter().chain(line.split_whitespace());
    let Command::Run(run) = Cli::try_parse_from(words).context("reading our own command")?.command else {
        bail!("{line} is no run");
    };
    let mut scenario = Scenario::open(&paths::root(), options::scenario_name(&run))?;
    options::apply(&run, &mut scenario)?;
    scenario.check(&compile::is_image)?;
    let plan = options::plan(&run, &scenario)?;
    let sockets = Sockets::new()?;
    let mut more = vec!["-qmp".to_owned(), sockets.option("monitor")];
    if stopped {
        more.extend(["-gdb".to_owned(), sockets.option("gdb"), "-S".to_owned()]);
    } else {
        // So that an NMI can come between any two instructions, not between blocks of them alone.
        more.push("-singlestep".to_owned());
    }
    let how = options::how(&run, &scenario);
    let session = Session::new(boot::boot_with(how, &scenario, plan, more)?, &scenario);
    let monitor = Monitor::new(sockets.open("monitor")?)?;
    let gdb = if stopped { Some(Gdb::new(sockets.open("gdb")?)?) } else { None };
    Ok(Struck { session, monitor, gdb })
}

/// The stubs of the hypervisor that runs.
fn stubs(ring: Ring) -> Result<Stubs> {
    let image = compile::hypervisor()?;
    let file = std::fs::read(&image).with_context(|| format!("reading {}", image.display()))?;
    Stubs::read(&file, ring)
}

/// Asks the hypervisor for its own counts at the end, has it audit itself, and ends the machine.
fn finish(mut session: Session) -> Result<Counters> {
    let body = session.command("snapshot struck")?;
    session.command("audit")?;
    session.end()?;
    if let Some(fault) = session.watch.faults.first() {
        bail!("the hypervisor: {fault}");
    }
    if let Some(breach) = session.watch.coverage.breaches.first() {
        bail!("a guest found a breach: {breach}");
    }
    let mortal = &session.watch.mortal;
    let dead =
        session.watch.deaths.iter().find(|(name, reason)| reason != "poweroff" && !mortal.contains(name));
    if let Some((name, reason)) = dead {
        bail!("{name} ended: {reason}");
    }
    ensure!(session.watch.audit.is_some(), "there was no audit");
    let log = session.machine.log();
    // Hostile guests print what they like.
    let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    // Not by the clock, which goes on while the processor is being stopped and struck.
    let by_the_clock = |line: &str| !line.contains("\"exit\"") || line.contains("\"exit\":\"Time\"");
    let wrong =
        |line: &&str| line.contains("| @process {") && line.contains("\"ok\":false") && !by_the_clock(line);
    if let Some(wrong) = text.lines().find(wrong) {
        bail!("a process did not end as it should: {wrong}");
    }
    let count = |key: &str| body[key].as_u64().with_context(|| format!("the snapshot has no {key}"));
    Ok(Counters { nmis: count("nmis")?, nmi_at: 0, machine_checks: count("machine_checks")? })
}

/// Writes figures where they are wanted.
fn write(options: &Json, figures: &impl Serialize) -> Result<()> {
    let Some(path) = &options.json else { return Ok(()) };
    let text = serde_json::to_string_pretty(figures).context("writing JSON")? + "\n";
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
