//! The page through which both ends of a device agree, as each side may use it: states and reasons, alike for every kind.
//! Offsets stand here and beside the kinds alone, so that neither driver writes into the other's half.

use core::marker::PhantomData;
use core::mem::offset_of;

use super::{BACK_HALF, BlockHalf, FRONT_HALF, NetHalf, XenbusState};
use crate::ring::SharedPage;

/// A kind of split device: what its two sides may say of each other.
pub trait Kind {
    /// Why one side closed.
    type Error;

    /// The reason's number, as it stands in the page.
    fn number(error: Self::Error) -> u32;
}

/// One side's access to a device page: it writes its own half and reads the other's.
///
/// What the other side wrote is read anew at each call and may be anything.
#[derive(Clone, Copy, Debug)]
pub struct DevicePage<M, K> {
    page: M,
    own: usize,
    other: usize,
    kind: PhantomData<K>,
}

const STATE: usize = offset_of!(NetHalf, state);
const ERROR: usize = offset_of!(NetHalf, error);
const COUNTERS: usize = offset_of!(NetHalf, notified);

const _: () = assert!(
    STATE == offset_of!(BlockHalf, state)
        && ERROR == offset_of!(BlockHalf, error)
        && COUNTERS == offset_of!(BlockHalf, notified)
        && COUNTERS + 8 == offset_of!(NetHalf, suppressed)
        && COUNTERS + 8 == offset_of!(BlockHalf, suppressed)
        && COUNTERS + 32 == offset_of!(NetHalf, dropped)
        && COUNTERS + 32 == offset_of!(BlockHalf, failed),
    "both drivers and the hypervisor find these in every kind of device page"
);

impl<M: SharedPage, K: Kind> DevicePage<M, K> {
    /// The front end's access.
    pub const fn front(page: M) -> Self {
        Self { page, own: FRONT_HALF, other: BACK_HALF, kind: PhantomData }
    }

    /// The back end's access.
    pub const fn back(page: M) -> Self {
        Self { page, own: BACK_HALF, other: FRONT_HALF, kind: PhantomData }
    }

    /// Gives the page back.
    pub fn into_page(self) -> M {
        self.page
    }

    /// The other side's state; [`XenbusState::Unknown`] for a number that is none.
    pub fn other_state(&self) -> XenbusState {
        let raw = self.page.load_acquire(self.other + STATE);
        XenbusState::from_raw(raw).unwrap_or(XenbusState::Unknown)
    }

    /// Goes to a state; what was written before is seen by who sees the state.
    pub fn set_state(&self, state: XenbusState) {
        self.page.store_release(self.own + STATE, state.raw());
    }

    /// Says why we close.
    pub fn set_error(&self, error: K::Error) {
        self.say(ERROR, K::number(error));
    }

    /// Why the other side closed, as it says.
    pub fn other_error(&self) -> u32 {
        self.hear(ERROR)
    }

    /// Publishes our counters, in the order of the half's fields.
    pub(super) fn count<const N: usize>(&self, counters: [u64; N]) {
        for (offset, value) in (COUNTERS..).step_by(8).zip(counters) {
            self.page.store_wide(self.own + offset, value);
        }
    }

    /// Writes a word of our half.
    pub(super) fn say(&self, offset: usize, value: u32) {
        self.page.store(self.own + offset, value);
    }

    /// Writes two words of our half in one piece.
    pub(super) fn say_wide(&self, offset: usize, value: u64) {
        self.page.store_wide(self.own + offset, value);
    }

    /// Reads a word of the other half.
    pub(super) fn hear(&self, offset: usize) -> u32 {
        self.page.load(self.other + offset)
    }
}
