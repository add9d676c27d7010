//! What back ends did that ended connections, counted, and told seldom enough that none of them fills a log with it.

use hypercall_abi::ring::SharedPage;

use super::front::BlockFront;
use crate::platform::Platform;

/// A connection that ended for what the back end did, or said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Why the last one ended: a [`hypercall_abi::device::BlockError`], or whatever the back end wrote.
    pub reason: u32,
    /// How many there were: a power of two, unless the device has given up.
    pub times: u32,
    /// Whether the device has given up, until there is another back end.
    pub given_up: bool,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    times: u32,
    due: Option<Trouble>,
}

impl Troubles {
    pub(super) fn note(&mut self, reason: u32) {
        self.times = self.times.saturating_add(1);
        if self.times.is_power_of_two() {
            self.due = Some(Trouble { reason, times: self.times, given_up: false });
        }
    }

    /// Notes that the device has given up.
    pub(super) fn give_up(&mut self, reason: u32) {
        self.due = Some(Trouble { reason, times: self.times, given_up: true });
    }

    pub(super) const fn take(&mut self) -> Option<Trouble> {
        self.due.take()
    }
}

impl<P: Platform, M: SharedPage> BlockFront<P, M> {
    /// A connection that ended for what the back end did or said, if somebody is to be told: of the first, the second, the
    /// fourth and so on, and when the device gives up.
    pub const fn take_trouble(&mut self) -> Option<Trouble> {
        self.troubles.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_a_thousand_times_is_told_ten_times() {
        let mut troubles = Troubles::default();
        let told: usize = (0..1000)
            .map(|_| {
                troubles.note(3);
                usize::from(troubles.take().is_some())
            })
            .sum();
        assert_eq!(told, 10);
        troubles.give_up(4);
        assert_eq!(troubles.take(), Some(Trouble { reason: 4, times: 1000, given_up: true }));
        assert_eq!(troubles.take(), None);
    }
}
