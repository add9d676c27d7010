//! Why a domain could not be built, in words for the person who wrote its image or its scenario.
//! The offending value is carried along, because "invalid image" helps nobody.

use alloc::string::String;
use core::fmt;

/// Why a domain could not be built. The caller puts the image's path before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts of Display say what each means, with its fields")]
pub enum BuildError {
    NotElf { why: String },
    NotExecutable { kind: u16 },
    WrongMachine { machine: u16 },
    NoNotes,
    NoXenVersion,
    OtherAbi { wanted: String },
    OtherLoader { wanted: String },
    BadNote { name: &'static str },
    MissingFeature { name: String },
    OwnPhysicalList,
    NothingToLoad,
    TruncatedSegment { address: u64, bytes: u64 },
    SegmentOutside { address: u64, bytes: u64 },
    EntryOutside { address: u64 },
    HypercallPageOutside { address: u64 },
    UnalignedBase { address: u64 },
    OverlapsHypervisor { first: u64, last: u64 },
    WantsHypervisorElsewhere { lowest: u64 },
    CommandLineTooLong { bytes: usize },
    TooLittleMemory { needed_pages: u64, given_pages: u64 },
    NoMemory { wanted_pages: u64, free_pages: u64 },
    NotContiguous { wanted_pages: u64 },
    NoHeap,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf { why } => write!(f, "is no 64-bit little-endian ELF file ({why})"),
            Self::NotExecutable { kind } => {
                write!(f, "is no executable linked at fixed addresses (ELF type {kind}, wanted 2)")
            }
            Self::WrongMachine { machine } => {
                write!(f, "is for another processor (ELF machine {machine}, wanted 62, x86_64)")
            }
            Self::NoNotes => write!(f, "has no Xen ELF notes, so it is no paravirtual guest"),
            Self::NoXenVersion => write!(f, "has no XEN_VERSION note, so it is no paravirtual guest"),
            Self::OtherAbi { wanted } => write!(f, "asks for the interface '{wanted}', this is 'xen-3.0'"),
            Self::OtherLoader { wanted } => write!(f, "asks for the loader '{wanted}', this is 'generic'"),
            Self::BadNote { name } => write!(f, "has a damaged {name} note"),
            Self::MissingFeature { name } => write!(f, "needs the feature '{name}', which is not offered"),
            Self::OwnPhysicalList => {
                write!(
                    f,
                    "wants its list of frames at an address of its own (INIT_P2M), which is not offered"
                )
            }
            Self::NothingToLoad => write!(f, "has no segment to load"),
            Self::TruncatedSegment { address, bytes } => {
                write!(f, "is cut off: the segment at {address:#x} should have {bytes} bytes in the file")
            }
            Self::SegmentOutside { address, bytes } => {
                write!(
                    f,
                    "has a segment of {bytes} bytes at physical {address:#x}, below PADDR_OFFSET or too far up"
                )
            }
            Self::EntryOutside { address } => write!(f, "starts at {address:#x}, outside of itself"),
            Self::HypercallPageOutside { address } => {
                write!(f, "wants its hypercall page at {address:#x}, which is no page of its own")
            }
            Self::UnalignedBase { address } => write!(f, "has VIRT_BASE {address:#x}, which starts no page"),
            Self::OverlapsHypervisor { first, last } => write!(
                f,
                "would lie from {first:#x} to {last:#x}, which overlaps the hypervisor's range or leaves the address space"
            ),
            Self::WantsHypervisorElsewhere { lowest } => {
                write!(
                    f,
                    "keeps addresses below {lowest:#x} for itself, but the hypervisor's range begins lower"
                )
            }
            Self::CommandLineTooLong { bytes } => {
                write!(f, "is given a command line of {bytes} bytes, at most 1023 are possible")
            }
            Self::TooLittleMemory { needed_pages, given_pages } => write!(
                f,
                "needs at least {} KiB of memory and is given {} KiB",
                needed_pages.saturating_mul(4),
                given_pages.saturating_mul(4)
            ),
            Self::NoMemory { wanted_pages, free_pages } => write!(
                f,
                "is to have {} KiB of memory, of which {} KiB are free",
                wanted_pages.saturating_mul(4),
                free_pages.saturating_mul(4)
            ),
            Self::NotContiguous { wanted_pages } => write!(
                f,
                "has a device and needs {} KiB of contiguous memory, which are not free in one piece",
                wanted_pages.saturating_mul(4)
            ),
            Self::NoHeap => write!(f, "does not fit into the hypervisor's own memory"),
        }
    }
}
