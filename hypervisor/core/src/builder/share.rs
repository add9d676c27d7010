//! What domains built from one image have in common: its read-only pages, in memory once.
//! They exist because a thousand guests of one image would otherwise hold a thousand copies of its code.
//!
//! The frames belong to no domain. Their type is one that nobody can write or make a table of, and the only entries that
//! lead to them are read-only ones of domains that were built with them. [`AddressSpace`] knows them and counts each domain's
//! entries, which are limited, so that none can use up a frame's count. A domain can neither grant nor free them, since they
//! are not its own. They go when the last such domain has gone.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hypercall_abi::{DomId, Mfn, Pfn};

use super::content::write_image;
use super::image::Image;
use crate::frames::{Extent, FrameTable, FrameType, HELD};
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::AddressSpace;
use crate::ring::Ring;

/// Frames in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Number of the first in each domain.
    pub(crate) first: Pfn,
    /// The frames.
    pub(crate) frames: Extent,
}

/// The pages that domains of one image and ring share; the ring matters because the hypercall page is among them.
#[derive(Debug)]
pub struct Share {
    /// In order.
    runs: Vec<Run>,
    /// What the frames hold, in one number.
    digest: u64,
    /// Domains that were built with them and are not gone.
    users: u32,
}

impl Share {
    /// Takes memory for the read-only pages of an image and fills it; `None` if there is too little.
    pub(super) fn new<M: MachineMemory>(
        memory: &mut M,
        frames: &mut FrameTable,
        image: &Image<'_>,
        ring: Ring,
    ) -> Option<Self> {
        let mut share = Self { runs: Vec::new(), digest: 0, users: 0 };
        if share.take(frames, image).is_none() {
            share.end(frames);
            return None;
        }
        for (pfn, mfn) in share.pages() {
            memory.zero_frame(mfn);
            frames.set_machine_to_physical(memory, mfn, pfn);
        }
        write_image(memory, image, ring, |pfn| share.place(pfn));
        for (_, mfn) in share.pages() {
            frames.make_image(mfn);
        }
        share.digest = share.digest_now(memory);
        Some(share)
    }

    fn take(&mut self, frames: &mut FrameTable, image: &Image<'_>) -> Option<()> {
        for part in &image.read_only {
            let (mut next, mut left) = (part.first, u32::try_from(part.count).ok()?);
            while left > 0 {
                self.runs.try_reserve(1).ok()?;
                let frames = frames.allocate(DomId::COW, left.min(frames.largest_run()))?;
                self.runs.push(Run { first: Pfn(next), frames });
                next = next.saturating_add(u64::from(frames.count));
                left = left.saturating_sub(frames.count);
            }
        }
        Some(())
    }

    /// The pieces, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// How many frames there are.
    pub(crate) fn frames(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(u64::from(run.frames.count)))
    }

    /// Each frame with its number in the domains.
    fn pages(&self) -> impl Iterator<Item = (u64, Mfn)> {
        self.runs.iter().flat_map(|run| (run.first.0..).zip(run.frames.frames()))
    }

    fn place(&self, pfn: u64) -> Option<Mfn> {
        self.runs.iter().find_map(|run| {
            let offset =
                pfn.checked_sub(run.first.0).filter(|offset| *offset < u64::from(run.frames.count))?;
            Some(Mfn(run.frames.first.0.saturating_add(offset)))
        })
    }

    /// One domain more uses them.
    pub(super) const fn join(&mut self) {
        self.users = self.users.saturating_add(1);
    }

    /// A domain that was built with them is gone.
    pub(crate) fn leave(common: &mut Option<Self>, frames: &mut FrameTable) {
        if let Some(share) = common {
            share.users = share.users.saturating_sub(1);
        }
        Self::end_if_unused(common, frames);
    }

    /// Gives the memory back if no domain uses it.
    pub(super) fn end_if_unused(common: &mut Option<Self>, frames: &mut FrameTable) {
        if let Some(share) = common.take_if(|share| share.users == 0) {
            share.end(frames);
        }
    }

    fn end(self, frames: &mut FrameTable) {
        for (_, mfn) in self.pages() {
            frames.end_image(mfn);
            frames.release_held(mfn);
        }
    }

    /// FNV-1a over words.
    fn digest_now<M: MachineMemory>(&self, memory: &M) -> u64 {
        let words = self
            .pages()
            .flat_map(|(_, mfn)| (0..512).map(move |word| MachineAddress::in_frame(mfn, word << 3)));
        words.fold(0xcbf2_9ce4_8422_2325, |digest, at| {
            (digest ^ memory.load(at)).wrapping_mul(0x100_0000_01b3)
        })
    }

    /// Checks that they are what they were made as, and are used by as many domains.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn check<'a, M: MachineMemory>(
        &self,
        memory: &M,
        frames: &FrameTable,
        spaces: impl Iterator<Item = &'a AddressSpace>,
    ) -> Result<(), String> {
        let add = |(users, entries): (u32, u64), space: &AddressSpace| {
            (users.saturating_add(1), entries.saturating_add(space.image_entries().into()))
        };
        let (users, entries) = spaces.fold((0, 0), add);
        if self.users != users {
            return Err(format!("a share has {} users, but {users} domains use it", self.users));
        }
        let mut held = 0_u64;
        for (_, mfn) in self.pages() {
            // One reference is the image's own.
            held = held.saturating_add(frames.references(mfn).saturating_sub(1).into());
            let is_kept = frames.owner(mfn) == Some(DomId::COW) && frames.has_flag(mfn, HELD);
            if !is_kept || frames.frame_type(mfn) != FrameType::Image {
                return Err(format!("{mfn} is shared, and not kept as it should be"));
            }
        }
        if held != entries {
            return Err(format!("{held} entries lead to a share, but its users count {entries}"));
        }
        if self.digest_now(memory) != self.digest {
            return Err(String::from("a page that domains share has changed"));
        }
        Ok(())
    }
}
