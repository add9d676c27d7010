//! The disks of a scenario: what each front end may do with which image, and which drives the machine needs.
//! It exists so that a writer is alone with its sectors before anything is started, and no file is opened in vain.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use hypercall_abi::device::{NO_DISK, block_access};
use hypervisor_core::config;
use serde::Deserialize;
use toml::Spanned;

use super::units::Size;
use super::{Refusal, Scenario};

const SECTOR: u64 = hypercall_abi::blkif::SECTOR_BYTES as u64;
/// The PCI device numbers of drives begin here; QEMU gives lower ones to all else.
const FIRST_SLOT: u8 = 0x10;
/// How many there are: the last number is the chipset's.
const DRIVES_MAX: usize = 15;

/// A block front end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskDevice {
    /// Name of the driver domain.
    pub(crate) backend: Spanned<String>,
    /// Path of an image, from the repository's root.
    pub(crate) image: Option<Spanned<String>>,
    /// Instead of an image: a folder, from the repository's root, of which an ext4 file system is made at each start.
    pub(crate) folder: Option<Spanned<String>>,
    /// Instead of both: bytes of the driver domain's memory, zeros at first.
    pub(crate) ram: Option<Spanned<Size>>,
    /// `r` or `w`.
    pub(crate) mode: Spanned<String>,
    /// Bytes of the driver domain's memory for what is written, so that the image stays as it is.
    pub(crate) overlay: Option<Spanned<Size>>,
    /// Where in the image it begins; 0 when absent.
    pub(crate) offset: Option<Spanned<Size>>,
    /// Its length; up to the image's end when absent.
    pub(crate) size: Option<Spanned<Size>>,
    /// Whether ring indices may suppress notifications.
    #[serde(default = "yes")]
    pub(crate) suppress: bool,
}

fn yes() -> bool {
    true
}

/// A drive of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drive {
    /// Its image.
    pub(crate) path: PathBuf,
    /// What the image is to be made of, if it is to be made.
    pub(crate) folder: Option<PathBuf>,
    /// Nobody writes to it.
    pub(crate) read_only: bool,
    /// Where each write and flush is recorded, if it is.
    pub(crate) recording: Option<PathBuf>,
    /// Whether it is read and written past the host's cache.
    pub(crate) direct: bool,
    /// Device number on PCI bus 0.
    pub(crate) slot: u8,
    /// Why nothing is started when another machine has the image.
    pub(crate) in_use: Refusal,
    /// Name of the domain that owns it.
    backend: String,
}

impl Drive {
    fn is_of(&self, path: &Path, backend: &str) -> bool {
        self.backend == backend && same_file(&self.path, path)
    }
}

/// Whether two names are of one file. A file may have several, and none is its real one.
fn same_file(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| std::fs::metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
    one == other || number(one).is_some_and(|file| number(other) == Some(file))
}

impl DiskDevice {
    /// Whether it changes the image itself.
    fn writes(&self) -> bool {
        self.mode.get_ref() == "w" && self.overlay.is_none()
    }

    /// The image, as one name for one file.
    fn path(&self) -> Option<PathBuf> {
        if let Some(folder) = self.folder() {
            let mut names = folder.components().filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_string_lossy().replace('%', "%25")),
                _ => None,
            });
            let first = names.next().unwrap_or_default();
            let name = names.fold(first, |all, name| all + "%" + &name);
            return Some(crate::paths::run("disks").join(name + ".ext4"));
        }
        let path = crate::paths::root().join(self.image.as_ref()?.get_ref());
        Some(path.canonicalize().unwrap_or(path))
    }

    /// The folder that it is made of, as one name for one folder.
    fn folder(&self) -> Option<PathBuf> {
        let path = crate::paths::root().join(self.folder.as_ref()?.get_ref());
        Some(path.canonicalize().unwrap_or(path))
    }

    /// What is said when another machine has the image.
    fn in_use(&self, scenario: &Scenario) -> Refusal {
        let source = self.image.as_ref().or(self.folder.as_ref()).unwrap_or(&self.mode);
        let does = if self.writes() { "written to here" } else { "read here" };
        let message = format!("{}: is in use by another machine, and is {does}", source.get_ref());
        scenario.refuse(source.span(), message)
    }

    fn bytes_of(size: Option<&Spanned<Size>>) -> u64 {
        size.map_or(0, |size| size.get_ref().0)
    }

    /// As the hypervisor has it; `disk` is the number of the drive.
    fn lowered(&self, disk: Option<u32>) -> config::Device {
        let (ram, overlay) = (Self::bytes_of(self.ram.as_ref()), Self::bytes_of(self.overlay.as_ref()));
        let mut access = 0;
        access |= if self.writes() { block_access::WRITE } else { 0 };
        access |= if self.overlay.is_some() { block_access::OVERLAY } else { 0 };
        access |= if self.ram.is_some() { block_access::MEMORY } else { 0 };
        config::Device::BlockFront {
            backend: self.backend.get_ref().clone(),
            disk: disk.unwrap_or(NO_DISK),
            access,
            first_sector: Self::bytes_of(self.offset.as_ref()) / SECTOR,
            sectors: if ram > 0 { ram } else { Self::bytes_of(self.size.as_ref()) } / SECTOR,
            memory_bytes: if overlay > 0 { overlay } else { ram },
            suppress: self.suppress,
        }
    }
}

