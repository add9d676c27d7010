//! Images of the boot archive, with what the domains built from each have in common.
//! They stay for restarts, and so that a domain that comes later shares with those that are there.

use alloc::string::String;
use alloc::vec::Vec;

use hypercall_abi::DomId;

use crate::builder::Share;
use crate::domains::Domains;
use crate::frames::FrameTable;
use crate::memory::MachineMemory;
use crate::ring::Ring;

/// An image.
#[derive(Debug)]
pub(crate) struct Image {
    path: String,
    /// The ELF file.
    pub(crate) bytes: &'static [u8],
    ring1: Option<Share>,
    ring3: Option<Share>,
}

impl Image {
    /// What domains of it with their kernel in a ring have in common.
    pub(crate) const fn common(&mut self, ring: Ring) -> &mut Option<Share> {
        match ring {
            Ring::One => &mut self.ring1,
            Ring::Three => &mut self.ring3,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Images(Vec<Image>);

impl Images {
    /// Whether there is one of this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.iter().any(|image| image.path == path)
    }

    /// Adds one.
    pub(crate) fn add(&mut self, path: String, bytes: &'static [u8]) {
        self.0.push(Image { path, bytes, ring1: None, ring3: None });
    }

    /// The one of this path.
    pub(crate) fn get(&mut self, path: &str) -> Option<&mut Image> {
        self.0.iter_mut().find(|image| image.path == path)
    }

    /// All that is shared.
    #[cfg(any(test, feature = "replay"))]
    pub(crate) fn shares(&self) -> impl Iterator<Item = &Share> {
        self.0.iter().flat_map(|image| [&image.ring1, &image.ring3]).flatten()
    }

    /// Checks what is shared.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn check<M: MachineMemory>(
        &self,
        memory: &M,
        frames: &FrameTable,
        domains: &Domains,
    ) -> Result<(), String> {
        let mut sum = 0_u64;
        for image in &self.0 {
            for (ring, share) in [(Ring::One, &image.ring1), (Ring::Three, &image.ring3)] {
                let Some(share) = share else { continue };
                let users = domains.iter().filter(|domain| domain.config.image == image.path);
                let spaces = users.map(|domain| &domain.address_space);
                share.check(
                    memory,
                    frames,
                    spaces.filter(|space| space.ring() == ring && space.is_sharing()),
                )?;
                sum = sum.saturating_add(share.frames());
            }
        }
        let owned = u64::from(frames.owned_by(DomId::COW));
        if sum == owned {
            Ok(())
        } else {
            Err(alloc::format!("{owned} frames are shared, of {sum} that should be"))
        }
    }
}
