//! The ring of a guest's kernel: 3 as on 64-bit Xen, or 1, which paging counts as supervisor.
//! The two differ in what a page-table entry is made to say, in the selectors of the kernel, and in how kernel and user
//! mode are told apart; everything else is alike.

use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA};
use hypercall_abi::mmu::pte;

/// 64-bit code of a kernel in ring 1.
pub const RING1_CODE: u16 = 0xe019;
/// Data of a kernel in ring 1.
pub const RING1_DATA: u16 = 0xe051;
/// The vector through which a kernel in ring 1 makes its hypercalls. Its processes may not use it.
pub const HYPERCALL_VECTOR: u8 = 0x82;
/// The vector that a kernel in ring 1 can have its processes enter it by, without the hypervisor.
pub const SYSTEM_CALL_VECTOR: u8 = 0x80;

/// Where a guest's kernel runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ring {
    /// In ring 1, its processes in ring 3: the processor keeps them apart.
    One,
    /// In ring 3 like its processes: two roots keep them apart.
    #[default]
    Three,
}

/// What code and stack segment hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selectors {
    /// CS.
    pub code: u64,
    /// SS.
    pub stack: u64,
}

/// Selectors as they lie in a frame.
const fn selectors(code: u16, stack: u16) -> Selectors {
    #[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
    let selectors = Selectors { code: code as u64, stack: stack as u64 };
    selectors
}

impl Ring {
    /// The ring of this number, if a guest's kernel can run there.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            3 => Some(Self::Three),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }

    /// Selectors of a kernel.
    #[must_use]
    #[inline]
    pub const fn kernel(self) -> Selectors {
        match self {
            Self::One => selectors(RING1_CODE, RING1_DATA),
            Self::Three => Self::USER,
        }
    }

    /// Selectors of a process.
    pub const USER: Selectors = selectors(GUEST_CODE, GUEST_DATA);

    /// What is added to each page-table entry. In ring 3 a kernel could not use its own memory without.
    #[must_use]
    pub const fn forced(self) -> u64 {
        match self {
            Self::One => 0,
            Self::Three => pte::USER,
        }
    }
}
