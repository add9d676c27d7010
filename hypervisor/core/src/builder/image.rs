//! A guest's image: what of it is loaded where, and where it starts.
//! Everything that can be wrong with an image by itself is found here, before any memory is touched.

use alloc::string::ToString;
use alloc::vec::Vec;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;

use super::BuildError;
use super::layout::Part;
use super::notes::Notes;
use crate::paging::IMAGE_ENTRIES_MAX;

/// Highest pseudo-physical address that an image may use, which keeps all sums small.
const ADDRESS_MAX: u64 = 1 << 40;

/// A part to load; what it does not fill is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    /// Pseudo-physical address of its first byte.
    pub(super) address: u64,
    pub(super) bytes: &'a [u8],
}

/// An image in order.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) segments: Vec<Segment<'a>>,
    /// Virtual address of pseudo-physical frame 0.
    pub(super) base: u64,
    /// Virtual address of the first instruction.
    pub(super) entry: u64,
    /// Pseudo-physical address of the hypercall page.
    pub(super) hypercall_page: Option<u64>,
    /// First pseudo-physical address past the image.
    pub(super) end: u64,
    /// Pages that nothing may write and that the image lets others have too, in order.
    pub(super) read_only: Vec<Part>,
}

/// Most pages that are shared: half of what a domain may refer to, so that it can map each twice.
const SHARED_PAGES_MAX: u32 = IMAGE_ENTRIES_MAX / 2;
/// Most segments of an image whose pages are compared for what can be shared.
const SEGMENTS_COMPARED: usize = 64;

/// A segment's pages, and whether it is writable.
type Pages = (Part, bool);

/// The pages of read-only segments that no other segment touches; none if they are too many.
fn read_only(segments: &[Pages]) -> Vec<Part> {
    let mut parts = Vec::new();
    if segments.len() > SEGMENTS_COMPARED || parts.try_reserve_exact(segments.len()).is_err() {
        return parts;
    }
    let alone = |at: usize, part: &Part| {
        segments.iter().enumerate().all(|(other, (pages, _))| other == at || !part.meets(pages))
    };
    for (at, (part, writable)) in segments.iter().enumerate() {
        if !writable && alone(at, part) {
            parts.push(*part);
        }
    }
    if parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.count)) > SHARED_PAGES_MAX.into() {
        parts.clear();
    }
    parts.sort_unstable_by_key(|part| part.first);
    parts
}

impl<'a> Image<'a> {
    /// Reads an ELF file.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, BuildError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)
            .map_err(|why| BuildError::NotElf { why: why.to_string() })?;
        if elf.ehdr.class != Class::ELF64 {
            return Err(BuildError::NotElf { why: "32-bit".into() });
        }
        if elf.ehdr.e_machine != EM_X86_64 {
            return Err(BuildError::WrongMachine { machine: elf.ehdr.e_machine });
        }
        if elf.ehdr.e_type != ET_EXEC {
            return Err(BuildError::NotExecutable { kind: elf.ehdr.e_type });
        }
        let notes = Notes::read(&elf)?;
        if notes.virt_base & 0xfff != 0 {
            return Err(BuildError::UnalignedBase { address: notes.virt_base });
        }
        let mut segments = Vec::new();
        let mut pages: Vec<Pages> = Vec::new();
        let mut end = 0;
        for header in elf.segments().into_iter().flatten() {
            if header.p_type != PT_LOAD || header.p_memsz == 0 {
                continue;
            }
            let outside = BuildError::SegmentOutside { address: header.p_paddr, bytes: header.p_memsz };
            let address = header.p_paddr.checked_sub(notes.paddr_offset).ok_or_else(|| outside.clone())?;
            let last = address
                .checked_add(header.p_memsz)
                .filter(|&last| last <= ADDRESS_MAX && header.p_filesz <= header.p_memsz)
                .ok_or(outside)?;
            let bytes = elf.segment_data(&header).map_err(|_| BuildError::TruncatedSegment {
                address: header.p_paddr,
                bytes: header.p_filesz,
            })?;
            segments.try_reserve(1).map_err(|_| BuildError::NoHeap)?;
            segments.push(Segment { address, bytes });
            pages.try_reserve(1).map_err(|_| BuildError::NoHeap)?;
            pages.push((Part::of_bytes(address, last), header.p_flags & PF_W != 0));
            end = last.max(end);
        }
        if segments.is_empty() {
            return Err(BuildError::NothingToLoad);
        }
        let within = |address: u64| address.checked_sub(notes.virt_base).filter(|&offset| offset < end);
        let entry = notes.entry.unwrap_or(elf.ehdr.e_entry);
        within(entry).ok_or(BuildError::EntryOutside { address: entry })?;
        let hypercall_page = match notes.hypercall_page {
            None => None,
            Some(address) => Some(
                within(address)
                    .filter(|offset| offset & 0xfff == 0)
                    .ok_or(BuildError::HypercallPageOutside { address })?,
            ),
        };
        let read_only = if notes.shares { read_only(&pages) } else { Vec::new() };
        Ok(Self { segments, base: notes.virt_base, entry, hypercall_page, end, read_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_more_pages_than_may_be_shared_is_copied() {
        let shared =
            |count| read_only(&[(Part { first: 0, count }, false), (Part { first: count, count: 1 }, true)]);
        assert_eq!(shared(u64::from(SHARED_PAGES_MAX)).len(), 1);
        assert_eq!(shared(u64::from(SHARED_PAGES_MAX) + 1).len(), 0);
    }
}
