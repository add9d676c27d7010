//! What a guest finds when it starts: RSI points at this page.

abi_struct! {
    /// The start information page (`start_info`). Written by the hypervisor before the domain runs.
    pub struct StartInfo(1168) {
        /// Text: version of the interface, `xen-3.0-x86_64`.
        0 => magic: [u8; 32],
        /// Frames that the domain has.
        32 => nr_pages: u64,
        /// Machine address of the shared page.
        40 => shared_info: u64,
        /// [`start_flags`].
        48 => flags: u32,
        /// Unused.
        52 => pad: u32,
        /// Machine frame of the store's page; 0 without one.
        56 => store_mfn: u64,
        /// Event channel of the store.
        64 => store_evtchn: u32,
        /// Unused.
        68 => pad2: u32,
        /// Machine frame of the console's page; for the initial domain: offset of its description.
        72 => console_mfn: u64,
        /// Event channel of the console.
        80 => console_evtchn: u32,
        /// Unused.
        84 => pad3: u32,
        /// Address of the root of the page tables.
        88 => pt_base: u64,
        /// Frames that the page tables take.
        96 => nr_pt_frames: u64,
        /// Address of the list of machine frames, one `u64` a frame.
        104 => mfn_list: u64,
        /// Address (or frame) of a loaded module; 0 without one.
        112 => mod_start: u64,
        /// Its bytes.
        120 => mod_len: u64,
        /// Text: command line.
        128 => cmd_line: [u8; 1024],
        /// First frame of the list when it lies outside the initial region.
        1152 => first_p2m_pfn: u64,
        /// Frames that it takes.
        1160 => nr_p2m_frames: u64,
    }
}

/// Bits of [`StartInfo::flags`] (`SIF_*`).
pub mod start_flags {
    /// The domain is privileged.
    pub const PRIVILEGED: u32 = 1 << 0;
    /// It is the initial domain.
    pub const INITDOMAIN: u32 = 1 << 1;
    /// The module's address is a frame number.
    pub const MOD_START_PFN: u32 = 1 << 3;
}

/// Text in [`StartInfo::magic`].
pub const MAGIC: &[u8] = b"xen-3.0-x86_64\0";
