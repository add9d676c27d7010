//! The ELF notes by which this image says how it wants to be built and started.
//! Those of each image are one assembly block, in which a note is as long as its text.

use core::arch::global_asm;

pub use hypercall_abi::device::DeviceKind;
use hypercall_abi::elf_note::{DENIZEN_NAME, DenizenNote, NoteType};

/// The note of an image with back ends; [`crate::back_ends`] puts it into the image. It is a value, since which kinds there are is
/// said elsewhere; what pads it stands in its own bytes, so that another note may follow it.
#[repr(C, align(4))]
#[derive(Debug)]
pub struct BackEnds<const KINDS: usize> {
    name_bytes: u32,
    kinds_bytes: u32,
    number: u32,
    name: [u8; DENIZEN_NAME.len()],
    kinds: [u8; KINDS],
}

impl<const KINDS: usize> BackEnds<KINDS> {
    /// For these kinds.
    #[must_use]
    pub const fn new(kinds: [DeviceKind; KINDS]) -> Self {
        let mut name = [0; DENIZEN_NAME.len()];
        name.copy_from_slice(DENIZEN_NAME);
        let mut numbers = [0; KINDS];
        let mut at = 0;
        while at < KINDS {
            numbers[at] = kinds[at].raw() as u8;
            at += 1;
        }
        Self {
            name_bytes: DENIZEN_NAME.len() as u32,
            kinds_bytes: KINDS as u32,
            number: DenizenNote::BackEnds.raw(),
            name,
            kinds: numbers,
        }
    }
}

global_asm!(
    r#"
    .macro NOTE_TEXT type, text:vararg
    .balign 4
    .long 4, 2f - 1f, \type
    .asciz "Xen"
1:  .asciz \text
2:  .balign 4
    .endm
    .macro NOTE_NUMBER type, value:vararg
    .balign 4
    .long 4, 8, \type
    .asciz "Xen"
    .quad \value
    .endm

    .pushsection .note.Xen, "a", @note
    NOTE_TEXT {guest_os}, "denizen"
    NOTE_TEXT {guest_version}, "0.1"
    NOTE_TEXT {loader}, "generic"
    NOTE_TEXT {xen_version}, "xen-3.0"
    NOTE_NUMBER {virt_base}, VIRT_BASE
    NOTE_NUMBER {paddr_offset}, 0
    NOTE_NUMBER {entry}, guest_entry
    NOTE_NUMBER {hypercall_page}, guest_hypercall_page
    NOTE_TEXT {features}, "!writable_page_tables|pae_pgdir_above_4gb"
    NOTE_TEXT {pae_mode}, "yes"
    NOTE_NUMBER {hv_start_low}, {hypervisor_start}
    .balign 4
    .long 8, 0, {share_read_only}
    .asciz "Denizen"
    .popsection
    "#,
    guest_os = const NoteType::GuestOs.raw(),
    guest_version = const NoteType::GuestVersion.raw(),
    loader = const NoteType::Loader.raw(),
    xen_version = const NoteType::XenVersion.raw(),
    virt_base = const NoteType::VirtBase.raw(),
    paddr_offset = const NoteType::PaddrOffset.raw(),
    entry = const NoteType::Entry.raw(),
    hypercall_page = const NoteType::HypercallPage.raw(),
    features = const NoteType::Features.raw(),
    pae_mode = const NoteType::PaeMode.raw(),
    hv_start_low = const NoteType::HvStartLow.raw(),
    share_read_only = const DenizenNote::ShareReadOnly.raw(),
    hypervisor_start = const hypercall_abi::layout::HYPERVISOR_START,
);
