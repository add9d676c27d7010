//! The pages of a domain's memory that were translated last, for the next call to find.
//! It exists because a guest's arguments lie on one stack, and a walk of four levels costs more than most calls. There are two,
//! because a stack lies in more than one page, calls being made from deep in it and upcalls coming where it sleeps; the short
//! ways look at the last one alone.

use core::cell::Cell;

use hypercall_abi::Mfn;

use crate::memory::MachineAddress;

/// First address of no page, also when it is taken for that of a word.
const NO_PAGE: u64 = 1 << 11;

/// A page that may be read and written.
#[derive(Debug)]
struct Page {
    root: Cell<Mfn>,
    page: Cell<u64>,
    at: Cell<u64>,
}

impl Page {
    const fn none() -> Self {
        Self { root: Cell::new(Mfn(0)), page: Cell::new(NO_PAGE), at: Cell::new(0) }
    }

    fn get(&self) -> Option<(Mfn, u64, MachineAddress)> {
        (self.page.get() != NO_PAGE)
            .then(|| (self.root.get(), self.page.get(), MachineAddress(self.at.get())))
    }

    fn swap(&self, other: &Self) {
        self.root.swap(&other.root);
        self.page.swap(&other.page);
        self.at.swap(&other.at);
    }

    fn set(&self, root: Mfn, page: u64, at: u64) {
        self.root.set(root);
        self.page.set(page);
        self.at.set(at);
    }
}

/// The last page, and the one before it.
#[derive(Debug)]
pub struct Remembered {
    last: Page,
    before: Page,
}

impl Remembered {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { last: Page::none(), before: Page::none() }
    }

    /// Where an address leads through `root`, if it lies in the last page.
    #[inline]
    pub(crate) fn find(&self, root: Mfn, va: u64) -> Option<MachineAddress> {
        let offset = va & 0xfff;
        (self.last.page.get() == va ^ offset && self.last.root.get() == root)
            .then(|| MachineAddress(self.last.at.get() | offset))
    }

    /// Where so many words from an address lead through `root`, if the address is aligned and all lie in the last page.
    #[inline(always)]
    pub(crate) fn find_words<const WORDS: u64>(&self, root: Mfn, va: u64) -> Option<MachineAddress> {
        let offset = va & 0xff8;
        let found = self.last.page.get() == va ^ offset
            && self.last.root.get() == root
            && offset <= const { 0x1000_u64.saturating_sub(WORDS.saturating_mul(8)) };
        found.then(|| MachineAddress(self.last.at.get() | offset))
    }

    /// Where an address leads through `root`, if it lies in the page before the last, which is the last one then.
    pub(super) fn recall(&self, root: Mfn, va: u64) -> Option<MachineAddress> {
        self.before.get().filter(|(of, page, _)| *of == root && *page == va & !0xfff)?;
        self.last.swap(&self.before);
        self.find(root, va)
    }

    /// Remembers the page of an address that leads to `at`.
    pub(super) fn remember(&self, root: Mfn, va: u64, at: MachineAddress) {
        self.last.swap(&self.before);
        self.last.set(root, va & !0xfff, at.0 & !0xfff);
    }

    /// What is remembered, as root, address of the page, and where it leads.
    pub(crate) fn get(&self) -> impl Iterator<Item = (Mfn, u64, MachineAddress)> {
        [self.last.get(), self.before.get()].into_iter().flatten()
    }

    /// Forgets all: tables above level 1 change.
    #[inline]
    pub(crate) fn forget(&self) {
        self.last.page.set(NO_PAGE);
        self.before.page.set(NO_PAGE);
    }

    /// Forgets what is in this frame: an entry that maps the frame changes.
    #[inline]
    pub(crate) fn forget_frame(&self, frame: Mfn) {
        for page in [&self.last, &self.before] {
            if page.at.get() == frame.address() {
                page.page.set(NO_PAGE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const ROOT: Mfn = Mfn(9);

    #[test]
    fn two_pages_of_a_stack_are_remembered_and_each_is_forgotten_for_itself() {
        let both = Remembered::new();
        both.remember(ROOT, 0x40_6ff8, MachineAddress(0x1_2ff8));
        both.remember(ROOT, 0x40_7010, MachineAddress(0x3_4010));
        assert_eq!(both.find(ROOT, 0x40_6123), None, "only the last is looked at first");
        assert_eq!(both.find_words::<2>(ROOT, 0x40_7ff0), Some(MachineAddress(0x3_4ff0)));
        assert_eq!(both.find_words::<2>(ROOT, 0x40_7ff8), None, "it would leave the page");
        assert_eq!(both.find_words::<1>(ROOT, 0x40_7ff9), None, "it is not aligned");
        assert_eq!(both.recall(Mfn(8), 0x40_6000), None, "another root");
        assert_eq!(both.recall(ROOT, 0x40_8000), None, "another page");

        assert_eq!(both.recall(ROOT, 0x40_6123), Some(MachineAddress(0x1_2123)));
        assert_eq!(both.find(ROOT, 0x40_6123), Some(MachineAddress(0x1_2123)), "it is the last now");
        both.forget_frame(Mfn(0x12));
        assert_eq!(both.find(ROOT, 0x40_6123), None);
        assert_eq!(both.get().collect::<Vec<_>>(), [(ROOT, 0x40_7000, MachineAddress(0x3_4000))]);
        assert_eq!(both.recall(ROOT, 0x40_7008), Some(MachineAddress(0x3_4008)));
        both.remember(ROOT, 0x40_6000, MachineAddress(0x1_2000));
        both.forget();
        assert_eq!(both.get().count(), 0);
        assert_eq!(both.recall(ROOT, 0x40_7000), None);
    }

    #[test]
    fn nothing_is_found_before_something_was_remembered() {
        for va in [0, 0x7f8, 0x800, 0x1000, 0x1800, u64::MAX, NO_PAGE, 1 << 63] {
            assert_eq!(Remembered::new().find(Mfn(0), va), None);
            assert_eq!(Remembered::new().find_words::<1>(Mfn(0), va), None);
            assert_eq!(Remembered::new().recall(Mfn(0), va), None);
        }
    }
}
