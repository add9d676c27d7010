//! A bad front end: connects as it should, then writes rubbish into its rings, its device page and its grants.
//! Only its own device may suffer from it.

use guest_kernel::hypercall::{domain, event, extension};
use guest_kernel::memory::{address_of, machine_frame_at};
use guest_kernel::{devices, grants};
use hostile_plan::Random;
use hypercall_abi::device::{FRONT_HALF, NetHalf, XenbusState};
use hypercall_abi::{DomId, GrantRef, PAGE_SIZE, Pfn, Port};

use super::act::Actor;

/// Steps of one attack.
const STEPS: u64 = 24;
/// Bytes of a ring before its entries.
const RING_HEADER: u64 = 64;

/// Plays a bad front end.
pub(super) fn attack(actor: &mut Actor, seed: u64) {
    let mut random = Random::new(seed);
    let Some((index, _)) = actor.home.front else { return };
    let Some(entry) = devices::entry(index) else { return };
    if !DomId(entry.peer).is_ordinary() {
        return;
    }
    let device = Device { page: address_of(Pfn(entry.page)), state_port: Port(entry.state_port) };
    let rings: [u64; 4] = core::array::from_fn(|index| actor.home.rings + (index * PAGE_SIZE) as u64);
    let Ok(port) = event::alloc_unbound(DomId(entry.peer)) else { return };
    let mut grefs = [GrantRef(0); 4];
    for (gref, va) in grefs.iter_mut().zip(rings) {
        let Some(frame) = machine_frame_at(va) else { return };
        // SAFETY: a page to lose, which the back end may still write; only raw words are ever read from it.
        unsafe { (va as *mut [u64; 512]).write_bytes(0, 1) };
        match grants::allow(DomId(entry.peer), frame, random.once_in(12)) {
            Ok(given) => *gref = given,
            Err(_) => return,
        }
    }
    device.set(XenbusState::Initialising.raw());
    device.wait(&[XenbusState::InitWait]);
    let [tx, rx, first, second] = grefs;
    for (offset, value) in [
        (
            core::mem::offset_of!(NetHalf, tx_ring),
            if random.once_in(12) { random.bits() as u32 } else { tx.0 },
        ),
        (core::mem::offset_of!(NetHalf, rx_ring), if random.once_in(12) { tx.0 } else { rx.0 }),
        (
            core::mem::offset_of!(NetHalf, port),
            if random.once_in(12) { random.below(64) as u32 } else { port.0 },
        ),
    ] {
        device.word(offset, value);
    }
    device.set(XenbusState::Initialised.raw());
    if device.wait(&[XenbusState::Connected, XenbusState::Closed]) == Some(XenbusState::Connected) {
        device.set(XenbusState::Connected.raw());
    }
    let [tx_va, rx_va, packet, _] = rings;
    for _ in 0..random.below(STEPS) {
        misbehave(&mut random, &device, [tx_va, rx_va], packet, [first, second]);
        let _ = event::send(port);
    }
    if !random.once_in(4) {
        device.set(XenbusState::Closing.raw());
        device.wait(&[XenbusState::Closed]);
    }
    let _ = event::close(port);
    for gref in grefs {
        // What the back end still maps stays granted.
        let _ = grants::end(gref);
    }
}

/// One wrong thing.
fn misbehave(random: &mut Random, device: &Device, rings: [u64; 2], packet: u64, grefs: [GrantRef; 2]) {
    let ring = random.pick(&rings);
    match random.below(9) {
        0 => write32(ring + 4 * random.below(16), random.any_size() as u32),
        1 => {
            let produced = read32(ring);
            write32(ring, produced.wrapping_add(random.pick(&[1, 8, 256, 257, 1 << 31, u32::MAX])));
        }
        2 => write32(ring + 8, random.any_size() as u32),
        3..6 => {
            // Requests with one thing wrong in most.
            let produced = read32(rings[0]);
            let count = 1 + random.below(40) as u32;
            for index in 0..count {
                let at = rings[0] + RING_HEADER + u64::from(produced.wrapping_add(index) % 256) * 12;
                let gref = if random.once_in(3) { random.any_size() as u32 } else { random.pick(&grefs).0 };
                let offset = random.pick(&[0_u16, 0, 0, 4000, 4095, 4096, u16::MAX]);
                let flags = random.pick(&[0_u16, 0, 0, 1, 2, 4, 8, u16::MAX]);
                let size = random.pick(&[60_u16, 60, 1514, 0, 1, 13, 14, 1515, 4096, u16::MAX]);
                write32(at, gref);
                write32(at + 4, u32::from(offset) | u32::from(flags) << 16);
                write32(at + 8, random.bits() as u16 as u32 | u32::from(size) << 16);
            }
            for word in 0..16 {
                write32(packet + 4 * word, random.bits() as u32);
            }
            write32(rings[0], produced.wrapping_add(count));
        }
        6 => {
            let produced = read32(rings[1]);
            let count = 1 + random.below(300) as u32;
            for index in 0..count {
                let at = rings[1] + RING_HEADER + u64::from(produced.wrapping_add(index) % 256) * 8;
                write32(at, random.bits() as u32);
                let gref = if random.once_in(2) { grefs[0].0 } else { random.any_size() as u32 };
                write32(at + 4, gref);
            }
            write32(rings[1], produced.wrapping_add(count));
        }
        7 => {
            let offset = random.below(4096 / 4) as usize * 4;
            device.word_anywhere(offset, random.any_size() as u32);
            let _ = event::send(device.state_port);
        }
        _ => device.set(random.below(9) as u32),
    }
    if random.once_in(3) {
        domain::yield_now();
    }
}

/// The device page as a front end writes it.
struct Device {
    page: u64,
    state_port: Port,
}

impl Device {
    fn word(&self, offset: usize, value: u32) {
        self.word_anywhere(FRONT_HALF + offset, value);
    }

    fn word_anywhere(&self, offset: usize, value: u32) {
        write32(self.page + offset as u64, value);
    }

    fn set(&self, state: u32) {
        self.word(core::mem::offset_of!(NetHalf, state), state);
        let _ = event::send(self.state_port);
    }

    /// Waits a while for the back end; its state, if it is one of these.
    fn wait(&self, states: &[XenbusState]) -> Option<XenbusState> {
        let at =
            self.page + (hypercall_abi::device::BACK_HALF + core::mem::offset_of!(NetHalf, state)) as u64;
        for _ in 0..40 {
            let state = XenbusState::from_raw(read32(at));
            if let Some(state) = state
                && states.contains(&state)
            {
                return Some(state);
            }
            // The time page may hold rubbish of ours, so sleep by the shortest way.
            let _ = extension::idle_until(0);
            domain::yield_now();
        }
        None
    }
}

fn read32(at: u64) -> u32 {
    // SAFETY: a mapped page of ours that others write too.
    unsafe { (at as *const u32).read_volatile() }
}

fn write32(at: u64, value: u32) {
    // SAFETY: a mapped page of ours that nobody relies on.
    unsafe { (at as *mut u32).write_volatile(value) };
}
