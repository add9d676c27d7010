//! A machine with guests that are to be measured: waiting for them, commands, snapshots.
//! It exists so that the measurements read as the steps that they are.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hypervisor_core::config::{self, OnCrash};
use indicatif::{ProgressBar, ProgressStyle};

use super::boot::Booted;
use super::watch::Watch;
use crate::counters::Snapshot;
use crate::load::{Target, fetch_each};
use crate::qemu::{Machine, Next, is_orderly};
use crate::replay::Recording;
use crate::scenario::{Delivery, Guest, Plan, Scenario};
use crate::serial::Line;

/// How long the start may take without any guest coming up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the hypervisor may take to power off.
const FAREWELL: Duration = Duration::from_secs(10);

/// A machine with guests that are to be measured.
#[derive(Debug)]
pub(crate) struct Session {
    /// The machine.
    pub(crate) machine: Machine,
    /// What it runs.
    pub(crate) plan: Plan,
    /// What its lines said.
    pub(super) watch: Watch,
    /// The way to each guest.
    pub(crate) targets: Vec<Target>,
    /// Pattern that names the measured guests in commands.
    pub(crate) pattern: String,
    /// Start of QEMU.
    pub(crate) started: Instant,
    /// The log of the run on its way into a file. It stands last, so that it is completed after the machine's end.
    recording: Option<Recording>,
}

impl Session {
    /// Takes over a machine that has just been started.
    pub(crate) fn new(booted: Booted, scenario: &Scenario) -> Self {
        let target = |(port, guest): &(u16, Guest)| Target {
            name: guest.name.clone(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, *port)),
            page: scenario.system.page.clone(),
        };
        let targets = booted.forwards.iter().map(target).collect();
        let pattern = scenario.subject().map_or_else(
            || "*".to_owned(),
            |subject| match subject.count {
                Some(_) => format!("{}-*", subject.name.get_ref()),
                None => subject.name.get_ref().clone(),
            },
        );
        let subject = scenario.subject().map(|subject| subject.image.get_ref().as_str()).unwrap_or_default();
        let domains = booted.plan.config.domains.iter();
        let restarted = domains.filter(|domain| domain.on_crash == OnCrash::Restart);
        // Whose end is news: what is measured, and what serves it.
        let serves = |domain: &config::Domain| {
            domain.devices.iter().any(|device| matches!(device, config::Device::Pci { .. }))
        };
        let others = restarted
            .filter(|domain| domain.image.strip_prefix("guests/") != Some(subject) && !serves(domain));
        let mortal = others.map(|domain| domain.name.clone()).collect();
        let devices = booted.plan.config.domains.iter().flat_map(|domain| &domain.devices);
        let serving = devices.filter_map(|device| device.backend().map(str::to_owned)).collect();
        Self {
            machine: booted.machine,
            plan: booted.plan,
            watch: Watch { mortal, serving, ..Watch::default() },
            targets,
            pattern,
            started: Instant::now(),
            recording: booted.recording,
        }
    }

    /// Names of the measured guests.
    pub(crate) fn subjects(&self) -> HashSet<&str> {
        self.plan.guests.iter().map(|guest| guest.name.as_str()).collect()
    }

    /// Waits until each measured guest has said that it runs, or none came for a long time.
    pub(crate) fn await_guests(&mut self) -> Result<()> {
        let names: HashSet<String> = self.plan.guests.iter().map(|guest| guest.name.clone()).collect();
        let bar = bar(names.len(), "starting");
        let mut last = Instant::now();
        let mut count = 0;
        while count < names.len() {
            match self.machine.next(last + PATIENCE)? {
                Next::Line(line) => {
                    if let Some(text) = self.watch.see(&line) {
                        bar.suspend(|| tell!("{text}"));
                    }
                    if let Some(why) = self.watch.hopeless() {
                        bar.abandon();
                        bail!("{why}; the log is {}", self.machine.log().display());
                    }
                    let now = names.iter().filter(|name| self.watch.banners.contains_key(*name)).count();
                    if now > count {
                        count = now;
                        last = Instant::now();
                        bar.set_position(count as u64);
                    }
                }
                Next::Timeout => break,
                Next::End => {
                    bar.abandon();
                    return Err(self.machine.death());
                }
            }
        }
        bar.finish_and_clear();
        if count == 0 {
            bail!(
                "no guest came up within {} s; the log is {}",
                PATIENCE.as_secs(),
                self.machine.log().display()
            );
        }
        Ok(())
    }

    /// Fetches from every guest; returns those that stayed silent.
    pub(crate) fn fetch(&mut self) -> Result<Vec<(String, String)>> {
        let bar = bar(self.targets.len(), "answering");
        let deadline = Instant::now() + PATIENCE;
        let silent = fetch_each(&self.targets, deadline, &self.machine.ended(), |_target| bar.inc(1))?;
        bar.finish_and_clear();
        self.drain()?;
        Ok(silent)
    }

    /// Looks at the lines that have come in meanwhile.
    pub(crate) fn drain(&mut self) -> Result<()> {
        loop {
            match self.machine.next(Instant::now())? {
                Next::Line(line) => tell(self.watch.see(&line)),
                Next::Timeout => return Ok(()),
                Next::End => return Err(self.machine.death()),
            }
        }
    }

    /// Gives a command and returns its answer's body.
    pub(crate) fn command(&mut self, text: &str) -> Result<serde_json::Value> {
        let watch = &mut self.watch;
        let (_kind, body) = self.machine.command(text, |line| tell(watch.see(line)))?;
        Ok(body)
    }

    /// All counters now.
    pub(crate) fn snapshot(&mut self, label: &str) -> Result<Snapshot> {
        self.drain()?;
        let body = self.command(&format!("snapshot {label}"))?;
        Snapshot::read(body)
    }

    /// Sets the policy of the measured guests.
    pub(crate) fn deliver(&mut self, delivery: Delivery) -> Result<()> {
        self.deliver_as(delivery.word())
    }

    /// The same by the words of the command, a window among them.
    pub(crate) fn deliver_as(&mut self, policy: &str) -> Result<()> {
        let command = format!("delivery {} {policy}", self.pattern);
        self.command(&command).map(drop)
    }

    /// Asks the hypervisor to power off, and follows it to its end.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.machine.tell("poweroff")?;
        self.follow_out(|_line| ())
    }

    /// Follows a machine that was told to power off.
    pub(crate) fn follow_out(&mut self, mut show: impl FnMut(&Line)) -> Result<()> {
        let deadline = Instant::now() + FAREWELL;
        loop {
            match self.machine.next(deadline)? {
                Next::Line(line) => {
                    show(&line);
                    tell(self.watch.see(&line));
                }
                Next::Timeout => bail!("the hypervisor did not power off within {} s", FAREWELL.as_secs()),
                Next::End => return self.judge_end(),
            }
        }
    }

    /// An error unless the machine has ended in order.
    pub(crate) fn judge_end(&mut self) -> Result<()> {
        // All that it will get is there, and another machine may take the memory that it comes from.
        self.recording = None;
        match self.machine.status() {
            Some(status) if is_orderly(status) => Ok(()),
            _ => Err(self.machine.death()),
        }
    }
}

fn tell(text: Option<String>) {
    if let Some(text) = text {
        tell!("{text}");
    }
}

/// A progress bar over guests.
fn bar(length: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>10} [{bar:40}] {pos}/{len} guests, {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
    let bar = ProgressBar::new(length as u64).with_style(style).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
