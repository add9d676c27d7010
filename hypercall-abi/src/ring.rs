//! Xen's shared rings: one page in which a front end asks and a back end answers.
//! The rules stand here once, over raw words, so that both sides and every test obey the same ones.
//!
//! A ring has four indices and a power-of-two array of entries that requests and responses share. Indices run freely
//! over `u32`; an entry's slot is its index modulo the size. The front end owns `req_prod` and `rsp_event`, the back
//! end owns `rsp_prod` and `req_event`.
//!
//! **Notification.** A consumer that is about to sleep writes the index it wants to be woken at into its event word,
//! then looks once more. A producer writes its new index, then reads the event word, and notifies if the wanted
//! index lies in what it has just published. Each side stores and then loads the other's word, so both need a full
//! fence in between ([`SharedPage::fence`]): without it both may miss each other, and the consumer sleeps forever.
//!
//! **Trust.** Neither side believes the other: whatever is read from the page is copied once and judged as a copy,
//! and an index that claims more than can be outstanding is an [`Overrun`].

mod back;
#[cfg(any(test, feature = "fake"))]
mod fake;
mod front;
mod page;
mod progress;
#[cfg(test)]
mod tests;

pub use back::{BackRing, Slot};
#[cfg(any(test, feature = "fake"))]
pub use fake::FakePage;
pub use front::FrontRing;
pub use page::SharedPage;
pub use progress::{Progress, RingRecord, RingTold, RingTurn, Step};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of indices before the first entry of a ring.
pub const HEADER_BYTES: usize = 64;

/// Bytes into the ring of each index.
pub mod index {
    /// Written by the front end: requests published.
    pub const REQ_PROD: usize = 0;
    /// Written by the back end: notify it when this request is published.
    pub const REQ_EVENT: usize = 4;
    /// Written by the back end: responses published.
    pub const RSP_PROD: usize = 8;
    /// Written by the front end: notify it when this response is published.
    pub const RSP_EVENT: usize = 12;
}

/// What travels in one kind of ring.
pub trait Protocol {
    /// What the front end asks.
    type Request: Entry;
    /// What the back end answers.
    type Response: Entry;

    /// Bytes of a slot: the larger of both.
    const SLOT_BYTES: usize = if size_of::<Self::Request>() > size_of::<Self::Response>() {
        size_of::<Self::Request>()
    } else {
        size_of::<Self::Response>()
    };
    /// Slots of a one-page ring, a power of two.
    const SLOTS: u32 = slots(Self::SLOT_BYTES);

    /// How many words of a request mean something, by its first; of the others at most one is written or read, and what they
    /// are read as means nothing.
    #[must_use]
    fn request_words(first: u32) -> usize {
        let _ = first;
        ENTRY_WORDS_MAX
    }
}

/// A request or response: plain bytes, a multiple of four of them, at most [`ENTRY_WORDS_MAX`] words.
pub trait Entry: FromBytes + IntoBytes + Immutable + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + Copy> Entry for T {}

/// The most words that an entry has.
pub const ENTRY_WORDS_MAX: usize = 28;

/// How many slots of `slot_bytes` a one-page ring has: the largest power of two that fits.
#[must_use]
pub const fn slots(slot_bytes: usize) -> u32 {
    let fit = (crate::PAGE_SIZE - HEADER_BYTES) / slot_bytes;
    1 << fit.ilog2()
}

/// Whether a producer that moved its index from `old` to `new` must notify a consumer that asked for `event`.
#[must_use]
pub const fn must_notify(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

/// The answer of `publish`: whether the other side has to be told.
#[must_use = "a notification that is not sent may leave the other side asleep"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Nothing was published.
    Nothing,
    /// The other side did not ask to be told: one notification saved.
    Suppressed,
    /// Send the event.
    Needed,
}

impl Notify {
    /// The same where nothing is saved unless `suppress`: whoever did not ask to be told is told all the same.
    #[inline]
    #[must_use = "a notification that is not sent may leave the other side asleep"]
    pub const fn with(self, suppress: bool) -> Self {
        match self {
            Self::Suppressed if !suppress => Self::Needed,
            as_it_is => as_it_is,
        }
    }
}

/// The other side's index claims more entries than can be outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The index as it was read.
    pub claimed: u32,
    /// What it may have been at most.
    pub limit: u32,
}

/// No slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Byte offset in the page of the slot for `index`.
const fn slot_offset<P: Protocol>(index: u32) -> usize {
    HEADER_BYTES + (index & (P::SLOTS - 1)) as usize * P::SLOT_BYTES
}

/// Whether all entries of a protocol lie at multiples of eight bytes, so that two words are moved at once.
const fn is_wide<P: Protocol, T: Entry>() -> bool {
    const {
        assert!(
            size_of::<T>().is_multiple_of(4) && size_of::<T>() / 4 <= ENTRY_WORDS_MAX,
            "an entry is whole words"
        )
    }
    P::SLOT_BYTES.is_multiple_of(8) && size_of::<T>().is_multiple_of(8)
}

/// Copies the words of an entry that mean something out of its slot into `entry`, each once; `words` says how many by the
/// first. What does not mean anything may stay as it was.
fn read_entry<M: SharedPage, P: Protocol, T: Entry>(
    memory: &M,
    index: u32,
    entry: &mut T,
    words: impl FnOnce(u32) -> usize,
) {
    let mut offset = slot_offset::<P>(index);
    let bytes = entry.as_mut_bytes();
    if is_wide::<P, T>() {
        let (places, _) = bytes.as_chunks_mut();
        let Some((place, rest)) = places.split_first_mut() else { return };
        let first = memory.load_wide(offset);
        *place = first.to_ne_bytes();
        let more = words(first as u32).div_ceil(2).saturating_sub(1).min(rest.len());
        memory.load_run(offset + 8, rest.get_mut(..more).unwrap_or_default());
    } else {
        let first = memory.load(offset);
        let mut places = bytes.chunks_exact_mut(4).take(words(first));
        if let Some(place) = places.next() {
            place.copy_from_slice(&first.to_ne_bytes());
        }
        for place in places {
            offset += 4;
            place.copy_from_slice(&memory.load(offset).to_ne_bytes());
        }
    }
}

/// Writes the words of an entry that mean something into its slot; `words` says how many by the first.
fn write_entry<M: SharedPage, P: Protocol, T: Entry>(
    memory: &M,
    index: u32,
    entry: &T,
    words: impl FnOnce(u32) -> usize,
) {
    let mut offset = slot_offset::<P>(index);
    let bytes = entry.as_bytes();
    let count = words(bytes.first_chunk().map_or(0, |first| u32::from_ne_bytes(*first)));
    if is_wide::<P, T>() {
        let (all, _) = bytes.as_chunks();
        memory.store_run(offset, all.get(..count.div_ceil(2)).unwrap_or(all));
    } else {
        for word in bytes.as_chunks().0.iter().take(count) {
            memory.store(offset, u32::from_ne_bytes(*word));
            offset += 4;
        }
    }
}
