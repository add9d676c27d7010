//! The two-level bitmap of events: which ports have something to say.
//! It works on plain atomic words, so that the scan that upcalls depend on is tested on the host.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use hypercall_abi::Port;
use hypercall_abi::shared_info::{SharedInfo, VCPUS, VcpuInfo};

/// The head of a vCPU's record in the shared page, as atomics.
#[repr(C)]
#[derive(Debug)]
pub struct UpcallState {
    /// An upcall is due.
    pub pending: AtomicU8,
    /// Upcalls wait while it is not 0.
    pub mask: AtomicU8,
    unused: [u8; 6],
    /// Words of the pending bitmap to look at.
    pub selector: AtomicU64,
    rest: [AtomicU64; 6],
}

/// The part of the shared page that events use, as atomics.
#[repr(C)]
#[derive(Debug)]
pub struct EventPage {
    /// One record a vCPU; ours is the first.
    pub vcpus: [UpcallState; VCPUS],
    /// One bit a port: raised and not handled.
    pub pending: [AtomicU64; 64],
    /// One bit a port: raises no upcall.
    pub mask: [AtomicU64; 64],
}

const _: () = {
    assert!(size_of::<UpcallState>() == size_of::<VcpuInfo>());
    assert!(
        core::mem::offset_of!(UpcallState, selector) == core::mem::offset_of!(VcpuInfo, evtchn_pending_sel)
    );
    assert!(core::mem::offset_of!(EventPage, pending) == core::mem::offset_of!(SharedInfo, evtchn_pending));
    assert!(core::mem::offset_of!(EventPage, mask) == core::mem::offset_of!(SharedInfo, evtchn_mask));
};

impl EventPage {
    /// Our vCPU's record.
    #[must_use]
    pub const fn vcpu(&self) -> &UpcallState {
        let [first, ..] = &self.vcpus;
        first
    }

    /// Takes each event that is pending and not masked, and hands its port to `handle`. Each port is cleared before it
    /// is handed over, so that an event raised meanwhile is pending again rather than lost.
    pub fn take_all(&self, mut handle: impl FnMut(Port)) {
        self.vcpu().pending.store(0, Ordering::SeqCst);
        let mut selector = self.vcpu().selector.swap(0, Ordering::SeqCst);
        while selector != 0 {
            let word = selector.trailing_zeros();
            selector &= selector - 1;
            let (Some(pending), Some(mask)) = (self.pending.get(word as usize), self.mask.get(word as usize))
            else {
                continue;
            };
            let mut bits = pending.load(Ordering::SeqCst) & !mask.load(Ordering::SeqCst);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                pending.fetch_and(!(1 << bit), Ordering::SeqCst);
                handle(Port(word * 64 + bit));
            }
        }
    }

    /// Keeps a port from raising upcalls.
    pub fn mask(&self, port: Port) {
        if let Some(word) = self.mask.get(port.0 as usize / 64) {
            word.fetch_or(1 << (port.0 % 64), Ordering::SeqCst);
        }
    }

    /// Lets a port raise upcalls, and takes an event that came while it was masked: `true` if there was one.
    #[must_use]
    pub fn unmask(&self, port: Port) -> bool {
        let index = port.0 as usize / 64;
        let bit = 1 << (port.0 % 64);
        let (Some(pending), Some(mask)) = (self.pending.get(index), self.mask.get(index)) else {
            return false;
        };
        mask.fetch_and(!bit, Ordering::SeqCst);
        pending.load(Ordering::SeqCst) & bit != 0 && pending.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    fn page() -> Box<EventPage> {
        let words = || core::array::from_fn(|_| AtomicU64::new(0));
        Box::new(EventPage {
            vcpus: core::array::from_fn(|_| UpcallState {
                pending: AtomicU8::new(0),
                mask: AtomicU8::new(1),
                unused: [0; 6],
                selector: AtomicU64::new(0),
                rest: core::array::from_fn(|_| AtomicU64::new(0)),
            }),
            pending: words(),
            mask: words(),
        })
    }

    fn raise(page: &EventPage, port: u32) {
        page.pending[port as usize / 64].fetch_or(1 << (port % 64), Ordering::SeqCst);
        if page.mask[port as usize / 64].load(Ordering::SeqCst) & (1 << (port % 64)) == 0 {
            page.vcpu().selector.fetch_or(1 << (port / 64), Ordering::SeqCst);
            page.vcpu().pending.store(1, Ordering::SeqCst);
        }
    }

    fn taken(page: &EventPage) -> Vec<u32> {
        let mut ports = Vec::new();
        page.take_all(|port| ports.push(port.0));
        ports
    }

    #[test]
    fn each_raised_port_is_taken_once() {
        let page = page();
        for port in [0, 1, 63, 64, 130, 4095] {
            raise(&page, port);
        }
        assert_eq!(taken(&page), [0, 1, 63, 64, 130, 4095]);
        assert_eq!(taken(&page), []);
        assert_eq!(page.vcpu().pending.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_event_raised_while_it_is_handled_is_pending_again() {
        let page = page();
        raise(&page, 7);
        let mut count = 0;
        page.take_all(|port| {
            count += 1;
            if count == 1 {
                raise(&page, port.0);
            }
        });
        assert_eq!(count, 1);
        assert_eq!(taken(&page), [7]);
    }

    #[test]
    fn a_masked_event_waits_and_is_found_when_it_is_unmasked() {
        let page = page();
        page.mask(Port(9));
        raise(&page, 9);
        assert_eq!(taken(&page), []);
        assert!(page.unmask(Port(9)));
        assert!(!page.unmask(Port(9)));
        raise(&page, 9);
        assert_eq!(taken(&page), [9]);
    }

    #[test]
    fn a_port_beyond_the_bitmap_is_nothing() {
        let page = page();
        page.mask(Port(4096));
        assert!(!page.unmask(Port(4096)));
    }
}
