//! From a checked scenario to a running machine: build, pack, start.
//! It exists so that every kind of run starts in the same way.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hypervisor_core::replay::kept::About;

use crate::qemu::{self, Clock, Machine};
use crate::replay::Recording;
use crate::scenario::{Guest, Plan, Room, Scenario};
use crate::{BadInput, archive, compile, ext4, paths};

/// Bytes of the shared trace.
const TRACE_BYTES: u64 = 64 << 20;

/// How a scenario is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// How time passes.
    pub(crate) clock: Clock,
    /// Whether the host reaches the guests.
    pub(crate) forwarded: bool,
    /// First port for that; free ones when absent.
    pub(crate) port: Option<u16>,
    /// Whether to wait for gdb.
    pub(crate) gdb: bool,
    /// Which hypervisor.
    pub(crate) build: Build,
}

impl How {
    /// With the usual hypervisor, and nobody from outside.
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, forwarded: false, port: None, gdb: false, build: Build::Usual }
    }
}

/// A build of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The one that everybody uses.
    Usual,
    /// One that cannot record a trace.
    Traceless,
}

/// Files of a boot archive by name.
pub(crate) type Members = Vec<(String, Vec<u8>)>;

/// Images that have been built.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// The hypervisor's.
    pub(crate) kernel: PathBuf,
    /// The guests'.
    pub(crate) guests: Members,
}

/// A machine that has been started.
#[derive(Debug)]
pub(crate) struct Booted {
    /// The machine.
    pub(crate) machine: Machine,
    /// What it runs.
    pub(crate) plan: Plan,
    /// The host's way to each guest.
    pub(crate) forwards: Vec<(u16, Guest)>,
    /// The log of the run on its way into a file. It goes after the machine.
    pub(crate) recording: Option<Recording>,
}

/// Builds what the plan of a scenario needs and starts it.
pub(crate) fn boot(how: How, scenario: &Scenario, plan: Plan) -> Result<Booted> {
    start(how, scenario, plan, Vec::new(), None)
}

/// The same with more of QEMU's own options.
pub(crate) fn boot_with(how: How, scenario: &Scenario, plan: Plan, more: Vec<String>) -> Result<Booted> {
    start(how, scenario, plan, more, None)
}

/// The same with a hypervisor that writes its run down, if there is a file to write it to.
pub(crate) fn boot_into(how: How, scenario: &Scenario, plan: Plan, record: Option<&Path>) -> Result<Booted> {
    start(how, scenario, plan, Vec::new(), record)
}

/// Starts it from images that are there already, whatever has become of their sources.
pub(crate) fn boot_images(how: How, scenario: &Scenario, plan: Plan, images: &Images) -> Result<Booted> {
    let members = with_config(&plan, images.guests.clone())?;
    launch(how, scenario, plan, Vec::new(), None, (images.kernel.clone(), members))
}

fn start(
    how: How,
    scenario: &Scenario,
    plan: Plan,
    more: Vec<String>,
    record: Option<&Path>,
) -> Result<Booted> {
    if how.forwarded && how.port.is_some() {
        // Said at once; the ports are chosen when everything is built.
        qemu::choose(how.port, plan.guests.len())?;
    }
    let kernel = match (how.build, record) {
        (Build::Usual, Some(_)) => compile::recording()?,
        (Build::Usual, None) => compile::hypervisor()?,
        (Build::Traceless, _) => compile::traceless()?,
    };
    let members = members(&plan)?;
    launch(how, scenario, plan, more, record, (kernel, members))
}

