//! What front ends did that ended their connections, counted, and told seldom enough that nobody fills a log with it.

use hypercall_abi::device::BlockError;

use super::vbd::VbdId;

/// A front end's connections that ended for what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Whose.
    pub vbd: VbdId,
    /// Why the last one ended.
    pub reason: BlockError,
    /// How many there were at that place, whoever was there: a power of two.
    pub times: u64,
}

/// What is counted of one front end's place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offences {
    times: u64,
    due: Option<BlockError>,
}

impl Offences {
    /// Counts one; true when it is to be told.
    pub(super) fn note(&mut self, reason: BlockError) -> bool {
        self.times = self.times.saturating_add(1);
        let due = self.times.is_power_of_two();
        if due {
            self.due = Some(reason);
        }
        due
    }

    /// What is to be told, once.
    pub(super) fn take(&mut self, vbd: VbdId) -> Option<Offence> {
        let reason = self.due.take()?;
        // More may have happened since.
        Some(Offence { vbd, reason, times: 1 << self.times.max(1).ilog2() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_offences_are_told_twenty_times() {
        let mut offences = Offences::default();
        let told = (0..1_000_000).filter(|_| offences.note(BlockError::Overrun)).count();
        assert_eq!(told, 20);
        let last = offences.take(VbdId(3));
        assert_eq!(last, Some(Offence { vbd: VbdId(3), reason: BlockError::Overrun, times: 1 << 19 }));
        assert_eq!(offences.take(VbdId(3)), None, "once");
    }
}
