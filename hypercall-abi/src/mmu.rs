//! Page tables: entries, updates, pins and switches.
//! A guest's page tables are the real ones; it reads them and asks the hypervisor for every change.

/// Bits of a page-table entry (Intel SDM volume 3, 4.5).
pub mod pte {
    /// The entry maps something.
    pub const PRESENT: u64 = 1 << 0;
    /// Writing is allowed.
    pub const WRITABLE: u64 = 1 << 1;
    /// CPL 3 may use it.
    pub const USER: u64 = 1 << 2;
    /// Write-through caching.
    pub const WRITE_THROUGH: u64 = 1 << 3;
    /// Caching disabled.
    pub const CACHE_DISABLE: u64 = 1 << 4;
    /// Set by the processor on use.
    pub const ACCESSED: u64 = 1 << 5;
    /// Set by the processor on writing (level 1).
    pub const DIRTY: u64 = 1 << 6;
    /// A large page (levels 2 and 3); page attributes in level 1.
    pub const LARGE: u64 = 1 << 7;
    /// Kept in the TLB over a switch of address space.
    pub const GLOBAL: u64 = 1 << 8;
    /// Bits that hardware leaves to software.
    pub const AVAILABLE: u64 = 0xe00;
    /// No execution.
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// The machine address.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

abi_struct! {
    /// One request of [`crate::Hypercall::MmuUpdate`] (`mmu_update`).
    pub struct MmuUpdate(16) {
        /// IN: machine address of the entry, with an [`UpdateKind`] in the lowest two bits.
        0 => ptr: u64,
        /// IN: the new entry, or the new pseudo-physical frame.
        8 => val: u64,
    }
}

abi_enum! {
    /// What an [`MmuUpdate`] changes (`MMU_*`).
    pub enum UpdateKind: u64 {
        /// A page-table entry.
        NormalPtUpdate = 0,
        /// An entry of the machine-to-physical table.
        MachphysUpdate = 1,
        /// A page-table entry, keeping its accessed and dirty bits.
        PtUpdatePreserveAd = 2,
    }
}

abi_struct! {
    /// One request of [`crate::Hypercall::MmuextOp`] (`mmuext_op`).
    pub struct MmuextRequest(24) {
        /// IN: an [`MmuextOp`].
        0 => cmd: u32,
        /// Unused.
        4 => pad: u32,
        /// IN: machine frame, or linear address.
        8 => arg1: u64,
        /// IN: count of entries, or address of a vCPU mask.
        16 => arg2: u64,
    }
}

abi_enum! {
    /// Operation of an [`MmuextRequest`] (`MMUEXT_*`).
    pub enum MmuextOp: u32 {
        /// Validate a frame as a level 1 table and keep it one.
        PinL1Table = 0,
        /// The same for level 2.
        PinL2Table = 1,
        /// The same for level 3.
        PinL3Table = 2,
        /// The same for level 4.
        PinL4Table = 3,
        /// Release a pinned table.
        UnpinTable = 4,
        /// Switch the kernel's root.
        NewBaseptr = 5,
        /// Flush this vCPU's TLB.
        TlbFlushLocal = 6,
        /// Flush one address from this vCPU's TLB.
        InvlpgLocal = 7,
        /// Flush the TLB of the vCPUs in a mask.
        TlbFlushMulti = 8,
        /// Flush one address from the TLB of the vCPUs in a mask.
        InvlpgMulti = 9,
        /// Flush the TLB of all the domain's vCPUs.
        TlbFlushAll = 10,
        /// Flush one address from the TLB of all the domain's vCPUs.
        InvlpgAll = 11,
        /// Write caches back.
        FlushCache = 12,
        /// Set the local descriptor table.
        SetLdt = 13,
        /// Switch the root of user mode.
        NewUserBaseptr = 15,
        /// Zero a frame.
        ClearPage = 16,
        /// Copy a frame.
        CopyPage = 17,
    }
}

/// Bits 0 and 1 of the flags of [`crate::Hypercall::UpdateVaMapping`] (`UVMF_*`); the rest is an address of a vCPU mask.
pub mod flush {
    /// Flush nothing.
    pub const NONE: u64 = 0;
    /// Flush the whole TLB.
    pub const TLB: u64 = 1;
    /// Flush the one address.
    pub const INVLPG: u64 = 2;
    /// The two bits that choose.
    pub const KIND: u64 = 3;
    /// On all the domain's vCPUs rather than on this one.
    pub const ALL: u64 = 4;
}

/// The most requests that one call may carry before the hypervisor asks to be called again.
pub const BATCH_MAX: u32 = 4096;
