//! The domain's memory as a whole.

abi_enum! {
    /// Operation of [`crate::Hypercall::MemoryOp`] (`XENMEM_*`).
    pub enum MemoryOp: u32 {
        /// `(&u16 domid)`: frames that the domain has.
        CurrentReservation = 3,
        /// `(&u16 domid)`: frames that it may have.
        MaximumReservation = 4,
        /// `()`: highest machine frame, plus one.
        MaximumRamPage = 2,
        /// `(&MachphysMapping)`: where the machine-to-physical table is.
        MachphysMapping = 12,
    }
}

abi_struct! {
    /// Argument of [`MemoryOp::MachphysMapping`] (`xen_machphys_mapping`).
    pub struct MachphysMapping(24) {
        /// OUT: first address of the table.
        0 => start: u64,
        /// OUT: first address past it.
        8 => end: u64,
        /// OUT: highest machine frame that it can name.
        16 => max_mfn: u64,
    }
}
