//! Why a system call was refused, by the numbers that Linux gives them.

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum Error {
    /// No such child.
    NoChild = 10,
    /// No memory: the process or its guest has used up what it may have.
    NoMemory = 12,
    /// An address that the process may not use so.
    Fault = 14,
    /// An argument that means nothing.
    Invalid = 22,
    /// No system call has this number.
    NoCall = 38,
}

/// All of them.
const ALL: [Error; 5] = [Error::NoChild, Error::NoMemory, Error::Fault, Error::Invalid, Error::NoCall];

impl Error {
    /// As a result.
    #[must_use]
    pub const fn to_result(self) -> u64 {
        (self as i64).wrapping_neg() as u64
    }

    /// What a result says.
    ///
    /// # Errors
    /// The refusal; one that has no name here is [`Error::Invalid`].
    pub fn from_result(result: u64) -> Result<u64, Self> {
        match (result as i64).checked_neg() {
            Some(code @ 1..4096) => {
                Err(ALL.into_iter().find(|error| *error as i64 == code).unwrap_or(Self::Invalid))
            }
            _ => Ok(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_results() {
        for error in ALL {
            assert_eq!(Error::from_result(error.to_result()), Err(error));
        }
        for result in [0, 1, 1 << 40, u64::MAX - 4095, 1 << 63] {
            assert_eq!(Error::from_result(result), Ok(result));
        }
    }
}
