//! A word of the trace's storage that tells of each store to it.
//! It exists because whether a reader, or a non-maskable interrupt, may come at any moment is a question about what lies in
//! memory between two stores.

extern crate std;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};

/// The word. It has the methods of an [`AtomicU64`] that the trace uses.
#[derive(Debug, Default)]
pub struct Word(AtomicU64);

/// A store: address of the word, value, order.
pub(crate) type Store = (usize, u64, Ordering);

/// What comes after a store.
type Between = Box<dyn FnMut(usize)>;

std::thread_local! {
    static STORES: RefCell<Option<Vec<Store>>> = const { RefCell::new(None) };
    static BETWEEN: RefCell<Option<Between>> = const { RefCell::new(None) };
}

impl Word {
    /// A word that holds this.
    #[must_use]
    pub const fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    /// As [`AtomicU64::load`].
    pub fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    /// As [`AtomicU64::store`].
    pub fn store(&self, word: u64, order: Ordering) {
        self.0.store(word, order);
        let count = STORES.with_borrow_mut(|stores| {
            let stores = stores.as_mut()?;
            stores.push((core::ptr::from_ref(self).addr(), word, order));
            Some(stores.len())
        });
        // What comes between makes stores itself, between which nothing comes.
        if let (Some(count), Some(mut between)) = (count, BETWEEN.take()) {
            between(count);
            BETWEEN.set(Some(between));
        }
    }
}

/// The stores of this thread to such words while it does something. After each of them `between` comes, with how many there
/// were.
pub(crate) fn watched(between: impl FnMut(usize) + 'static, act: impl FnOnce()) -> Vec<Store> {
    STORES.set(Some(Vec::new()));
    BETWEEN.set(Some(Box::new(between)));
    act();
    BETWEEN.set(None);
    STORES.take().unwrap_or_default()
}
