//! The device directory: which devices the hypervisor gave us, and who is behind them.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use hypercall_abi::device::{DeviceKind, DirectoryEntry};
use hypercall_abi::extension::DeviceDirectoryInfo;
use hypercall_abi::{DomId, PAGE_SIZE, Pfn};

use super::shared_page::Mapped;
use super::{hypercall, memory};

static FIRST_PFN: AtomicU64 = AtomicU64::new(0);
static ENTRIES: AtomicU32 = AtomicU32::new(0);

/// Asks where the directory is; without one there are no devices.
pub(super) fn init() {
    if let Ok(DeviceDirectoryInfo { first_pfn, entries, .. }) = hypercall::extension::devices() {
        FIRST_PFN.store(first_pfn, Ordering::Relaxed);
        ENTRIES.store(entries, Ordering::Relaxed);
    }
}

/// How many entries the directory has.
#[must_use]
pub fn count() -> u32 {
    ENTRIES.load(Ordering::Relaxed)
}

/// A copy of entry `index`; `None` past the end.
#[must_use]
pub fn entry(index: u32) -> Option<DirectoryEntry> {
    if index >= count() {
        return None;
    }
    let first = memory::address_of(Pfn(FIRST_PFN.load(Ordering::Relaxed))) as *const DirectoryEntry;
    let entry = first.wrapping_add(index as usize);
    loop {
        // SAFETY: the hypervisor keeps this many entries there; volatile because it changes them.
        let before = unsafe { entry.read_volatile() };
        fence(Ordering::SeqCst);
        // SAFETY: as above.
        let after = unsafe { entry.read_volatile() };
        if before == after {
            return Some(before);
        }
    }
}

/// The entries of one kind, with their indices.
pub fn of_kind(kind: DeviceKind) -> impl Iterator<Item = (u32, DirectoryEntry)> {
    (0..count())
        .filter_map(move |index| entry(index).map(|entry| (index, entry)))
        .filter(move |(_, entry)| entry.kind == kind.raw())
}

/// The other domain of a split device; `None` while it is gone.
#[must_use]
pub fn peer(entry: &DirectoryEntry) -> Option<DomId> {
    Some(DomId(entry.peer)).filter(|peer| peer.is_ordinary())
}

/// The page through which front end `index` and its back end agree; `None` where there is no front end.
#[must_use]
pub fn page(index: u32) -> Option<Mapped> {
    let entry = entry(index).filter(is_front)?;
    // SAFETY: the hypervisor set this frame aside for the device; the heap leaves it out.
    Some(unsafe { Mapped::frame(Pfn(entry.page)) })
}

fn is_front(entry: &DirectoryEntry) -> bool {
    entry.kind == DeviceKind::NetFront.raw() || entry.kind == DeviceKind::BlockFront.raw()
}

/// How many front ends we have: each has a device page, which the hypervisor grants itself.
pub(super) fn fronts() -> u32 {
    (0..count()).filter_map(entry).filter(is_front).count() as u32
}

/// Frames of our memory that the directory itself and the pages of our front ends take.
pub(super) fn reserved() -> impl Iterator<Item = Pfn> {
    let entries_per_page = (PAGE_SIZE / size_of::<DirectoryEntry>()) as u64;
    let first = FIRST_PFN.load(Ordering::Relaxed);
    let directory = (0..u64::from(count()).div_ceil(entries_per_page)).map(move |page| Pfn(first + page));
    let fronts = (0..count()).filter_map(entry).filter(is_front).map(|entry| Pfn(entry.page));
    directory.chain(fronts)
}
