//! A queue linked through the entities themselves.
//! Taking somebody out of its middle takes as few steps as taking the first, and none of them takes memory.

use hypercall_abi::DomId;

use super::Entity;

/// First, last and count.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: Option<DomId>,
    last: Option<DomId>,
    count: usize,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn push_back(&mut self, entities: &mut [Entity], id: DomId) {
        let before = self.last;
        if self.link(entities, id, before, None) {
            match at(entities, before) {
                Some(entity) => entity.after = Some(id),
                None => self.first = Some(id),
            }
            self.last = Some(id);
        }
    }

    pub(super) fn push_front(&mut self, entities: &mut [Entity], id: DomId) {
        let after = self.first;
        if self.link(entities, id, None, after) {
            match at(entities, after) {
                Some(entity) => entity.before = Some(id),
                None => self.last = Some(id),
            }
            self.first = Some(id);
        }
    }

    pub(super) fn pop_front(&mut self, entities: &mut [Entity]) -> Option<DomId> {
        let first = self.first?;
        self.remove(entities, first);
        Some(first)
    }

    /// Takes somebody out, if it is in.
    pub(super) fn remove(&mut self, entities: &mut [Entity], id: DomId) {
        let Some(entity) = at(entities, Some(id)).filter(|entity| entity.queued) else { return };
        let (before, after) = (entity.before.take(), entity.after.take());
        entity.queued = false;
        self.count = self.count.saturating_sub(1);
        match at(entities, before) {
            Some(entity) => entity.after = after,
            None => self.first = after,
        }
        match at(entities, after) {
            Some(entity) => entity.before = before,
            None => self.last = before,
        }
    }

    /// Whether all links are sound, and exactly those of `entities` that should be are in it.
    pub(super) fn holds(&self, entities: &[Entity], member: impl Fn(&Entity) -> bool) -> bool {
        let (mut before, mut next, mut count) = (None, self.first, 0_usize);
        while let Some(id) = next {
            let Some(entity) = entities.get(usize::from(id.0)) else { return false };
            if !member(entity) || entity.before != before || count >= entities.len() {
                return false;
            }
            (before, next, count) = (Some(id), entity.after, count.saturating_add(1));
        }
        before == self.last
            && count == self.count
            && count == entities.iter().filter(|entity| member(entity)).count()
    }

    fn link(
        &mut self,
        entities: &mut [Entity],
        id: DomId,
        before: Option<DomId>,
        after: Option<DomId>,
    ) -> bool {
        let Some(entity) = at(entities, Some(id)).filter(|entity| !entity.queued) else { return false };
        (entity.queued, entity.before, entity.after) = (true, before, after);
        self.count = self.count.saturating_add(1);
        true
    }
}

fn at(entities: &mut [Entity], id: Option<DomId>) -> Option<&mut Entity> {
    entities.get_mut(usize::from(id?.0))
}
