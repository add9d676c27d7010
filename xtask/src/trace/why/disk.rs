//! A domain's waits for its disk: asked, taken by the back end, done by the device, answered, taken by the domain.
//! Answers may come in another order than they were asked for; a wait is over when as many have come as had been asked
//! for when it began.

use std::collections::BTreeMap;

use hypercall_abi::DomId;

use crate::trace::follow::State;

/// What a domain waits for while its disk's device is at work.
pub(super) const DEVICE: &str = "device";

/// A wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DiskWait {
    /// Its back end.
    pub(super) back: DomId,
    /// How far the ring must come.
    index: u32,
    /// When the domain slept over it.
    pub(super) from: Option<u64>,
    /// When the back end had taken the request.
    pub(super) consumed: Option<u64>,
    /// When the back end showed its answer.
    pub(super) answered: Option<u64>,
    /// When the domain had taken the answer.
    pub(super) taken: u64,
}

impl DiskWait {
    /// What a domain waits for at a point of time, by its own state and its back end's.
    pub(super) fn stage(&self, time: u64, own: Option<State>, back: Option<State>) -> &'static str {
        match own {
            Some(State::Blocked) => {}
            Some(State::Runnable) => return "run queue",
            _ => return "work",
        }
        let is_before = |moment: Option<u64>| moment.is_none_or(|moment| time < moment);
        match back {
            _ if !is_before(self.answered) => "wake",
            Some(State::Runnable) => "disk's queue",
            Some(State::Blocked) if is_before(self.consumed) => "disk's wake",
            Some(State::Blocked) => DEVICE,
            _ if is_before(self.consumed) => "disk's ring",
            _ => "disk's work",
        }
    }
}

/// What a domain has asked its disk for, as far as its request waits for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// By back end: how far it was asked, and how far its answers were taken.
    rings: BTreeMap<DomId, (u32, u32)>,
    /// What is waited for, or will be once the domain sleeps.
    asked: Option<DiskWait>,
    /// What was asked for meanwhile.
    more: Option<DiskWait>,
}

impl Disk {
    /// Whether this domain still owes answers.
    pub(super) fn is_owed_by(&self, back: DomId) -> bool {
        self.rings.get(&back).is_some_and(|(asked, taken)| asked != taken)
    }

    /// Nothing is waited for any more.
    pub(super) fn forget(&mut self) {
        (self.asked, self.more) = (None, None);
    }

    /// The domain has shown requests. Only if `waits` may its request wait for them.
    pub(super) fn ask(&mut self, back: DomId, index: u32, count: u32, waits: bool) {
        let is_new = index == count;
        let ring = self.rings.entry(back).or_default();
        let taken = if is_new { 0 } else { ring.1 };
        *ring = (index, taken);
        let wait = DiskWait { back, index, from: None, consumed: None, answered: None, taken: 0 };
        match &mut self.asked {
            // The ring was made anew, and what was not answered is asked for again.
            Some(asked) if is_new && asked.back == back => *asked = DiskWait { from: asked.from, ..wait },
            Some(DiskWait { from: Some(_), .. }) => self.more = waits.then_some(wait),
            asked => *asked = if waits { Some(wait) } else { *asked },
        }
    }

    /// The domain sleeps; returns whether it waits for its disk.
    pub(super) fn sleep(&mut self, now: u64) -> bool {
        // What was asked for on behalf of others, while this waited on.
        self.more = None;
        self.asked.as_mut().map(|asked| asked.from.get_or_insert(now)).is_some()
    }

    /// Whether the domain asked for something after it had all that it waited for.
    pub(super) fn has_asked_anew(&self) -> bool {
        self.asked.is_some_and(|asked| asked.from.is_none())
    }

    /// The back end has taken requests.
    pub(super) fn consumed(&mut self, back: DomId, index: u32, now: u64) {
        if let Some(asked) = self.at(back, index) {
            asked.consumed.get_or_insert(now);
        }
    }

    /// The back end has shown answers.
    pub(super) fn answered(&mut self, back: DomId, index: u32, now: u64) {
        if let Some(asked) = self.at(back, index) {
            asked.answered.get_or_insert(now);
        }
    }

    /// The domain has taken answers; returns the wait that this ends, if the domain slept over it.
    pub(super) fn take(&mut self, back: DomId, index: u32, now: u64) -> Option<DiskWait> {
        self.rings.entry(back).or_default().1 = index;
        self.at(back, index)?;
        let ended = std::mem::replace(&mut self.asked, self.more.take())?;
        ended.from.map(|_| DiskWait { taken: now, ..ended })
    }

    /// What is waited for, if the ring has come that far.
    fn at(&mut self, back: DomId, index: u32) -> Option<&mut DiskWait> {
        let is_there =
            |asked: &&mut DiskWait| asked.back == back && index.wrapping_sub(asked.index) < 1 << 31;
        self.asked.as_mut().filter(is_there)
    }
}
