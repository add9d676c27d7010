//! Who has something to do: a queue in which each front end stands at most once.
//! It keeps the cost of an event away from the number of front ends.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::VifId;

/// Front ends with work, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct WorkList {
    order: VecDeque<VifId>,
    listed: Vec<bool>,
}

impl WorkList {
    /// Puts a front end at the end, unless it waits already.
    pub(crate) fn add(&mut self, id: VifId) {
        let at = usize::from(id.0);
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
    pub(crate) fn take(&mut self) -> Option<VifId> {
        let id = self.order.pop_front()?;
        if let Some(listed) = self.listed.get_mut(usize::from(id.0)) {
            *listed = false;
        }
        Some(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
