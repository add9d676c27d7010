//! Room for records of guests in their stream: places as they have them in their pages, under one head.
//! It is apart from other records because these are copied as they lie, and only their number is known here.

use core::sync::atomic::Ordering;

use hypercall_abi::shared_info::RECORD_WORDS;

use super::stream::{Stream, Word};

/// Words that they lie under.
const UNDER: usize = 2;

impl Stream {
    /// Places at hand for records of a guest, under a head that [`Stream::take_in`] writes.
    #[inline(always)]
    pub(crate) fn places(&self) -> &'static [[Word; RECORD_WORDS]] {
        let end = self.room.len().wrapping_sub(1);
        self.room.get(UNDER..end).unwrap_or_default().as_chunks().0
    }

    /// Lets so many of them become visible together, which were filled: with the first word of what they lie under, and the
    /// time in ticks.
    #[inline(always)]
    pub(crate) fn take_in(&mut self, head: u64, now: u64, count: usize) {
        let used = UNDER.wrapping_add(count.wrapping_mul(RECORD_WORDS));
        let (Some([first, second]), Some(next)) = (self.room.first_chunk::<UNDER>(), self.room.get(used))
        else {
            return;
        };
        if count == 0 {
            return;
        }
        next.store(0, Ordering::Relaxed);
        second.store(now, Ordering::Relaxed);
        first.store(head | (to_u64(count) << 32), Ordering::Release);
        self.room = self.room.get(used..).unwrap_or_default();
        self.records = self.records.wrapping_add(to_u64(count));
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
