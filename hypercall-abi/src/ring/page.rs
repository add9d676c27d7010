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

    /// Writes a 64-bit word in one piece; no order with other accesses.
    fn store_wide(&self, offset: usize, value: u64);

    /// A full fence: stores before it are seen by others before loads after it are made (`SeqCst`).
    fn fence(&self);

    /// Copies bytes out of the page, each once; no order.
    fn copy_out(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes into the page; no order.
    fn copy_in(&self, offset: usize, from: &[u8]);
}

impl<M: SharedPage + ?Sized> SharedPage for &M {
    fn load(&self, offset: usize) -> u32 {
        (**self).load(offset)
    }
    fn load_acquire(&self, offset: usize) -> u32 {
        (**self).load_acquire(offset)
    }
    fn store(&self, offset: usize, value: u32) {
        (**self).store(offset, value);
    }
    fn store_release(&self, offset: usize, value: u32) {
        (**self).store_release(offset, value);
    }
    fn store_wide(&self, offset: usize, value: u64) {
        (**self).store_wide(offset, value);
    }
    fn fence(&self) {
        (**self).fence();
    }
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        (**self).copy_out(offset, into);
    }
    fn copy_in(&self, offset: usize, from: &[u8]) {
        (**self).copy_in(offset, from);
    }
}
