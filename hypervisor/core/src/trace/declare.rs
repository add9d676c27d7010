//! How a record is declared: once, and from that come its type, its place in storage and what tools are told of it.
//! It exists apart from the records so that their file reads as the list that it is.

use hypercall_abi::describe::Numbers;

use super::category::Category;

/// What a field's number means, so that a tool need not know the record to show it.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// A count or a number without another meaning.
    Number,
    /// An address or a bit field, best shown in hexadecimal.
    Hex,
    /// Number of a hypercall; 255 for one past the table.
    Hypercall,
    /// Result of a hypercall, or a negative error.
    Result,
    /// Number of a domain; 32767 if it is none.
    Domain,
    /// An event-channel port.
    Port,
    /// 1 for yes, 0 for no.
    Flag,
    /// Nanoseconds.
    Ns,
    /// Up to eight letters, the first in the lowest byte.
    Text,
    /// One of a family of numbers.
    Of(&'static Numbers),
}

/// A field as tools see it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// Rust type: `u8`, `u16`, `u32` or `u64`.
    pub kind: &'static str,
    /// Width in bits.
    pub bits: u32,
    /// What its number means.
    pub meaning: Meaning,
    /// One line each.
    pub doc: &'static [&'static str],
}

/// A record as tools see it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Number in the trace.
    pub kind: u8,
    /// Name.
    pub name: &'static str,
    /// What it belongs to.
    pub category: Category,
    /// What happened, one line each.
    pub doc: &'static [&'static str],
    /// The fields in order.
    pub fields: &'static [Field],
}

/// The meaning that a declaration gives, or [`Meaning::Number`].
macro_rules! meaning {
    () => {
        $crate::trace::declare::Meaning::Number
    };
    ($meaning:expr) => {
        $meaning
    };
}
pub(super) use meaning;

/// Declares all records.
macro_rules! records {
    ($(
        $(#[doc = $doc:literal])*
        $kind:literal => $name:ident in $category:ident {
            $( $(#[doc = $fdoc:literal])* $field:ident : $type:ident $(as $meaning:expr)? ),* $(,)?
        }
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
            category: Category::$category,
            doc: &[$($doc),*],
            fields: &[$( Field {
                name: stringify!($field),
                kind: stringify!($type),
                bits: $type::BITS,
                meaning: meaning!($($meaning)?),
                doc: &[$($fdoc),*],
            } ),*],
        } ),+];

        impl Record {
            /// The record's number.
            #[must_use]
            #[inline]
            pub const fn kind(&self) -> u8 {
                match self { $( Self::$name { .. } => $kind, )+ }
            }

            /// What the record belongs to.
            #[must_use]
            #[inline]
            pub const fn category(&self) -> Category {
                match self { $( Self::$name { .. } => Category::$category, )+ }
            }

            /// The record's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $( Self::$name { .. } => stringify!($name), )+ }
            }

            /// Hands each field to `see`, in order.
            pub fn each_field(&self, mut see: impl FnMut(&'static Field, u64)) {
                let mut fields = self.description().fields.iter();
                match *self { $( Self::$name { $($field),* } => {
                    $( if let Some(field) = fields.next() { see(field, u64::from($field)); } )*
                } )+ }
                let _ = fields.next();
            }

            #[inline(always)]
            pub(super) fn pack(&self) -> Packed {
                let mut packed = Packed::default();
                match *self { $( Self::$name { $($field),* } => { $( packed.push($field); )* } )+ }
                packed
            }

            pub(super) fn unpack(kind: u8, small: u8, words: &[u64]) -> Option<Self> {
                let mut unpacker = Unpacker::new(small, words);
                Some(match kind {
                    $( $kind => Self::$name { $( $field: unpacker.pull::<$type>() ),* }, )+
                    _ => return None,
                })
            }
        }
    };
}
pub(super) use records;
