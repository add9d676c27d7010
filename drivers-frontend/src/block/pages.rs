//! The pages that data travels in. They belong to the device for good, and are granted anew to each back end.
//! A page that a back end will not let go of is replaced by a copy, and kept away from every other use.

use alloc::vec::Vec;

use hypercall_abi::ring::SharedPage;
use hypercall_abi::{DomId, Errno, GrantRef, PAGE_SIZE};

use crate::platform::{Access, Platform};
use crate::rings::Shared;

#[derive(Debug)]
struct Place<G> {
    page: G,
    reference: Option<GrantRef>,
}

/// All pages, and those that are free.
#[derive(Debug)]
pub(super) struct Pages<G> {
    places: Vec<Place<G>>,
    free: Vec<u16>,
    /// Lists that nobody uses, so that none is allocated for each operation.
    spare: Vec<Vec<u16>>,
}

impl<G: SharedPage> Pages<G> {
    /// Allocates so many pages, or as many of them as there are.
    pub(super) fn new<P: Platform<Page = G>>(platform: &mut P, count: u16) -> Self {
        let places: Vec<_> = (0..count)
            .map_while(|_| platform.allocate().ok())
            .map(|page| Place { page, reference: None })
            .collect();
        let free = (0..u16::try_from(places.len()).unwrap_or(count)).rev().collect();
        Self { places, free, spare: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes `count` free pages, or none.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<u16>> {
        let rest = self.free.len().checked_sub(count)?;
        let mut pages = self.spare.pop().unwrap_or_default();
        pages.extend(self.free.drain(rest..));
        Some(pages)
    }

    /// Takes one free page.
    pub(super) fn take_one(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Takes pages back out of a list that stays the caller's.
    pub(super) fn take_back(&mut self, pages: &mut Vec<u16>) {
        self.free.append(pages);
    }

    pub(super) fn give_back(&mut self, mut pages: Vec<u16>) {
        self.free.append(&mut pages);
        if pages.capacity() > 0 {
            self.spare.push(pages);
        }
    }

    pub(super) fn page(&self, at: u16) -> Option<&G> {
        self.places.get(usize::from(at)).map(|place| &place.page)
    }

    /// What grants a page to the back end; nothing while there is none.
    pub(super) fn reference(&self, at: u16) -> Option<GrantRef> {
        self.places.get(usize::from(at))?.reference
    }

    /// Grants all pages to a back end.
    ///
    /// # Errors
    /// Why one cannot be granted; those before it are.
    pub(super) fn grant<P: Platform<Page = G>>(
        &mut self,
        platform: &mut P,
        peer: DomId,
    ) -> Result<(), Errno> {
        for place in &mut self.places {
            if place.reference.is_none() {
                place.reference = Some(platform.grant(&place.page, peer, Access::ReadWrite)?);
            }
        }
        Ok(())
    }

    /// Takes all pages back. True when none is left with the back end.
    pub(super) fn revoke<P: Platform<Page = G>>(
        &mut self,
        platform: &mut P,
        quarantine: &mut Shared<G>,
    ) -> bool {
        let mut all = true;
        for place in &mut self.places {
            let Some(reference) = place.reference else { continue };
            if platform.revoke(reference).is_ok() {
                place.reference = None;
            } else if let Ok(fresh) = platform.allocate() {
                let mut bytes = [0; 64];
                for offset in (0..PAGE_SIZE).step_by(bytes.len()) {
                    place.page.copy_out(offset, &mut bytes);
                    fresh.copy_in(offset, &bytes);
                }
                quarantine.push((core::mem::replace(&mut place.page, fresh), reference));
                place.reference = None;
            } else {
                all = false;
            }
        }
        all
    }
}
