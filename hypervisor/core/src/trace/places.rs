//! Room for records of guests in their stream: places as they have them in their pages, under one head.
//! It is apart from other records because these are copied as they lie, and only how many are in each is known here.

use core::sync::atomic::Ordering;

use hypercall_abi::shared_info::RECORD_WORDS;

use super::storage::Word;
use super::stream::Stream;

/// A place, as [`Batch`] counts it: where the first field is in the word that they lie under. The records in it are counted below.
pub(crate) const A_PLACE: u64 = 1 << 32;
/// Of a count, the bits that hold places.
const PLACES: u64 = A_PLACE.wrapping_neg();
/// Words that they lie under.
const UNDER: usize = 2;

/// Places that are filled before they become visible together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What is left of the block behind them.
    room: &'static [Word],
    /// How many, and how many records are in them.
    count: u64,
}

impl Batch {
    /// The next place, to be filled with so many records, [`A_PLACE`] added to their number.
    #[inline(always)]
    pub(crate) fn place(&mut self, count: u64) -> Option<&'static [Word; RECORD_WORDS]> {
        // Behind the last one is a zero.
        self.room.get(RECORD_WORDS)?;
        let (place, room) = self.room.split_first_chunk()?;
        self.room = room;
        self.count = self.count.wrapping_add(count);
        Some(place)
    }
}

impl Stream {
    /// Begins a batch in the room at hand.
    #[inline(always)]
    pub(crate) fn batch(&self) -> Batch {
        Batch { room: self.window.room().get(UNDER..).unwrap_or_default(), count: 0 }
    }

    /// Lets a batch become visible: with the first word of what it lies under, and the time in ticks.
    #[inline(always)]
    pub(crate) fn take_in(&mut self, head: u64, now: u64, Batch { room, count }: Batch) {
        let (Some([first, second]), Some(next)) = (self.window.room().first_chunk::<UNDER>(), room.first())
        else {
            return;
        };
        if count == 0 {
            return;
        }
        next.store(0, Ordering::Relaxed);
        second.store(now, Ordering::Relaxed);
        first.store(head | (count & PLACES), Ordering::Release);
        let used = self.window.room().len().wrapping_sub(room.len());
        self.window.advance(used, u32::try_from(count & !PLACES).unwrap_or(0));
    }
}
