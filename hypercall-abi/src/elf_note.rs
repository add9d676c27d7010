//! ELF notes by which an image says how it wants to be built and started.

/// Name field of the notes that the builder reads.
pub const NAME: &[u8] = b"Xen\0";

abi_enum! {
    /// Type of a note (`xen/include/public/elfnote.h`).
    pub enum NoteType: u32 {
        /// Free text.
        Info = 0,
        /// Virtual address to start at.
        Entry = 1,
        /// Virtual address of the page to fill with hypercall stubs.
        HypercallPage = 2,
        /// Virtual address that pseudo-physical frame 0 is mapped at.
        VirtBase = 3,
        /// What is added to a pseudo-physical address in the program headers.
        PaddrOffset = 4,
        /// Text: version of the interface that the image wants, `xen-3.0`.
        XenVersion = 5,
        /// Text: name of the guest's kernel.
        GuestOs = 6,
        /// Text: its version.
        GuestVersion = 7,
        /// Text: kind of loader, `generic`.
        Loader = 8,
        /// Text: `yes` if page directories may lie above 4 GiB.
        PaeMode = 9,
        /// Text: features wanted (`!name`: needed), separated by `|`.
        Features = 10,
        /// Whether a symbol table is to be loaded.
        BsdSymtab = 11,
        /// Lowest address that the hypervisor may take.
        HvStartLow = 12,
        /// Mask and value that mark a present page-table entry.
        L1MfnValid = 13,
        /// Whether a suspend can be cancelled.
        SuspendCancel = 14,
        /// Virtual address for the list of machine frames, outside the initial region.
        InitP2m = 15,
        /// Whether the module's address is given as a frame number.
        ModStartPfn = 16,
        /// Features as bits.
        SupportedFeatures = 17,
        /// 32-bit entry point of a PVH guest; Denizen's hypervisor itself boots by it.
        Phys32Entry = 18,
    }
}

/// Name field of the notes that are Denizen's own; others pass over them.
pub const DENIZEN_NAME: &[u8] = b"Denizen\0";

abi_enum! {
    /// Type of a note under [`DENIZEN_NAME`].
    pub enum DenizenNote: u32 {
        /// Nothing inside: the image never writes its read-only segments nor needs to own their frames, so that domains
        /// built from it may have them in common. They are mapped read-only then, and every way to change them is refused.
        ShareReadOnly = 1,
        /// The kinds of devices that the image has back ends for, a byte each: the numbers of
        /// [`DeviceKind`](crate::device::DeviceKind). The hypervisor passes over it; who writes a scenario is told by it that a
        /// domain serves nobody.
        BackEnds = 2,
    }
}
