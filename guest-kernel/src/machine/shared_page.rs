//! Pages that another domain can write at any time, accessed as raw words.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use hypercall_abi::ring::SharedPage;
use hypercall_abi::{PAGE_SIZE, Pfn, pass_on_page};

use super::memory::{self, Page};

/// A mapped page that others write too. It is an address; whoever makes it answers for the mapping.
#[derive(Clone, Copy, Debug)]
pub struct Mapped(*mut u8);

// SAFETY: an address alone; each access is atomic or raw.
unsafe impl Send for Mapped {}

impl Mapped {
    /// The page at an address.
    ///
    /// # Safety
    /// A page is mapped there, for reading and writing, for as long as this value is used, and Rust owns nothing in it.
    #[must_use]
    pub const unsafe fn new(address: u64) -> Self {
        Self(address as *mut u8)
    }

    /// One of our own frames that the hypervisor set aside for sharing.
    ///
    /// # Safety
    /// The frame is within our memory and Rust owns nothing in it.
    #[must_use]
    pub const unsafe fn frame(pfn: Pfn) -> Self {
        Self(memory::address_of(pfn) as *mut u8)
    }

    /// Where `bytes` from `offset` on lie.
    #[inline]
    fn at(self, offset: usize, bytes: usize) -> *mut u8 {
        if offset > PAGE_SIZE || bytes > PAGE_SIZE - offset {
            leaves(offset, bytes);
        }
        // SAFETY: within the page, as was just checked.
        unsafe { self.0.add(offset) }
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "word at {offset}");
        // SAFETY: the page is mapped, the word lies in it and is aligned; atomics may be shared with anybody.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    #[inline]
    fn wide_word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "wide word at {offset}");
        // SAFETY: as for `word`.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }
}

/// An access that is wrong. It takes its numbers by value, so that nobody who is right keeps them in memory for it.
#[cold]
#[inline(never)]
fn leaves(offset: usize, bytes: usize) -> ! {
    panic!("{bytes} bytes at {offset} leave the page");
}

impl Mapped {
    /// Wide words that follow each other.
    #[inline(always)]
    fn wide_words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        assert!(offset.is_multiple_of(8), "wide words at {offset}");
        let first = self.at(offset, count * 8).cast_const().cast();
        // SAFETY: the page is mapped, the words lie in it and are aligned; atomics may be shared with anybody.
        unsafe { core::slice::from_raw_parts(first, count) }
    }
}

impl SharedPage for Mapped {
    #[inline]
    fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Relaxed)
    }

    #[inline]
    fn load_acquire(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Relaxed);
    }

    #[inline]
    fn store_release(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    #[inline]
    fn load_wide(&self, offset: usize) -> u64 {
        self.wide_word(offset).load(Ordering::Relaxed)
    }

    #[inline]
    fn store_wide(&self, offset: usize, value: u64) {
        self.wide_word(offset).store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    fn load_run(&self, offset: usize, into: &mut [[u8; 8]]) {
        for (word, place) in self.wide_words(offset, into.len()).iter().zip(into) {
            *place = word.load(Ordering::Relaxed).to_ne_bytes();
        }
    }

    #[inline(always)]
    fn store_run(&self, offset: usize, from: &[[u8; 8]]) {
        for (word, bytes) in self.wide_words(offset, from.len()).iter().zip(from) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        // SAFETY: the source is in the page, the destination is a slice of ours.
        unsafe { copy_bytes(from, into.as_mut_ptr(), into.len()) };
    }

    fn copy_in(&self, offset: usize, from: &[u8]) {
        let into = self.at(offset, from.len());
        // SAFETY: the destination is in the page, the source is a slice of ours.
        unsafe { copy_bytes(from.as_ptr(), into, from.len()) };
    }
}

/// Copies bytes of which another domain may change one side meanwhile. The compiler knows nothing of such memory, so
/// the copy is the processor's.
///
/// # Safety
/// `bytes` can be read from `from` and written to `into`, and the two do not overlap.
unsafe fn copy_bytes(from: *const u8, into: *mut u8, bytes: usize) {
    // SAFETY: as the caller says; the direction flag is clear by convention.
    unsafe {
        asm!(
            "rep movsq",
            "mov ecx, {rest:e}",
            "rep movsb",
            rest = in(reg) bytes & 7,
            inout("rcx") bytes >> 3 => _,
            inout("rsi") from => _,
            inout("rdi") into => _,
            options(nostack, preserves_flags),
        );
    }
}

impl Page {
    /// The same page as one that others write too.
    #[must_use]
    pub fn shared(&self) -> Mapped {
        // SAFETY: the page is ours and mapped; from now on nobody makes references to its contents.
        unsafe { Mapped::new(self.address()) }
    }
}

pass_on_page!(Page, page => &page.shared());
