//! The one who changes the store: what connections want at about the same time becomes one batch with one flush.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use guest_kernel::block::DiskError;
use key_value::{Batch, CommitError, Refusal, Store};

use crate::medium::DiskMedium;

/// What became of a change.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is durable.
    Done,
    /// There was no such key.
    Absent,
    /// It was refused, and nothing has changed.
    Refused(Refusal),
    /// It is not known to be durable, and no more changes are taken.
    Failed(CommitError<DiskError>),
}

/// A change that a connection waits for.
struct Wanted {
    key: Vec<u8>,
    /// `None` deletes.
    value: Option<Vec<u8>>,
    outcome: Rc<Signal<NoopRawMutex, Outcome>>,
}

/// The store, and who wants what of it.
pub(crate) struct Keeper {
    store: Mutex<NoopRawMutex, Store<DiskMedium>>,
    wanted: RefCell<VecDeque<Wanted>>,
    more: Signal<NoopRawMutex, ()>,
    /// Keys, bytes, and how many bytes there may be.
    size: Cell<(usize, u64, u64)>,
    value_max: usize,
}

impl Keeper {
    pub(crate) fn new(store: Store<DiskMedium>) -> Self {
        let value_max = store.value_max();
        let size = Cell::new(size(&store));
        Self { store: Mutex::new(store), wanted: RefCell::default(), more: Signal::new(), size, value_max }
    }

    /// The most bytes of a value.
    pub(crate) const fn value_max(&self) -> usize {
        self.value_max
    }

    /// Keys, bytes, and how many bytes there may be.
    pub(crate) fn size(&self) -> (usize, u64, u64) {
        self.size.get()
    }

    /// The value of a key. `Err` when the disk failed.
    pub(crate) async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ()> {
        let mut store = self.store.lock().await;
        store.get(key).await.map_err(|error| log::error!("a value cannot be read: {error:?}"))
    }

    /// Makes a change; it is durable when this says [`Outcome::Done`].
    pub(crate) async fn change(&self, key: &[u8], value: Option<&[u8]>) -> Outcome {
        let outcome = Rc::new(Signal::new());
        let value = value.map(<[u8]>::to_vec);
        self.wanted.borrow_mut().push_back(Wanted { key: key.to_vec(), value, outcome: outcome.clone() });
        self.more.signal(());
        outcome.wait().await
    }

    /// Takes what is wanted into a batch, as far as there is room in it, with what is to be answered when it is durable.
    /// What has no part in it is answered at once.
    fn gather(&self, store: &Store<DiskMedium>, batch: &mut Batch) -> Vec<(Wanted, Outcome)> {
        let mut taken = Vec::new();
        let mut wanted = self.wanted.borrow_mut();
        while let Some(one) = wanted.pop_front() {
            if one.value.is_none() && !store.will_contain(batch, &one.key) {
                // It may be absent only by this batch, of which nobody must hear before it is durable.
                taken.push((one, Outcome::Absent));
                continue;
            }
            match store.admit(batch, &one.key, one.value.as_deref()) {
                Ok(()) => taken.push((one, Outcome::Done)),
                Err(Refusal::Batch) => {
                    wanted.push_front(one);
                    break;
                }
                Err(refusal) => one.outcome.signal(Outcome::Refused(refusal)),
            }
        }
        taken
    }
}

fn size(store: &Store<DiskMedium>) -> (usize, u64, u64) {
    let (live, most) = store.live_bytes();
    (store.len(), live, most)
}

/// Makes batch after batch durable.
pub(crate) async fn keep(keeper: Rc<Keeper>) {
    loop {
        keeper.more.wait().await;
        while !keeper.wanted.borrow().is_empty() {
            let mut store = keeper.store.lock().await;
            let mut batch = Batch::default();
            let taken = keeper.gather(&store, &mut batch);
            let committed = store.commit(batch).await;
            if let Err(error) = &committed {
                log::error!("a batch is not known to be durable: {error}");
            }
            keeper.size.set(size(&store));
            for (one, outcome) in taken {
                one.outcome.signal(match &committed {
                    Ok(()) => outcome,
                    Err(error) => Outcome::Failed(error.clone()),
                });
            }
        }
    }
}
