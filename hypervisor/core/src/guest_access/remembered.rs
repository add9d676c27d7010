//! The page of a domain's memory that was translated last, for the next call to find.
//! It exists because a guest's arguments lie on one stack, and a walk of four levels costs more than most calls.

use core::cell::Cell;

use hypercall_abi::Mfn;

use crate::memory::MachineAddress;

/// First address of no page, also when it is taken for that of a word.
const NO_PAGE: u64 = 1 << 11;

/// A page that may be read and written.
#[derive(Debug)]
pub struct Remembered {
    root: Cell<Mfn>,
    page: Cell<u64>,
    at: Cell<u64>,
}

impl Remembered {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { root: Cell::new(Mfn(0)), page: Cell::new(NO_PAGE), at: Cell::new(0) }
    }

    /// Where an address leads through `root`, if it lies in the page.
    #[inline]
    pub(crate) fn find(&self, root: Mfn, va: u64) -> Option<MachineAddress> {
        let offset = va & 0xfff;
        (self.page.get() == va ^ offset && self.root.get() == root)
            .then(|| MachineAddress(self.at.get() | offset))
    }

    /// Where so many words from an address lead through `root`, if the address is aligned and all lie in the page.
    #[inline(always)]
    pub(crate) fn find_words<const WORDS: u64>(&self, root: Mfn, va: u64) -> Option<MachineAddress> {
        let offset = va & 0xff8;
        let found = self.page.get() == va ^ offset
            && self.root.get() == root
            && offset <= const { 0x1000_u64.saturating_sub(WORDS.saturating_mul(8)) };
        found.then(|| MachineAddress(self.at.get() | offset))
    }

    /// Remembers the page of an address that leads to `at`.
    #[inline]
    pub(super) fn remember(&self, root: Mfn, va: u64, at: MachineAddress) {
        self.root.set(root);
        self.page.set(va & !0xfff);
        self.at.set(at.0 & !0xfff);
    }

    /// What is remembered, as root, address of the page, and where it leads.
    pub(crate) fn get(&self) -> Option<(Mfn, u64, MachineAddress)> {
        (self.page.get() != NO_PAGE)
            .then(|| (self.root.get(), self.page.get(), MachineAddress(self.at.get())))
    }

    /// Forgets it: tables above level 1 change.
    #[inline]
    pub(crate) fn forget(&self) {
        self.page.set(NO_PAGE);
    }

    /// Forgets it if it is in this frame: an entry that maps the frame changes.
    #[inline]
    pub(crate) fn forget_frame(&self, frame: Mfn) {
        if self.at.get() == frame.address() {
            self.forget();
        }
    }
}
