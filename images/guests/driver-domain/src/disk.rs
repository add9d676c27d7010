//! A virtio disk: requests of any length in one queue, done in any order.
//! Pages go with the request and come back with it, so that the device has them to itself meanwhile.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use bitflags::bitflags;
use drivers_backend::block::{Disk, DiskError, DiskOp, Outcome, Work};
use guest_kernel::ports::EventPort;
use hypercall_abi::Port;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::kernel::PacketPage;
use crate::virtio::{self, DomainMemory, Doorbells, MsixTransport, OpenError};

/// Vendor and device of a modern virtio disk, as in configuration space.
pub(crate) const VIRTIO_BLOCK: u32 = 0x1042_1af4;
/// Entries of the queue. A request takes one for each page and two more.
const QUEUE: usize = 256;
/// The queue interrupts by entry 0 of the MSI-X table.
const VECTORS: &[u16] = &[0];
/// Offset in the device's configuration of its length in sectors.
const CAPACITY: usize = 0;

bitflags! {
    /// What the device may offer and this driver uses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        const READ_ONLY = 1 << 5;
        const FLUSH = 1 << 9;
        const DISCARD = 1 << 13;
        const EVENT_INDEX = 1 << 29;
        const VERSION_1 = 1 << 32;
    }
}

/// What goes before and after the data of a request, in memory that the device uses.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct Envelope {
    kind: u32,
    reserved: u32,
    sector: u64,
    /// For a discard: sector, count, flags.
    discard: [u32; 4],
    status: u8,
    pad: [u8; 31],
}

/// Bytes of the envelope that the device reads first.
const HEAD_BYTES: usize = 16;
/// Bytes of a discard's data.
const DISCARD_BYTES: usize = 16;

impl Envelope {
    fn of(work: &Work<PacketPage>) -> Self {
        let kind = match work.operation {
            DiskOp::Read => 0,
            DiskOp::Write => 1,
            DiskOp::Flush => 4,
            DiskOp::Discard => 11,
        };
        let [low, high] = [work.sector as u32, (work.sector >> 32) as u32];
        let sector = if matches!(work.operation, DiskOp::Read | DiskOp::Write) { work.sector } else { 0 };
        let discard = [low, high, work.sectors as u32, 0];
        Self { kind, reserved: 0, sector, discard, status: u8::MAX, pad: [0; 31] }
    }
}

/// A request that the device has.
#[derive(Debug)]
struct Sent {
    work: Work<PacketPage>,
    envelope: Box<Envelope>,
}

/// Calls `with` with what the device reads and what it writes. The pages are the work's own, and so for this call alone
/// those of whoever borrows it.
fn buffers<R>(
    work: &mut Work<PacketPage>,
    envelope: &mut Envelope,
    with: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
) -> R {
    let discards = work.operation == DiskOp::Discard;
    let carries = matches!(work.operation, DiskOp::Read | DiskOp::Write);
    let bytes = envelope.as_mut_bytes();
    let (head, rest) = bytes.split_at_mut(HEAD_BYTES);
    let (discard, rest) = rest.split_at_mut(DISCARD_BYTES);
    let (status, _) = rest.split_at_mut(1);
    let mut pages: Vec<&mut [u8]> = work
        .pieces
        .iter_mut()
        .filter(|_| carries)
        .map(|piece| {
            let start = piece.page.as_ptr().wrapping_add(piece.offset.into());
            // SAFETY: within a page that the work owns, and the work is borrowed mutably.
            unsafe { core::slice::from_raw_parts_mut(start, piece.bytes.into()) }
        })
        .collect();
    let mut inputs: Vec<&[u8]> = Vec::with_capacity(pages.len() + 2);
    let mut outputs: Vec<&mut [u8]> = Vec::with_capacity(pages.len() + 1);
    inputs.push(head);
    if discards {
        inputs.push(discard);
    }
    if work.operation == DiskOp::Write {
        inputs.extend(pages.drain(..).map(|page| &*page));
    }
    outputs.append(&mut pages);
    outputs.push(status);
    with(&inputs, &mut outputs)
}

