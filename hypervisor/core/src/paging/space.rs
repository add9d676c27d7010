//! A domain's address space: which frames it was given, which devices it may map, which tables await release.
//! It exists beside the frame table because those lists are per domain, and are what its death works through.

use alloc::vec::Vec;

use hypercall_abi::{DomId, Mfn, Pfn};

use super::release::Queue;
use super::teardown::Stage;
use crate::frames::Extent;
use crate::guest_access::Remembered;
use crate::memory::MachineAddress;
use crate::ring::Ring;

/// What all address spaces have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    /// Entries of a level 4 table from [`hypercall_abi::layout::HYPERVISOR_SLOT_FIRST`] on.
    pub(crate) slots: [u64; 16],
    /// The same where the guest's kernel is in ring 1; `None` if the processor has no such ring.
    pub(crate) ring1_slots: Option<[u64; 16]>,
    /// The machine-to-physical table, one word a frame, contiguous; `None` until it is set up.
    pub(crate) machine_to_physical: Option<MachineAddress>,
}

impl Maps {
    /// Before set-up.
    pub(crate) const NONE: Self = Self { slots: [0; 16], ring1_slots: None, machine_to_physical: None };

    /// The hypervisor's entries of a root of a guest whose kernel is in this ring.
    pub(crate) fn slots(&self, ring: Ring) -> [u64; 16] {
        match ring {
            Ring::One => self.ring1_slots.unwrap_or_default(),
            Ring::Three => self.slots,
        }
    }
}

/// A domain's memory.
#[derive(Debug)]
pub struct AddressSpace {
    pub(super) owner: DomId,
    /// Ring of the guest's kernel.
    ring: Ring,
    /// What each entry gets, whatever the guest says.
    pub(super) forced: u64,
    /// Whether it may name frames of other domains.
    pub(super) privileged: bool,
    /// Its memory in pseudo-physical order.
    pub(super) extents: Vec<Extent>,
    /// Of these, the parts of its image that it shares with others, which it may only read.
    image: Vec<Extent>,
    /// Entries of its tables that lead to those.
    pub(super) image_entries: u32,
    /// Frames that it shares with the hypervisor and that have no pseudo-physical number.
    pub(super) shared: Vec<Mfn>,
    /// Device frames that it may map.
    pub(super) devices: Vec<Extent>,
    /// Frames of it that are page tables, with those that wait for their release.
    pub(crate) tables: u32,
    pub(super) queue: Queue,
    pub(super) stage: Stage,
    remembered: Remembered,
}

impl AddressSpace {
    /// The address space of a domain that has no memory yet.
    #[must_use]
    pub const fn new(owner: DomId) -> Self {
        Self {
            owner,
            ring: Ring::Three,
            forced: Ring::Three.forced(),
            privileged: false,
            extents: Vec::new(),
            image: Vec::new(),
            image_entries: 0,
            shared: Vec::new(),
            devices: Vec::new(),
            tables: 0,
            queue: Queue::EMPTY,
            stage: Stage::Alive,
            remembered: Remembered::new(),
        }
    }

    /// The pages that were translated last.
    #[inline]
    pub(crate) const fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    /// Whose it is.
    #[must_use]
    pub const fn owner(&self) -> DomId {
        self.owner
    }

    /// Puts the guest's kernel into a ring, before there are page tables.
    pub const fn set_ring(&mut self, ring: Ring) {
        (self.ring, self.forced) = (ring, ring.forced());
    }

    /// Ring of the guest's kernel.
    #[must_use]
    pub const fn ring(&self) -> Ring {
        self.ring
    }

    /// Lets the domain name frames of other domains in its page tables.
    pub const fn set_privileged(&mut self) {
        self.privileged = true;
    }

    /// Lets the domain map a device's frames, none of which may be RAM. Returns whether there was room to note it.
    pub fn permit_device(&mut self, frames: Extent) -> bool {
        let room = self.devices.try_reserve_exact(1).is_ok();
        if room {
            self.devices.push(frames);
        }
        room
    }

    /// Whether the domain may map a device frame.
    pub(crate) fn permits_device(&self, mfn: Mfn) -> bool {
        self.devices.iter().any(|extent| extent.contains(mfn))
    }

    /// Whether it may name frames of other domains.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// The table that is being released, and how many of its entries are.
    pub(crate) fn release_progress(&self) -> Option<(Mfn, u64)> {
        self.queue.progress()
    }

    /// Frames of memory, without those shared with the hypervisor.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.extents.iter().fold(0, |sum, extent| sum.saturating_add(u64::from(extent.count)))
    }

    /// Runs of machine frames in pseudo-physical order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The machine frame that had this pseudo-physical number when the domain was built.
    #[must_use]
    pub fn built_mfn(&self, pfn: Pfn) -> Option<Mfn> {
        let mut left = pfn.0;
        for extent in &self.extents {
            if left < u64::from(extent.count) {
                return Some(Mfn(extent.first.0.saturating_add(left)));
            }
            left = left.saturating_sub(u64::from(extent.count));
        }
        None
    }

    /// Adds memory at the end of the pseudo-physical numbering. Returns whether there was room to note it.
    pub(crate) fn add_memory(&mut self, extent: Extent) -> bool {
        let room = self.extents.try_reserve_exact(1).is_ok();
        if room {
            self.extents.push(extent);
        }
        room
    }

    /// Adds a part of its image that it shares with other domains, likewise.
    pub(crate) fn add_image(&mut self, extent: Extent) -> bool {
        let room = self.image.try_reserve_exact(1).is_ok() && self.add_memory(extent);
        if room {
            self.image.push(extent);
        }
        room
    }

    /// Whether a frame is one that it shares with other domains of its image.
    #[must_use]
    pub(crate) fn shares(&self, mfn: Mfn) -> bool {
        self.image.iter().any(|extent| extent.contains(mfn))
    }

    /// Whether it shares anything with other domains of its image.
    #[must_use]
    pub(crate) const fn is_sharing(&self) -> bool {
        !self.image.is_empty()
    }

    /// Entries of its tables that lead to what it shares.
    #[must_use]
    pub(crate) const fn image_entries(&self) -> u32 {
        self.image_entries
    }

    /// Ends the sharing, when nothing of it is mapped any more. Returns whether there was any.
    pub(crate) fn end_sharing(&mut self) -> bool {
        !core::mem::take(&mut self.image).is_empty()
    }

    /// Adds a frame that is shared with the hypervisor. Returns whether there was room to note it.
    pub(crate) fn add_shared(&mut self, mfn: Mfn) -> bool {
        let room = self.shared.try_reserve_exact(1).is_ok();
        if room {
            self.shared.push(mfn);
        }
        room
    }

    /// Bytes of the hypervisor's heap that the lists take.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let lists = [self.extents.capacity(), self.image.capacity(), self.devices.capacity()];
        lists
            .into_iter()
            .fold(0, usize::saturating_add)
            .saturating_mul(size_of::<Extent>())
            .saturating_add(self.shared.capacity().saturating_mul(size_of::<Mfn>()))
    }
}
