//! ELF images made by hand for tests, right in each detail or wrong in one.
//! They are built here because a test should show the one field that it bends.

use alloc::vec;
use alloc::vec::Vec;

use hypercall_abi::elf_note::{DENIZEN_NAME, DenizenNote, NAME, NoteType};

/// An image to be.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) class: u8,
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    pub(crate) base: u64,
    /// Pseudo-physical address, bytes in the file, size in memory.
    pub(crate) segments: Vec<(u64, Vec<u8>, u64)>,
    /// Addresses of segments that are not writable.
    pub(crate) read_only: Vec<u64>,
    pub(crate) notes: Vec<(NoteType, Vec<u8>)>,
    /// Whether read-only segments may be shared.
    pub(crate) shares: bool,
}

/// Pages of [`TestImage::sharing`] that domains have in common.
pub(crate) const SHARED_PAGES: [u64; 3] = [1, 2, 4];

impl TestImage {
    /// Two pages and a little at `base`, with the notes that Denizen's guests have.
    pub(crate) fn good(base: u64) -> Self {
        let mut code = vec![0x90; 0x2100];
        code[0x2000] = 0xf4;
        Self {
            class: 2,
            kind: 2,
            machine: 62,
            base,
            segments: vec![(0, code, 0x3000)],
            read_only: vec![],
            shares: false,
            notes: vec![
                (NoteType::XenVersion, b"xen-3.0\0".to_vec()),
                (NoteType::Loader, b"generic\0".to_vec()),
                (NoteType::VirtBase, base.to_le_bytes().to_vec()),
                (NoteType::PaddrOffset, 0_u64.to_le_bytes().to_vec()),
                (NoteType::Entry, base.wrapping_add(0x2000).to_le_bytes().to_vec()),
                (NoteType::HypercallPage, base.wrapping_add(0x1000).to_le_bytes().to_vec()),
                (NoteType::Features, b"!writable_page_tables|pae_pgdir_above_4gb\0".to_vec()),
            ],
        }
    }

    /// The same code, which nobody writes, between pages of data, and a page of constants behind them.
    pub(crate) fn sharing(base: u64) -> Self {
        let good = Self::good(base);
        let code = good.segments[0].1[0x1000..].to_vec();
        let segments = vec![
            (0, vec![1; 0x80], 0x1000),
            (0x1000, code, 0x2000),
            (0x3000, vec![], 0x1000),
            (0x4000, vec![2; 0x123], 0x124),
            (0x5000, vec![3; 8], 0x1000),
        ];
        Self { segments, read_only: vec![0x1000, 0x4000], shares: true, ..good }
    }

    /// The same with another value for a note; empty removes it.
    pub(crate) fn with_note(mut self, kind: NoteType, value: &[u8]) -> Self {
        self.notes.retain(|(other, _)| *other != kind);
        if !value.is_empty() {
            self.notes.push((kind, value.to_vec()));
        }
        self
    }

    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut notes = Vec::new();
        for (kind, value) in &self.notes {
            notes.extend((NAME.len() as u32).to_le_bytes());
            notes.extend((value.len() as u32).to_le_bytes());
            notes.extend(kind.raw().to_le_bytes());
            notes.extend(NAME);
            notes.extend(value);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        if self.shares {
            for word in [DENIZEN_NAME.len() as u32, 0, DenizenNote::ShareReadOnly.raw()] {
                notes.extend(word.to_le_bytes());
            }
            notes.extend(DENIZEN_NAME);
        }
        let headers = self.segments.len() + 1;
        let mut at = 64 + 56 * headers as u64;
        let mut file = vec![0x7f, b'E', b'L', b'F', self.class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(self.base.to_le_bytes());
        file.extend(64_u64.to_le_bytes());
        file.extend(0_u64.to_le_bytes());
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, headers as u16, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut bodies = Vec::new();
        let segments =
            self.segments.iter().map(|(address, bytes, size)| (1_u32, *address, bytes.clone(), *size));
        let note_size = notes.len() as u64;
        for (kind, address, bytes, size) in segments.chain([(4, 0, notes, note_size)]) {
            file.extend(kind.to_le_bytes());
            let flags = if kind == 1 && self.read_only.contains(&address) { 5_u32 } else { 7 };
            file.extend(flags.to_le_bytes());
            for word in [at, self.base.wrapping_add(address), address, bytes.len() as u64, size, 4] {
                file.extend(word.to_le_bytes());
            }
            at += bytes.len() as u64;
            bodies.extend(bytes);
        }
        file.extend(bodies);
        file
    }
}