/// A running disk.
pub(crate) struct VirtioDisk {
    queue: VirtQueue<DomainMemory, QUEUE>,
    transport: MsixTransport,
    doorbells: Rc<Doorbells>,
    interrupt: EventPort,
    features: Features,
    sectors: u64,
    /// By token of the queue.
    sent: Vec<Option<Sent>>,
    /// Work that needs no device.
    done: Vec<Work<PacketPage>>,
}

impl VirtioDisk {
    /// Brings up the disk with this index in the directory, at this PCI address.
    pub(crate) fn open(index: u32, pci_address: u32) -> Result<Self, OpenError> {
        let (mut transport, interrupt) = virtio::open(index, pci_address, VECTORS)?;
        let broken = |_| OpenError::Device;
        let features = transport.begin_init(Features::all());
        let queue = VirtQueue::new(&mut transport, 0, false, features.contains(Features::EVENT_INDEX));
        let queue = queue.map_err(broken)?;
        let read = || {
            let low: u32 = transport.read_config_space(CAPACITY)?;
            let high: u32 = transport.read_config_space(CAPACITY + 4)?;
            Ok(u64::from(low) | u64::from(high) << 32)
        };
        let sectors = transport.read_consistent(read).map_err(broken)?;
        transport.finish_init();
        let doorbells = transport.doorbells();
        let sent = (0..QUEUE).map(|_| None).collect();
        let done = Vec::new();
        Ok(Self { queue, transport, doorbells, interrupt, features, sectors, sent, done })
    }

    /// The port of its interrupt.
    pub(crate) const fn port(&self) -> Port {
        self.interrupt.port()
    }
}

impl Disk<PacketPage> for VirtioDisk {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        self.features.contains(Features::READ_ONLY)
    }

    fn can_discard(&self) -> bool {
        self.features.contains(Features::DISCARD)
    }

    fn submit(&mut self, mut work: Work<PacketPage>) -> Result<(), Work<PacketPage>> {
        if work.operation == DiskOp::Flush && !self.features.contains(Features::FLUSH) {
            // A device without a cache: what it has done is durable.
            self.done.push(work);
            return Ok(());
        }
        if self.queue.available_desc() < work.pieces.len() + 3 {
            return Err(work);
        }
        let mut envelope = Box::new(Envelope::of(&work));
        let added = buffers(&mut work, &mut envelope, |inputs, outputs| {
            // SAFETY: work and envelope are ours, and are kept untouched in `sent` until the device gives them back.
            unsafe { self.queue.add(inputs, outputs) }
        });
        let Ok(token) = added else { return Err(work) };
        if let Some(place) = self.sent.get_mut(usize::from(token)) {
            *place = Some(Sent { work, envelope });
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<(Work<PacketPage>, Outcome)> {
        if let Some(work) = self.done.pop() {
            return Some((work, Ok(())));
        }
        // Taking the last one asked for an interrupt with the next; the fence keeps our look from being earlier than the
        // device's at what we asked.
        fence(Ordering::SeqCst);
        let token = self.queue.peek_used()?;
        let Some(Sent { mut work, mut envelope }) =
            self.sent.get_mut(usize::from(token)).and_then(Option::take)
        else {
            log::error!("a disk has done what it was not asked");
            return None;
        };
        let popped = buffers(&mut work, &mut envelope, |inputs, outputs| {
            // SAFETY: the device has given these buffers back, and they are the ones that it was given.
            unsafe { self.queue.pop_used(token, inputs, outputs) }
        });
        let outcome = match (popped, envelope.status) {
            (Ok(_), 0) => Ok(()),
            (Ok(_), 2) => Err(DiskError::NotSupported),
            _ => Err(DiskError::Failed),
        };
        Some((work, outcome))
    }

    fn kick(&mut self) {
        if self.queue.should_notify() {
            self.transport.notify(0);
        }
        self.doorbells.ring();
    }
}
