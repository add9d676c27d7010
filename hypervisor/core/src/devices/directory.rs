//! A domain's device directory: the entries as the hypervisor knows them, and their copies in the guest's memory.
//! The guest's copy is its own memory, so it is written only while the frame is plain memory, and never read back.

use alloc::vec::Vec;
use core::ops::Range;

use hypercall_abi::device::{DeviceKind, DirectoryEntry, net_options};
use hypercall_abi::extension::DeviceDirectoryInfo;
use hypercall_abi::{DomId, Errno, Mfn, PAGE_SIZE, Pfn};
use zerocopy::IntoBytes;

use crate::call::Call;
use crate::config;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::world::World;

/// Entries in a frame.
const PER_FRAME: usize = PAGE_SIZE / size_of::<DirectoryEntry>();

/// A domain's directory.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// First frame of the guest's copy.
    pub(crate) first: Pfn,
    /// First device page.
    pub(crate) pages: Pfn,
    /// The entries.
    pub(crate) entries: Vec<DirectoryEntry>,
    /// Links whose front or back end this domain is, by index.
    pub(crate) links: Vec<u32>,
    /// Those of its own devices, whose front end it is, by index.
    pub(crate) own: Range<u32>,
}

/// Text in a field of fixed size.
fn name(text: &str) -> [u8; 32] {
    let mut field = [0; 32];
    for (to, from) in field.iter_mut().zip(text.bytes().take(31)) {
        *to = from;
    }
    field
}

/// Writes to a frame of a domain, if that is plain memory at present. Returns whether it was.
pub(super) fn write_frame<M: Machine>(
    world: &mut World,
    m: &mut M,
    owner: DomId,
    mfn: Mfn,
    offset: u64,
    bytes: &[u8],
) -> bool {
    if world.frames.get_writable(mfn, owner).is_err() {
        return false;
    }
    m.write(MachineAddress::in_frame(mfn, offset), bytes);
    world.frames.put_writable(mfn);
    true
}

/// The machine frame of a device page.
pub(super) fn page_frame(world: &World, id: DomId, page: u32) -> Option<Mfn> {
    let domain = world.domains.get(id)?;
    domain.address_space.built_mfn(Pfn(domain.directory.pages.0.saturating_add(u64::from(page))))
}

/// Changes an entry, and with it the guest's copy.
pub(super) fn change<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    index: u32,
    change: impl FnOnce(&mut DirectoryEntry),
) {
    let Some(domain) = world.domains.get_mut(id) else { return };
    let Ok(index) = usize::try_from(index) else { return };
    let first = domain.directory.first;
    let Some(entry) = domain.directory.entries.get_mut(index) else { return };
    change(entry);
    entry.generation = entry.generation.wrapping_add(1);
    let entry = *entry;
    let frame = u64::try_from(index / PER_FRAME).unwrap_or(0);
    let offset = u64::try_from((index % PER_FRAME).saturating_mul(size_of::<DirectoryEntry>())).unwrap_or(0);
    let mfn = domain.address_space.built_mfn(Pfn(first.0.saturating_add(frame)));
    if let Some(mfn) = mfn {
        write_frame(world, m, id, mfn, offset, entry.as_bytes());
    }
}

/// Writes a new domain's directory: its own devices, then a place for each front end that names it.
pub(crate) fn write_first<M: Machine>(world: &mut World, m: &mut M, id: DomId) {
    let Some(domain) = world.domains.get(id) else { return };
    let config = domain.config.clone();
    let mut page = domain.directory.pages;
    for (device, index) in config.devices.iter().zip(0..) {
        match device {
            config::Device::NetFront { backend, mac, ipv4, prefix, gateway, suppress } => {
                let at = page;
                page = Pfn(page.0.saturating_add(1));
                change(world, m, id, index, |entry| {
                    entry.kind = DeviceKind::NetFront.raw();
                    entry.peer = DomId::INVALID.0;
                    entry.page = at.0;
                    entry.options = options(*suppress);
                    (entry.mac, entry.ipv4, entry.prefix, entry.gateway) = (*mac, *ipv4, *prefix, *gateway);
                    entry.name = name(backend);
                });
            }
            config::Device::BlockFront { backend, access, suppress, .. } => {
                let at = page;
                page = Pfn(page.0.saturating_add(1));
                change(world, m, id, index, |entry| {
                    entry.kind = DeviceKind::BlockFront.raw();
                    entry.peer = DomId::INVALID.0;
                    entry.page = at.0;
                    entry.options = options(*suppress);
                    entry.access = *access;
                    entry.name = name(backend);
                });
            }
            config::Device::Pci { .. } => super::assign(world, m, id, index),
        }
    }
    for (index, kind) in backs_of(world, id) {
        change(world, m, id, index, |entry| {
            entry.kind = kind.raw();
            entry.peer = DomId::INVALID.0;
        });
    }
}

/// The back ends of a domain: index in its directory, and kind.
fn backs_of(world: &World, id: DomId) -> Vec<(u32, DeviceKind)> {
    let Some(domain) = world.domains.get(id) else { return Vec::new() };
    let links = domain.directory.links.iter();
    links
        .filter_map(|index| world.devices.links.get(usize::try_from(*index).ok()?))
        .filter(|link| link.back_name == domain.config.name)
        .map(|link| (link.back_entry, link.back_kind))
        .collect()
}

/// Options of a split device.
pub(super) const fn options(suppress: bool) -> u32 {
    if suppress { 0 } else { net_options::NO_SUPPRESSION }
}

/// A name as an entry holds it.
pub(super) fn entry_name(text: &str) -> [u8; 32] {
    name(text)
}

/// `devices(&info)`: where the caller's directory is.
///
/// # Errors
/// [`Errno::Fault`] for a bad pointer.
#[cold]
#[inline(never)]
pub fn devices_op<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<u64, Errno> {
    let directory = &call.domain()?.directory;
    let entries = u32::try_from(directory.entries.len()).unwrap_or(0);
    let info = DeviceDirectoryInfo { first_pfn: directory.first.0, entries, pad: 0 };
    call.write(at, &info)?;
    Ok(0)
}
