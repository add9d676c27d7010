//! A client and what it was promised: after a power cut that, and the batch under way as a whole or not at all, is there.

use std::collections::BTreeMap;

use embassy_futures::block_on;
use key_value::{Batch, Refusal, Store};

use crate::platter::Platter;

pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a client was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) promised: Map,
    /// With the batch that was under way when the power was cut.
    pub(crate) hoped: Option<Map>,
}

/// All that a store holds.
pub(crate) fn content(store: &mut Store<&Platter>) -> Map {
    let keys: Vec<Vec<u8>> = store.keys().map(<[u8]>::to_vec).collect();
    let mut value =
        |key: &Vec<u8>| block_on(store.get(key)).expect("every value can be read").expect("it is there");
    keys.iter().map(|key| (key.clone(), value(key))).collect()
}

impl Client {
    /// Opens the store and judges what it holds. `None` when the power is cut meanwhile.
    pub(crate) fn open<'a>(&mut self, platter: &'a Platter, why: &str) -> Option<Store<&'a Platter>> {
        let mut store = match block_on(Store::open(platter)) {
            Ok(store) => store,
            Err(key_value::OpenError::Disk(_)) => return None,
            Err(error) => panic!("{why}: {error}"),
        };
        let found = content(&mut store);
        let hoped = self.hoped.take();
        if hoped.as_ref() != Some(&found) {
            assert!(found == self.promised, "{why}: {} keys, {} promised", found.len(), self.promised.len());
        }
        self.promised = found;
        Some(store)
    }

    /// Makes a random batch of changes. False when the power was cut.
    pub(crate) fn change(&mut self, store: &mut Store<&Platter>, random: &mut fastrand::Rng) -> bool {
        let mut batch = Batch::default();
        let mut after = self.promised.clone();
        if random.u32(..12) == 0 {
            // So that moves with nothing to move happen as well.
            for key in self.promised.keys() {
                if store.admit(&mut batch, key, None).is_ok() {
                    after.remove(key);
                }
            }
        }
        for _ in 0..random.u32(..6) {
            let key = vec![b'a' + random.u8(..20); random.usize(1..4)];
            let value: Vec<u8> = match random.u32(..2) {
                0 => vec![random.u8(..); random.usize(..store.value_max() + 1)],
                _ => (0..random.usize(..900)).map(|_| random.u8(..)).collect(),
            };
            let value = (random.u32(..3) > 0).then_some(value);
            match store.admit(&mut batch, &key, value.as_deref()) {
                Ok(()) => match value {
                    Some(value) => drop(after.insert(key, value)),
                    None => drop(after.remove(&key)),
                },
                Err(Refusal::Full | Refusal::Batch) => {}
                Err(refusal) => panic!("{refusal}"),
            }
        }
        let done = block_on(store.commit(batch)).is_ok();
        if done {
            self.promised = after;
        } else {
            self.hoped = Some(after);
        }
        done
    }
}
