//! Disks: a front end as something to read and write.
//!
//! ```ignore
//! let disk = guest_kernel::block::Disk::open(&guest, 0).await.expect("a disk");
//! disk.write(0, &[7; 512]).await?;
//! disk.flush().await?;
//! ```
//!
//! A back end that dies and comes back costs the caller time alone.

mod operation;
mod queue;

use alloc::boxed::Box;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};

pub use drivers_frontend::block::Ticket;
use drivers_frontend::block::{BeginError, BlockConfig, BlockFront, DiskFault, Trouble};
use hypercall_abi::Port;
pub use hypercall_abi::device::BlockCounters;
use hypercall_abi::device::{BlockError, DeviceKind, DirectoryEntry, DiskFacts, block_features, net_options};

use self::operation::run;
pub use self::queue::{Buffer, Done, Queue};
use super::front::{self, Attached, Kernel};
use super::ports::{self, EventPort};
use super::shared_page::Mapped;
use super::{Guest, devices};

/// Bytes of a sector, the unit of all positions and lengths.
pub use hypercall_abi::blkif::SECTOR_BYTES;

/// Sectors of one discard: 1 GiB. QEMU's disk takes a little less than 2 GiB at once.
const DISCARD_MAX: u64 = 1 << 21;

type Front = BlockFront<Kernel, Mapped>;
/// A front end is there for good: so is the task that looks after it.
type Shared = &'static RefCell<Attached<Front>>;

/// How a disk is used.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Pages for data under way, granted to the back end; at least 2. They bound how much is under way at once.
    pub pages: u16,
    /// Whether what is begun goes out when all tasks that are ready have had their turn, and not one by one.
    pub gather: bool,
    /// Whether the back end may keep the pages mapped, so that nothing is copied between the domains.
    pub lend: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pages: 33, gather: false, lend: true }
    }
}

/// Why a disk did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The domain has no disk of this number, or the disk no such buffer.
    Absent,
    /// Not a whole number of sectors.
    Length(usize),
    /// Beyond the end of the disk.
    Range,
    /// The disk cannot be written to.
    ReadOnly,
    /// The back end says that it failed: nothing is known of the sectors.
    Failed,
    /// The disk cannot do that.
    NotSupported,
    /// The back end has misbehaved too often, or refuses this disk.
    Gone,
    /// This domain has too little memory to connect to the back end.
    Memory,
    /// Too little of the disk's memory is free.
    Full,
}

impl core::fmt::Display for DiskError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no such disk, or no such buffer of it"),
            Self::Length(bytes) => write!(f, "{bytes} bytes are not a whole number of sectors"),
            Self::Range => f.write_str("beyond the end of the disk"),
            Self::ReadOnly => f.write_str("the disk is read-only"),
            Self::Failed => f.write_str("the disk failed"),
            Self::NotSupported => f.write_str("the disk cannot do that"),
            Self::Gone => f.write_str("the disk is gone"),
            Self::Memory => f.write_str("this domain has too little memory for the disk"),
            Self::Full => f.write_str("too little of the disk's memory is free"),
        }
    }
}

impl core::error::Error for DiskError {}

impl From<DiskFault> for DiskError {
    fn from(fault: DiskFault) -> Self {
        match fault {
            DiskFault::Failed => Self::Failed,
            DiskFault::NotSupported => Self::NotSupported,
            DiskFault::Gone => Self::Gone,
        }
    }
}

/// A disk. Clones are the same disk; operations may be under way from several tasks.
#[derive(Clone)]
pub struct Disk {
    front: Shared,
    gather: bool,
}

impl Disk {
    /// Opens disk `number`, in the order of the scenario, and waits for its back end. To be called once for each.
    ///
    /// # Errors
    /// [`DiskError::Absent`] when there is none, [`DiskError::Gone`] when the back end refuses it, [`DiskError::Memory`]
    /// when there is too little for its pages.
    pub async fn open(guest: &Guest, number: usize) -> Result<Self, DiskError> {
        Self::open_with(guest, number, Settings::default()).await
    }

