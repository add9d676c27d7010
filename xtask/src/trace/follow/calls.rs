//! A domain's hypercall that is under way.

use hypercall_abi::DomId;

use super::facts::Call;

/// The call under way, and its part if it is a multicall.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    whole: Option<Open>,
    part: Option<(u8, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    number: u8,
    begun: u64,
    /// Time on the processor before `running_since`.
    spent: u64,
    running_since: Option<u64>,
}

impl Open {
    fn spent_at(&self, now: u64) -> u64 {
        self.spent.saturating_add(self.running_since.map_or(0, |since| now.saturating_sub(since)))
    }
}

impl Calls {
    pub(super) fn begin(&mut self, number: u8, now: u64) {
        self.part = None;
        self.whole = Some(Open { number, begun: now, spent: 0, running_since: Some(now) });
    }

    pub(super) fn end(&mut self, domain: DomId, number: u8, result: u64, now: u64) -> Option<Call> {
        let open = self.whole.take().filter(|open| open.number == number);
        let spent = open.map_or(0, |open| open.spent_at(now));
        let begun = open.map(|open| open.begun);
        Some(Call { domain, number, begun, ended: now, spent, result, part: false, alone: false })
    }

    pub(super) fn begin_part(&mut self, number: u8, now: u64) {
        self.part = Some((number, now));
    }

    pub(super) fn end_part(&mut self, domain: DomId, number: u8, result: u64, now: u64) -> Option<Call> {
        let begun = self.part.take().filter(|part| part.0 == number).map(|part| part.1);
        let spent = begun.map_or(0, |begun| now.saturating_sub(begun));
        Some(Call { domain, number, begun, ended: now, spent, result, part: true, alone: false })
    }

    /// The domain lost the processor.
    pub(super) fn pause(&mut self, now: u64) {
        if let Some(open) = &mut self.whole {
            open.spent = open.spent_at(now);
            open.running_since = None;
        }
    }

    /// The domain has it again.
    pub(super) fn resume(&mut self, now: u64) {
        if let Some(open) = &mut self.whole {
            open.running_since = Some(now);
        }
    }
}
