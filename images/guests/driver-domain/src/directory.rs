//! The device directory as the back end follows it: front ends that come and go.
//! A change of an entry's generation is the only thing that is looked at, so that a scan of a thousand entries is cheap.

use alloc::vec::Vec;

use drivers_backend::{FrontEnd, MacAddress, NetBack, VifId};
use guest_kernel::devices;
use hypercall_abi::device::{DeviceKind, DirectoryEntry, net_options};
use hypercall_abi::{GrantRef, Port};

use crate::kernel::{self, Kernel};
use crate::nic::Nic;

/// What the directory said last.
#[derive(Default)]
pub(crate) struct Directory {
    generations: Vec<Option<u32>>,
}

impl Directory {
    /// Takes up the front ends that are new and forgets those that are gone.
    pub(crate) fn follow(&mut self, back: &mut NetBack<Kernel, Nic>) {
        self.generations.resize(devices::count() as usize, None);
        for (index, known) in (0_u16..).zip(self.generations.iter_mut()) {
            let Some(entry) = devices::entry(index.into()) else { continue };
            if *known == Some(entry.generation) {
                continue;
            }
            *known = Some(entry.generation);
            back.remove(VifId(index));
            if entry.kind == DeviceKind::NetBack.raw() {
                add(back, VifId(index), &entry);
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
