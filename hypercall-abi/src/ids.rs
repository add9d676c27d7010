//! A type for each number that names something, so that one kind never passes for another.
//! They exist because frames, ports and references are all small integers, and mixing them is the classic bug.

use core::fmt;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident($repr:ty), $format:literal) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

id! {
    /// A domain's number, as Xen's `domid_t`.
    DomId(u16), "d{}"
}
id! {
    /// An event-channel port; meaningful within one domain.
    Port(u32), "port {}"
}
id! {
    /// A grant reference: the index of an entry in the granting domain's table.
    GrantRef(u32), "gref {}"
}
id! {
    /// A machine frame number: real memory, in pages.
    Mfn(u64), "mfn {:#x}"
}
id! {
    /// A pseudo-physical frame number: a domain's own dense numbering of its frames.
    Pfn(u64), "pfn {:#x}"
}

impl DomId {
    /// Domain numbers from here on have special meanings (`DOMID_FIRST_RESERVED`).
    pub const FIRST_RESERVED: Self = Self(0x7ff0);
    /// The caller itself (`DOMID_SELF`).
    pub const SELF: Self = Self(0x7ff0);
    /// Owner of device memory (`DOMID_IO`).
    pub const IO: Self = Self(0x7ff1);
    /// Owner of the hypervisor's own memory (`DOMID_XEN`).
    pub const HYPERVISOR: Self = Self(0x7ff2);
    /// Owner of memory that domains share for reading (`DOMID_COW`).
    pub const COW: Self = Self(0x7ff3);
    /// No domain (`DOMID_INVALID`).
    pub const INVALID: Self = Self(0x7ff4);
    /// The hypervisor's idle domain (`DOMID_IDLE`).
    pub const IDLE: Self = Self(0x7fff);

    /// Whether an ordinary domain can have this number.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        self.0 < Self::FIRST_RESERVED.0
    }
}

impl Mfn {
    /// The machine address of the frame's first byte.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 << crate::PAGE_SHIFT
    }

    /// The frame that holds a machine address.
    #[must_use]
    pub const fn containing(address: u64) -> Self {
        Self(address >> crate::PAGE_SHIFT)
    }
}
