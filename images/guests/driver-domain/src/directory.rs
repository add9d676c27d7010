//! The device directory as the back ends follow it: front ends that come and go.
//! A change of an entry's generation is the only thing that is looked at, so that a scan of a thousand entries is cheap.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use drivers_backend::block::{Access, BlockBack, Client, DiskId, RamDisk, Share, VbdId};
use drivers_backend::{FrontEnd, MacAddress, NetBack, VifId};
use guest_kernel::{devices, println};
use hypercall_abi::device::{DeviceKind, DirectoryEntry, block_access, net_options};
use hypercall_abi::{GrantRef, Port};

use crate::kernel::{self, Kernel};
use crate::nic::Nic;

/// What the directory said last.
#[derive(Default)]
pub(crate) struct Directory {
    generations: Vec<Option<u32>>,
}

/// The back ends that this domain has use for.
pub(crate) struct Backs {
    /// For network devices.
    pub(crate) net: Option<Box<NetBack<Kernel, Nic>>>,
    /// For block devices.
    pub(crate) block: Option<Box<BlockBack<Kernel>>>,
}

impl Directory {
    /// Takes up the front ends that are new and forgets those that are gone.
    pub(crate) fn follow(&mut self, backs: &mut Backs) {
        self.generations.resize(devices::count() as usize, None);
        for (index, known) in (0_u16..).zip(self.generations.iter_mut()) {
            let Some(entry) = devices::entry(index.into()) else { continue };
            if *known == Some(entry.generation) {
                continue;
            }
            *known = Some(entry.generation);
            if let Some(back) = &mut backs.net {
                back.remove(VifId(index));
                if entry.kind == DeviceKind::NetBack.raw() {
                    add(back, VifId(index), &entry);
                }
            }
            if let Some(back) = &mut backs.block {
                if let Some(bytes) = back.overlay_bytes(VbdId(index)) {
                    println!("@overlay {{\"name\":\"{}\",\"bytes\":{bytes}}}", name(&entry));
                }
                back.remove(VbdId(index));
                if entry.kind == DeviceKind::BlockBack.raw() {
                    add_disk(back, VbdId(index), &entry);
                }
            }
        }
    }
}

fn add(back: &mut NetBack<Kernel, Nic>, id: VifId, entry: &DirectoryEntry) {
    // A front end whose domain is gone has no peer; its entry changes again when it comes back.
    let Some(peer) = devices::peer(entry) else { return };
    let front = FrontEnd {
        peer,
        state_port: Port(entry.state_port),
        mac: MacAddress(entry.mac),
        ipv4: entry.ipv4,
        gateway: entry.gateway,
        suppress: entry.options & net_options::NO_SUPPRESSION == 0,
    };
    let Ok(page) = u32::try_from(entry.page) else { return };
    match back.add(id, front, GrantRef(page)) {
        Ok(()) => kernel::serve(front.state_port),
        Err(error) => log::warn!("front end {} of {peer} is left out: {error:?}", id.0),
    }
}

fn add_disk(back: &mut BlockBack<Kernel>, id: VbdId, entry: &DirectoryEntry) {
    let Some(peer) = devices::peer(entry) else { return };
    let Ok(page) = u32::try_from(entry.page) else { return };
    let mut number = DiskId(entry.disk);
    if entry.access & block_access::MEMORY != 0 {
        // It is kept while its front end is gone, as a disk is.
        number = DiskId(MEMORY_DISKS | u32::from(id.0));
        back.add_disk(number, Box::new(RamDisk::new(entry.sectors)));
    }
    let access = match entry.access {
        access if access & block_access::OVERLAY != 0 => Access::Overlay { memory_bytes: entry.memory_bytes },
        access if access & block_access::WRITE != 0 => Access::Write,
        _ => Access::Read,
    };
    let share = Share { disk: number, first: entry.first_sector, sectors: entry.sectors, access };
    let client = Client {
        peer,
        state_port: Port(entry.state_port),
        suppress: entry.options & net_options::NO_SUPPRESSION == 0,
        share,
    };
    match back.add(id, client, GrantRef(page)) {
        Ok(()) => kernel::serve(client.state_port),
        Err(error) => {
            log::warn!("{} is refused: {error:?}", disk(id, entry));
            back.refuse(&client, GrantRef(page));
        }
    }
}

/// Numbers of disks in memory begin here; those of the scenario are below.
const MEMORY_DISKS: u32 = 1 << 31;

/// Name of the other domain.
pub(crate) fn name(entry: &DirectoryEntry) -> &str {
    let text = entry.name.split(|byte| *byte == 0).next().unwrap_or_default();
    core::str::from_utf8(text).unwrap_or("?")
}

/// A disk as people know it: the front end's domain, and which of the disks it is that it has here, in the order of the scenario.
pub(crate) fn disk(id: VbdId, entry: &DirectoryEntry) -> String {
    let before = (0..u32::from(id.0)).filter_map(devices::entry);
    let ordinal = before.filter(|other| (other.kind, other.name) == (entry.kind, entry.name)).count();
    format!("disk {ordinal} of {}", name(entry))
}
