//! Multiboot2's information, as GRUB passes it under BIOS and UEFI.
//! It is one block of tagged records; only those that the hypervisor uses are looked at.

use super::bytes::{u32_at, u64_at};
use super::information::Information;
use super::memory_map::Range;

const END: u32 = 0;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const ACPI_OLD: u32 = 14;
const ACPI_NEW: u32 = 15;

/// Bytes of the block whose first words these are.
pub(crate) fn total_bytes(start: &[u8]) -> Option<usize> {
    usize::try_from(u32_at(start, 0)?).ok()
}

/// Reads the block `info` that lies at `address`.
pub(crate) fn parse(address: u64, info: &[u8]) -> Option<Information> {
    let mut found = Information::new();
    let mut at = 8;
    loop {
        let kind = u32_at(info, at)?;
        let bytes = usize::try_from(u32_at(info, at.checked_add(4)?)?).ok()?;
        let end = at.checked_add(bytes).filter(|_| bytes >= 8)?;
        let tag = info.get(at..end)?;
        match kind {
            END => return Some(found),
            MODULE if found.archive.is_none() => {
                let (start, end) = (u64::from(u32_at(tag, 8)?), u64::from(u32_at(tag, 12)?));
                found.archive = Some(Range { start, end });
            }
            MEMORY_MAP => {
                let entry_bytes = usize::try_from(u32_at(tag, 8)?).ok().filter(|bytes| *bytes >= 20)?;
                let regions = tag.get(16..)?.chunks_exact(entry_bytes);
                found.add_regions(regions.filter_map(|region| {
                    Some((u64_at(region, 0)?, u64_at(region, 8)?, u32_at(region, 16)?))
                }));
            }
            // The tag holds a copy of the root pointer.
            ACPI_NEW => found.rsdp = Some(address + u64::try_from(at + 8).ok()?),
            ACPI_OLD if found.rsdp.is_none() => found.rsdp = Some(address + u64::try_from(at + 8).ok()?),
            _ => {}
        }
        at = end.checked_next_multiple_of(8)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((u32::try_from(contents.len()).unwrap() + 8).to_le_bytes());
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn region(address: u64, bytes: u64, kind: u32) -> Vec<u8> {
        [&address.to_le_bytes()[..], &bytes.to_le_bytes(), &kind.to_le_bytes(), &[0; 4]].concat()
    }

    fn block() -> Vec<u8> {
        let map = [
            &24_u32.to_le_bytes()[..],
            &0_u32.to_le_bytes(),
            &region(0, 0x9f000, 1),
            &region(0x100000, 0x700000, 1),
            &region(0x200000, 0x1000, 4),
        ]
        .concat();
        let module = [&0x30_0000_u32.to_le_bytes()[..], &0x30_0100_u32.to_le_bytes(), b"archive\0"].concat();
        let tags =
            [tag(1, b"command\0"), tag(6, &map), tag(3, &module), tag(14, b"RSD PTR old"), tag(0, b"")];
        let tags = tags.concat();
        let total = u32::try_from(tags.len() + 8).unwrap();
        [&total.to_le_bytes()[..], &[0; 4], &tags].concat()
    }

    #[test]
    fn memory_archive_and_acpi_are_found() {
        let block = block();
        assert_eq!(total_bytes(&block), Some(block.len()));
        let found = parse(0x10000, &block).unwrap();
        assert_eq!(found.memory.bytes(), 0x9f000 + 0x700000 - 0x1000);
        assert_eq!(found.archive, Some(Range { start: 0x300000, end: 0x300100 }));
        let offset = usize::try_from(found.rsdp.unwrap() - 0x10000).unwrap();
        assert_eq!(&block[offset..offset + 8], b"RSD PTR ");
    }

    #[test]
    fn a_truncated_block_is_refused() {
        let block = block();
        for length in 0..block.len() {
            assert!(parse(0, &block[..length]).is_none());
        }
    }
}
