//! The smallest image that the domain builder accepts.
//! Its code never runs: in these tests the drivers are what runs.

use hypercall_abi::elf_note::{NAME, NoteType};

use super::VIRT_BASE;

/// Bytes of a file header and of a program header.
const HEADER: usize = 64;
const PROGRAM: usize = 56;

fn note(kind: NoteType, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((NAME.len() as u32).to_le_bytes());
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend(kind.raw().to_le_bytes());
    bytes.extend(NAME);
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn program(kind: u32, offset: u64, address: u64, file: u64, memory: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(7_u32.to_le_bytes());
    for word in [offset, VIRT_BASE + address, address, file, memory, 4] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// An ELF file of one page with the notes of a paravirtual guest.
#[must_use]
pub(super) fn minimal() -> Vec<u8> {
    let notes = [
        note(NoteType::GuestOs, b"denizen\0"),
        note(NoteType::Loader, b"generic\0"),
        note(NoteType::XenVersion, b"xen-3.0\0"),
        note(NoteType::VirtBase, &VIRT_BASE.to_le_bytes()),
        note(NoteType::PaddrOffset, &0_u64.to_le_bytes()),
        note(NoteType::Entry, &VIRT_BASE.to_le_bytes()),
    ]
    .concat();
    let start = (HEADER + 2 * PROGRAM) as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2_u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for word in [VIRT_BASE, HEADER as u64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [HEADER as u16, PROGRAM as u16, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(program(1, 0, 0, start, 4096));
    file.extend(program(4, start, 0, notes.len() as u64, notes.len() as u64));
    file.extend(notes);
    file
}
