//! Deadlines of all domains in one binary heap, with one place for each vCPU and kind.
//! Arming, moving and stopping a timer take the logarithm of the armed ones, and memory is taken when a domain is
//! admitted, never when a guest arms a timer.

use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno};

use crate::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The guest's single-shot timer.
    Single,
    /// The end of a sleep with a deadline.
    Sleep,
    /// The end of a window in which events gather.
    Window,
}

/// Kinds that there are.
const KINDS: usize = 3;
/// Position of a timer that is not armed.
const UNARMED: u32 = u32::MAX;

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// Whose.
    pub domain: DomId,
    /// What for.
    pub kind: Kind,
}

impl Timer {
    const fn kind_index(self) -> usize {
        match self.kind {
            Kind::Single => 0,
            Kind::Sleep => 1,
            Kind::Window => 2,
        }
    }
}

/// An armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Armed {
    at: Time,
    timer: Timer,
}

/// Bytes that one domain's timers take.
pub const BYTES_PER_DOMAIN: usize = KINDS * (size_of::<Armed>() + size_of::<u32>());

/// All timers.
#[derive(Debug, Default)]
pub struct Timers {
    heap: Vec<Armed>,
    positions: Vec<[u32; KINDS]>,
}

impl Timers {
    /// Makes room for a domain's timers.
    ///
    /// # Errors
    /// [`Errno::NoMem`] if there is none; nothing has changed.
    pub fn admit(&mut self, domain: DomId) -> Result<(), Errno> {
        let places = usize::from(domain.0).saturating_add(1).max(self.positions.len());
        let entries = places.saturating_mul(KINDS);
        self.heap.try_reserve(entries.saturating_sub(self.heap.len())).map_err(|_| Errno::NoMem)?;
        let missing = places.saturating_sub(self.positions.len());
        self.positions.try_reserve(missing).map_err(|_| Errno::NoMem)?;
        self.positions.resize(places, [UNARMED; KINDS]);
        Ok(())
    }

    /// Stops all of a domain's timers.
    pub fn dismiss(&mut self, domain: DomId) {
        for kind in [Kind::Single, Kind::Sleep, Kind::Window] {
            self.stop(Timer { domain, kind });
        }
    }

    /// Arms a timer, or moves it if it is armed. A domain that was not admitted has no timers.
    pub fn set(&mut self, timer: Timer, at: Time) {
        let armed = Armed { at, timer };
        match self.position(timer) {
            None => {}
            Some(UNARMED) => {
                let index = self.heap.len();
                self.heap.push(armed);
                self.place(index, armed);
                self.rise(index);
            }
            Some(position) => {
                let index = index(position);
                if let Some(slot) = self.heap.get_mut(index) {
                    *slot = armed;
                }
                if self.heap.len() > 1 {
                    let index = self.rise(index);
                    self.sink(index);
                }
            }
        }
    }

    /// Stops a timer; returns whether it was armed.
    pub fn stop(&mut self, timer: Timer) -> bool {
        match self.position(timer) {
            None | Some(UNARMED) => false,
            Some(position) => {
                self.remove(index(position));
                true
            }
        }
    }

    /// When a timer is due, if it is armed.
    #[must_use]
    pub fn deadline(&self, timer: Timer) -> Option<Time> {
        let position = self.position(timer).filter(|position| *position != UNARMED)?;
        Some(self.heap.get(index(position))?.at)
    }

    /// When the first timer is due; [`Time::NEVER`] without one.
    #[must_use]
    pub fn next(&self) -> Time {
        self.heap.first().map_or(Time::NEVER, |armed| armed.at)
    }

    /// Takes the first timer off if it is due.
    pub fn take_due(&mut self, now: Time) -> Option<Timer> {
        let first = *self.heap.first()?;
        if first.at > now {
            return None;
        }
        self.remove(0);
        Some(first.timer)
    }

    /// Armed timers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Whether the heap is ordered and each position leads to its timer.
    #[must_use]
    pub fn holds(&self) -> bool {
        let ordered = self.heap.iter().enumerate().skip(1).all(|(index, armed)| {
            parent(index).and_then(|parent| self.heap.get(parent)).is_some_and(|above| above <= armed)
        });
        let placed = self.heap.iter().enumerate().all(|(at, armed)| {
            self.position(armed.timer).is_some_and(|position| position != UNARMED && index(position) == at)
        });
        let count = self.positions.iter().flatten().filter(|position| **position != UNARMED).count();
        ordered && placed && count == self.heap.len()
    }

