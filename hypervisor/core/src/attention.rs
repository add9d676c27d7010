//! What keeps a hypercall from the short way: one word that says whether anything is out of the ordinary.
//! It exists so that the hottest path tests one thing where it would otherwise test four.

use bitflags::bitflags;

bitflags! {
    /// Reasons to take the long way.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Attention: u32 {
        /// Records are written.
        const TRACE = 1 << 0;
        /// Deaths or births are under way.
        const LIFE = 1 << 1;
        /// Who runs must be decided anew.
        const PICK = 1 << 2;
        /// The domain that has the processor is in user mode.
        const USER = 1 << 3;
        /// Hypercalls are timed.
        const TIMED = 1 << 4;
    }
}

impl Attention {
    /// What must be seen to before a return, whoever runs.
    pub(crate) const RETURN: Self = Self::LIFE.union(Self::PICK);
}
