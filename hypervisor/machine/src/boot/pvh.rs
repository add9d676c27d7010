//! PVH's start information, as QEMU passes it to a kernel with the entry note.
//! It needs a parser because its lists lie elsewhere in memory, behind machine addresses.

use super::bytes::{u32_at, u64_at};
use super::information::Information;
use super::memory_map::Range;

const MAGIC: u32 = 0x336e_c578;
/// Bytes of the structure from version 1 on, which has the memory map.
const BYTES: usize = 56;
const MODULE_BYTES: usize = 32;
const REGION_BYTES: usize = 24;

/// Reads the structure at `address`; `memory` gives bytes of machine memory.
pub(crate) fn parse<'a>(
    address: u64,
    memory: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Option<Information> {
    let info = memory(address, BYTES)?;
    if u32_at(info, 0)? != MAGIC || u32_at(info, 4)? < 1 {
        return None;
    }
    let mut found = Information::new();
    let regions = usize::try_from(u32_at(info, 48)?).ok()?.checked_mul(REGION_BYTES)?;
    let regions = memory(u64_at(info, 40)?, regions)?;
    found.add_regions(
        regions
            .chunks_exact(REGION_BYTES)
            .filter_map(|region| Some((u64_at(region, 0)?, u64_at(region, 8)?, u32_at(region, 16)?))),
    );
    if u32_at(info, 12)? > 0 {
        let module = memory(u64_at(info, 16)?, MODULE_BYTES)?;
        let start = u64_at(module, 0)?;
        found.archive = Some(Range { start, end: start.checked_add(u64_at(module, 8)?)? });
    }
    found.rsdp = u64_at(info, 32).filter(|address| *address != 0);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(memory: &mut [u8], at: usize, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            memory[at + 8 * index..][..8].copy_from_slice(&word.to_le_bytes());
        }
    }

    fn image() -> Vec<u8> {
        let mut memory = vec![0; 0x1000];
        words(&mut memory, 0x100, &[u64::from(MAGIC) | 1 << 32, 1 << 32, 0x200, 0, 0xe0000, 0x300, 3]);
        words(&mut memory, 0x200, &[0x5000, 0x123, 0, 0]);
        words(&mut memory, 0x300, &[0, 0x10000, 1, 0x100000, 0x100000, 1, 0x180000, 0x1000, 2]);
        memory
    }

    fn parse_in(memory: &[u8]) -> Option<Information> {
        parse(0x100, |address, bytes| memory.get(usize::try_from(address).ok()?..)?.get(..bytes))
    }

    #[test]
    fn memory_archive_and_acpi_are_found() {
        let memory = image();
        let found = parse_in(&memory).unwrap();
        assert_eq!(found.memory.bytes(), 0x10000 + 0x100000 - 0x1000);
        assert_eq!(found.archive, Some(Range { start: 0x5000, end: 0x5123 }));
        assert_eq!(found.rsdp, Some(0xe0000));
    }

    #[test]
    fn another_magic_is_refused() {
        let mut memory = image();
        memory[0x100] ^= 1;
        assert!(parse_in(&memory).is_none());
    }

    #[test]
    fn lists_out_of_reach_are_refused() {
        let mut memory = image();
        words(&mut memory, 0x100 + 40, &[0x0fff]);
        assert!(parse_in(&memory).is_none());
    }
}