    fn position(&self, timer: Timer) -> Option<u32> {
        self.positions.get(usize::from(timer.domain.0))?.get(timer.kind_index()).copied()
    }

    fn place(&mut self, index: usize, armed: Armed) {
        if let Some(slot) = self.heap.get_mut(index) {
            *slot = armed;
        }
        self.note(armed.timer, u32::try_from(index).unwrap_or(UNARMED));
    }

    fn note(&mut self, timer: Timer, position: u32) {
        let places = self.positions.get_mut(usize::from(timer.domain.0));
        if let Some(place) = places.and_then(|places| places.get_mut(timer.kind_index())) {
            *place = position;
        }
    }

    fn remove(&mut self, index: usize) {
        let (Some(gone), Some(last)) = (self.heap.get(index).copied(), self.heap.pop()) else { return };
        self.note(gone.timer, UNARMED);
        if index < self.heap.len() {
            self.place(index, last);
            let index = self.rise(index);
            self.sink(index);
        }
    }

    /// Moves an entry up while it is earlier than the one above; returns where it ends.
    fn rise(&mut self, mut index: usize) -> usize {
        while let Some(above) = parent(index) {
            let (Some(this), Some(other)) = (self.heap.get(index).copied(), self.heap.get(above).copied())
            else {
                break;
            };
            if other <= this {
                break;
            }
            self.place(index, other);
            self.place(above, this);
            index = above;
        }
        index
    }

    /// Moves an entry down while one below is earlier.
    fn sink(&mut self, mut index: usize) {
        loop {
            let left = index.saturating_mul(2).saturating_add(1);
            let right = left.saturating_add(1);
            let (Some(this), Some(mut least)) = (self.heap.get(index).copied(), self.heap.get(left).copied())
            else {
                break;
            };
            let mut below = left;
            if let Some(other) = self.heap.get(right).copied().filter(|other| *other < least) {
                (least, below) = (other, right);
            }
            if this <= least {
                break;
            }
            self.place(index, least);
            self.place(below, this);
            index = below;
        }
    }
}

const fn parent(index: usize) -> Option<usize> {
    match index.checked_sub(1) {
        Some(before) => Some(before >> 1),
        None => None,
    }
}

fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 3] = [Kind::Single, Kind::Sleep, Kind::Window];

    #[test]
    fn a_domain_that_was_not_admitted_has_no_timers() {
        let mut timers = Timers::default();
        timers.set(Timer { domain: DomId(3), kind: Kind::Single }, Time(1));
        assert!(timers.is_empty());
    }

    #[test]
    fn arming_takes_no_memory() {
        let mut timers = Timers::default();
        for domain in 0..50 {
            timers.admit(DomId(domain)).unwrap();
        }
        let room = timers.heap.capacity();
        for domain in 0..50 {
            for kind in KINDS {
                timers.set(Timer { domain: DomId(domain), kind }, Time(u64::from(domain)));
            }
        }
        assert_eq!(timers.heap.capacity(), room);
    }

    proptest! {
        #[test]
        fn timers_come_due_in_order_and_exactly_once(
            actions in prop::collection::vec((0u16..20, 0usize..3, 0u64..1000, 0u8..8), 1..300)
        ) {
            let mut timers = Timers::default();
            for domain in 0..20 {
                timers.admit(DomId(domain)).unwrap();
            }
            let mut model: BTreeMap<(DomId, usize), u64> = BTreeMap::new();
            for (domain, kind, at, action) in actions {
                let timer = Timer { domain: DomId(domain), kind: KINDS[kind] };
                match action {
                    0..5 => {
                        timers.set(timer, Time(at));
                        model.insert((timer.domain, kind), at);
                    }
                    5 => {
                        let was = model.remove(&(timer.domain, kind)).is_some();
                        prop_assert_eq!(timers.stop(timer), was);
                    }
                    6 => {
                        timers.dismiss(timer.domain);
                        model.retain(|(domain, _), _| *domain != timer.domain);
                    }
                    _ => {
                        let mut last = 0;
                        while let Some(due) = timers.take_due(Time(at)) {
                            let key = (due.domain, due.kind_index());
                            let deadline = model.remove(&key);
                            prop_assert!(deadline.is_some_and(|deadline| deadline >= last && deadline <= at));
                            last = deadline.unwrap_or(0);
                        }
                        let early: Vec<_> = model.values().filter(|deadline| **deadline <= at).collect();
                        prop_assert!(early.is_empty());
                    }
                }
                prop_assert!(timers.holds());
                prop_assert_eq!(timers.next().0, model.values().min().copied().unwrap_or(u64::MAX));
            }
        }
    }
}