/// The machine's drives, one for each image.
pub(super) fn drives(scenario: &Scenario) -> Vec<Drive> {
    let mut drives: Vec<Drive> = Vec::new();
    for disk in scenario.system.domain.iter().flat_map(|entry| &entry.disk) {
        let Some(path) = disk.path() else { continue };
        let backend = disk.backend.get_ref();
        match drives.iter_mut().find(|drive| drive.is_of(&path, backend)) {
            Some(drive) => drive.read_only &= !disk.writes(),
            None => {
                let slot = FIRST_SLOT.saturating_add(u8::try_from(drives.len()).unwrap_or(u8::MAX));
                let (read_only, folder) = (!disk.writes(), disk.folder());
                let (backend, in_use) = (backend.clone(), disk.in_use(scenario));
                let (recording, direct) = (None, false);
                drives.push(Drive { path, folder, read_only, recording, direct, slot, in_use, backend });
            }
        }
    }
    drives
}

/// The drives that a domain owns, as the hypervisor has them.
pub(super) fn owned<'a>(drives: &'a [Drive], domain: &'a str) -> impl Iterator<Item = config::Device> + 'a {
    drives.iter().zip(0..).filter(move |(drive, _)| drive.backend == domain).map(|(drive, number)| {
        config::Device::Pci { vendor: 0x1af4, device: 0x1042, slot: Some(drive.slot), disk: Some(number) }
    })
}

/// The front ends of one domain, as the hypervisor has them.
pub(super) fn fronts<'a>(
    drives: &'a [Drive],
    disks: &'a [DiskDevice],
) -> impl Iterator<Item = config::Device> + 'a {
    disks.iter().map(move |disk| {
        let path = disk.path();
        let same =
            |drive: &Drive| path.as_ref().is_some_and(|path| drive.is_of(path, disk.backend.get_ref()));
        disk.lowered((0..).zip(drives).find(|(_, drive)| same(drive)).map(|(number, _)| number))
    })
}

/// Who uses which bytes of an image.
struct Use {
    bytes: Range<u64>,
    writes: bool,
    backend: String,
    name: String,
}

/// Checks what disks say, and that no two of them hurt each other.
pub(super) fn check(scenario: &Scenario) -> Result<(), Refusal> {
    let mut uses: Vec<(PathBuf, Vec<Use>)> = Vec::new();
    for entry in &scenario.system.domain {
        for disk in &entry.disk {
            super::check::backend(scenario, entry, disk.backend.get_ref(), disk.backend.span())?;
            alone(scenario, disk)?;
            if let Some((folder, path)) = disk.folder.as_ref().zip(disk.folder()) {
                let wrong = match std::fs::read_dir(&path) {
                    Err(error) => Some(format!("cannot be read: {error}")),
                    Ok(_) if crate::paths::run("disks").starts_with(&path) => {
                        Some("holds the place where disks of folders are made".to_owned())
                    }
                    Ok(_) => None,
                };
                if let Some(why) = wrong {
                    return Err(scenario.refuse(folder.span(), format!("{}: {why}", folder.get_ref())));
                }
            }
            let (Some(image), Some(path)) = (&disk.image, disk.path()) else { continue };
            let bytes = file(&path, disk.writes()).map_err(|message| {
                scenario.refuse(image.span(), format!("{}: {message}", image.get_ref()))
            })?;
            let first = DiskDevice::bytes_of(disk.offset.as_ref());
            let end = match &disk.size {
                Some(size) => first.saturating_add(size.get_ref().0),
                None => bytes,
            };
            if first >= end || end > bytes {
                let place = disk
                    .size
                    .as_ref()
                    .or(disk.offset.as_ref())
                    .unwrap_or(&Spanned::new(image.span(), Size(0)))
                    .span();
                let message = match &disk.size {
                    Some(_) => format!("bytes {first} to {end} are not in the image, which has {bytes}"),
                    None => format!("byte {first} is not in the image, which has {bytes}"),
                };
                return Err(scenario.refuse(place, message));
            }
            let one = Use {
                bytes: first..end,
                writes: disk.writes(),
                backend: disk.backend.get_ref().clone(),
                name: entry.name.get_ref().clone(),
            };
            let known = uses.iter().position(|(other, _)| same_file(other, &path)).unwrap_or(uses.len());
            if known == uses.len() {
                uses.push((path, Vec::new()));
            }
            let (_, others) = &mut uses[known];
            together(&one, others, entry.domains()).map_err(|message| {
                scenario.refuse(disk.mode.span(), format!("{}: {message}", image.get_ref()))
            })?;
            others.push(one);
        }
    }
    match drives(scenario).into_iter().nth(DRIVES_MAX) {
        Some(drive) => Err(drive.in_use.because(format!("more than {DRIVES_MAX} images"))),
        None => Ok(()),
    }
}

