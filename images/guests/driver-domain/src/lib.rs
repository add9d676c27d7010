//! The driver domain: owns network device and disks, and shares them between the guests.
//! It exists so that drivers crash outside the hypervisor, and so that guests need none.
//!
//! What it serves is what the directory names: a domain may have the network, disks, or both.
//! Command line: `buffers=PAGES` for packets on their way, two in each page; `disk_buffers=PAGES` for data of disks; `own=` measures, see
//! [`own`].

#![no_std]

extern crate alloc;

mod directory;
mod disk;
pub mod kernel;
mod nic;
mod own;
mod virtio;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use drivers_backend::block::{BlockBack, DiskId, NoRoom, Offence, VbdId};
use drivers_backend::{NetBack, Turn};
use embassy_time::{Instant, with_deadline};
use guest_kernel::hypercall::domain;
use guest_kernel::ports::EventPort;
use guest_kernel::{Guest, clock, devices};
use hypercall_abi::device::DeviceKind;
use hypercall_abi::event_channel::Virq;
use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::{Errno, Port};

use self::directory::{Backs, Directory};
use self::disk::{VIRTIO_BLOCK, VirtioDisk};
use self::kernel::{Kernel, PORTS};
use self::nic::Nic;

guest_kernel::back_ends!(NetBack, BlockBack);

/// Pages for packets on their way, unless the command line says otherwise.
const BUFFERS_DEFAULT: u16 = 1024;
/// Pages for data of disks on its way, unless the command line says otherwise.
const DISK_BUFFERS_DEFAULT: usize = 256;
/// Events taken between two turns.
const EVENTS_PER_TURN: usize = 256;

/// Serves until the domain ends.
pub async fn run(guest: Guest) {
    let line = guest.command_line();
    let buffers = line.parse("buffers", BUFFERS_DEFAULT).unwrap_or_else(|error| panic!("{error}"));
    let disk_buffers =
        line.parse("disk_buffers", DISK_BUFFERS_DEFAULT).unwrap_or_else(|error| panic!("{error}"));
    let changes = EventPort::virq(Virq::Devices).expect("each domain may hear of its own devices");
    changes.join(&PORTS);
    let serves = |kind: DeviceKind| devices::of_kind(kind).next().is_some();
    let mut ports = BTreeMap::new();
    let mut disks = open_disks();
    if let Some((wanted, (_, disk))) = line.get("own").zip(disks.first_mut()) {
        own::measure(disk, wanted).await;
    }
    let block = serves(DeviceKind::BlockBack).then(|| serve_disks(disk_buffers, disks, &mut ports));
    let net =
        (Nic::is_there() || serves(DeviceKind::NetBack) || block.is_none()).then(|| open_network(buffers));
    if let Some(port) = net.as_ref().and_then(|(_, port)| *port) {
        ports.insert(port, Source::Uplink);
    }
    ports.insert(changes.port(), Source::Directory);
    let backs = Backs { net: net.map(|(back, _)| back), block };
    let mut work = Work { backs, directory: Directory::default(), ports, warned: false };
    work.note(changes.port());
    loop {
        for _ in 0..EVENTS_PER_TURN {
            let Some(port) = PORTS.take() else { break };
            work.note(port);
        }
        if let Turn::Idle { until_ns } = work.turn()
            && let Some(port) = port_until(until_ns).await
        {
            work.note(port);
        }
    }
}

/// The next port that fires; `None` if none does before a time. Who waits for no time sets no timer.
async fn port_until(until_ns: u64) -> Option<Port> {
    if until_ns == u64::MAX {
        return Some(PORTS.wait().await);
    }
    with_deadline(Instant::from_micros(until_ns.div_ceil(1000)), PORTS.wait()).await.ok()
}

/// The network back end, with the device if there is one, and the port of its interrupt. It is large, and its place on the stack must
/// not be one that each poll of what waits takes and touches page by page.
#[inline(never)]
fn open_network(buffers: u16) -> (Box<NetBack<Kernel, Nic>>, Option<Port>) {
    let nic = match Nic::open() {
        Ok(nic) => {
            log::info!("virtio-net {} is up", drivers_backend::Uplink::mac(&nic));
            nic
        }
        Err(error) => {
            log::warn!("{error}; guests reach each other, but nobody outside");
            Nic::Absent
        }
    };
    let port = nic.port();
    (Box::new(or_leave(NetBack::new(Kernel, nic, buffers), "packets")), port)
}

/// The disks that the directory names, by their numbers. They are large, and never inlined into what waits.
#[inline(never)]
fn open_disks() -> Vec<(DiskId, Box<VirtioDisk>)> {
    let mut opened = Vec::new();
    let disks = devices::of_kind(DeviceKind::Pci).filter(|(_, entry)| entry.pci_id == VIRTIO_BLOCK);
    for (index, entry) in disks {
        match VirtioDisk::open(index, entry.pci_address) {
            Ok(disk) => opened.push((DiskId(entry.disk), Box::new(disk))),
            Err(error) => log::warn!("virtio-blk, disk {}: {error}", entry.disk),
        }
    }
    opened
}

