//! Interrupts of real devices, for driver domains.

abi_enum! {
    /// Operation of [`crate::Hypercall::PhysdevOp`] (`PHYSDEVOP_*`).
    pub enum PhysdevOp: u32 {
        /// `(&SetIopl)`: the level from which port I/O is allowed; accepted, port I/O stays refused.
        SetIopl = 6,
        /// `(&Eoi)`: ready for the interrupt's next occurrence; MSI-X needs none.
        Eoi = 12,
        /// `(&MapPirq)`: make an interrupt of an assigned device bindable.
        MapPirq = 13,
        /// `(&UnmapPirq)`: undo it.
        UnmapPirq = 14,
    }
}

abi_struct! {
    /// Argument of [`PhysdevOp::SetIopl`] (`physdev_set_iopl`).
    pub struct SetIopl(4) {
        /// IN: the level.
        0 => iopl: u32,
    }
}

abi_struct! {
    /// Argument of [`PhysdevOp::Eoi`] (`physdev_eoi`).
    pub struct Eoi(4) {
        /// IN: the interrupt.
        0 => irq: u32,
    }
}

abi_struct! {
    /// Argument of [`PhysdevOp::MapPirq`] (`physdev_map_pirq`).
    pub struct MapPirq(40) {
        /// IN: whose, [`crate::DomId::SELF`].
        0 => domid: u16,
        /// Unused.
        2 => pad: u16,
        /// IN: a [`MapPirqType`].
        4 => kind: u32,
        /// IN: -1.
        8 => index: u32,
        /// IN: -1 for any. OUT: the interrupt's number.
        12 => pirq: u32,
        /// IN: bus, with the segment in the upper half.
        16 => bus: u32,
        /// IN: device and function.
        20 => devfn: u32,
        /// IN: entry of the device's MSI-X table.
        24 => entry_nr: u32,
        /// Unused.
        28 => pad2: u32,
        /// IN: machine address of the MSI-X table; the hypervisor knows it, 0 will do.
        32 => table_base: u64,
    }
}

abi_enum! {
    /// Kind of interrupt to map (`MAP_PIRQ_TYPE_*`).
    pub enum MapPirqType: u32 {
        /// Message-signalled, bus without a segment.
        Msi = 0,
        /// Message-signalled, bus with a segment.
        MsiSeg = 3,
    }
}

abi_struct! {
    /// Argument of [`PhysdevOp::UnmapPirq`] (`physdev_unmap_pirq`).
    pub struct UnmapPirq(8) {
        /// IN: whose.
        0 => domid: u16,
        /// Unused.
        2 => pad: u16,
        /// IN: the interrupt.
        4 => pirq: u32,
    }
}
