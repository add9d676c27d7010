//! What a hypercall asked for, by name: the call, and its sub-operation where it has some.
//! The list is taken from the ABI, so that a new operation is missed in the coverage until somebody asks for it.

use core::fmt;

use hypercall_abi::Hypercall;
use hypercall_abi::console::ConsoleOp;
use hypercall_abi::describe::Constant;
use hypercall_abi::event_channel::EventChannelOp;
use hypercall_abi::extension::ExtensionOp;
use hypercall_abi::grant_table::GrantTableOp;
use hypercall_abi::memory::MemoryOp;
use hypercall_abi::mmu::{MmuextOp, UpdateKind};
use hypercall_abi::physdev::PhysdevOp;
use hypercall_abi::sched::SchedOp;
use hypercall_abi::trap::{CallbackOp, SegmentBase};
use hypercall_abi::vcpu::VcpuOp;
use hypercall_abi::version::VersionOp;

const fn members(call: Hypercall) -> &'static [Constant] {
    match call {
        Hypercall::MmuUpdate => UpdateKind::NUMBERS.members,
        Hypercall::MmuextOp => MmuextOp::NUMBERS.members,
        Hypercall::MemoryOp => MemoryOp::NUMBERS.members,
        Hypercall::XenVersion => VersionOp::NUMBERS.members,
        Hypercall::ConsoleIo => ConsoleOp::NUMBERS.members,
        Hypercall::GrantTableOp => GrantTableOp::NUMBERS.members,
        Hypercall::VcpuOp => VcpuOp::NUMBERS.members,
        Hypercall::SetSegmentBase => SegmentBase::NUMBERS.members,
        Hypercall::SchedOp => SchedOp::NUMBERS.members,
        Hypercall::CallbackOp => CallbackOp::NUMBERS.members,
        Hypercall::EventChannelOp => EventChannelOp::NUMBERS.members,
        Hypercall::PhysdevOp => PhysdevOp::NUMBERS.members,
        Hypercall::Extension => ExtensionOp::NUMBERS.members,
        _ => &[],
    }
}

/// Places of a call in the list: its sub-operations and one for those that do not exist, or itself alone.
const fn places(call: Hypercall) -> usize {
    let count = members(call).len();
    if count == 0 { 1 } else { count + 1 }
}

const fn place_of(call: usize) -> usize {
    let (mut index, mut place) = (0, 0);
    while index < call {
        place += places(Hypercall::ALL[index]);
        index += 1;
    }
    place
}

/// Name of what does not exist.
const UNKNOWN: &str = "Unknown";

/// A hypercall with its sub-operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    call: Option<usize>,
    member: Option<usize>,
}

impl Operation {
    /// How many there are.
    pub const COUNT: usize = place_of(Hypercall::ALL.len()) + 1;

    /// What a hypercall asks: by its number, and by the word that holds its sub-operation.
    #[must_use]
    pub fn of(number: u64, selector: u64) -> Self {
        let known = u32::try_from(number).ok().and_then(Hypercall::from_raw);
        let call = known.and_then(|known| Hypercall::ALL.iter().position(|&call| call == known));
        let member =
            known.and_then(|call| members(call).iter().position(|member| member.value as u64 == selector));
        Self { call, member }
    }

    /// Each of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let calls = Hypercall::ALL.iter().enumerate().flat_map(|(index, &call)| {
            let count = members(call).len();
            let known = (0..count).map(move |member| Self { call: Some(index), member: Some(member) });
            known.chain(core::iter::once(Self { call: Some(index), member: None }))
        });
        calls.chain(core::iter::once(Self { call: None, member: None }))
    }

    /// The hypercall; none for a number that has none.
    #[must_use]
    pub fn call(self) -> Option<Hypercall> {
        self.call.map(|index| Hypercall::ALL[index])
    }

    /// Whether it is written so.
    #[must_use]
    pub fn is_named(self, name: &str) -> bool {
        let mut rest = name;
        // Compared piece by piece, since a guest has better to do than to make strings.
        let mut piece = |text: &str| rest.strip_prefix(text).map(|left| rest = left).is_some();
        let Some(call) = self.call() else { return name == UNKNOWN };
        let member = match self.member {
            Some(member) => members(call)[member].name,
            None if members(call).is_empty() => return name == call.name(),
            None => UNKNOWN,
        };
        piece(call.name()) && piece(".") && rest == member
    }

    /// Whether call and sub-operation exist.
    #[must_use]
    pub fn exists(self) -> bool {
        self.call().is_some_and(|call| self.member.is_some() || members(call).is_empty())
    }

    /// Place in the list of all.
    #[must_use]
    pub fn place(self) -> usize {
        match self.call {
            None => Self::COUNT - 1,
            Some(call) => {
                let count = members(Hypercall::ALL[call]).len();
                place_of(call) + self.member.unwrap_or(count)
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(call) = self.call() else { return f.write_str(UNKNOWN) };
        f.write_str(call.name())?;
        match self.member {
            Some(member) => write!(f, ".{}", members(call)[member].name),
            None if members(call).is_empty() => Ok(()),
            None => write!(f, ".{UNKNOWN}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_own_place_and_name() {
        let all: Vec<_> = Operation::all().collect();
        assert_eq!(all.len(), Operation::COUNT);
        for (place, operation) in all.iter().enumerate() {
            assert_eq!(operation.place(), place, "{operation}");
        }
        let mut names: Vec<_> = all.iter().map(ToString::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Operation::COUNT);
    }

    #[test]
    fn a_call_is_known_by_number_and_selector() {
        let send = Operation::of(32, EventChannelOp::Send.raw().into());
        assert_eq!(send.to_string(), "EventChannelOp.Send");
        assert!(send.exists());
        assert_eq!(Operation::of(32, 99).to_string(), "EventChannelOp.Unknown");
        assert_eq!(Operation::of(15, 99).to_string(), "SetTimerOp");
        assert_eq!(Operation::of(u64::MAX, 0).to_string(), "Unknown");
    }
}
