//! Which answers a hostile domain can get at all, and why it can never get the others.
//! It exists so that a coverage is complete or names what it lacks, and so that "cannot happen" is written down and tested.

use core::fmt;

use hypercall_abi::grant_table::GrantStatus;
use hypercall_abi::{Errno, Hypercall};

use crate::Operation;

/// An answer that may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An operation that is carried out.
    Accepted(Operation),
    /// An operation that is refused.
    Refused(Operation),
    /// A call refused with this error.
    Errno(Errno),
    /// A grant operation that failed so.
    Status(GrantStatus),
}

/// Operations that are never accepted.
const NEVER_ACCEPTED: &[(&str, &str)] = &[
    ("CallbackOp.Unregister", "the callbacks that are delivered stay"),
    ("EventChannelOp.BindPirq", "it needs a device of one's own"),
    ("Extension.Charge", "it needs a domain that one serves"),
    ("Extension.Control", "only a domain with control rules"),
    ("Extension.PciConfig", "it needs a device of one's own"),
    ("Iret", "it returns elsewhere and answers nothing"),
    ("MmuextOp.FlushCache", "it needs a device of one's own"),
    ("PhysdevOp.Eoi", "it needs a device of one's own"),
    ("PhysdevOp.MapPirq", "it needs a device of one's own"),
    ("PhysdevOp.UnmapPirq", "it needs a device of one's own"),
    ("SchedOp.Shutdown", "whoever is answered still lives"),
    ("UpdateDescriptor", "no frame is ever a descriptor table"),
];

/// Operations that are never refused.
const NEVER_REFUSED: &[(&str, &str)] = &[
    ("ConsoleIo.Read", "there is nothing to read, for anybody"),
    ("Extension.IdleUntil", "every number is a time"),
    ("Extension.TraceEmit", "any words may stand in a trace"),
    ("Extension.TraceFlush", "what makes no record is passed over"),
    ("Extension.Version", "it has no arguments"),
    ("FpuTaskswitch", "every number is a flag"),
    ("Iret", "a bad frame ends the domain"),
    ("MemoryOp.MaximumRamPage", "it has no arguments"),
    ("SchedOp.Block", "it has no arguments"),
    ("SchedOp.Yield", "it has no arguments"),
    ("SetTimerOp", "every number is a time"),
    ("XenVersion.PageSize", "it has no arguments"),
    ("XenVersion.Version", "it has no arguments"),
];

/// Errors that the interface numbers and this hypervisor never returns.
const ERRNOS_UNUSED: &[(Errno, &str)] = &[
    (Errno::Intr, "no call is interrupted: one that has more to do says Again"),
    (Errno::Io, "the hypervisor does no input or output for a guest"),
    (Errno::Nxio, "a device that is missing is NoDev"),
    (Errno::Range, "a number out of range is Inval"),
    (Errno::IsConn, "there are no connections but ports, and a taken port is Inval"),
    (Errno::NotConn, "there are no connections but ports, and a free port is Inval"),
];

/// Errors that it returns, but not here.
const ERRNOS_ELSEWHERE: &[(Errno, &str)] =
    &[(Errno::NoMem, "the hypervisor's heap has room for the records of all domains that its memory holds")];

/// Statuses of grant operations that the interface numbers and this hypervisor never returns.
const STATUSES_UNUSED: &[(GrantStatus, &str)] = &[
    (GrantStatus::BadDevAddr, "mappings for devices alone are a GeneralError"),
    (GrantStatus::AddressTooBig, "each frame's number fits"),
];

/// Statuses that it returns, but not here.
const STATUSES_ELSEWHERE: &[(GrantStatus, &str)] =
    &[(GrantStatus::Again, "one processor runs guests, so no entry changes while it is judged")];

impl Reach {
    /// Each answer that there is a name for.
    pub fn all() -> impl Iterator<Item = Self> {
        let errnos = Errno::ALL.iter().map(|&errno| Self::Errno(errno));
        let statuses = GrantStatus::ALL.iter().filter(|&&status| status != GrantStatus::Okay);
        Operation::all()
            .map(Self::Accepted)
            .chain(Operation::all().map(Self::Refused))
            .chain(errnos)
            .chain(statuses.map(|&status| Self::Status(status)))
    }

    /// Why it never comes; `None` if it must.
    #[must_use]
    pub fn never(self) -> Option<&'static str> {
        match self {
            Self::Accepted(operation) if is_batch(operation) => None,
            Self::Accepted(operation) if !operation.exists() => Some("what does not exist is not done"),
            Self::Accepted(operation) => named(NEVER_ACCEPTED, operation),
            Self::Refused(operation) => named(NEVER_REFUSED, operation),
            Self::Errno(errno) => listed(&[ERRNOS_UNUSED, ERRNOS_ELSEWHERE], errno),
            Self::Status(status) => listed(&[STATUSES_UNUSED, STATUSES_ELSEWHERE], status),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(operation) => write!(f, "accepted {operation}"),
            Self::Refused(operation) => write!(f, "refused {operation}"),
            Self::Errno(errno) => write!(f, "errnos {}", errno.name()),
            Self::Status(status) => write!(f, "statuses {}", status.name()),
        }
    }
}

/// Whether it stands for a batch whose first request is unknown, which there need not be: a batch of none is carried out.
fn is_batch(operation: Operation) -> bool {
    matches!(operation.call(), Some(Hypercall::MmuUpdate | Hypercall::MmuextOp)) && !operation.exists()
}

fn named(list: &[(&str, &'static str)], operation: Operation) -> Option<&'static str> {
    list.iter().find(|(name, _)| operation.is_named(name)).map(|(_, why)| *why)
}

fn listed<T: Copy + PartialEq>(lists: &[&[(T, &'static str)]], wanted: T) -> Option<&'static str> {
    lists.iter().copied().flatten().find(|(listed, _)| *listed == wanted).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_is_named_as_the_interface_names_it_and_once() {
        for list in [NEVER_ACCEPTED, NEVER_REFUSED] {
            for (name, _) in list {
                let named = Operation::all().filter(|operation| operation.is_named(name)).count();
                assert_eq!(named, 1, "{name}");
                assert_eq!(list.iter().filter(|(other, _)| other == name).count(), 1, "{name}");
            }
        }
    }

    #[test]
    fn most_answers_must_come() {
        let due = Reach::all().filter(|reach| reach.never().is_none()).count();
        assert!(due > 170, "{due} of {}", Reach::all().count());
    }

    /// The hypervisor's source itself, since a run can only fail to show an error.
    #[test]
    fn errors_that_are_never_returned_are_nowhere_in_the_core() {
        let mut sources =
            vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../hypervisor/core/src")];
        let mut text = String::new();
        while let Some(path) = sources.pop() {
            if path.is_dir() {
                sources.extend(std::fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
            } else {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
        let names = |prefix: &str, name: &str| {
            let word = format!("{prefix}{name}");
            text.match_indices(&word).any(|(at, _)| {
                !text[at + word.len()..].starts_with(|letter: char| letter.is_ascii_alphanumeric())
            })
        };
        assert!(names("Errno::", "Inval"));
        for (errno, _) in ERRNOS_UNUSED {
            assert!(!names("Errno::", errno.name()), "{errno:?} is returned somewhere");
        }
        for (status, _) in STATUSES_UNUSED {
            assert!(!names("GrantStatus::", status.name()), "{status:?} is returned somewhere");
        }
    }
}
