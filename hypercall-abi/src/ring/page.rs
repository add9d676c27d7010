//! One page that another domain can write at any time, as a trait of raw words.
//! It is a trait so that real pages live where unsafe code may, and hostile ones in tests.

/// A page shared with another domain. No reference to its contents ever exists: words and bytes are copied.
///
/// Offsets are bytes into the page. Word offsets are multiples of the word's size. Implementations may panic on
/// an access outside the page; the drivers judge every number of the other side before they use it as an offset.
pub trait SharedPage {
    /// Reads a word; no order with other accesses.
    fn load(&self, offset: usize) -> u32;

    /// Reads a word; what follows in the program happens after it.
    fn load_acquire(&self, offset: usize) -> u32;

    /// Writes a word; no order with other accesses.
    fn store(&self, offset: usize, value: u32);

    /// Writes a word; what stands before it in the program has happened when another sees it.
    fn store_release(&self, offset: usize, value: u32);

    /// Reads a 64-bit word, each half of it once; no order with other accesses.
    fn load_wide(&self, offset: usize) -> u64 {
        u64::from(self.load(offset)) | u64::from(self.load(offset + 4)) << 32
    }

    /// Writes a 64-bit word in one piece; no order with other accesses.
    fn store_wide(&self, offset: usize, value: u64);

    /// Reads 64-bit words that follow each other, each half of each once; no order.
    #[inline(always)]
    fn load_run(&self, offset: usize, into: &mut [[u8; 8]]) {
        for (at, word) in (offset..).step_by(8).zip(into) {
            *word = self.load_wide(at).to_ne_bytes();
        }
    }

    /// Writes 64-bit words that follow each other, each in one piece; no order.
    #[inline(always)]
    fn store_run(&self, offset: usize, from: &[[u8; 8]]) {
        for (at, word) in (offset..).step_by(8).zip(from) {
            self.store_wide(at, u64::from_ne_bytes(*word));
        }
    }

    /// A full fence: stores before it are seen by others before loads after it are made (`SeqCst`).
    fn fence(&self);

    /// Copies bytes out of the page, each once; no order.
    fn copy_out(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes into the page; no order.
    fn copy_in(&self, offset: usize, from: &[u8]);
}

/// Implements [`SharedPage`] for a type that has such a page inside: each access is passed on.
#[macro_export]
macro_rules! pass_on_page {
    ([$($generics:tt)*] $outer:ty, $this:ident => $page:expr) => {
        impl<$($generics)*> $crate::ring::SharedPage for $outer {
            #[inline(always)]
            fn load(&self, offset: usize) -> u32 {
                let $this = self;
                $crate::ring::SharedPage::load($page, offset)
            }
            #[inline(always)]
            fn load_acquire(&self, offset: usize) -> u32 {
                let $this = self;
                $crate::ring::SharedPage::load_acquire($page, offset)
            }
            #[inline(always)]
            fn store(&self, offset: usize, value: u32) {
                let $this = self;
                $crate::ring::SharedPage::store($page, offset, value);
            }
            #[inline(always)]
            fn store_release(&self, offset: usize, value: u32) {
                let $this = self;
                $crate::ring::SharedPage::store_release($page, offset, value);
            }
            #[inline(always)]
            fn load_wide(&self, offset: usize) -> u64 {
                let $this = self;
                $crate::ring::SharedPage::load_wide($page, offset)
            }
            #[inline(always)]
            fn store_wide(&self, offset: usize, value: u64) {
                let $this = self;
                $crate::ring::SharedPage::store_wide($page, offset, value);
            }
            #[inline(always)]
            fn load_run(&self, offset: usize, into: &mut [[u8; 8]]) {
                let $this = self;
                $crate::ring::SharedPage::load_run($page, offset, into);
            }
            #[inline(always)]
            fn store_run(&self, offset: usize, from: &[[u8; 8]]) {
                let $this = self;
                $crate::ring::SharedPage::store_run($page, offset, from);
            }
            fn fence(&self) {
                let $this = self;
                $crate::ring::SharedPage::fence($page);
            }
            fn copy_out(&self, offset: usize, into: &mut [u8]) {
                let $this = self;
                $crate::ring::SharedPage::copy_out($page, offset, into);
            }
            fn copy_in(&self, offset: usize, from: &[u8]) {
                let $this = self;
                $crate::ring::SharedPage::copy_in($page, offset, from);
            }
        }
    };
    ($outer:ty, $this:ident => $page:expr) => {
        $crate::pass_on_page!([] $outer, $this => $page);
    };
}

pass_on_page!([M: SharedPage + ?Sized] &M, page => *page);