/// What a disk says by itself.
fn alone(scenario: &Scenario, disk: &DiskDevice) -> Result<(), Refusal> {
    let refuse = |span, message: &str| Err(scenario.refuse(span, message));
    let mode = disk.mode.span();
    let of_image =
        |sizes: &[&Option<Spanned<Size>>]| sizes.iter().find_map(|size| Some(size.as_ref()?.span()));
    if let Some(empty) =
        [&disk.image, &disk.folder].into_iter().flatten().find(|name| name.get_ref().is_empty())
    {
        return refuse(empty.span(), "an empty name");
    }
    match (&disk.image, &disk.folder, &disk.ram) {
        (None, None, None) => return refuse(mode, "a disk has an image = ..., folder = ... or ram = ..."),
        (Some(_), None, Some(other)) | (None, Some(_), Some(other)) => {
            return refuse(other.span(), "a disk has an image, a folder or ram, not two of them");
        }
        (Some(_), Some(folder), _) => {
            return refuse(folder.span(), "a disk has an image, a folder or ram, not two of them");
        }
        (None, None, Some(ram)) if ram.get_ref().0 == 0 => return refuse(ram.span(), "a disk of 0 bytes"),
        (None, None, Some(_)) => {
            if let Some(span) = of_image(&[&disk.overlay, &disk.offset, &disk.size]) {
                return refuse(span, "this is for images; ram = ... is the size");
            }
        }
        (None, Some(_), None) => {
            if let Some(span) = of_image(&[&disk.offset, &disk.size]) {
                return refuse(span, "this is for images; a folder's disk is as large as its files need");
            }
            if disk.writes() {
                let message = "what is written would be lost when the folder's disk is made anew: mode = \"r\", or an overlay";
                return refuse(mode, message);
            }
        }
        (Some(_), None, None) => {}
    }
    if !["r", "w"].contains(&disk.mode.get_ref().as_str()) {
        return refuse(mode, "a mode is \"r\" or \"w\"");
    }
    if let Some(overlay) = &disk.overlay {
        if disk.mode.get_ref() != "w" {
            return refuse(mode, "an overlay is for what is written: mode = \"w\"");
        }
        if overlay.get_ref().0 == 0 || !overlay.get_ref().0.is_multiple_of(hypercall_abi::PAGE_SIZE as u64) {
            return refuse(overlay.span(), "an overlay has a whole number of pages of 4K, at least one");
        }
    }
    if let Some(size) = &disk.size
        && size.get_ref().0 == 0
    {
        return refuse(size.span(), "a disk of 0 bytes");
    }
    Ok(())
}

/// Bytes of an image, if it can be used.
fn file(path: &Path, writes: bool) -> Result<u64, String> {
    let facts = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !facts.is_file() {
        return Err("is no file".to_owned());
    }
    let mut options = std::fs::OpenOptions::new();
    // The superuser may open what the file itself forbids; that is respected nevertheless.
    if writes && (facts.permissions().readonly() || options.write(true).open(path).is_err()) {
        return Err("is read-only, and is to be written to (an overlay would leave it as it is)".to_owned());
    }
    if let Err(error) = std::fs::File::open(path) {
        return Err(format!("cannot be read: {error}"));
    }
    if facts.mode() & 0o444 == 0 {
        return Err("cannot be read: its permissions let nobody".to_owned());
    }
    if facts.len() == 0 {
        return Err("is empty".to_owned());
    }
    if !facts.len().is_multiple_of(SECTOR) {
        return Err(format!("has {} bytes, which is no whole number of sectors of {SECTOR}", facts.len()));
    }
    Ok(facts.len())
}

/// Whether `count` domains may use an image as `one` does, beside others.
fn together(one: &Use, others: &[Use], count: u32) -> Result<(), String> {
    if one.writes && count > 1 {
        return Err(format!("{count} domains {:?} write to one image; give each an overlay", one.name));
    }
    for other in others.iter().filter(|other| one.writes || other.writes) {
        if other.backend != one.backend {
            let (a, b) = (&other.backend, &one.backend);
            return Err(format!("is written to through {a:?} and used through {b:?}; one back end owns it"));
        }
        if one.bytes.start < other.bytes.end && other.bytes.start < one.bytes.end {
            let both = one.writes && other.writes;
            let what = if both { "two writers of one image" } else { "a writer and a reader of one image" };
            let advice = "give them parts of their own by offset and size, or overlays";
            return Err(format!("{what}: {:?} and {:?} use the same bytes; {advice}", other.name, one.name));
        }
    }
    Ok(())
}
