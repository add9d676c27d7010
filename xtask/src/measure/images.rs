//! The images of a sweep, built once and kept apart.
//! It exists so that all points are of one build, whatever becomes of the sources while the sweep runs.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};

use super::prepare::View;
use crate::run::boot::{self, Images, Members};
use crate::scenario::{Plan, Room, Scenario};
use crate::{compile, paths};

/// What a sweep runs.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// The hypervisor.
    usual: Vec<u8>,
    /// The one that counts its own instructions.
    accounting: Vec<u8>,
    guests: Members,
    /// Which guests, in the order in which `guests` has them.
    names: Vec<String>,
}

impl Frozen {
    /// Builds them.
    pub(crate) fn build() -> Result<Self> {
        // Both hypervisors are built to the same place, one after the other; parts of a sweep may begin at the same time.
        let folder = paths::run("measure");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let lock = fs::File::create(folder.join("build.lock")).context("making a lock")?;
        lock.lock().context("waiting for another process that builds")?;
        let names = ["driver-domain", "web", "client"].map(str::to_owned).to_vec();
        let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        let accounting = read(&compile::accounting()?)?;
        let usual = read(&compile::hypervisor()?)?;
        Ok(Self { usual, accounting, guests: boot::guests(&names)?, names })
    }

    /// What a machine has for domains under the larger of the two hypervisors.
    pub(crate) fn room(&self, scenario: &Scenario, plan: &Plan) -> Result<Room> {
        let kernel = if self.accounting.len() > self.usual.len() { &self.accounting } else { &self.usual };
        let members = boot::with_config(plan, self.guests.clone())?;
        Room::new(scenario.system.memory.get_ref().0, kernel, &members)
    }

    /// A number that stands for them.
    pub(crate) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.usual, &self.accounting, &self.guests).hash(&mut hasher);
        hasher.finish()
    }

    /// Those for one look at a machine, with the hypervisor as a file in this folder.
    pub(crate) fn images(&self, view: View, folder: &Path, wanted: &[String]) -> Result<Images> {
        let bytes = if view == View::Accounted { &self.accounting } else { &self.usual };
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let kernel = folder.join("hypervisor");
        fs::write(&kernel, bytes).with_context(|| format!("writing {}", kernel.display()))?;
        let guests = self.guests.iter().zip(&self.names);
        let guests =
            guests.filter(|(_, name)| wanted.contains(name)).map(|(guest, _)| guest.clone()).collect();
        Ok(Images { kernel, guests })
    }
}
