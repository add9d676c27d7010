//! What is left of a block: words at hand by one comparison, and words and records counted by one addition.
//! It exists because that is most of what each record costs beside its own words.

use super::layout::BLOCK_WORDS;
use super::storage::Word;

/// A window without room, into which nobody writes.
static NOWHERE: [Word; BLOCK_WORDS] = [const { Word::new(0) }; BLOCK_WORDS];
/// The extent of a window that is full.
const FULL: u32 = 512;
const _: () = assert!(BLOCK_WORDS == 512);
/// No extent: more than full.
const HELD: u32 = 0xffff;

/// The words up to the end of a block, as many whatever the block has.
#[derive(Debug)]
pub(super) struct Window {
    words: &'static [Word; BLOCK_WORDS],
    /// How many of them are used, in the lower half, and in the upper how many records of the block are written.
    extent: u32,
    /// The extent, while records are not to be written without another look at them; else [`HELD`].
    held: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { words: &NOWHERE, extent: FULL, held: HELD }
    }
}

impl Window {
    /// The window of a block of so many words, up to [`BLOCK_WORDS`], that begins at word `block`, of which some are used. One
    /// without room if that is not among `words`.
    pub(super) fn of(words: &'static [Word], block: usize, block_words: usize, used: usize) -> Self {
        let before = BLOCK_WORDS.wrapping_sub(block_words);
        let Some(words) = words.get(block.wrapping_sub(before)..).and_then(<[_]>::first_chunk) else {
            return Self::default();
        };
        let mut window = Self { words, extent: 0, held: HELD };
        window.advance(before.wrapping_add(used), 0);
        window
    }

    /// Lets nobody find room until [`Window::release`].
    pub(super) const fn hold(&mut self) {
        if self.held == HELD {
            core::mem::swap(&mut self.held, &mut self.extent);
        }
    }

    /// Gives the room back.
    pub(super) const fn release(&mut self) {
        if self.extent == HELD {
            core::mem::swap(&mut self.held, &mut self.extent);
        }
    }

    /// All that is left.
    #[inline(always)]
    pub(super) fn room(&self) -> &'static [Word] {
        self.words.get(self.used()..).unwrap_or_default()
    }

    /// So many words, if they are left.
    #[inline(always)]
    pub(super) fn at_hand<const N: usize>(&self) -> Option<&'static [Word; N]> {
        let used = self.used();
        self.words.get(used..used.wrapping_add(N))?.first_chunk()
    }

    #[inline(always)]
    fn used(&self) -> usize {
        let [low, high, ..] = self.extent.to_le_bytes();
        u16::from_le_bytes([low, high]).into()
    }

    /// Counts words and records that were written.
    #[inline(always)]
    pub(super) fn advance(&mut self, words: usize, records: u32) {
        let words = u32::try_from(words).unwrap_or(0);
        self.extent = self.extent.wrapping_add(words.wrapping_add(records << 16));
    }

    /// Records of the block.
    #[expect(clippy::as_conversions, reason = "there is no other widening in a constant")]
    pub(super) const fn records(&self) -> u64 {
        let extent = if self.extent == HELD { self.held } else { self.extent };
        (extent >> 16) as u64
    }
}