    /// The same, used in another way than usual.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(guest: &Guest, number: usize, settings: Settings) -> Result<Self, DiskError> {
        let (index, entry) = devices::of_kind(DeviceKind::BlockFront).nth(number).ok_or(DiskError::Absent)?;
        let state_port = EventPort::adopt(Port(entry.state_port));
        let page = devices::page(index).ok_or(DiskError::Absent)?;
        let config = BlockConfig {
            peer: devices::peer(&entry),
            state_port: state_port.port(),
            suppress: entry.options & net_options::NO_SUPPRESSION == 0,
            pages: settings.pages,
            lend: settings.lend,
        };
        let front = BlockFront::new(Kernel, page, config);
        let shared: Shared = Box::leak(Box::new(RefCell::new(Attached::new(front, state_port, &entry))));
        guest.spawn(attend(shared, number, entry));
        front::follow_directory(guest, index, shared);
        poll_fn(|context| poll_facts(shared, context)).await?;
        Ok(Self { front: shared, gather: settings.gather })
    }

    /// What the last back end said of the disk: that of a disk that was opened stays as it is, unless a back end lied.
    fn facts(&self) -> DiskFacts {
        self.front.borrow().front.facts().unwrap_or_default()
    }

    /// Sectors.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.facts().sectors
    }

    /// Whether it can be written to.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.facts().features & block_features::READ_ONLY != 0
    }

    /// Reads from `sector` on until `buffer` is full.
    ///
    /// # Errors
    /// As [`DiskError`] says; `buffer` may have changed then.
    pub async fn read(&self, sector: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let most = self.checked(sector, buffer.len())?;
        for (chunk, at) in buffer.chunks_mut(most).zip((sector..).step_by(most / SECTOR_BYTES)) {
            let bytes = chunk.len();
            run(self, bytes, |front| front.begin_read(at, bytes), chunk).await?;
        }
        Ok(())
    }

    /// Writes from `sector` on. It is durable after a [`Self::flush`] that begins when this has returned.
    ///
    /// # Errors
    /// As [`DiskError`] says; part may have been written then.
    pub async fn write(&self, sector: u64, data: &[u8]) -> Result<(), DiskError> {
        let most = self.checked(sector, data.len())?;
        for (chunk, at) in data.chunks(most).zip((sector..).step_by(most / SECTOR_BYTES)) {
            run(self, chunk.len(), |front| front.begin_write(at, chunk), &mut []).await?;
        }
        Ok(())
    }

    /// Returns when all that was written before is durable.
    ///
    /// # Errors
    /// As [`DiskError`] says; what was written may be lost with the machine then.
    pub async fn flush(&self) -> Result<(), DiskError> {
        run(self, 0, BlockFront::begin_flush, &mut []).await
    }

    /// Tells the disk that so many sectors from `sector` on are not needed: their content may be anything until they are written
    /// again, and the room that they took may serve others.
    ///
    /// # Errors
    /// As [`DiskError`] says: [`DiskError::NotSupported`] of a disk that keeps what it has; part may have been discarded then.
    pub async fn discard(&self, sector: u64, sectors: u64) -> Result<(), DiskError> {
        self.holds(sector, sectors)?;
        let end = sector + sectors;
        for at in (sector..end).step_by(DISCARD_MAX as usize) {
            let sectors = DISCARD_MAX.min(end - at);
            run(self, 0, |front| front.begin_discard(at, sectors), &mut []).await?;
        }
        Ok(())
    }

    /// Changes whenever a back end has ended or begun. What was written through one that ended is there if it was written to a disk
    /// of the machine's, and gone with an overlay or a disk in memory. Operations that the new one answers end after the change.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.front.borrow().generation().into()
    }

    /// The most bytes of one operation.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.front.borrow().front.bytes_max()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> BlockCounters {
        *self.front.borrow().front.counters()
    }

    /// How the back end says that data went, since it began: by so many copies, and in so many pages where they are.
    #[must_use]
    pub fn copied_and_in_place(&self) -> (u64, u64) {
        self.front.borrow().front.copied_and_in_place()
    }

    /// Judges a place as a whole, before any part is begun; returns the most bytes of one operation.
    fn checked(&self, sector: u64, bytes: usize) -> Result<usize, DiskError> {
        if !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(DiskError::Length(bytes));
        }
        self.holds(sector, (bytes / SECTOR_BYTES) as u64)?;
        Ok(self.front.borrow().front.bytes_max())
    }

    /// Whether these sectors lie on the disk.
    fn holds(&self, sector: u64, sectors: u64) -> Result<(), DiskError> {
        if self.facts().holds(sector, sectors) { Ok(()) } else { Err(DiskError::Range) }
    }
}

/// Waits for a back end that says what the disk is.
fn poll_facts(shared: Shared, context: &mut Context<'_>) -> Poll<Result<(), DiskError>> {
    let front = &mut shared.borrow_mut().front;
    if front.facts().is_some() {
        return Poll::Ready(Ok(()));
    }
    if let Err(BeginError::Gone) = front.begin_flush() {
        let starved = front.reason() == BlockError::Memory.raw();
        return Poll::Ready(Err(if starved { DiskError::Memory } else { DiskError::Gone }));
    }
    front.wake_for_room(0, context.waker());
    Poll::Pending
}

/// Looks after a front end: takes answers and steps of its connection as they are told.
async fn attend(shared: Shared, number: usize, entry: DirectoryEntry) {
    poll_fn(|context| {
        let mut attached = shared.borrow_mut();
        attached.listen(context.waker());
        if let Some(port) = attached.front.ring_port() {
            ports::wake_on(port, context.waker());
        }
        if attached.front.has_answers_for_queue() {
            // Who waits for the queue takes its answers from the ring, and this task whatever is left, after it: woken last, it is first.
            context.waker().wake_by_ref();
            attached.front.wake_queue();
            return Poll::Pending;
        }
        attached.front.collect();
        if let Some(trouble) = attached.front.take_trouble() {
            tell(number, &entry, trouble);
        }
        Poll::<()>::Pending
    })
    .await;
}

/// Says what a back end did. It is called seldom, whatever a back end does.
#[cold]
fn tell(number: usize, entry: &DirectoryEntry, Trouble { reason, times, given_up }: Trouble) {
    let name = entry.name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = core::str::from_utf8(name).unwrap_or("?");
    let end = if given_up { "it is given up" } else { "what was not answered is kept" };
    match BlockError::from_raw(reason) {
        Some(BlockError::Memory) if given_up => {
            log::error!("disk {number}: this domain has too little memory to connect to {name}; {end}")
        }
        Some(error) => {
            log::warn!("disk {number}: a connection to {name} broke, {error:?}, {times} so far; {end}")
        }
        None => log::warn!("disk {number}: a connection to {name} broke, {reason:#x}, {times} so far; {end}"),
    }
}
