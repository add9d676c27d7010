//! A virtio disk: requests of any length in one queue, done in any order.
//! Pages go with the request and come back with it, so that the device has them to itself meanwhile.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use bitflags::bitflags;
use drivers_backend::block::{Data, Disk, DiskError, DiskOp, Finished, Piece, Waiting};
use guest_kernel::ports::EventPort;
use hypercall_abi::Port;
use virtio_drivers::transport::Transport;

use crate::kernel::Kernel;
use crate::virtio::{
    self, Doorbells, ENTRIES, ENVELOPE_RUNS, Head, MsixTransport, OpenError, RequestQueue, Run,
};

/// Vendor and device of a modern virtio disk, as in configuration space.
pub(crate) const VIRTIO_BLOCK: u32 = 0x1042_1af4;
/// The queue interrupts by entry 0 of the MSI-X table.
const VECTORS: &[u16] = &[0];
/// Offset in the device's configuration of its length in sectors.
const CAPACITY: usize = 0;
/// Offset there of the most sectors of one discard, which are there if it discards.
const DISCARD_MAX: usize = 36;

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

/// Work as the back end gives it.
pub(crate) type Work = Box<drivers_backend::block::Work<Data<Kernel>>>;

/// What the device is told of work before its data.
fn head(work: &Work, discard_max: u32) -> Head {
    let (kind, sector, discard) = match work.operation {
        // Nearly all, and so without a table of what to do.
        operation if carries(operation) => ((operation == DiskOp::Write).into(), work.sector, None),
        // It is a hint: sectors that the device does not take at once stay as they are.
        DiskOp::Discard => (11, 0, Some((work.sector, work.sectors.min(discard_max.into()) as u32))),
        _ => (4, 0, None),
    };
    Head { kind, sector, discard, reads: work.operation == DiskOp::Read }
}

const fn carries(operation: DiskOp) -> bool {
    matches!(operation, DiskOp::Read | DiskOp::Write)
}

fn run(piece: &Piece<Data<Kernel>>) -> Run {
    let page = match &piece.page {
        Data::Ours { page, .. } => page.machine_address(),
        Data::Theirs(page) => page.machine_address(),
    };
    Run { address: page + u64::from(piece.offset), bytes: piece.bytes.into() }
}

/// A running disk.
pub(crate) struct VirtioDisk {
    queue: RequestQueue,
    transport: MsixTransport,
    doorbells: Rc<Doorbells>,
    interrupt: EventPort,
    features: Features,
    sectors: u64,
    discard_max: u32,
    /// By token of the queue.
    sent: [Option<Work>; ENTRIES as usize],
    /// Work that needs no device.
    done: Vec<Work>,
    /// Doorbells that the second look found due.
    late: u64,
}

impl VirtioDisk {
    /// Brings up the disk with this index in the directory, at this PCI address.
    pub(crate) fn open(index: u32, pci_address: u32) -> Result<Self, OpenError> {
        let (mut transport, interrupt) = virtio::open(index, pci_address, VECTORS)?;
        let broken = |_| OpenError::Device;
        let features = transport.begin_init(Features::all());
        let queue = RequestQueue::new(&mut transport, features.contains(Features::EVENT_INDEX));
        let queue = queue.ok_or(OpenError::Device)?;
        let read = || {
            let low: u32 = transport.read_config_space(CAPACITY)?;
            let high: u32 = transport.read_config_space(CAPACITY + 4)?;
            Ok(u64::from(low) | u64::from(high) << 32)
        };
        let sectors = transport.read_consistent(read).map_err(broken)?;
        let discard_max = if features.contains(Features::DISCARD) {
            transport.read_config_space(DISCARD_MAX).map_err(broken)?
        } else {
            0
        };
        transport.finish_init();
        let doorbells = transport.doorbells();
        let (sent, done) = ([const { None }; ENTRIES as usize], Vec::new());
        Ok(Self {
            queue,
            transport,
            doorbells,
            interrupt,
            features,
            sectors,
            discard_max,
            sent,
            done,
            late: 0,
        })
    }

    /// The port of its interrupt.
    pub(crate) const fn port(&self) -> Port {
        self.interrupt.port()
    }
}

impl Disk<Data<Kernel>> for VirtioDisk {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        self.features.contains(Features::READ_ONLY)
    }

    fn can_discard(&self) -> bool {
        self.features.contains(Features::DISCARD)
    }

    fn submit(&mut self, waiting: &mut Waiting<Data<Kernel>>) {
        let mut room = self.queue.room();
        let fits = waiting.iter().take_while(|work| {
            let left = room.checked_sub(work.pieces.len() + ENVELOPE_RUNS);
            room = left.unwrap_or(0);
            left.is_some()
        });
        let count = fits.count();
        for work in waiting.drain(..count) {
            if work.operation == DiskOp::Flush && !self.features.contains(Features::FLUSH) {
                // A device without a cache: what it has done is durable.
                self.done.push(work);
                continue;
            }
            // The data of a barrier waits with its flush.
            let count = if carries(work.operation) { work.pieces.len() } else { 0 };
            // The pages stay untouched in `sent` until the device gives them back.
            let token = self.queue.add(head(&work, self.discard_max), count, work.pieces.iter().map(run));
            self.sent[usize::from(token % ENTRIES)] = Some(work);
        }
    }

    fn poll(&mut self, done: &mut Finished<Data<Kernel>>) {
        done.extend(self.done.drain(..).map(|work| (work, Ok(()))));
        while let Some(taken) = self.queue.take() {
            let (token, status) = match taken {
                Ok(taken) => taken,
                Err(id) => {
                    log::error!("a disk has done what it was not asked: {id}");
                    continue;
                }
            };
            let Some(work) = self.sent[usize::from(token % ENTRIES)].take() else { continue };
            let outcome = match status {
                0 => Ok(()),
                2 => Err(DiskError::NotSupported),
                _ => Err(DiskError::Failed),
            };
            done.push((work, outcome));
        }
    }

    fn kick(&mut self) {
        if self.queue.show() {
            self.transport.notify(0);
        }
        self.doorbells.ring();
    }

    fn rest(&mut self) -> bool {
        if self.queue.wants_late_doorbell() {
            self.late += 1;
            if self.late.is_power_of_two() {
                log::info!("a disk was told of requests a little later, {} times so far", self.late);
            }
            self.transport.notify(0);
            self.doorbells.ring();
        }
        self.queue.ask_interrupt()
    }
}
