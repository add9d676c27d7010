//! The records, each declared once: number, name, fields, meaning.
//! A field may be added only at a record's end, and a number is never used again, so that old traces stay readable.

use alloc::vec::Vec;

use super::pack::{Packed, Unpacker};

/// A record as documentation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Number in the trace.
    pub kind: u8,
    /// Name.
    pub name: &'static str,
    /// What happened, one line each.
    pub doc: &'static [&'static str],
    /// Name, type and meaning of each field.
    pub fields: &'static [(&'static str, &'static str, &'static [&'static str])],
}

macro_rules! records {
    ($(
        $(#[doc = $doc:literal])*
        $kind:literal => $name:ident { $( $(#[doc = $fdoc:literal])* $field:ident : $type:ty ),* $(,)? }
    )+) => {
        /// What can happen. The domain and the time of each record stand beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Record {
            $( $(#[doc = $doc])* $name { $( $(#[doc = $fdoc])* $field: $type ),* } ),+
        }

        /// Each record's description, in order of number.
        pub const DESCRIPTIONS: &[Description] = &[$( Description {
            kind: $kind,
            name: stringify!($name),
            doc: &[$($doc),*],
            fields: &[$( (stringify!($field), stringify!($type), &[$($fdoc),*]) ),*],
        } ),+];

        impl Record {
            /// The record's number.
            #[must_use]
            #[inline]
            pub const fn kind(&self) -> u8 {
                match self { $( Self::$name { .. } => $kind, )+ }
            }

            /// The record's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $( Self::$name { .. } => stringify!($name), )+ }
            }

            /// The fields as numbers, by name.
            #[must_use]
            pub fn fields(&self) -> Vec<(&'static str, u64)> {
                match *self { $( Self::$name { $($field),* } => {
                    Vec::from([$( (stringify!($field), u64::from($field)) ),*])
                } )+ }
            }

            #[inline]
            pub(super) fn pack(&self) -> Packed {
                let mut packed = Packed::default();
                match *self { $( Self::$name { $($field),* } => { $( packed.push($field); )* } )+ }
                packed
            }

            /// Calls `f` with each field's name and value, in order.
            pub fn each_field(&self, mut f: impl FnMut(&'static str, u64)) {
                match *self { $( Self::$name { $($field),* } => { $( f(stringify!($field), u64::from($field)); )* } )+ }
            }

            pub(super) fn unpack(kind: u8, words: &[u64]) -> Option<Self> {
                let mut unpacker = Unpacker::new(words);
                Some(match kind {
                    $( $kind => Self::$name { $( $field: unpacker.pull::<$type>()? ),* }, )+
                    _ => return None,
                })
            }
        }
    };
}

/// The description of a kind of record.
#[must_use]
pub fn description(kind: u8) -> Option<&'static Description> {
    DESCRIPTIONS.iter().find(|description| description.kind == kind)
}

/// Whether there is a record of this number.
#[must_use]
pub fn is_known(kind: u8) -> bool {
    description(kind).is_some()
}

/// Declares numbers that records carry.
macro_rules! abi_numbers {
    ($(#[doc = $doc:literal])* pub enum $name:ident { $( $(#[doc = $vdoc:literal])* $variant:ident = $value:literal ),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $vdoc])* $variant ),+ }

        impl $name {
            /// The number in a record.
            #[must_use]
            pub const fn raw(self) -> u8 {
                match self { $( Self::$variant => $value, )+ }
            }

            /// The member with this number.
            #[must_use]
            pub const fn from_raw(raw: u8) -> Option<Self> {
                match raw { $( $value => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

records! {
    /// A guest asks.
    1 => HypercallEntry {
        /// Number of the hypercall, or 65535 for one past the table.
        number: u16,
        /// First argument.
        arg0: u64,
        /// Second argument.
        arg1: u64,
        /// Third argument.
        arg2: u64,
        /// Fourth argument.
        arg3: u64,
    }
    /// It is answered.
    2 => HypercallExit {
        /// Number of the hypercall, as on entry.
        number: u16,
        /// Result, or a negative error.
        result: u64,
    }
    /// A call within a multicall begins.
    3 => PartEntry {
        /// Number of the hypercall.
        number: u16,
        /// First argument.
        arg0: u64,
        /// Second argument.
        arg1: u64,
        /// Third argument.
        arg2: u64,
    }
    /// A call within a multicall is answered.
    4 => PartExit {
        /// Number of the hypercall.
        number: u16,
        /// Result, or a negative error.
        result: u64,
    }
    /// An event was raised for the domain.
    5 => EventRaised {
        /// Its port.
        port: u32,
        /// Domain that ran; 32767 if none did.
        from: u16,
        /// 1 if the event was pending already.
        merged: u8,
    }
    /// The domain's upcall handler is entered.
    6 => Upcall {
        /// Words of the pending bitmap that it is to look at.
        selector: u64,
    }
    /// The domain's sleep ends.
    7 => Wake {
        /// 1 if it goes before the others.
        ahead: u8,
    }
    /// The domain gets the processor.
    8 => Switch {
        /// Domain that had it; 32767 if none did.
        from: u16,
        /// What became of that domain: a number of [`Why`].
        why: u8,
    }
    /// The processor has nothing to do.
    9 => Idle {
        /// Domain that had it.
        from: u16,
    }
    /// The domain's run state changed.
    10 => RunState {
        /// A [`hypercall_abi::vcpu::RunState`].
        state: u8,
    }
    /// The domain caused an exception.
    11 => Exception {
        /// Vector.
        vector: u8,
        /// What was done: a number of [`Handled`].
        handled: u8,
        /// Error code.
        error: u32,
        /// Address of the instruction.
        rip: u64,
        /// Address of a page fault.
        address: u64,
    }
    /// One grant operation.
    12 => Grant {
        /// A [`hypercall_abi::grant_table::GrantTableOp`].
        op: u8,
        /// Its status as a small positive number, 0 for success.
        status: u8,
        /// The other domain.
        peer: u16,
        /// Reference or handle.
        reference: u32,
        /// Bytes copied.
        bytes: u32,
    }
    /// Page-table work of one hypercall.
    13 => PageTable {
        /// Number of the hypercall.
        number: u16,
        /// Entries or operations done.
        done: u32,
    }
    /// A timer was set; to 0 if it was stopped.
    14 => TimerSet {
        /// 0 single-shot, 1 end of a sleep, 2 end of a window.
        timer: u8,
        /// When it is due in ns of system time.
        deadline: u64,
    }
    /// A timer came due.
    15 => TimerDue {
        /// As in `TimerSet`.
        timer: u8,
    }
    /// The domain's life went on.
    16 => Life {
        /// A number of [`Stage`].
        stage: u8,
        /// A [`hypercall_abi::sched::ShutdownReason`] when it ends.
        reason: u8,
    }
    /// The guest's own record.
    17 => Guest {
        /// First word.
        a: u64,
        /// Second word.
        b: u64,
        /// Third word.
        c: u64,
    }
    /// A device raised an interrupt for the domain.
    18 => DeviceInterrupt {
        /// Its number.
        pirq: u16,
    }
    /// How often the domain has made a hypercall since its start; recorded when the trace goes on or off.
    19 => Counter {
        /// Number of the hypercall, or 65535 for those past the table.
        number: u16,
        /// How often.
        count: u64,
    }
}

abi_numbers! {
    /// What became of the domain that had the processor.
    pub enum Why {
        /// It sleeps.
        Slept = 0,
        /// Its turn was over, or it gave way.
        Turn = 1,
        /// It was preempted for an event.
        Preempted = 2,
        /// It ended.
        Ended = 3,
        /// There was none.
        WasIdle = 4,
    }
}

abi_numbers! {
    /// What was done about an exception.
    pub enum Handled {
        /// The guest's handler was entered.
        Bounced = 0,
        /// The instruction was carried out for the guest.
        Emulated = 1,
        /// The domain was ended.
        Killed = 2,
        /// The FPU was given to the domain.
        Fpu = 3,
    }
}

abi_numbers! {
    /// Stages of a domain's life.
    pub enum Stage {
        /// It was built.
        Built = 0,
        /// It ended.
        Dying = 1,
        /// All that it had is back.
        Dead = 2,
    }
}