/// The block back end with these disks.
#[inline(never)]
fn serve_disks(
    buffers: usize,
    disks: Vec<(DiskId, Box<VirtioDisk>)>,
    ports: &mut BTreeMap<Port, Source>,
) -> Box<BlockBack<Kernel>> {
    let mut back = Box::new(or_leave(BlockBack::new(Kernel, buffers), "data of disks"));
    for (id, disk) in disks {
        ports.insert(disk.port(), Source::Disk(id));
        if !back.add_disk(id, disk) {
            log::warn!("there are two disks of number {}", id.0);
        }
    }
    back
}

/// What was made, if there was memory for it. Without, the domain leaves for good: begun anew it would have no more.
fn or_leave<T>(made: Result<T, Errno>, what: &str) -> T {
    made.unwrap_or_else(|errno| {
        log::error!("this domain has too little memory for {what}: {errno:?}");
        domain::shutdown(ShutdownReason::Poweroff)
    })
}

/// What a port tells of.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The network device has interrupted.
    Uplink,
    /// A disk has interrupted.
    Disk(DiskId),
    /// The directory has changed.
    Directory,
}

/// What the events of this domain are about.
struct Work {
    backs: Backs,
    directory: Directory,
    ports: BTreeMap<Port, Source>,
    warned: bool,
}

impl Work {
    /// A turn of each back end. What it calls seldom is apart, so that what each turn runs stands on few pages.
    fn turn(&mut self) -> Turn {
        let mut turn = Turn::Idle { until_ns: u64::MAX };
        if let Some(net) = &mut self.backs.net {
            turn = turn_network(net);
            self.warned = self.warned || warn_of_false_addresses(net);
        }
        if let Some(block) = &mut self.backs.block
            && let Turn::More = block.turn()
        {
            turn = Turn::More;
            // Those that were answered may ask again before a long queue of one of them is done.
            domain::yield_now();
        }
        if let Some(block) = &mut self.backs.block {
            while let Some(offence) = block.take_offence() {
                warn_of_offence(offence);
            }
            while let Some((id, why)) = block.take_full() {
                warn_of_room(id, why);
            }
        }
        turn
    }

    /// Notes that a port has fired.
    fn note(&mut self, port: Port) {
        match self.ports.get(&port) {
            Some(Source::Uplink) => {
                if let Some(net) = &mut self.backs.net {
                    net.uplink_event();
                }
            }
            Some(Source::Disk(id)) => {
                if let Some(block) = &mut self.backs.block {
                    block.disk_event(*id);
                }
            }
            Some(Source::Directory) => self.follow(),
            None => {
                if let Some(net) = &mut self.backs.net {
                    net.event(port);
                }
                if let Some(block) = &mut self.backs.block {
                    block.event(port);
                }
            }
        }
    }

    #[inline(never)]
    fn follow(&mut self) {
        self.directory.follow(&mut self.backs);
    }
}

#[inline(never)]
fn turn_network(net: &mut NetBack<Kernel, Nic>) -> Turn {
    net.turn(clock::now_ns())
}

/// Says that somebody uses a false address; true if so. It is said once: guests could fill the log otherwise.
fn warn_of_false_addresses(net: &NetBack<Kernel, Nic>) -> bool {
    let spoofed = net.counters().spoofed > 0;
    if spoofed {
        log::warn!(
            "a guest, or somebody outside, uses an address that is not its own; its frames are dropped"
        );
    }
    spoofed
}

/// Says whose disk's connection ended for what it did.
#[cold]
fn warn_of_offence(offence: Offence) {
    if let Some(entry) = devices::entry(offence.vbd.0.into()) {
        let (disk, reason, times) = (directory::disk(offence.vbd, &entry), offence.reason, offence.times);
        log::warn!("{disk} is cut off for what its front end did: {reason:?}, {times} so far");
    }
}

/// Says for whose writes there is no room.
#[cold]
fn warn_of_room(id: VbdId, why: NoRoom) {
    let Some(entry) = devices::entry(id.0.into()) else { return };
    let (disk, bytes) = (directory::disk(id, &entry), entry.memory_bytes);
    match why {
        NoRoom::Limit => {
            log::warn!(
                "the overlay of {disk} is full with {bytes} bytes; its writes fail, and nothing is lost"
            );
        }
        NoRoom::Memory => {
            log::warn!(
                "there is no memory for what is written to {disk}; its writes fail, and nothing is lost"
            );
        }
    }
}
