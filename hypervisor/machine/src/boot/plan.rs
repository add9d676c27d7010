//! Who gets which memory: what the hypervisor sets aside for itself before domains get the rest.
//! Sizes follow from how much there is, so that a small machine is not half eaten and a large one not cramped.

use crate::boot::memory_map::MemoryMap;
use crate::paging::space;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
/// The boot tables reach this far, and so must everything that is used before the final ones are loaded.
const BOOT_LIMIT: u64 = 4 << 30;
/// Bytes of a frame's record in the core's table.
const FRAME_RECORD: u64 = 16;

/// What is set aside: machine addresses and bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// First address above all RAM.
    pub(crate) memory_end: u64,
    /// Page tables.
    pub(crate) pool: u64,
    /// The machine-to-physical table.
    pub(crate) machine_to_phys: (u64, u64),
    /// The heap: the frame table, and records of domains.
    pub(crate) heap: (u64, u64),
    /// The trace, when no shared memory is there to keep it.
    pub(crate) trace: (u64, u64),
    /// A page of zeros.
    pub(crate) zeros: u64,
}

impl Plan {
    /// Takes all of it from the map; nothing if there is too little memory.
    pub(crate) fn make(memory: &mut MemoryMap) -> Option<Self> {
        let memory_end = memory.end();
        let (frames, ram) = (memory_end / PAGE, memory.bytes());
        let m2p_bytes = (frames * 8).next_multiple_of(PAGE);
        let heap_bytes = (frames * FRAME_RECORD + ram / 32 + 4 * MIB).next_multiple_of(PAGE);
        let trace_bytes = if ram >= 256 * MIB { MIB } else { MIB / 4 };
        let mut take = |bytes| memory.take(bytes, BOOT_LIMIT);
        Some(Self {
            memory_end,
            pool: take(space::pool_bytes(memory_end))?,
            machine_to_phys: (take(m2p_bytes)?, m2p_bytes),
            heap: (take(heap_bytes)?, heap_bytes),
            trace: (take(trace_bytes)?, trace_bytes),
            zeros: take(PAGE)?,
        })
    }
}
