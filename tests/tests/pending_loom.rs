//! The protocol of the pending bits under every order that the memory model allows: no event is lost, none invented.
//! A model of what hypervisor and guest do with the words of the shared page when they run on two processors.
//! loom orders `SeqCst` accesses no more than `AcqRel`, so where a store must be seen before a load, a fence stands.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::SeqCst, fence};
use loom::thread;

/// The words of the shared page that one word of ports needs.
struct Page {
    upcall_pending: AtomicU64,
    upcall_mask: AtomicU64,
    selector: AtomicU64,
    pending: AtomicU64,
}

impl Page {
    fn new(upcall_mask: u64) -> Arc<Self> {
        Arc::new(Self {
            upcall_pending: AtomicU64::new(0),
            upcall_mask: AtomicU64::new(upcall_mask),
            selector: AtomicU64::new(0),
            pending: AtomicU64::new(0),
        })
    }

    /// The hypervisor raises a port; true when it has to make the upcall.
    fn raise(&self, bit: u64) -> bool {
        if self.pending.fetch_or(bit, SeqCst) & bit != 0 {
            return false;
        }
        self.selector.fetch_or(1, SeqCst);
        self.upcall_pending.store(1, SeqCst);
        fence(SeqCst);
        self.upcall_mask.load(SeqCst) == 0
    }

    /// The guest takes what is pending; the order of the words is the point.
    fn take(&self) -> u64 {
        self.upcall_pending.store(0, SeqCst);
        if self.selector.swap(0, SeqCst) == 0 {
            return 0;
        }
        let bits = self.pending.load(SeqCst);
        self.pending.fetch_and(!bits, SeqCst);
        bits
    }

    /// The guest lets upcalls in; true when it has to take events itself.
    fn unmask(&self) -> bool {
        self.upcall_mask.store(0, SeqCst);
        fence(SeqCst);
        self.upcall_pending.load(SeqCst) != 0
    }
}

#[test]
fn an_event_is_taken_or_still_pending() {
    loom::model(|| {
        let page = Page::new(1);
        let raiser = Arc::clone(&page);
        let hypervisor = thread::spawn(move || {
            raiser.raise(1);
            raiser.raise(2);
        });
        let first = page.take();
        let second = page.take();
        hypervisor.join().unwrap();
        let last = page.take();
        assert_eq!(first | second | last, 3, "no event is lost");
        assert_eq!(first.count_ones() + second.count_ones() + last.count_ones(), 2, "none is invented");
        assert_eq!(page.pending.load(SeqCst), 0);
    });
}

#[test]
fn whoever_unmasks_sees_the_event_or_gets_the_upcall() {
    loom::model(|| {
        let page = Page::new(1);
        let raiser = Arc::clone(&page);
        let hypervisor = thread::spawn(move || raiser.raise(1));
        let seen = page.unmask();
        let upcall = hypervisor.join().unwrap();
        assert!(seen || upcall, "the guest sleeps on an event that nobody tells it of");
    });
}
