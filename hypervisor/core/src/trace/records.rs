//! The records, each declared once: number, name, category, fields, meaning.
//! A field may be added only at a record's end, and a number is never used again, so that old traces stay readable.
//!
//! A first field of one byte stands in the record's first word and costs no room; a last word of zero may be left out.

use hypercall_abi::extension::Delivery;
use hypercall_abi::grant_table::GrantTableOp;
use hypercall_abi::sched::ShutdownReason;
use hypercall_abi::trap::Vector;
use hypercall_abi::vcpu::RunState;

use super::category::Category;
use super::declare::Meaning::{Domain, Flag, Hex, Hypercall, Ns, Of, Port, Result, Text};
use super::declare::{Description, Field, meaning, records};
pub use super::numbers::{Condition, Counted, Handled, MemoryChange, Reason, Stage, TimerKind, Why};
use super::pack::{Packed, Unpacker};

/// In a trace: a hypercall past the table.
pub const UNKNOWN: u8 = u8::MAX;

records! {
    /// A guest asks.
    1 => HypercallEntry in Hypercall {
        /// Number of the hypercall, or 255 for one past the table.
        number: u8 as Hypercall,
        /// First argument. As many are recorded as the hypercall takes; the others read as 0.
        arg0: u64 as Hex,
        /// Second argument.
        arg1: u64 as Hex,
        /// Third argument.
        arg2: u64 as Hex,
        /// Fourth argument.
        arg3: u64 as Hex,
        /// Fifth argument.
        arg4: u64 as Hex,
    }
    /// It is answered.
    2 => HypercallExit in Hypercall {
        /// Number of the hypercall, as on entry.
        number: u8 as Hypercall,
        /// Result, or a negative error.
        result: u64 as Result,
    }
    /// A call within a multicall begins.
    3 => PartEntry in Hypercall {
        /// Number of the hypercall.
        number: u8 as Hypercall,
        /// First argument. As many are recorded as the hypercall takes.
        arg0: u64 as Hex,
        /// Second argument.
        arg1: u64 as Hex,
        /// Third argument.
        arg2: u64 as Hex,
        /// Fourth argument.
        arg3: u64 as Hex,
        /// Fifth argument.
        arg4: u64 as Hex,
    }
    /// A call within a multicall is answered.
    4 => PartExit in Hypercall {
        /// Number of the hypercall.
        number: u8 as Hypercall,
        /// Result, or a negative error.
        result: u64 as Result,
    }
    /// An event was raised for the domain: its pending bit is set.
    5 => EventRaised in Event {
        /// 1 if the event was pending already.
        merged: u8 as Flag,
        /// Its port.
        port: u32 as Port,
        /// Domain that ran; 32767 if none did.
        from: u16 as Domain,
    }
    /// The domain's upcall handler is entered.
    6 => Upcall in Event {
        /// Words of the pending bitmap that it is to look at.
        selector: u64 as Hex,
    }
    /// The domain's sleep ends.
    7 => Wake in Event {
        /// 1 if it goes before the others.
        ahead: u8 as Flag,
    }
    /// The domain gets the processor.
    8 => Switch in RunState {
        /// What became of the domain that had it.
        why: u8 as Of(&Why::NUMBERS),
        /// Domain that had it; 32767 if none did.
        from: u16 as Domain,
    }
    /// The processor has nothing to do.
    9 => Idle in RunState {
        /// Domain that had it.
        from: u16 as Domain,
    }
    /// The vCPU's run state changed.
    10 => RunState in RunState {
        /// The new state.
        state: u8 as Of(&RunState::NUMBERS),
        /// Why.
        reason: u8 as Of(&Reason::NUMBERS),
    }
    /// The domain caused an exception.
    11 => Exception in Trap {
        /// Vector.
        vector: u8 as Of(&Vector::NUMBERS),
        /// What was done.
        handled: u8 as Of(&Handled::NUMBERS),
        /// Error code.
        error: u32 as Hex,
        /// Address of the instruction.
        rip: u64 as Hex,
        /// Address of a page fault.
        address: u64 as Hex,
    }
    /// One grant operation that is no copy.
    12 => Grant in Grant {
        /// Which.
        op: u8 as Of(&GrantTableOp::NUMBERS),
        /// Its status as a small positive number, 0 for success.
        status: u8,
        /// The other domain.
        peer: u16 as Domain,
        /// Reference or handle.
        reference: u32,
    }
    /// Page-table work of one hypercall.
    13 => PageTable in PageTable {
        /// Number of the hypercall.
        number: u8 as Hypercall,
        /// Entries or operations done.
        done: u32,
        /// Page tables that the domain has afterwards.
        tables: u32,
    }
    /// A timer was set; to 0 if it was stopped.
    14 => TimerSet in Timer {
        /// Which.
        timer: u8 as Of(&TimerKind::NUMBERS),
        /// When it is due in ns of system time.
        deadline: u64 as Ns,
    }
    /// A timer came due.
    15 => TimerDue in Timer {
        /// Which.
        timer: u8 as Of(&TimerKind::NUMBERS),
        /// ns from the deadline to now.
        late: u64 as Ns,
    }
    /// The domain's life went on.
    16 => Life in Life {
        /// What it came to.
        stage: u8 as Of(&Stage::NUMBERS),
        /// Why, when it ends.
        reason: u8 as Of(&ShutdownReason::NUMBERS),
    }
    /// The guest's own record.
    17 => Guest in Guest {
        /// First word.
        a: u64 as Hex,
        /// Second word.
        b: u64 as Hex,
        /// Third word.
        c: u64 as Hex,
    }
    /// A device raised an interrupt for the domain.
    18 => DeviceInterrupt in Interrupt {
        /// Its number.
        pirq: u16,
    }
    /// How often the domain has made a hypercall since its start; recorded when the trace goes on or off, and when the
    /// domain ends.
    19 => Counter in Trace {
        /// Number of the hypercall, or 255 for those past the table.
        number: u8 as Hypercall,
        /// How often.
        count: u64,
    }
    // 20 and 21 told of single tables.
    /// An event became visible to the domain's upcall handler.
    22 => EventPending in Event {
        /// 1 if the domain masks its upcalls, so that it waits for their unmasking.
        masked: u8 as Flag,
        /// Its port.
        port: u32 as Port,
    }
    /// An event was raised at a port that the domain has masked.
    23 => EventMasked in Event {
        /// Its port.
        port: u32 as Port,
    }
    /// The domain unmasked a port by hypercall.
    24 => EventUnmasked in Event {
        /// 1 if an event was pending there.
        pending: u8 as Flag,
        /// Its port.
        port: u32 as Port,
    }
    /// The domain's kernel returned from a handler by hypercall.
    25 => Return in Event {
        /// 1 if to user mode.
        user: u8 as Flag,
        /// Where to.
        rip: u64 as Hex,
    }
    /// A guest's span begins.
    26 => SpanBegin in Guest {
        /// Its name.
        name: u64 as Text,
        /// A number that the guest gives it.
        value: u64,
    }
    /// A guest's span ends: the last that began with this name and value, or else with this name.
    27 => SpanEnd in Guest {
        /// Its name.
        name: u64 as Text,
        /// A number that the guest gives it.
        value: u64,
    }
    /// Something happened in a guest.
    28 => Instant in Guest {
        /// Its name.
        name: u64 as Text,
        /// A number that the guest gives it.
        value: u64,
    }
    /// A number of a guest's changed.
    29 => Value in Guest {
        /// Its name.
        name: u64 as Text,
        /// What it is now.
        value: u64,
    }
    /// One side of a ring made entries visible to the other.
    30 => RingProduced in Ring {
        /// Which ring, by the side that records.
        ring: u8 as Of(&hypercall_abi::extension::RingSide::NUMBERS),
        /// The domain at the other end.
        peer: u16 as Domain,
        /// The producer's index afterwards.
        index: u32,
        /// Entries made visible since the record before; while no ring was recorded they count too.
        count: u32,
        /// Entries that the other side has not consumed.
        waiting: u32,
    }
    /// One side of a ring took entries.
    31 => RingConsumed in Ring {
        /// Which ring.
        ring: u8 as Of(&hypercall_abi::extension::RingSide::NUMBERS),
        /// The domain at the other end.
        peer: u16 as Domain,
        /// The consumer's index afterwards.
        index: u32,
        /// Entries taken since the record before; while no ring was recorded they count too.
        count: u32,
        /// Entries that are left.
        waiting: u32,
    }
    /// One side of a ring notified the other.
    32 => RingNotified in Ring {
        /// Which ring.
        ring: u8 as Of(&hypercall_abi::extension::RingSide::NUMBERS),
        /// The domain at the other end.
        peer: u16 as Domain,
    }
    /// Ring indices said that the other side need not be notified.
    33 => RingSuppressed in Ring {
        /// Which ring.
        ring: u8 as Of(&hypercall_abi::extension::RingSide::NUMBERS),
        /// The domain at the other end.
        peer: u16 as Domain,
    }
    /// How long the vCPU has been in a run state since it was created; recorded as `Counter` is, one a state, and when the
    /// domain is built. The first of them has the time at which all were read.
    34 => StateTime in Trace {
        /// The state.
        state: u8 as Of(&RunState::NUMBERS),
        /// ns in it.
        spent: u64 as Ns,
        /// 1 if it is in it now.
        present: u8 as Flag,
    }
    /// One of the domain's other counters; recorded as `Counter` is.
    35 => Tally in Trace {
        /// What it counts.
        what: u8 as Of(&Counted::NUMBERS),
        /// How often.
        count: u64,
    }
    /// Memory changed hands.
    36 => Memory in Memory {
        /// How.
        change: u8 as Of(&MemoryChange::NUMBERS),
        /// How many frames.
        frames: u64,
    }
    /// A non-maskable interrupt came.
    37 => Nmi in Interrupt {
        /// Address of the instruction that it came before.
        rip: u64 as Hex,
    }
    /// The recording ends here by itself, as was asked for.
    38 => Trigger in Trace {
        /// What happened.
        condition: u8 as Of(&Condition::NUMBERS),
        /// Its measure.
        value: u64,
    }
    /// The recording goes on or off.
    39 => State in Trace {
        /// 1 for on.
        on: u8 as Flag,
        /// Categories that are recorded, a bit each.
        categories: u32 as Hex,
    }
    /// The guest's upcall handler has seen to all that was pending.
    40 => HandlerDone in Event {
        /// Ports that it served.
        ports: u32,
    }
    /// A hypercall that took at least as long as the filter asks; it stands for entry and exit, and for the parts of a
    /// multicall, and is written on exit.
    41 => LongCall in Hypercall {
        /// Number of the hypercall.
        number: u8 as Hypercall,
        /// Result, or a negative error.
        result: u64 as Result,
        /// ns from entry to its answer. A sleep or a wait for the processor begins after that.
        duration: u64 as Ns,
        /// First argument.
        arg0: u64 as Hex,
        /// Second argument.
        arg1: u64 as Hex,
    }
    /// The domain's delivery policy changed.
    42 => Policy in Event {
        /// The new policy.
        delivery: u8 as Of(&Delivery::NUMBERS),
        /// Events of its window.
        events: u32,
        /// ns of its window.
        ns: u64 as Ns,
    }
    /// One copy by grant. Its fields fill one word, since there are more of these than of anything else.
    43 => GrantCopy in Grant {
        /// Its status as a small positive number, 0 for success.
        status: u8,
        /// The domain whose page the granted side is.
        peer: u16 as Domain,
        /// Bytes copied.
        bytes: u16,
        /// Reference: of the source if that is granted, else of the destination.
        reference: u32,
    }
}

impl Record {
    /// The record's description.
    #[must_use]
    pub fn description(&self) -> &'static Description {
        const NONE: Description =
            Description { kind: 0, name: "", category: Category::Trace, doc: &[], fields: &[] };
        description(self.kind()).unwrap_or(&NONE)
    }

    /// The fields as numbers, by name.
    #[must_use]
    pub fn fields(&self) -> alloc::vec::Vec<(&'static str, u64)> {
        let mut fields = alloc::vec::Vec::new();
        self.each_field(|field, value| fields.push((field.name, value)));
        fields
    }
}

/// Whether there is a record of this number.
#[must_use]
pub fn is_known(kind: u8) -> bool {
    description(kind).is_some()
}

/// The description of a kind.
#[must_use]
pub fn description(kind: u8) -> Option<&'static Description> {
    // In rising order, but numbers that are no longer used are missing.
    let at = DESCRIPTIONS.binary_search_by_key(&kind, |description| description.kind).ok()?;
    DESCRIPTIONS.get(at)
}
