//! Grant tables: a domain's leave for another to use one of its frames, by a small number.

abi_enum! {
    /// Operation of [`crate::Hypercall::GrantTableOp`] (`GNTTABOP_*`).
    pub enum GrantTableOp: u32 {
        /// `MapGrantRef`.
        MapGrantRef = 0,
        /// `UnmapGrantRef`.
        UnmapGrantRef = 1,
        /// `SetupTable`.
        SetupTable = 2,
        /// `CopyGrant`.
        Copy = 5,
        /// `QuerySize`.
        QuerySize = 6,
        /// `SetVersion`: only version 1.
        SetVersion = 8,
    }
}

abi_struct! {
    /// One entry of version 1, in memory of the hypervisor that the granting domain maps (`grant_entry_v1`).
    pub struct GrantEntry(8) {
        /// Written by the granting domain: [`entry_flags`]; in-use bits by the hypervisor.
        0 => flags: u16,
        /// Written by the granting domain: who may use it.
        2 => domid: u16,
        /// Written by the granting domain: the frame.
        4 => frame: u32,
    }
}

/// Bits of [`GrantEntry::flags`] (`GTF_*`).
pub mod entry_flags {
    /// Mask of the entry's type.
    pub const TYPE: u16 = 3;
    /// Type: not in use.
    pub const INVALID: u16 = 0;
    /// Type: the domain may map and copy the frame.
    pub const PERMIT_ACCESS: u16 = 1;
    /// For reading only.
    pub const READ_ONLY: u16 = 1 << 2;
    /// Written by the hypervisor: in use for reading.
    pub const READING: u16 = 1 << 3;
    /// Written by the hypervisor: in use for writing.
    pub const WRITING: u16 = 1 << 4;
}

abi_struct! {
    /// Argument of [`GrantTableOp::MapGrantRef`] (`gnttab_map_grant_ref`).
    pub struct MapGrantRef(32) {
        /// IN: address to map at, or machine address of the entry with `CONTAINS_PTE`.
        0 => host_addr: u64,
        /// IN: [`map_flags`].
        8 => flags: u32,
        /// IN: reference.
        12 => reference: u32,
        /// IN: granting domain.
        16 => dom: u16,
        /// OUT: a [`GrantStatus`].
        18 => status: i16,
        /// OUT: names this mapping when it is undone.
        20 => handle: u32,
        /// OUT: machine address of the frame.
        24 => dev_bus_addr: u64,
    }
}

/// Bits of [`MapGrantRef::flags`] (`GNTMAP_*`).
pub mod map_flags {
    /// For a device.
    pub const DEVICE_MAP: u32 = 1 << 0;
    /// Into our address space.
    pub const HOST_MAP: u32 = 1 << 1;
    /// For reading only.
    pub const READ_ONLY: u32 = 1 << 2;
    /// For user mode too.
    pub const APPLICATION_MAP: u32 = 1 << 3;
    /// `host_addr` is the machine address of a page-table entry.
    pub const CONTAINS_PTE: u32 = 1 << 4;
}

abi_struct! {
    /// Argument of [`GrantTableOp::UnmapGrantRef`] (`gnttab_unmap_grant_ref`).
    pub struct UnmapGrantRef(24) {
        /// IN: where it was mapped.
        0 => host_addr: u64,
        /// IN: where a device had it; 0 otherwise.
        8 => dev_bus_addr: u64,
        /// IN: from the mapping.
        16 => handle: u32,
        /// OUT: a [`GrantStatus`].
        20 => status: i16,
        /// Unused.
        22 => pad: u16,
    }
}

abi_struct! {
    /// Argument of [`GrantTableOp::SetupTable`] (`gnttab_setup_table`).
    pub struct SetupTable(24) {
        /// IN: whose table, [`crate::DomId::SELF`] unless privileged.
        0 => dom: u16,
        /// Unused.
        2 => pad: u16,
        /// IN: frames wanted.
        4 => frames: u32,
        /// OUT: a [`GrantStatus`].
        8 => status: i16,
        /// Unused.
        10 => pad2: [u16; 3],
        /// IN: address of an array of `u64` that receives machine frames.
        16 => frame_list: u64,
    }
}

