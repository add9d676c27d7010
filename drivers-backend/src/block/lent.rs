//! Pages that a front end grants for as long as its connection lasts, mapped when they are first named and kept.
//! A mapped page cannot be taken back, so each is counted, and let go of when the connection ends and no device has it.

use alloc::rc::Rc;
use alloc::vec::Vec;

use hypercall_abi::{DomId, GrantRef};

use crate::platform::Platform;

/// References that are kept lie below this: as many as a table of this hypervisor has. Pages of others are copied.
const REFERENCES_MAX: u32 = 4096;
/// Pages of one connection that are kept mapped.
const PAGES_MAX: usize = 512;
/// Pages of all connections together, so that there are always handles left for rings and device pages.
pub(super) const ALL_PAGES_MAX: usize = 1536;

/// The mapped pages of one connection.
#[derive(Debug)]
pub(super) struct Lent<G> {
    /// By reference.
    pages: Vec<Option<Rc<G>>>,
    count: usize,
    /// Whether to map more.
    open: bool,
}

impl<G> Lent<G> {
    /// Nothing mapped yet; nothing ever if the front end makes no promise.
    pub(super) const fn new(promised: bool) -> Self {
        Self { pages: Vec::new(), count: 0, open: promised }
    }

    /// The page of a reference, if it is mapped already.
    #[inline(always)]
    pub(super) fn find(&self, reference: GrantRef) -> Option<Rc<G>> {
        self.pages.get(reference.0 as usize)?.clone()
    }

    /// Whether no page is mapped, nor will be.
    #[inline]
    pub(super) const fn is_none_ever(&self) -> bool {
        !self.open && self.count == 0
    }

    /// The page of a reference, mapped now if it can be. `all` counts the pages of all connections. `None` when it has to
    /// be copied.
    #[inline]
    pub(super) fn page<P: Platform<Page = G>>(
        &mut self,
        platform: &mut P,
        peer: DomId,
        reference: GrantRef,
        all: &mut usize,
    ) -> Option<Rc<G>> {
        match self.find(reference) {
            Some(page) => Some(page),
            None => self.more(platform, peer, reference, all),
        }
    }

    /// Maps one more page.
    #[cold]
    fn more<P: Platform<Page = G>>(
        &mut self,
        platform: &mut P,
        peer: DomId,
        reference: GrantRef,
        all: &mut usize,
    ) -> Option<Rc<G>> {
        let at = reference.0 as usize;
        if !self.open || self.count >= PAGES_MAX || *all >= ALL_PAGES_MAX || reference.0 >= REFERENCES_MAX {
            return None;
        }
        let Ok(page) = platform.map(peer, reference) else {
            // Whether the promise is broken or there is no room: the copy says what is wrong, and nothing is tried twice.
            self.open = false;
            return None;
        };
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let page = Rc::new(page);
        if let Some(place) = self.pages.get_mut(at) {
            *place = Some(page.clone());
        }
        self.count += 1;
        *all += 1;
        Some(page)
    }

    /// Unmaps all pages that no device has; returns how many it has. Those end with [`unmap_last`].
    pub(super) fn let_go<P: Platform<Page = G>>(self, platform: &mut P, all: &mut usize) -> usize {
        let mut busy = 0;
        for page in self.pages.into_iter().flatten() {
            busy += usize::from(!unmap_last(platform, page, all));
        }
        busy
    }
}

/// Gives up one use of a page, and unmaps it if it was the last. True when it was.
pub(super) fn unmap_last<P: Platform>(platform: &mut P, page: Rc<P::Page>, all: &mut usize) -> bool {
    let Some(page) = Rc::into_inner(page) else { return false };
    platform.unmap(page);
    *all = all.saturating_sub(1);
    true
}
