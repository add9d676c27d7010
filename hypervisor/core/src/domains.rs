//! The table of domains by number.
//! Numbers are handed out in a circle, so that a dead domain's number does not at once mean another one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypercall_abi::{DomId, Errno};

use crate::domain::Domain;

/// Domains that can exist at once; numbers are below this.
pub const DOMAINS_MAX: u16 = 0x7ff0;

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
        for step in 0..DOMAINS_MAX {
            let number = self.next.wrapping_add(step).checked_rem(DOMAINS_MAX).unwrap_or(0);
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
