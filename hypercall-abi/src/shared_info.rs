//! The page that hypervisor and guest share: event bitmaps, the upcall mask, and the clock.
//! Flags in memory exist because a guest must mask and unmask without a call.

abi_struct! {
    /// Per-vCPU registers that processors do not have (`arch_vcpu_info`).
    pub struct ArchVcpuInfo(16) {
        /// Written by the hypervisor: address of the last page fault.
        0 => cr2: u64,
        /// Unused.
        8 => pad: u64,
    }
}

abi_struct! {
    /// What turns the TSC into system time (`vcpu_time_info`). Written by the hypervisor alone.
    pub struct VcpuTimeInfo(32) {
        /// Odd while it changes; read again if it was odd or has changed.
        0 => version: u32,
        /// Unused.
        4 => pad: u32,
        /// TSC at which `system_time` holds.
        8 => tsc_timestamp: u64,
        /// Nanoseconds since the hypervisor's start.
        16 => system_time: u64,
        /// Nanoseconds = ((ticks shifted by `tsc_shift`) * this) >> 32.
        24 => tsc_to_system_mul: u32,
        /// Left shift of the ticks; right if negative.
        28 => tsc_shift: i8,
        /// Bit 0: the TSC is stable.
        29 => flags: u8,
        /// Unused.
        30 => pad2: [u8; 2],
    }
}

abi_struct! {
    /// One vCPU's part of the shared page (`vcpu_info`).
    pub struct VcpuInfo(64) {
        /// Written 1 by the hypervisor, 0 by the guest: an upcall is due.
        0 => evtchn_upcall_pending: u8,
        /// Written by both: upcalls wait while it is not 0.
        1 => evtchn_upcall_mask: u8,
        /// Unused.
        2 => pad: [u8; 6],
        /// Set by the hypervisor, cleared by the guest: words of the pending bitmap to look at.
        8 => evtchn_pending_sel: u64,
        /// Written by the hypervisor.
        16 => arch: ArchVcpuInfo,
        /// Written by the hypervisor.
        32 => time: VcpuTimeInfo,
    }
}

abi_struct! {
    /// Where the guest publishes its frames (`arch_shared_info`).
    pub struct ArchSharedInfo(48) {
        /// Written by the guest: frames of its list.
        0 => max_pfn: u64,
        /// Written by the guest: root of the frame list of lists.
        8 => pfn_to_mfn_frame_list_list: u64,
        /// Written by the guest: count of NMI reasons.
        16 => nmi_reason: u64,
        /// Written by the guest: root of its linear list.
        24 => p2m_cr3: u64,
        /// Written by the guest: address of its linear list.
        32 => p2m_vaddr: u64,
        /// Written by the guest: changes of its list.
        40 => p2m_generation: u64,
    }
}

/// Offset in the page of [`SharedInfo`], past all that Xen has there, of a `u64` that the hypervisor writes: the
/// categories of records that are being made, a bit each, so that a guest makes none in vain. On Xen it is 0.
pub const TRACE_OFFSET: u64 = 4088;
/// In that word: the guest's spans are recorded.
pub const TRACE_GUEST: u64 = 1 << 9;
/// In that word: the guest's rings are recorded.
pub const TRACE_RING: u64 = 1 << 10;
/// In that word: what the guest does with events is recorded.
pub const TRACE_EVENT: u64 = 1 << 3;

/// Records that a guest can make before the hypervisor takes them in.
pub const RECORDS: usize = 32;
/// Words of each: `ticks << 12 | number + 1`, then the two words of a [`crate::extension::GuestRecord`] of this number that is
/// not about a ring; those are told of by a [`RING_TURN`]. `ticks` are the TSC's as far as they go in.
pub const RECORD_WORDS: usize = 3;
/// In place of `number + 1`: all that a look at a ring has to tell, from which come up to four records of rings. In the first
/// word a bit for each: 4 produced, 5 consumed, 6 suppressed, 7 notified; from bit 8 the [`crate::extension::RingSide`] in four bits. The second
/// word has the two indices, of what was produced in the lower half; the third the domain at the other end, and from bit
/// 16 how many entries were produced, how many of those wait, and the same of what was consumed, in 12 bits each.
pub const RING_TURN: u64 = 15;
/// Offset in the page of [`SharedInfo`] of a guest's own records, one place after the other and round again. The guest
/// writes a record's first word last, where it is 0; the hypervisor takes the records in that order, makes their first
/// words 0, and stops at a 0. It does so whenever the domain leaves the processor, and when it is asked to.
pub const RECORDS_OFFSET: u64 = TRACE_OFFSET - (8 * RECORDS * RECORD_WORDS) as u64;
const _: () = assert!(RECORDS_OFFSET as usize >= size_of::<SharedInfo>());

/// vCPUs that have their record in the shared page (`XEN_LEGACY_MAX_VCPUS`).
pub const VCPUS: usize = 32;

abi_struct! {
    /// The page that hypervisor and domain share (`shared_info`).
    pub struct SharedInfo(3136) {
        /// One record a vCPU.
        0 => vcpu_info: [VcpuInfo; 32],
        /// Set by the hypervisor, cleared by the guest: one bit a port.
        2048 => evtchn_pending: [u64; 64],
        /// Written by the guest: ports that raise no upcall.
        2560 => evtchn_mask: [u64; 64],
        /// Written by the hypervisor: odd while the wall clock changes.
        3072 => wc_version: u32,
        /// Written by the hypervisor: seconds since 1970 at system time 0.
        3076 => wc_sec: u32,
        /// Written by the hypervisor: and nanoseconds.
        3080 => wc_nsec: u32,
        /// Written by the hypervisor: upper half of the seconds.
        3084 => wc_sec_hi: u32,
        /// Frame lists.
        3088 => arch: ArchSharedInfo,
    }
}

impl VcpuTimeInfo {
    /// System time in nanoseconds at TSC value `tsc`, by this record.
    #[must_use]
    pub const fn system_time_at(&self, tsc: u64) -> u64 {
        let ticks = tsc.wrapping_sub(self.tsc_timestamp);
        let shifted = if self.tsc_shift >= 0 {
            ticks << (self.tsc_shift as u32 & 63)
        } else {
            ticks >> (self.tsc_shift.unsigned_abs() as u32 & 63)
        };
        let ns = (shifted as u128 * self.tsc_to_system_mul as u128) >> 32;
        self.system_time.wrapping_add(ns as u64)
    }
}
