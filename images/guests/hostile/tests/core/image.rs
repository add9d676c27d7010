//! The smallest image that the builder takes, whose three pages its domains share.

use hypercall_abi::elf_note::{DENIZEN_NAME, DenizenNote, NAME, NoteType};

/// Where it is linked.
pub(crate) const BASE: u64 = 0x40_0000;

/// Its pages.
pub(crate) const PAGES: u64 = 3;

/// The file.
pub(crate) fn file() -> Vec<u8> {
    let notes: [(NoteType, Vec<u8>); 7] = [
        (NoteType::XenVersion, b"xen-3.0\0".to_vec()),
        (NoteType::Loader, b"generic\0".to_vec()),
        (NoteType::VirtBase, BASE.to_le_bytes().to_vec()),
        (NoteType::PaddrOffset, 0_u64.to_le_bytes().to_vec()),
        (NoteType::Entry, (BASE + 0x2000).to_le_bytes().to_vec()),
        (NoteType::HypercallPage, (BASE + 0x1000).to_le_bytes().to_vec()),
        (NoteType::Features, b"!writable_page_tables|pae_pgdir_above_4gb\0".to_vec()),
    ];
    let mut note_bytes = Vec::new();
    for (kind, value) in notes {
        note_bytes.extend((NAME.len() as u32).to_le_bytes());
        note_bytes.extend((value.len() as u32).to_le_bytes());
        note_bytes.extend(kind.raw().to_le_bytes());
        note_bytes.extend(NAME);
        note_bytes.extend(value);
        note_bytes.resize(note_bytes.len().next_multiple_of(4), 0);
    }
    for word in [DENIZEN_NAME.len() as u32, 0, DenizenNote::ShareReadOnly.raw()] {
        note_bytes.extend(word.to_le_bytes());
    }
    note_bytes.extend(DENIZEN_NAME);
    let code = vec![0x90_u8; 0x2100];
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    for word in [BASE, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let code_at = 64 + 2 * 56;
    let note_at = code_at + code.len() as u64;
    for (kind, at, bytes, size) in
        [(1_u32, code_at, code.len(), PAGES << 12), (4, note_at, note_bytes.len(), 0)]
    {
        file.extend(kind.to_le_bytes());
        file.extend(5_u32.to_le_bytes());
        for word in [at, BASE, 0, bytes as u64, (bytes as u64).max(size), 4] {
            file.extend(word.to_le_bytes());
        }
    }
    file.extend(code);
    file.extend(note_bytes);
    file
}
