//! What the hypervisor keeps of a machine's memory for itself; domains get the rest.
//! The sizes are here, and not where the machine takes them, so that whoever prepares a system can say beforehand what fits.

/// Bytes of a page.
const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The direct map covers at least this, for tables of firmware wherever they lie.
pub const DIRECT_LEAST: u64 = 4 << 30;
/// Bytes of a frame's record in the table of frames.
const FRAME_RECORD: u64 = 16;
/// Page tables for devices, and for what is small.
const TABLES: u64 = 192;

/// Bytes, each in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Page tables.
    pub pool: u64,
    /// The machine-to-physical table.
    pub machine_to_phys: u64,
    /// The heap: the frame table, and records of domains.
    pub heap: u64,
    /// The trace, when no shared memory is there to keep it.
    pub trace: u64,
    /// A page of zeros.
    pub zeros: u64,
}

impl Reserve {
    /// Of `ram` bytes that end at `memory_end`, so that a small machine is not half eaten and a large one not cramped.
    #[must_use]
    pub fn of(memory_end: u64, ram: u64) -> Self {
        let frames = memory_end.div_ceil(PAGE);
        let machine_to_phys = frames.saturating_mul(8).next_multiple_of(PAGE);
        let heap =
            frames.saturating_mul(FRAME_RECORD).saturating_add(ram.div_ceil(32)).saturating_add(4 * MIB);
        Self {
            pool: pool(memory_end),
            machine_to_phys,
            heap: heap.next_multiple_of(PAGE),
            trace: if ram >= 256 * MIB { MIB } else { MIB / 4 },
            zeros: PAGE,
        }
    }

    /// All of it.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        let Self { pool, machine_to_phys, heap, trace, zeros } = *self;
        pool.saturating_add(machine_to_phys).saturating_add(heap).saturating_add(trace).saturating_add(zeros)
    }
}

/// Bytes of page tables for RAM that ends at `memory_end`, and what the devices may need.
#[must_use]
pub fn pool(memory_end: u64) -> u64 {
    let direct = memory_end.max(DIRECT_LEAST).div_ceil(GIB);
    let m2p = memory_end.div_ceil(PAGE).saturating_mul(8).div_ceil(512 * PAGE);
    direct.saturating_add(m2p).saturating_add(TABLES).saturating_mul(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_of_any_size_keeps_most_of_its_memory_for_domains() {
        for shift in 25..40 {
            let ram = 1_u64 << shift;
            let sum = Reserve::of(ram, ram).sum();
            assert!(sum < ram / 16 + 6 * MIB, "{sum} of {ram}");
            assert!(Reserve::of(2 * ram, 2 * ram).sum() > sum);
        }
    }
}
