//! Shared structures and numbers that describe themselves: one declaration makes type, layout proof and documentation.
//! It exists so that `docs/ABI.md` and the compiler read the same text.

/// One field of a shared structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the source.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Rust type.
    pub kind: &'static str,
    /// What it means and who writes it, one line each.
    pub doc: &'static [&'static str],
}

/// A shared structure as documentation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Name in the source.
    pub name: &'static str,
    /// Bytes in all.
    pub size: usize,
    /// What it is, one line each.
    pub doc: &'static [&'static str],
    /// The fields in order of offset.
    pub fields: &'static [Field],
}

/// One named number of the interface.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// Name in the source.
    pub name: &'static str,
    /// Its value.
    pub value: i64,
    /// What it means, one line each.
    pub doc: &'static [&'static str],
}

/// A family of numbers (operations of one hypercall, states, errors).
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Name in the source.
    pub name: &'static str,
    /// What it is, one line each.
    pub doc: &'static [&'static str],
    /// The members in order.
    pub members: &'static [Constant],
}

/// Declares a shared structure with the offset of each field, proves the layout, and describes it.
///
/// The structure is plain bytes: no padding is implied, so gaps are declared as fields.
#[macro_export]
macro_rules! abi_struct {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident ($size:literal) {
            $( $(#[doc = $fdoc:literal])* $offset:literal => $field:ident : $kind:ty ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        pub struct $name { $( $(#[doc = $fdoc])* pub $field: $kind ),+ }

        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size, concat!("size of ", stringify!($name)));
            $( assert!(core::mem::offset_of!($name, $field) == $offset,
                concat!("offset of ", stringify!($name), ".", stringify!($field))); )+
        };

        impl $name {
            /// The structure as documentation sees it.
            pub const LAYOUT: $crate::describe::Layout = $crate::describe::Layout {
                name: stringify!($name),
                size: $size,
                doc: &[$($doc),*],
                fields: &[$( $crate::describe::Field {
                    name: stringify!($field), offset: $offset, kind: stringify!($kind), doc: &[$($fdoc),*],
                } ),+],
            };

            /// All bytes zero.
            #[must_use]
            pub fn zeroed() -> Self { zerocopy::FromZeros::new_zeroed() }
        }
    };
}

/// Declares a family of numbers as an enum that is decoded from a raw word, and describes it.
#[macro_export]
macro_rules! abi_enum {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident : $repr:ty {
            $( $(#[doc = $vdoc:literal])* $variant:ident = $value:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[repr($repr)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[doc = $vdoc])* $variant = $value ),+ }

        impl $name {
            /// Each member, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The family as documentation sees it.
            pub const NUMBERS: $crate::describe::Numbers = $crate::describe::Numbers {
                name: stringify!($name),
                doc: &[$($doc),*],
                members: &[$( $crate::describe::Constant {
                    name: stringify!($variant), value: $value, doc: &[$($vdoc),*],
                } ),+],
            };

            /// The member with this number, if there is one.
            #[must_use]
            pub const fn from_raw(raw: $repr) -> Option<Self> {
                match raw { $( $value => Some(Self::$variant), )+ _ => None }
            }

            /// The number.
            #[must_use]
            pub const fn raw(self) -> $repr { self as $repr }

            /// The name in the source.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => stringify!($variant), )+ }
            }
        }
    };
}
