//! The Xen notes of an image: how it wants to be built and started.
//! They are read into one structure first, so that the rest of the builder sees settled values.

use alloc::string::String;

use elf::ElfBytes;
use elf::abi::{PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::note::{Note, NoteAny, NoteIterator};
use hypercall_abi::device::DeviceKind;
use hypercall_abi::elf_note::{DENIZEN_NAME, DenizenNote, NoteType};
use hypercall_abi::layout;

use super::BuildError;

/// Features that an image may need.
const FEATURES: [&str; 2] = ["writable_page_tables", "pae_pgdir_above_4gb"];

/// What the notes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    pub(super) virt_base: u64,
    pub(super) paddr_offset: u64,
    pub(super) entry: Option<u64>,
    pub(super) hypercall_page: Option<u64>,
    /// Whether read-only segments may be shared.
    pub(super) shares: bool,
    found: bool,
    version_found: bool,
}

/// Alignment of notes, whatever the program header says.
const ALIGNMENT: usize = 4;

impl Notes {
    /// Reads the notes of an image.
    pub(super) fn read(file: &ElfBytes<'_, LittleEndian>) -> Result<Self, BuildError> {
        let mut notes = Self::default();
        for data in segments(file) {
            notes.take_all(data)?;
        }
        if !notes.found {
            // Old linkers leave the notes in a section only.
            for header in file.section_headers().into_iter().flatten() {
                if header.sh_type == SHT_NOTE
                    && let Ok((data, None)) = file.section_data(&header)
                {
                    notes.take_all(data)?;
                }
            }
        }
        if !notes.found {
            Err(BuildError::NoNotes)
        } else if !notes.version_found {
            Err(BuildError::NoXenVersion)
        } else {
            Ok(notes)
        }
    }

    fn take_all(&mut self, data: &[u8]) -> Result<(), BuildError> {
        for note in all(data) {
            let own = note.name == DENIZEN_NAME;
            self.shares |= own && note.n_type == u64::from(DenizenNote::ShareReadOnly.raw());
            if note.name == hypercall_abi::elf_note::NAME
                && let Some(kind) = u32::try_from(note.n_type).ok().and_then(NoteType::from_raw)
            {
                // The hypervisor's own PVH note alone makes nothing a paravirtual guest.
                self.found |= kind != NoteType::Phys32Entry;
                self.take(kind, note.desc)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, kind: NoteType, value: &[u8]) -> Result<(), BuildError> {
        match kind {
            NoteType::Entry => self.entry = Some(number(kind, value)?),
            NoteType::HypercallPage => self.hypercall_page = Some(number(kind, value)?),
            NoteType::VirtBase => self.virt_base = number(kind, value)?,
            NoteType::PaddrOffset => self.paddr_offset = number(kind, value)?,
            NoteType::XenVersion => match text(kind, value)? {
                "xen-3.0" => self.version_found = true,
                wanted => return Err(BuildError::OtherAbi { wanted: wanted.into() }),
            },
            NoteType::Loader => match text(kind, value)? {
                "generic" => {}
                wanted => return Err(BuildError::OtherLoader { wanted: wanted.into() }),
            },
            NoteType::Features => {
                let needed = text(kind, value)?.split('|').filter_map(|feature| feature.strip_prefix('!'));
                for name in needed {
                    if !FEATURES.contains(&name) {
                        return Err(BuildError::MissingFeature { name: String::from(name) });
                    }
                }
            }
            NoteType::HvStartLow => {
                let lowest = number(kind, value)?;
                if lowest > layout::HYPERVISOR_START {
                    return Err(BuildError::WantsHypervisorElsewhere { lowest });
                }
            }
            NoteType::InitP2m => return Err(BuildError::OwnPhysicalList),
            NoteType::Info
            | NoteType::GuestOs
            | NoteType::GuestVersion
            | NoteType::PaeMode
            | NoteType::BsdSymtab
            | NoteType::L1MfnValid
            | NoteType::SuspendCancel
            | NoteType::ModStartPfn
            | NoteType::SupportedFeatures
            | NoteType::Phys32Entry => {}
        }
        Ok(())
    }
}

/// Whether an image says by a note that it serves devices of this kind. What is no image says nothing.
#[must_use]
pub fn serves(image: &[u8], kind: DeviceKind) -> bool {
    let Ok(file) = ElfBytes::<LittleEndian>::minimal_parse(image) else { return false };
    segments(&file).flat_map(all).any(|note| {
        let ours = note.name == DENIZEN_NAME && note.n_type == u64::from(DenizenNote::BackEnds.raw());
        ours && note.desc.iter().any(|byte| u16::from(*byte) == kind.raw())
    })
}

/// The data of the segments that hold notes.
fn segments<'a>(file: &ElfBytes<'a, LittleEndian>) -> impl Iterator<Item = &'a [u8]> {
    let headers = file.segments().into_iter().flatten().filter(|header| header.p_type == PT_NOTE);
    headers.filter_map(|header| file.segment_data(&header).ok())
}

/// The notes in these bytes.
fn all(data: &[u8]) -> impl Iterator<Item = NoteAny<'_>> {
    NoteIterator::new(LittleEndian, Class::ELF64, ALIGNMENT, data).filter_map(|note| match note {
        Note::Unknown(note) => Some(note),
        _ => None,
    })
}

/// A number of 4 or 8 bytes.
fn number(kind: NoteType, value: &[u8]) -> Result<u64, BuildError> {
    if let Ok(bytes) = <[u8; 8]>::try_from(value) {
        Ok(u64::from_le_bytes(bytes))
    } else if let Ok(bytes) = <[u8; 4]>::try_from(value) {
        Ok(u64::from(u32::from_le_bytes(bytes)))
    } else {
        Err(BuildError::BadNote { name: kind.name() })
    }
}

/// Text up to its zero byte.
fn text(kind: NoteType, value: &[u8]) -> Result<&str, BuildError> {
    core::str::from_utf8(value)
        .map(|text| text.trim_end_matches('\0'))
        .map_err(|_| BuildError::BadNote { name: kind.name() })
}
