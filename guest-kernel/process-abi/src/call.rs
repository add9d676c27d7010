//! The system calls.

/// A system call, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// Does nothing and answers 0: what it costs to call.
    Nothing = 0,
    /// `(status)`: ends the process. The lower 32 bits count.
    Exit = 1,
    /// `(address, bytes)`: writes text to the guest's console; the bytes written, at most a page's worth.
    Write = 2,
    /// Lets others run.
    Yield = 3,
    /// Makes a copy of the process: its number, and 0 in the copy.
    Fork = 4,
    /// `(bytes)`: makes the heap this much longer; its old end. 0 only asks.
    Grow = 5,
    /// `(pages)`: makes room for pages of zeros; their address.
    Map = 6,
    /// `(address, pages)`: gives pages back, of whatever kind.
    Unmap = 7,
    /// The process's own number.
    Number = 8,
    /// System time in ns.
    Clock = 9,
    /// `(ns)`: sleeps.
    Sleep = 10,
    /// `(number)`: waits until a child has ended; how, as [`crate::Exit::to_word`] says.
    Wait = 11,
    /// `(number)`: kills a child.
    Kill = 12,
    /// `(address)`: sets the base of FS.
    FsBase = 13,
    /// `(address)`: sets the base of GS.
    GsBase = 14,
}

/// All of them, by number.
pub const ALL: [Call; 15] = [
    Call::Nothing,
    Call::Exit,
    Call::Write,
    Call::Yield,
    Call::Fork,
    Call::Grow,
    Call::Map,
    Call::Unmap,
    Call::Number,
    Call::Clock,
    Call::Sleep,
    Call::Wait,
    Call::Kill,
    Call::FsBase,
    Call::GsBase,
];

impl Call {
    /// The call of this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        ALL.get(usize::try_from(number).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_found_by_its_number() {
        for (number, call) in (0..).zip(ALL) {
            assert_eq!(call as u64, number);
            assert_eq!(Call::from_number(number), Some(call));
        }
        assert_eq!(Call::from_number(ALL.len() as u64), None);
        assert_eq!(Call::from_number(u64::MAX), None);
    }
}
