//! What Denizen adds to the interface, behind one hypercall number that Xen leaves free.
//! A guest asks for the version; on Xen it gets `-ENOSYS` and uses plain Xen calls instead.

/// Major version, in bits 16 to 31 of the answer to [`ExtensionOp::Version`]; a change breaks guests.
pub const MAJOR: u32 = 1;
/// Minor version, in bits 0 to 15; a change only adds.
pub const MINOR: u32 = 2;

abi_enum! {
    /// Operation of [`crate::Hypercall::Extension`], in RDI.
    pub enum ExtensionOp: u32 {
        /// `()`: returns `MAJOR << 16 | MINOR`.
        Version = 0,
        /// `(deadline_ns)`: unmask upcalls and sleep until one is pending or system time reaches the deadline,
        /// `u64::MAX` for never. Returns an [`IdleResult`]. The single-shot timer is left alone. As a part of a multicall
        /// it is refused (`-EINVAL`): it answers when the sleep is over, and the parts after it would come before that.
        IdleUntil = 1,
        /// `(&DeliveryPolicy)`: choose how our events are delivered.
        SetDelivery = 2,
        /// `(a, b, c)`: put a record of our own into the trace.
        TraceEmit = 3,
        /// `(&DeviceDirectoryInfo)`: where our device directory is ([`crate::device`]).
        Devices = 4,
        /// `(&PciConfig)`: read or write the configuration space of a device that is assigned to us.
        PciConfig = 5,
        /// `(&Control)`: rule the system; for domains with `control = true` in their scenario.
        Control = 6,
        /// `(&DomainCounters)`: our own counters.
        Counters = 7,
        /// `(record, a, b)`: put one of the records that are a guest's to make into the trace; see [`GuestRecord`].
        /// Only of use while [`crate::shared_info::TRACE_OFFSET`] says so.
        TraceRecord = 8,
        /// `(domid, part, of)`: we worked for a domain to one of whose devices we are the back end. `part / of` of the time
        /// that we ran and have not charged yet shortens its next turn; `-EPERM` for any other domain. Returns the ns.
        Charge = 9,
        /// `()`: take in the records in our shared page ([`crate::shared_info::RECORDS_OFFSET`]), of which the oldest is
        /// in the way of a new one.
        TraceFlush = 10,
    }
}

abi_enum! {
    /// A record that a guest makes in its shared page ([`crate::shared_info::RECORDS_OFFSET`]) or by
    /// [`ExtensionOp::TraceRecord`], of rings in its page only as [`crate::shared_info::RING_TURN`]; which a hypervisor does not know is passed over, or refused with `-ENOSYS`.
    pub enum GuestRecord: u32 {
        /// `(name, value)`: a span begins. The name is up to eight letters, the first in the lowest byte.
        SpanBegin = 0,
        /// `(name, value)`: the innermost open span of this name ends.
        SpanEnd = 1,
        /// `(name, value)`: something happened.
        Instant = 2,
        /// `(name, value)`: a number is this now.
        Value = 3,
        /// `(ring, counts)`: entries were made visible. The ring is a [`RingSide`], the domain at the other end from bit
        /// 16, the index afterwards from bit 32; the counts are how many entries, and from bit 32 how many wait.
        RingProduced = 4,
        /// `(ring, counts)`: entries were taken; as [`GuestRecord::RingProduced`].
        RingConsumed = 5,
        /// `(ring, 0)`: the other side was notified.
        RingNotified = 6,
        /// `(ring, 0)`: the other side need not be notified.
        RingSuppressed = 7,
        /// `(ports, 0)`: the upcall handler has served so many ports and found nothing more.
        HandlerDone = 8,
    }
}

impl GuestRecord {
    /// Whether it is about a ring.
    #[must_use]
    pub const fn is_of_ring(self) -> bool {
        matches!(self, Self::RingProduced | Self::RingConsumed | Self::RingNotified | Self::RingSuppressed)
    }
}

abi_enum! {
    /// Which ring of a device, by the side that tells of it.
    pub enum RingSide: u8 {
        /// The front end's requests to send.
        FrontTransmit = 0,
        /// The front end's room for received packets.
        FrontReceive = 1,
        /// The back end's answers to what was sent.
        BackTransmit = 2,
        /// The back end's received packets.
        BackReceive = 3,
        /// The front end's requests to a disk.
        FrontBlock = 4,
        /// The back end's answers to them.
        BackBlock = 5,
    }
}