abi_struct! {
    /// Argument of [`GrantTableOp::QuerySize`] (`gnttab_query_size`).
    pub struct QuerySize(16) {
        /// IN: whose table.
        0 => dom: u16,
        /// Unused.
        2 => pad: u16,
        /// OUT: frames that it has.
        4 => frames: u32,
        /// OUT: frames that it may have.
        8 => max_frames: u32,
        /// OUT: a [`GrantStatus`].
        12 => status: i16,
        /// Unused.
        14 => pad2: u16,
    }
}

abi_struct! {
    /// Argument of [`GrantTableOp::SetVersion`] (`gnttab_set_version`).
    pub struct SetVersion(4) {
        /// IN: version wanted. OUT: version in force.
        0 => version: u32,
    }
}

abi_struct! {
    /// One side of a [`CopyGrant`] (`gnttab_copy.source`, `.dest`).
    pub struct CopySide(16) {
        /// IN: a grant reference, or a pseudo-physical (machine, for PV) frame of our own.
        0 => frame_or_ref: u64,
        /// IN: whose.
        8 => domid: u16,
        /// IN: bytes into the frame.
        10 => offset: u16,
        /// Unused.
        12 => pad: u32,
    }
}

abi_struct! {
    /// Argument of [`GrantTableOp::Copy`] (`gnttab_copy`).
    pub struct CopyGrant(40) {
        /// IN: from where.
        0 => source: CopySide,
        /// IN: to where.
        16 => dest: CopySide,
        /// IN: bytes; within one page on both sides.
        32 => len: u16,
        /// IN: [`copy_flags`].
        34 => flags: u16,
        /// OUT: a [`GrantStatus`].
        36 => status: i16,
        /// Unused.
        38 => pad: u16,
    }
}

/// Bits of [`CopyGrant::flags`] (`GNTCOPY_*`).
pub mod copy_flags {
    /// The source is a grant reference.
    pub const SOURCE_GREF: u16 = 1;
    /// The destination is a grant reference.
    pub const DEST_GREF: u16 = 2;
}

abi_enum! {
    /// What became of one grant operation (`GNTST_*`).
    pub enum GrantStatus: i16 {
        /// Done.
        Okay = 0,
        /// Unspecific error.
        GeneralError = -1,
        /// Unknown domain.
        BadDomain = -2,
        /// No such grant, or not ours to use.
        BadGntref = -3,
        /// No such mapping.
        BadHandle = -4,
        /// Not a usable address of ours.
        BadVirtAddr = -5,
        /// Not a usable device address.
        BadDevAddr = -6,
        /// No device space.
        NoDeviceSpace = -7,
        /// Permission denied.
        PermissionDenied = -8,
        /// Not a usable frame of ours.
        BadPage = -9,
        /// The copy crosses a page's end.
        BadCopyArg = -10,
        /// The frame's address does not fit.
        AddressTooBig = -11,
        /// Ask again.
        Again = -12,
    }
}

/// Entries in one frame of a version 1 table.
pub const ENTRIES_PER_FRAME: u32 = 512;
/// References below this are reserved for tools (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const RESERVED_ENTRIES: u32 = 8;
/// First reference of a domain's device pages: the page of its n-th front end, in the directory's order, has this one and n. A
/// guest with more of them than [`RESERVED_ENTRIES`] has room for leaves theirs out as well.
pub const DEVICE_FIRST: u32 = 2;
/// The most front ends of a domain: the hypervisor grants their pages by references of the table's first frame.
pub const FRONTS_MAX: u32 = ENTRIES_PER_FRAME - DEVICE_FIRST;
