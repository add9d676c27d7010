//! Split devices without a store: how a front end and a back end find each other and agree.
//!
//! Each domain with devices has a **directory**, an array of [`DirectoryEntry`] that the hypervisor writes when it
//! builds the domain and changes when a peer comes or goes; each change of an entry raises [`crate::event_channel::Virq::Devices`].
//! Each split device has one **device page** in the front end's memory. The hypervisor grants it to the back end
//! and binds an event channel between the two, on which either side tells of a change in its half. A half is written
//! by its side alone, but for the hypervisor, which writes [`XenbusState::Closed`] for a front end that died.
//!
//! Connecting follows Xen's states: the front end fills its half and goes to `Initialised`, the back end maps the
//! rings and goes to `Connected`, then the front end does. Closing: either goes to `Closing`, the other lets go and goes
//! to `Closed`. From `Closed` a front end may start again at `Initialising`.
//!
//! In detail, with the front end's state first: a back end that is free waits in `InitWait`. (`Initialising`, `InitWait`) →
//! the front end makes its rings → (`Initialised`, `InitWait`) → (`Initialised`, `Connected`) → (`Connected`, `Connected`). A front end
//! that closes: (`Closing`, `Connected`) → the back end unmaps → (`Closing`, `Closed`) → the front end takes its pages back →
//! (`Closed`, `Closed`), or at once (`Initialising`, `Closed`) → (`Initialising`, `InitWait`) to begin again. A back end that closes
//! or finds an error unmaps first, then writes its reason and `Closed`: nothing of the front end's is in use from then on.

mod block_page;
mod net_page;
mod page;

pub use block_page::{Block, BlockCounters, BlockPage, DiskFacts};
pub use net_page::{Net, NetCounters, NetPage};
pub use page::{DevicePage, Kind};

abi_enum! {
    /// State of one half of a device (`XenbusState`).
    pub enum XenbusState: u32 {
        /// Not there yet.
        Unknown = 0,
        /// Preparing.
        Initialising = 1,
        /// Waiting for the other side's first step.
        InitWait = 2,
        /// Rings and ports are offered.
        Initialised = 3,
        /// In use.
        Connected = 4,
        /// Letting go.
        Closing = 5,
        /// Has let go.
        Closed = 6,
    }
}

abi_enum! {
    /// What a directory entry describes.
    pub enum DeviceKind: u16 {
        /// Nothing.
        None = 0,
        /// Front end of a network device.
        NetFront = 1,
        /// Back end of a network device.
        NetBack = 2,
        /// Front end of a block device.
        BlockFront = 3,
        /// Back end of a block device.
        BlockBack = 4,
        /// A real PCI device, assigned to this domain.
        Pci = 5,
    }
}

abi_struct! {
    /// One device in a domain's directory. Written by the hypervisor alone.
    pub struct DirectoryEntry(128) {
        /// A [`DeviceKind`].
        0 => kind: u16,
        /// Split devices: the other domain, or [`crate::DomId::INVALID`] while it is gone.
        2 => peer: u16,
        /// Grows with each change of this entry.
        4 => generation: u32,
        /// Front end: pseudo-physical frame of the device page. Back end: the reference that grants it to us.
        8 => page: u64,
        /// Our port for changes of state; already bound.
        16 => state_port: u32,
        /// Split devices: bits of [`net_options`], the same for network and block.
        20 => options: u32,
        /// Network: hardware address of the front end.
        24 => mac: [u8; 6],
        /// Network: length of the subnet's prefix.
        30 => prefix: u8,
        /// Unused.
        31 => pad: u8,
        /// Network: the front end's IPv4 address.
        32 => ipv4: [u8; 4],
        /// Network: the gateway's IPv4 address; zero without one.
        36 => gateway: [u8; 4],
        /// Pci: segment << 16 | bus << 8 | device << 3 | function.
        40 => pci_address: u32,
        /// Pci: device << 16 | vendor, as in configuration space.
        44 => pci_id: u32,
        /// Text: name of the other domain, or of the device; zero bytes follow.
        48 => name: [u8; 32],
        /// Block: number of the disk among those of the back end's domain. Pci: the number of the disk that this is,
        /// or [`NO_DISK`].
        80 => disk: u32,
        /// Block: bits of [`block_access`].
        84 => access: u32,
        /// Block: first sector of the disk that the front end may use.
        88 => first_sector: u64,
        /// Block: how many it may use; 0 for all from there on.
        96 => sectors: u64,
        /// Block: bytes of memory that an overlay, or a disk in memory, may take.
        104 => memory_bytes: u64,
        /// Unused.
        112 => pad2: [u64; 2],
    }
}

/// In [`DirectoryEntry::disk`]: none.
pub const NO_DISK: u32 = u32::MAX;

/// Bits of [`DirectoryEntry::access`]: what a front end may do with its disk. Without any, it may read.
pub mod block_access {
    /// Write to the disk itself.
    pub const WRITE: u32 = 1 << 0;
    /// Write into an overlay of its own; the disk stays as it is.
    pub const OVERLAY: u32 = 1 << 1;
    /// The disk is the back end's memory, and empty at first.
    pub const MEMORY: u32 = 1 << 2;
}