abi_enum! {
    /// Why [`ExtensionOp::IdleUntil`] returned.
    pub enum IdleResult: u32 {
        /// An event is pending or its upcall was delivered.
        Event = 0,
        /// The deadline has passed.
        Deadline = 1,
    }
}

abi_enum! {
    /// When a domain's events reach it.
    pub enum Delivery: u32 {
        /// An event preempts whoever runs and switches to its target at once; the preempted domain keeps its slice
        /// and its place at the head of the queue.
        Synchronous = 0,
        /// Events gather until the target next gets the processor; a sleeping target becomes runnable at the
        /// tail of the queue.
        Batched = 1,
        /// Synchronous while the processor has time to spare. Else the target goes ahead of the queue, behind those that
        /// went there before it, but whoever runs may first finish what it does: for a moment, if it tells many and such
        /// moments gathered events before. No window.
        Adaptive = 2,
    }
}

abi_struct! {
    /// Argument of [`ExtensionOp::SetDelivery`].
    pub struct DeliveryPolicy(16) {
        /// IN: a [`Delivery`].
        0 => delivery: u32,
        /// IN: batched: wake a sleeping target after this many events; 0 or 1 for the first.
        4 => window_events: u32,
        /// IN: batched: or after this many ns since the first; at most one second.
        8 => window_ns: u64,
    }
}

/// The longest window that a [`DeliveryPolicy`] may ask for.
pub const WINDOW_NS_MAX: u64 = 1_000_000_000;

abi_struct! {
    /// Argument of [`ExtensionOp::Devices`].
    pub struct DeviceDirectoryInfo(16) {
        /// OUT: pseudo-physical frame of the first [`crate::device::DirectoryEntry`]; they are contiguous.
        0 => first_pfn: u64,
        /// OUT: how many there are.
        8 => entries: u32,
        /// Unused.
        12 => pad: u32,
    }
}

abi_struct! {
    /// Argument of [`ExtensionOp::PciConfig`].
    pub struct PciConfig(16) {
        /// IN: index of the device in our directory.
        0 => device: u32,
        /// IN: byte offset, a multiple of `width`.
        4 => offset: u16,
        /// IN: bytes: 1, 2 or 4.
        6 => width: u8,
        /// IN: 1 to write, 0 to read.
        7 => write: u8,
        /// IN when writing, OUT when reading.
        8 => value: u32,
        /// Unused.
        12 => pad: u32,
    }
}

abi_enum! {
    /// Operation of a [`Control`].
    pub enum ControlOp: u32 {
        /// Set the delivery of the domains in `domid`: `args` = delivery, window events, window ns.
        SetDelivery = 0,
        /// Print all counters as one `@snapshot` line, with the number in `args[0]`. `args[1]` = 1: added up over
        /// the domains of each image, whose number then has no say in the line's length.
        Snapshot = 1,
        /// Turn the trace on (`args[0]` = 1) or off (0).
        Trace = 2,
        /// Destroy the domain `domid`.
        Destroy = 3,
        /// End the whole system.
        Poweroff = 4,
    }
}

abi_struct! {
    /// Argument of [`ExtensionOp::Control`].
    pub struct Control(32) {
        /// IN: a [`ControlOp`].
        0 => op: u32,
        /// IN: which domain; [`crate::DomId::INVALID`] means each domain with a network front end but the caller.
        4 => domid: u16,
        /// Unused.
        6 => pad: u16,
        /// IN: by operation.
        8 => args: [u64; 3],
    }
}

abi_struct! {
    /// Argument of [`ExtensionOp::Counters`]: what the hypervisor counted for the caller, since its start.
    pub struct DomainCounters(80) {
        /// OUT: events raised for it.
        0 => raised: u64,
        /// OUT: of those, the ones that found their bit already pending.
        8 => merged: u64,
        /// OUT: upcalls delivered.
        16 => upcalls: u64,
        /// OUT: times that it was switched to.
        24 => switches: u64,
        /// OUT: hypercalls that it made.
        32 => hypercalls: u64,
        /// OUT: exceptions, and system calls of its processes, that were bounced to it.
        40 => bounced: u64,
        /// OUT: ns that it ran.
        48 => running_ns: u64,
        /// OUT: ns that it waited for the processor.
        56 => runnable_ns: u64,
        /// OUT: ns that it slept.
        64 => blocked_ns: u64,
        /// OUT: frames that it has.
        72 => frames: u64,
    }
}
