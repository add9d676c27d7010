//! The ways into the core, as the machine goes them, and what comes back, as words.
//! It exists so that who writes a log and who plays it make the same words of the same answers.

use hypercall_abi::DomId;

use crate::dispatch::Begun;
use crate::machine::PciAddress;
use crate::world::{Next, Short};

/// A method of the world that the machine calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Entry {
    AddFunction = 1,
    CreateDomains = 2,
    BeginHypercall = 3,
    Send = 4,
    ReturnFromHandler = 5,
    ReturnToProcess = 6,
    CallOfProcess = 7,
    PageFault = 8,
    PageFaultOfProcess = 9,
    PageFaultInRing1 = 10,
    FinishHypercall = 11,
    SystemCall = 12,
    IsQuiet = 13,
    Exception = 14,
    TimerInterrupt = 15,
    DeviceInterrupt = 16,
    SerialInput = 17,
    BeforeReturn = 18,
    RecordedHypercall = 19,
    RecordedPageFault = 20,
}

impl Entry {
    const ALL: [Self; 20] = [
        Self::AddFunction,
        Self::CreateDomains,
        Self::BeginHypercall,
        Self::Send,
        Self::ReturnFromHandler,
        Self::ReturnToProcess,
        Self::CallOfProcess,
        Self::PageFault,
        Self::PageFaultOfProcess,
        Self::PageFaultInRing1,
        Self::FinishHypercall,
        Self::SystemCall,
        Self::IsQuiet,
        Self::Exception,
        Self::TimerInterrupt,
        Self::DeviceInterrupt,
        Self::SerialInput,
        Self::BeforeReturn,
        Self::RecordedHypercall,
        Self::RecordedPageFault,
    ];

    /// The number in a log.
    #[expect(clippy::as_conversions, reason = "an enum of bytes")]
    pub(super) const fn raw(self) -> u8 {
        self as u8
    }

    /// The entry with this number.
    pub(super) fn from_raw(raw: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|entry| u64::from(entry.raw()) == raw)
    }

    /// Whether the core gets the registers, and changes them.
    pub(super) const fn has_registers(self) -> bool {
        match self {
            Self::BeginHypercall
            | Self::Send
            | Self::ReturnFromHandler
            | Self::ReturnToProcess
            | Self::CallOfProcess
            | Self::PageFault
            | Self::PageFaultOfProcess
            | Self::PageFaultInRing1
            | Self::FinishHypercall
            | Self::SystemCall
            | Self::Exception
            | Self::BeforeReturn
            | Self::RecordedHypercall
            | Self::RecordedPageFault => true,
            Self::AddFunction
            | Self::CreateDomains
            | Self::IsQuiet
            | Self::TimerInterrupt
            | Self::DeviceInterrupt
            | Self::SerialInput => false,
        }
    }
}

/// An answer.
pub(super) type Answer = [u64; 2];

/// Nothing to answer.
pub(super) const NOTHING: Answer = [0; 2];

pub(super) fn of_bool(yes: bool) -> Answer {
    [u64::from(yes), 0]
}

/// A domain's number above 0, or 0 for none.
pub(super) fn of_domain(id: Option<DomId>) -> u64 {
    id.map_or(0, |id| u64::from(id.0).saturating_add(1))
}

pub(super) fn domain(word: u64) -> Option<DomId> {
    u16::try_from(word.checked_sub(1)?).ok().map(DomId)
}

pub(super) fn of_begun(begun: Begun) -> Answer {
    let (kind, caller) = match begun {
        Begun::Answered => (0, None),
        Begun::Counted(caller) => (1, Some(caller)),
        Begun::Send(caller) => (2, Some(caller)),
        Begun::Return(caller) => (3, Some(caller)),
        Begun::ReturnToProcess(caller) => (4, Some(caller)),
        Begun::Process(caller) => (5, Some(caller)),
        Begun::Odd => (6, None),
        Begun::Recorded(caller) => (7, Some(caller)),
    };
    [kind, of_domain(caller)]
}

pub(super) fn begun(kind: u64, caller: u64) -> Option<Begun> {
    Some(match (kind, domain(caller)) {
        (0, None) => Begun::Answered,
        (1, Some(caller)) => Begun::Counted(caller),
        (2, Some(caller)) => Begun::Send(caller),
        (3, Some(caller)) => Begun::Return(caller),
        (4, Some(caller)) => Begun::ReturnToProcess(caller),
        (5, Some(caller)) => Begun::Process(caller),
        (6, None) => Begun::Odd,
        (7, Some(caller)) => Begun::Recorded(caller),
        _ => return None,
    })
}

pub(super) fn of_short(short: Short) -> Answer {
    let word = match short {
        Short::No => 0,
        Short::Begun => 1,
        Short::Done => 2,
    };
    [word, 0]
}

pub(super) fn of_next(next: Next) -> Answer {
    match next {
        Next::Resume => NOTHING,
        Next::Switched { from, to } => [1 | (of_domain(Some(to)) << 8), of_domain(from)],
        Next::Idle { from } => [2, of_domain(from)],
    }
}

pub(super) fn of_place(place: PciAddress) -> u64 {
    u64::from(place.raw())
}

pub(super) fn place(word: u64) -> PciAddress {
    let [devfn, bus, low, high, ..] = word.to_le_bytes();
    PciAddress { segment: u16::from_le_bytes([low, high]), bus, devfn }
}
