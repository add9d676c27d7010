//! The table of domains by number.
//! Numbers are handed out in a circle, so that a dead domain's number does not at once mean another one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno};

use crate::domain::Domain;

/// Domains that can exist at once; numbers are below this.
pub const DOMAINS_MAX: u16 = 0x7ff0;

/// The fewest numbers that are handed out in turn.
const CIRCLE_MIN: usize = 64;

/// All domains.
#[derive(Debug, Default)]
pub struct Domains {
    slots: Vec<Option<Box<Domain>>>,
    next: u16,
    count: usize,
}

impl Domains {
    /// A free number, the next in the circle.
    ///
    /// # Errors
    /// [`Errno::NoSpc`] if all are taken, [`Errno::NoMem`] if the table cannot grow.
    pub fn free_id(&mut self) -> Result<DomId, Errno> {
        // A circle with room to spare, so that numbers rest for a while and the table stays in proportion.
        let wanted = self.count.saturating_mul(2).saturating_add(CIRCLE_MIN);
        let circle = u16::try_from(wanted).unwrap_or(u16::MAX).min(DOMAINS_MAX);
        for step in 0..circle {
            let number = self.next.wrapping_add(step).checked_rem(circle).unwrap_or(0);
            let index = usize::from(number);
            if self.slots.get(index).is_none_or(Option::is_none) {
                let missing = index.saturating_add(1).saturating_sub(self.slots.len());
                self.slots.try_reserve(missing).map_err(|_| Errno::NoMem)?;
                return Ok(DomId(number));
            }
        }
        Err(Errno::NoSpc)
    }

    /// Puts a domain in the place of its number, which [`Domains::free_id`] gave.
    pub fn insert(&mut self, domain: Box<Domain>) {
        let number = domain.id.0;
        let index = usize::from(number);
        if self.slots.len() <= index {
            self.slots.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(domain);
            self.count = self.count.saturating_add(1);
            self.next = number.wrapping_add(1);
        }
    }

    /// Takes a domain out of the table.
    pub fn remove(&mut self, id: DomId) -> Option<Box<Domain>> {
        let domain = self.slots.get_mut(usize::from(id.0))?.take()?;
        self.count = self.count.saturating_sub(1);
        Some(domain)
    }

    /// The domain with this number.
    #[must_use]
    pub fn get(&self, id: DomId) -> Option<&Domain> {
        self.slots.get(usize::from(id.0))?.as_deref()
    }

    /// The domain with this number, to change.
    #[must_use]
    pub fn get_mut(&mut self, id: DomId) -> Option<&mut Domain> {
        self.slots.get_mut(usize::from(id.0))?.as_deref_mut()
    }

    /// Two different domains, to change.
    #[must_use]
    pub fn pair_mut(&mut self, one: DomId, other: DomId) -> Option<(&mut Domain, &mut Domain)> {
        let [one, other] = self.slots.get_disjoint_mut([usize::from(one.0), usize::from(other.0)]).ok()?;
        Some((one.as_deref_mut()?, other.as_deref_mut()?))
    }

    /// Each domain in order of number. Not for hot paths.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    /// Each domain in order of number, to change. Not for hot paths.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Domain> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::config;
    use crate::time::Time;

    fn config() -> Arc<config::Domain> {
        Arc::new(config::Domain {
            name: "a".into(),
            image: "a".into(),
            memory_bytes: 0,
            weight: 256,
            slice_us: None,
            ring: 3,
            command_line: "".into(),
            delivery: config::Delivery { policy: config::Policy::Batched, window_events: 0, window_us: 0 },
            on_crash: config::OnCrash::Destroy,
            control: false,
            devices: alloc::vec![],
        })
    }

    #[test]
    fn a_dead_domains_number_rests_and_the_table_stays_small() {
        let mut domains = Domains::default();
        let mut last = DomId::INVALID;
        for _ in 0..1000 {
            let id = domains.free_id().unwrap();
            assert_ne!(id, last);
            domains.insert(Box::new(Domain::new(id, config(), Time(0))));
            last = id;
            domains.remove(id);
        }
        assert!(domains.slots.len() <= 70);
    }

    #[test]
    fn thousands_of_domains_have_numbers_of_their_own() {
        let mut domains = Domains::default();
        for number in 0..2000 {
            let id = domains.free_id().unwrap();
            assert!(domains.get(id).is_none());
            domains.insert(Box::new(Domain::new(id, config(), Time(0))));
            assert_eq!(domains.len(), number + 1);
        }
    }
}
