//! What became of an instruction, in the words of `docs/SENSITIVE.md`.

use core::fmt;

use super::probe::Fault;

/// What there is to say of an instruction that was executed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shown {
    /// Nothing.
    Ran,
    /// What it returned.
    Value,
    /// What it returned, or that it refused, which is 0.
    Answer,
}

/// What became of an instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Fault(Fault),
    Ran,
    Refused,
    Value(u64),
}

/// The outcome of an instruction that ended so.
pub(crate) fn of(end: Result<u64, Fault>, shown: Shown) -> Outcome {
    match (end, shown) {
        (Err(fault), _) => Outcome::Fault(fault),
        (Ok(_), Shown::Ran) => Outcome::Ran,
        (Ok(0), Shown::Answer) => Outcome::Refused,
        (Ok(value), _) => Outcome::Value(value),
    }
}

/// Names of the exceptions, and whether they have an error code.
const NAMES: [(&str, bool); 20] = [
    ("#DE", false),
    ("#DB", false),
    ("NMI", false),
    ("#BP", false),
    ("#OF", false),
    ("#BR", false),
    ("#UD", false),
    ("#NM", false),
    ("#DF", true),
    ("9", false),
    ("#TS", true),
    ("#NP", true),
    ("#SS", true),
    ("#GP", true),
    ("#PF", true),
    ("15", false),
    ("#MF", false),
    ("#AC", true),
    ("#MC", false),
    ("#XM", false),
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ran => f.write_str("runs"),
            Self::Refused => f.write_str("refuses"),
            Self::Value(value) => write!(f, "{value:#x}"),
            Self::Fault(Fault { vector, error }) => match NAMES.get(vector as usize) {
                Some((name, true)) => write!(f, "{name}({error:#x})"),
                Some((name, false)) => f.write_str(name),
                None => write!(f, "vector {vector}"),
            },
        }
    }
}
