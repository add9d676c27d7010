//! How a process ended, in one word for those that wait for it.

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with a status.
    Status(u32),
    /// Killed for an exception that was its own fault.
    Fault {
        /// Number of the exception.
        vector: u8,
        /// Where it happened.
        rip: u64,
        /// For a page fault: the address that was used.
        address: u64,
    },
    /// Killed because it needed more memory than it may have, or than there is.
    Memory,
    /// Killed because it ran longer than it may.
    Time,
    /// Killed by its parent, or with it.
    Killed,
}

impl Exit {
    /// In one word: what kind in the upper half, the status or the exception in the lower.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let (kind, detail) = match self {
            Self::Status(status) => (0, status),
            Self::Fault { vector, .. } => (1, vector as u32),
            Self::Memory => (2, 0),
            Self::Time => (3, 0),
            Self::Killed => (4, 0),
        };
        ((kind as u64) << 32) | detail as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ends_share_a_word() {
        let ends = [
            Exit::Status(0),
            Exit::Status(14),
            Exit::Status(u32::MAX),
            Exit::Fault { vector: 14, rip: 1, address: 2 },
            Exit::Fault { vector: 13, rip: 1, address: 2 },
            Exit::Memory,
            Exit::Time,
            Exit::Killed,
        ];
        let words: Vec<u64> = ends.iter().map(|end| end.to_word()).collect();
        for (index, word) in words.iter().enumerate() {
            assert!(!words[..index].contains(word), "{word:#x}");
        }
    }

    extern crate std;
    use std::vec::Vec;
}
