//! Who has something to do: a queue in which each front end stands at most once.
//! It keeps the cost of an event away from the number of front ends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::VifId;

/// Front ends with work, in the order in which they came.
#[derive(Debug)]
pub(crate) struct WorkList<I = VifId> {
    order: VecDeque<I>,
    listed: Vec<bool>,
}

impl<I> Default for WorkList<I> {
    fn default() -> Self {
        Self { order: VecDeque::new(), listed: Vec::new() }
    }
}

impl<I: Copy + Into<usize>> WorkList<I> {
    /// Puts a front end at the end, unless it waits already.
    #[inline]
    pub(crate) fn add(&mut self, id: I) {
        if self.listed.get(id.into()) != Some(&true) {
            self.list(id);
        }
    }

    fn list(&mut self, id: I) {
        let at = id.into();
        if self.listed.len() <= at {
            self.listed.resize(at + 1, false);
        }
        if let Some(listed) = self.listed.get_mut(at)
            && !*listed
        {
            *listed = true;
            self.order.push_back(id);
        }
    }

    /// Takes the one that has waited longest.
    pub(crate) fn take(&mut self) -> Option<I> {
        let id = self.order.pop_front()?;
        if let Some(listed) = self.listed.get_mut(id.into()) {
            *listed = false;
        }
        Some(id)
    }

    /// Puts one that was just taken back to where it was, so that it comes before all others.
    pub(crate) fn put_back(&mut self, id: I) {
        if let Some(listed) = self.listed.get_mut(id.into())
            && !*listed
        {
            *listed = true;
            self.order.push_front(id);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