abi_enum! {
    /// Why one side of a network device closed.
    pub enum NetError: u32 {
        /// In good order.
        None = 0,
        /// The transmit ring's page cannot be mapped.
        TransmitRing = 1,
        /// The receive ring's page cannot be mapped.
        ReceiveRing = 2,
        /// The event channel cannot be bound.
        Port = 3,
        /// The other side's index ran past what a ring holds.
        Overrun = 4,
        /// The other side answered a request that was not made.
        Unasked = 5,
        /// The other side's states make no sense in this order.
        State = 6,
        /// Too many wrong requests in a row.
        Requests = 7,
    }
}

/// Bits of [`DirectoryEntry::options`].
pub mod net_options {
    /// Notify always: ring indices suppress nothing.
    pub const NO_SUPPRESSION: u32 = 1 << 0;
}

abi_struct! {
    /// One half of a network device's page.
    pub struct NetHalf(128) {
        /// A [`XenbusState`].
        0 => state: u32,
        /// Front end: reference of the transmit ring's page.
        4 => tx_ring: u32,
        /// Front end: reference of the receive ring's page.
        8 => rx_ring: u32,
        /// Front end: port that it left unbound for the back end.
        12 => port: u32,
        /// Features that this side can do; none are defined yet.
        16 => features: u32,
        /// Why this side closed: a [`NetError`].
        20 => error: u32,
        /// Unused.
        24 => pad: [u64; 5],
        /// Notifications sent to the other side.
        64 => notified: u64,
        /// Notifications that ring indices made unnecessary.
        72 => suppressed: u64,
        /// Packets handed to the other side.
        80 => packets: u64,
        /// Bytes in them.
        88 => bytes: u64,
        /// Packets dropped for want of room or for errors of the other side.
        96 => dropped: u64,
        /// Unused.
        104 => pad2: [u64; 3],
    }
}

abi_enum! {
    /// Why one side of a block device closed.
    pub enum BlockError: u32 {
        /// In good order.
        None = 0,
        /// The ring's page cannot be mapped.
        Ring = 1,
        /// The event channel cannot be bound.
        Port = 2,
        /// The other side's index ran past what the ring holds.
        Overrun = 3,
        /// The other side answered a request that was not made.
        Unasked = 4,
        /// Too many wrong requests in a row.
        Requests = 5,
        /// The back end has no such disk.
        Disk = 6,
        /// The front end has too little memory for a connection, or too few references or ports.
        Memory = 7,
    }
}

/// Bits of [`BlockHalf::features`], as the back end says them; of these the front end says [`block_features::PERSISTENT`] alone.
pub mod block_features {
    /// [`crate::blkif::BlockOp::Flush`] is honoured.
    pub const FLUSH: u32 = 1 << 0;
    /// [`crate::blkif::BlockOp::WriteBarrier`] is honoured.
    pub const BARRIER: u32 = 1 << 1;
    /// [`crate::blkif::BlockOp::Discard`] is honoured.
    pub const DISCARD: u32 = 1 << 2;
    /// Nothing can be written.
    pub const READ_ONLY: u32 = 1 << 3;
    /// Back end: it keeps granted pages mapped. Front end: each page that it grants stays granted, for reading and writing,
    /// for as long as the connection lasts (`feature-persistent`). Pages are mapped if both say it, and copied otherwise.
    pub const PERSISTENT: u32 = 1 << 4;
}

abi_struct! {
    /// One half of a block device's page.
    pub struct BlockHalf(128) {
        /// A [`XenbusState`].
        0 => state: u32,
        /// Front end: reference of the ring's page.
        4 => ring: u32,
        /// Back end: the most segments of an indirect request; 0 when there are none.
        8 => segments_max: u32,
        /// Front end: port that it left unbound for the back end.
        12 => port: u32,
        /// Bits of [`block_features`]: what the back end can do, what the front end promises.
        16 => features: u32,
        /// Why this side closed: a [`BlockError`].
        20 => error: u32,
        /// Back end: sectors of 512 bytes.
        24 => sectors: u64,
        /// Unused.
        32 => pad: [u64; 4],
        /// Notifications sent to the other side.
        64 => notified: u64,
        /// Notifications that ring indices made unnecessary.
        72 => suppressed: u64,
        /// Requests sent (front end) or answered (back end).
        80 => requests: u64,
        /// Bytes read and written by those that went well.
        88 => bytes: u64,
        /// Requests that were answered with an error.
        96 => failed: u64,
        /// Back end: copies between the front end's pages and its own.
        104 => copied: u64,
        /// Back end: pages of the front end's that a disk used where they are.
        112 => in_place: u64,
        /// Unused.
        120 => pad2: u64,
    }
}

/// Bytes into the device page of the front end's half.
pub const FRONT_HALF: usize = 0;
/// Bytes into the device page of the back end's half.
pub const BACK_HALF: usize = 2048;
