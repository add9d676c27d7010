//! A domain's events that no handler has seen yet.

use hypercall_abi::DomId;

use super::facts::{Delivery, Fact, State, Upcall};

/// The most that are remembered: a port that is never delivered must not take memory for each event.
const MOST: usize = 4096;

/// Events that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    waiting: Vec<Delivery>,
    chosen: Option<u64>,
}

impl Events {
    pub(super) fn raise(&mut self, port: u32, from: DomId, merged: bool, state: Option<State>, now: u64) {
        let room = self.waiting.len() < MOST;
        let known = self.waiting.iter_mut().find(|event| event.port == port);
        if merged {
            if let Some(event) = known {
                event.merged += 1;
            }
            return;
        }
        let event = Delivery {
            domain: DomId::IDLE,
            port,
            from,
            // A target of which nothing is known yet sleeps, most often.
            state: state.unwrap_or(State::Blocked),
            raised: now,
            woken: None,
            chosen: None,
            upcall: 0,
            merged: 0,
        };
        match known {
            // Its delivery is not in the trace.
            Some(old) => *old = event,
            None if room => self.waiting.push(event),
            None => {}
        }
    }

    pub(super) fn woken(&mut self, now: u64) {
        for event in &mut self.waiting {
            event.woken.get_or_insert(now);
        }
    }

    pub(super) fn chosen(&mut self, now: u64) {
        self.chosen = Some(now);
        for event in &mut self.waiting {
            event.chosen.get_or_insert(now);
        }
    }

    /// The handler is entered; it looks at the words of the pending bitmap that the selector names.
    pub(super) fn deliver(&mut self, id: DomId, selector: u64, now: u64, tell: &mut impl FnMut(Fact)) {
        let (mut ports, mut events) = (0, 0);
        let mut waited = false;
        self.waiting.retain(|event| {
            let word = event.port / 64;
            if word >= 64 || selector >> word & 1 == 0 {
                return true;
            }
            ports += 1;
            events += 1 + u64::from(event.merged);
            waited |= event.chosen.is_some();
            tell(Fact::Delivered(Delivery { domain: id, upcall: now, ..*event }));
            false
        });
        let entry = self.chosen.take().filter(|_| waited).map(|chosen| now.saturating_sub(chosen));
        tell(Fact::Upcall(Upcall { domain: id, time: now, ports, events, entry }));
    }
}
