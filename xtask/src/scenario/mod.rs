//! A scenario: one system, described completely by one file in `images/`.
//! It exists so that what runs is read and judged before anything is started.
//!
//! [`file`] is the text's form, [`units`] its sizes and times, [`check`] what must hold,
//! [`disks`] what must of disks, [`room`] whether it fits, [`served`] whether back ends are such, [`lower`] the hypervisor's form of it. Each refusal is a [`Refusal`] with file, line and key.

mod check;
mod disks;
mod file;
mod lower;
mod place;
mod room;
mod served;
#[cfg(test)]
mod tests;
mod units;

use std::path::{Path, PathBuf};

pub(crate) use disks::Drive;
pub(crate) use file::{Delivery, Entry, HTTP, Load, OnCrash, System};
pub(crate) use lower::{Guest, Plan, lower};
pub(crate) use place::Refusal;
pub(crate) use room::Room;
pub(crate) use units::{Size, Span};

use crate::paths;

/// A scenario that has been read and found to make sense.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Name of the file without its ending.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// Its text, for messages.
    pub(crate) text: String,
    /// What it says.
    pub(crate) system: System,
}

impl Scenario {
    /// Finds a scenario by name (`web` means `images/web.toml`) or by path, and reads it.
    ///
    /// # Errors
    /// A [`Refusal`] when there is no such file or its text is not a scenario.
    pub(crate) fn open(root: &Path, name: &str) -> Result<Self, Refusal> {
        let by_path = name.ends_with(".toml");
        let path =
            if by_path { PathBuf::from(name) } else { root.join("images").join(format!("{name}.toml")) };
        let text = paths::read_text(&path).map_err(|error| {
            let known = known(root).join(", ");
            let given = Path::new(name);
            // What was given may be there, and not be what was looked for.
            let (place, why) = match paths::read_text(given) {
                _ if by_path || !given.exists() => (path.as_path(), error.to_string()),
                Ok(_) => (given, "the path of a scenario ends in .toml".to_owned()),
                Err(error) => (given, error.to_string()),
            };
            Refusal::whole(&shown(root, place), format!("cannot be read: {why} (scenarios: {known})"))
        })?;
        Self::parse(root, &path, text)
    }

    /// Reads a scenario from its text.
    pub(crate) fn parse(root: &Path, path: &Path, text: String) -> Result<Self, Refusal> {
        let shown = shown(root, path);
        let system = place::read(&shown, &text)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, path: shown, text, system })
    }

    /// Leaves out the domains that are there for load from elsewhere alone.
    pub(crate) fn keep(&mut self, load: Load) {
        self.system.domain.retain(|entry| entry.only.is_none_or(|only| only == load));
    }

    /// Checks what the text alone cannot show; `images` says whether a guest image of that name exists.
    pub(crate) fn check(&self, images: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
        check::check(self, images)
    }

    /// Checks that the machine is not larger than this host, which has so many bytes.
    pub(crate) fn check_host(&self, host_bytes: u64) -> Result<(), Refusal> {
        let memory = &self.system.memory;
        if memory.get_ref().0 <= host_bytes {
            return Ok(());
        }
        let (wanted, there) = (memory.get_ref(), host_bytes >> 20);
        let message = format!("more memory than there is: the machine has {wanted}, this host {there}M");
        Err(self.refuse(memory.span(), message))
    }

    /// The entry whose domains `--guests` counts, the host loads and the report measures.
    pub(crate) fn subject(&self) -> Option<&Entry> {
        let name = self.system.subject.as_ref()?;
        self.system.domain.iter().find(|entry| entry.name.get_ref() == name.get_ref())
    }

    /// The same entry, to change it by an option.
    pub(crate) fn subject_mut(&mut self) -> Option<&mut Entry> {
        let name = self.system.subject.clone()?;
        self.system.domain.iter_mut().find(|entry| entry.name.get_ref() == name.get_ref())
    }

    fn refuse(&self, span: std::ops::Range<usize>, message: impl Into<String>) -> Refusal {
        Refusal::at(&self.path, &self.text, span, message)
    }
}

/// Names of the scenarios in `images/`, sorted.
pub(crate) fn known(root: &Path) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(root.join("images")) else { return Vec::new() };
    let mut names: Vec<String> = folder
        .filter_map(|item| {
            item.ok()?.file_name().into_string().ok()?.strip_suffix(".toml").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn shown(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_path_buf()
}
