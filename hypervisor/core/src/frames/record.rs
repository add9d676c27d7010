//! What is known of one machine frame, in sixteen bytes.
//! It is packed because there is one for each frame of the machine, used or not.

use hypercall_abi::DomId;

/// Level of a page table: 1 maps pages, 4 is a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Maps pages.
    L1,
    /// Refers to level 1 tables.
    L2,
    /// Refers to level 2 tables.
    L3,
    /// Root: refers to level 3 tables.
    L4,
}

impl Level {
    /// The level of the tables that this level's entries refer to; level 1 has none.
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }
}

/// What a frame is being used as. It can change only while nothing uses it as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// Nothing in particular: mapped for reading at most.
    None,
    /// Mapped for writing.
    Writable,
    /// A validated page table.
    Table(Level),
    /// Part of an image that domains share: mapped for reading alone, for as long as it exists.
    Image,
}

/// Whether a frame is memory at all, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No RAM, or RAM that the hypervisor keeps for itself.
    Absent,
    /// In the free lists.
    Free,
    /// A domain's.
    Allocated,
}

/// Type and type count in one word: type in bits 0 to 2, flags in bits 3 to 7, count above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Typing(u32);

/// Set in [`Typing`]: a pin of the owner holds one of the type's uses.
pub(crate) const PINNED: u32 = 1 << 3;
/// Set in [`Typing`]: the table's last use has gone, its entries are still being released.
pub(crate) const DEMOTING: u32 = 1 << 4;
/// Set in [`Typing`]: the hypervisor writes here too (shared page, grant table) and holds a use as writable.
pub(crate) const SHARED: u32 = 1 << 5;
/// Set in [`Typing`]: the owner's own reference, from allocation to the owner's death.
pub(crate) const HELD: u32 = 1 << 6;

const KIND: u32 = 7;
/// Bits of the type of which each has one that nobody may write: tables and images. No other's has any.
const UNWRITABLE: u32 = 6;
const FLAGS: u32 = 0xf8;
const ONE: u32 = 1 << 8;
/// More uses of one frame than this are refused; far below what the count can hold.
pub(crate) const TYPE_COUNT_MAX: u32 = 1 << 22;
/// More references to one frame than this are refused.
pub(crate) const REFS_MAX: u32 = 1 << 30;

const fn kind_bits(kind: FrameType) -> u32 {
    match kind {
        FrameType::None => 0,
        FrameType::Writable => 1,
        FrameType::Table(Level::L1) => 2,
        FrameType::Table(Level::L2) => 3,
        FrameType::Table(Level::L3) => 4,
        FrameType::Table(Level::L4) => 5,
        FrameType::Image => 6,
    }
}

impl Typing {
    /// The type, which means something only while the count is not 0 or the table is being released.
    pub(crate) const fn kind(self) -> FrameType {
        match self.0 & KIND {
            1 => FrameType::Writable,
            2 => FrameType::Table(Level::L1),
            3 => FrameType::Table(Level::L2),
            4 => FrameType::Table(Level::L3),
            5 => FrameType::Table(Level::L4),
            6 => FrameType::Image,
            _ => FrameType::None,
        }
    }

    /// Whether the type is `kind` and in use as such.
    pub(crate) const fn is_in_use_as(self, kind: FrameType) -> bool {
        self.0 >= ONE && self.0 & KIND == kind_bits(kind)
    }

    /// With one use more as writable; `None` if it is a table or an image's, or has its most. A frame has a table's type
    /// only while it is one or is being released.
    #[inline]
    pub(crate) const fn used_as_writable(self) -> Option<Self> {
        if self.0 & UNWRITABLE != 0 || self.count() >= TYPE_COUNT_MAX {
            None
        } else {
            Some(Self((self.0 & !KIND | kind_bits(FrameType::Writable)).wrapping_add(ONE)))
        }
    }

    /// Whether it is a table, or being released as one, or an image's.
    #[inline]
    pub(crate) const fn is_unwritable(self) -> bool {
        self.0 & UNWRITABLE != 0
    }

    /// Uses as this type.
    pub(crate) const fn count(self) -> u32 {
        self.0 >> 8
    }

    /// Whether a flag is set.
    pub(crate) const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// With a flag set.
    pub(crate) const fn with(self, flag: u32) -> Self {
        Self(self.0 | (flag & FLAGS))
    }

    /// With a flag cleared.
    pub(crate) const fn without(self, flag: u32) -> Self {
        Self(self.0 & !(flag & FLAGS))
    }

    /// Another type and count under the same flags.
    pub(crate) const fn retyped(self, kind: FrameType, count: u32) -> Self {
        Self((self.0 & FLAGS) | kind_bits(kind) | (count << 8))
    }

    /// One use more; the caller has compared the count with [`TYPE_COUNT_MAX`].
    pub(crate) const fn one_more(self) -> Self {
        Self(self.0.wrapping_add(ONE))
    }

    /// One use less, unless there is none.
    pub(crate) const fn one_less(self) -> Self {
        if self.0 >= ONE { Self(self.0.wrapping_sub(ONE)) } else { self }
    }
}

/// A link of a list of frames that leads nowhere.
pub(crate) const NO_LINK: u32 = u32::MAX;

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Allocated: references. Free: the previous block of the free list.
    pub(crate) refs: u32,
    /// Allocated: what it is used as.
    pub(crate) typing: Typing,
    /// Free: the next block of the free list. Allocated: the next table to release.
    pub(crate) link: u32,
    /// Allocated: whose. Otherwise [`DomId::INVALID`], so that a frame of an ordinary domain is allocated.
    pub(crate) owner: DomId,
    /// What it is.
    pub(crate) state: State,
    /// Free and first of its block: log2 of the block's frames. Otherwise [`NOT_A_HEAD`].
    pub(crate) order: u8,
}

/// In [`Record::order`]: not the first frame of a free block.
pub(crate) const NOT_A_HEAD: u8 = u8::MAX;

const _: () = assert!(size_of::<Record>() == 16, "sixteen bytes a frame");

impl Record {
    /// A frame that is no memory of ours.
    pub(crate) const ABSENT: Self = Self {
        refs: 0,
        typing: Typing(0),
        link: NO_LINK,
        owner: DomId::INVALID,
        state: State::Absent,
        order: NOT_A_HEAD,
    };
}

#[cfg(any(test, feature = "replay"))]
impl Record {
    /// All of it in two words.
    pub(crate) fn words(&self) -> [u64; 2] {
        let Self { refs, typing, link, owner, state, order } = *self;
        let state = match state {
            State::Absent => 0_u64,
            State::Free => 1,
            State::Allocated => 2,
        };
        let rest = (u64::from(owner.0) << 16) | (u64::from(order) << 8) | state;
        [(u64::from(refs) << 32) | u64::from(typing.0), (u64::from(link) << 32) | rest]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_flags_and_count_do_not_disturb_each_other() {
        let typing = Typing::default().retyped(FrameType::Table(Level::L3), 5).with(PINNED).with(HELD);
        assert_eq!(typing.kind(), FrameType::Table(Level::L3));
        assert_eq!(typing.count(), 5);
        assert_eq!(typing.one_more().count(), 6);
        assert!(typing.without(PINNED).has(HELD) && !typing.without(PINNED).has(PINNED));
        let empty = typing.retyped(FrameType::Writable, 0);
        assert_eq!(empty.one_less(), empty);
        assert!(!empty.is_in_use_as(FrameType::Writable));
    }
}
