//! What a boot loader tells: memory, the boot archive, where ACPI's tables begin.
//! One form for both protocols, so that nothing after it knows which one it was.

use super::memory_map::{MemoryMap, Range};

/// What a boot loader tells.
#[derive(Clone, Debug)]
pub(crate) struct Information {
    /// RAM, with everything that the loader reports as something else cut out.
    pub(crate) memory: MemoryMap,
    /// Machine addresses of the boot archive.
    pub(crate) archive: Option<Range>,
    /// Machine address of ACPI's root pointer, if the loader names it.
    pub(crate) rsdp: Option<u64>,
}

/// A region's type that means usable RAM, in both protocols.
pub(crate) const RAM: u32 = 1;

impl Information {
    /// Nothing known yet.
    pub(crate) const fn new() -> Self {
        Self { memory: MemoryMap::new(), archive: None, rsdp: None }
    }

    /// Takes the loader's regions `(address, bytes, type)`: RAM is added first, all else is then cut out.
    pub(crate) fn add_regions(&mut self, regions: impl Iterator<Item = (u64, u64, u32)> + Clone) {
        for (address, bytes, _) in regions.clone().filter(|(_, _, kind)| *kind == RAM) {
            self.memory.add(address, bytes);
        }
        for (address, bytes, _) in regions.filter(|(_, _, kind)| *kind != RAM) {
            self.memory.remove(address, bytes);
        }
    }
}
