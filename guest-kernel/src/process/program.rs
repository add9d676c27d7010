//! A program: an ELF file, judged before anything of it is used.
//! Its bytes stay where they are; pages of the process are filled from them as they are first used.

use core::fmt;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use process_abi::layout::{END, GATE, MAPS, PAGE, STACK_BYTES, STACK_END, START};

use super::area::{Access, Area, Areas, Content};

/// Why a file is no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no ELF file, or a damaged one.
    NotElf,
    /// It is for another processor, or not linked to fixed addresses.
    WrongKind,
    /// A part lies outside of what programs may use.
    Outside {
        /// Address of the part.
        address: u64,
    },
    /// A part is both writable and executable.
    WritableCode {
        /// Address of the part.
        address: u64,
    },
    /// Two parts share a page.
    Overlap {
        /// Address of the second part.
        address: u64,
    },
    /// It starts at an address that holds no code.
    Entry {
        /// The address.
        address: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "no ELF file, or a damaged one"),
            Self::WrongKind => write!(f, "not an x86-64 program with fixed addresses"),
            Self::Outside { address } => write!(f, "its part at {address:#x} lies outside of a process"),
            Self::WritableCode { address } => {
                write!(f, "its part at {address:#x} is writable and executable")
            }
            Self::Overlap { address } => write!(f, "its part at {address:#x} shares a page with another"),
            Self::Entry { address } => write!(f, "it starts at {address:#x}, where no code is"),
        }
    }
}

/// A program in order.
#[derive(Clone, Debug)]
pub struct Program {
    areas: Areas,
    entry: u64,
    end: u64,
}

impl Program {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(file: &'static [u8]) -> Result<Self, Refusal> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| Refusal::NotElf)?;
        let header = elf.ehdr;
        if header.class != Class::ELF64 || header.e_machine != EM_X86_64 || header.e_type != ET_EXEC {
            return Err(Refusal::WrongKind);
        }
        let mut areas = Areas::new();
        let mut end = 0;
        for part in elf.segments().into_iter().flatten() {
            if part.p_type != PT_LOAD || part.p_memsz == 0 {
                continue;
            }
            let address = part.p_vaddr;
            let past = address.checked_add(part.p_memsz).and_then(|past| past.checked_next_multiple_of(PAGE));
            let past = past
                .filter(|&past| address >= START && past <= MAPS && part.p_filesz <= part.p_memsz)
                .ok_or(Refusal::Outside { address })?;
            let access = Access { write: part.p_flags & PF_W != 0, execute: part.p_flags & PF_X != 0 };
            if access.write && access.execute {
                return Err(Refusal::WritableCode { address });
            }
            let bytes = elf.segment_data(&part).map_err(|_| Refusal::NotElf)?;
            let content = Some(Content { address, bytes });
            if !areas.add(Area { range: address / PAGE * PAGE..past, access, content }) {
                return Err(Refusal::Overlap { address });
            }
            end = past.max(end);
        }
        let entry = header.e_entry;
        if !areas.find(entry).is_some_and(|area| area.access.execute) {
            return Err(Refusal::Entry { address: entry });
        }
        let own = [
            Area { range: GATE..GATE + PAGE, access: Access::CODE, content: None },
            Area { range: STACK_END - STACK_BYTES..STACK_END, access: Access::DATA, content: None },
        ];
        for area in own {
            let address = area.range.start;
            if !areas.add(area) {
                return Err(Refusal::Overlap { address });
            }
        }
        debug_assert!(end < END);
        Ok(Self { areas, entry, end })
    }

    /// Where it starts.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        self.entry
    }

    /// The first address past its parts, where its heap begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The areas of a process that runs it, gate and stack among them.
    #[must_use]
    pub fn areas(&self) -> Areas {
        self.areas.clone()
    }
}

/// Addresses of the gate's page.
#[must_use]
pub const fn is_gate(address: u64) -> bool {
    address >= GATE && address < GATE + PAGE
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use process_abi::layout::IMAGE;

    /// A part of a made-up file: address, bytes in memory, flags, content.
    pub(crate) type Part<'a> = (u64, u64, u32, &'a [u8]);

    /// An ELF file of these parts.
    pub(crate) fn file(entry: u64, parts: &[Part<'_>]) -> &'static [u8] {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
        bytes.extend([0; 8]);
        let head =
            |bytes: &mut Vec<u8>, half: &[u16]| half.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        head(&mut bytes, &[ET_EXEC, EM_X86_64]);
        bytes.extend(1_u32.to_le_bytes());
        for word in [entry, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        head(&mut bytes, &[64, 56, parts.len() as u16, 64, 0, 0]);
        let mut offset = 64 + 56 * parts.len() as u64;
        for &(address, memory, flags, content) in parts {
            bytes.extend(PT_LOAD.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            for word in [offset, address, address, content.len() as u64, memory, PAGE] {
                bytes.extend(word.to_le_bytes());
            }
            offset += content.len() as u64;
        }
        parts.iter().for_each(|(_, _, _, content)| bytes.extend(*content));
        bytes.leak()
    }

    const CODE: u32 = 5;
    const DATA: u32 = 6;

    #[test]
    fn a_program_has_its_parts_a_gate_and_a_stack() {
        let program =
            Program::read(file(IMAGE + 1, &[(IMAGE, 3, CODE, b"abc"), (IMAGE + PAGE, PAGE + 1, DATA, b"d")]));
        let program = program.unwrap();
        assert_eq!((program.entry(), program.end()), (IMAGE + 1, IMAGE + 3 * PAGE));
        let areas = program.areas();
        assert_eq!(areas.find(IMAGE).unwrap().access, Access::CODE);
        assert_eq!(areas.find(IMAGE + 2 * PAGE).unwrap().access, Access::DATA);
        assert_eq!(areas.find(GATE).unwrap().access, Access::CODE);
        assert_eq!(areas.find(STACK_END - 1).unwrap().access, Access::DATA);
        assert!(areas.find(STACK_END).is_none());
    }

    #[test]
    fn a_bad_program_is_refused_by_what_is_wrong() {
        let read = |entry, parts: &[Part<'_>]| Program::read(file(entry, parts)).unwrap_err();
        assert_eq!(Program::read(b"no ELF file").unwrap_err(), Refusal::NotElf);
        assert_eq!(
            Program::read(&file(IMAGE, &[(IMAGE, 3, CODE, b"abc")])[..119]).unwrap_err(),
            Refusal::NotElf
        );
        assert_eq!(read(IMAGE, &[]), Refusal::Entry { address: IMAGE });
        assert_eq!(read(IMAGE, &[(IMAGE, 1, DATA, b"")]), Refusal::Entry { address: IMAGE });
        assert_eq!(read(IMAGE, &[(IMAGE, 1, 7, b"")]), Refusal::WritableCode { address: IMAGE });
        for address in [0, 0x40_0000, START - PAGE, MAPS, u64::MAX - 5] {
            assert_eq!(read(address, &[(address, 1, CODE, b"")]), Refusal::Outside { address });
        }
        assert_eq!(read(IMAGE, &[(IMAGE, 1, CODE, b"more")]), Refusal::Outside { address: IMAGE });
        assert_eq!(
            read(IMAGE, &[(IMAGE, 8, CODE, b""), (IMAGE + 8, 8, DATA, b"")]),
            Refusal::Overlap { address: IMAGE + 8 }
        );
        assert_eq!(read(GATE, &[(GATE, 8, CODE, b"")]), Refusal::Overlap { address: GATE });
    }
}