/// Packs, and starts QEMU.
fn launch(
    how: How,
    scenario: &Scenario,
    mut plan: Plan,
    more: Vec<String>,
    record: Option<&Path>,
    (kernel, members): (PathBuf, Members),
) -> Result<Booted> {
    scenario.check_served(&members)?;
    room(scenario, &kernel, &members)?.check(scenario, &plan)?;
    let folder = paths::made(paths::run(&scenario.name))?;
    let claim = claim(&folder, &scenario.name)?;
    let initrd = folder.join("boot.cpio");
    fs::write(&initrd, archive::pack(&members)?).with_context(|| format!("writing {}", initrd.display()))?;

    for drive in &plan.drives {
        if let Some(folder) = &drive.folder {
            ext4::make(folder, &drive.path).with_context(|| format!("a disk of {}", folder.display()))?;
        }
    }
    let forwards = if how.forwarded {
        let ports = qemu::choose(how.port, plan.guests.len())?;
        ports.into_iter().zip(plan.guests.iter().cloned()).collect()
    } else {
        Vec::new()
    };
    let counted = matches!(how.clock, Clock::Counted { .. });
    for drive in &mut plan.drives {
        // A counted machine is not about the host's disk.
        drive.direct = !counted && qemu::aio::goes_direct(&drive.path);
    }
    let network = (!counted && !plan.guests.is_empty())
        .then(|| qemu::Network { prefix: plan.network, forwards: forwards.clone() });
    if how.gdb {
        tell!("waiting for gdb: target remote localhost:1234, symbols in {}", paths::shown(&kernel));
    }
    let trace = folder.join("trace.bin");
    allocate(&trace, TRACE_BYTES)?;
    let recording = match record {
        Some(path) => Some(Recording::start(&trace, path, &about(scenario), &members)?),
        None => None,
    };
    let machine = Machine::start(
        &qemu::Options {
            kernel,
            initrd,
            append: None,
            memory: *scenario.system.memory.get_ref(),
            clock: how.clock,
            network,
            drives: plan.drives.clone(),
            aio: if plan.drives.is_empty() { qemu::aio::THREADS } else { qemu::aio::chosen() },
            trace: Some((trace, TRACE_BYTES)),
            monitor: plan.monitor.clone(),
            gdb: how.gdb,
            more,
        },
        &folder.join("serial.log"),
    )?;
    let machine = machine.holding(claim);
    Ok(Booted { machine, plan, forwards, recording })
}

/// Claims the folder of a run, which is this run's alone while its machine is up: QEMU has the trace there in its memory.
///
/// # Errors
/// [`BadInput`] when another run of this name is up.
pub(crate) fn claim(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(".lock");
    let claim = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    match claim.try_lock() {
        Ok(()) => Ok(claim),
        Err(TryLockError::WouldBlock) => {
            let place = paths::shown(folder);
            Err(BadInput(format!("another run of {name} is up, and its files are in {place}")).into())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// What the machine of a scenario has for domains.
fn room(scenario: &Scenario, kernel: &Path, members: &Members) -> Result<Room> {
    let kernel = fs::read(kernel).with_context(|| format!("reading {}", kernel.display()))?;
    Room::new(scenario.system.memory.get_ref().0, &kernel, members)
}

/// The boot archive of a plan: its configuration and the images that it names.
pub(crate) fn boot_archive(scenario: &Scenario, plan: &Plan) -> Result<Vec<u8>> {
    let members = members(plan)?;
    scenario.check_served(&members)?;
    archive::pack(&members)
}

/// What a recording of a scenario says of itself.
fn about(scenario: &Scenario) -> About {
    let words: Vec<String> = std::env::args().skip(1).collect();
    About {
        scenario: scenario.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: format!("cargo xtask {}", words.join(" ")),
        ..About::default()
    }
}

/// The same as files by name.
fn members(plan: &Plan) -> Result<Members> {
    with_config(plan, guests(&plan.images)?)
}

/// These images behind the configuration of a plan.
pub(crate) fn with_config(plan: &Plan, guests: Members) -> Result<Members> {
    let config = serde_json::to_vec_pretty(&plan.config).context("writing the configuration")?;
    Ok(std::iter::once(("config.json".to_owned(), config)).chain(guests).collect())
}

/// Builds the images of these guests, and reads those that are files already.
pub(crate) fn guests(names: &[String]) -> Result<Members> {
    let (files, crates): (Vec<_>, Vec<_>) =
        names.iter().cloned().partition(|name| compile::file(name).is_some());
    let built = compile::guests(&crates)?;
    let given = files.iter().filter_map(|name| compile::file(name));
    let mut members = Vec::new();
    for (name, path) in crates.iter().zip(built).chain(files.iter().zip(given)) {
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        members.push((format!("guests/{name}"), bytes));
    }
    Ok(members)
}

/// Makes a file of zero bytes whose room on the disk is certain: a hole would kill QEMU when the disk is full.
fn allocate(path: &Path, bytes: u64) -> Result<()> {
    let made = || -> std::io::Result<()> {
        let file = File::create(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        Ok(())
    };
    made().with_context(|| format!("making {} ({} MiB)", path.display(), bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_run_s_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let place = paths::made(folder.path().join("web")).unwrap();
        let first = claim(&place, "web").unwrap();
        let refused = claim(&place, "web").unwrap_err();
        assert!(refused.is::<BadInput>() && refused.to_string().starts_with("another run of web is up"));
        drop(first);
        claim(&place, "web").unwrap();
    }
}
