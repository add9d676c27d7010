//! Who gets which memory: what the hypervisor sets aside for itself before domains get the rest.
//! How much that is says [`hypervisor_core::reserve`].

use hypervisor_core::reserve::Reserve;

use crate::boot::memory_map::MemoryMap;

/// The boot tables reach this far, and so must everything that is used before the final ones are loaded.
const BOOT_LIMIT: u64 = 4 << 30;

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
        let Reserve { pool, machine_to_phys, heap, trace, zeros } = Reserve::of(memory_end, memory.bytes());
        let mut take = |bytes| memory.take(bytes, BOOT_LIMIT);
        Some(Self {
            memory_end,
            pool: take(pool)?,
            machine_to_phys: (take(machine_to_phys)?, machine_to_phys),
            heap: (take(heap)?, heap),
            trace: (take(trace)?, trace),
            zeros: take(zeros)?,
        })
    }
}
