//! Fields packed into words: each at a multiple of its own width, none across two words.
//! It is one rule for writer and reader, so that a record's layout follows from its declaration.

/// The most words that a record's fields take.
pub(super) const WORDS_MAX: usize = 8;

/// A field that a record can have.
pub(super) trait Field: Copy {
    /// Width in bits.
    const BITS: u32;
    /// As a word.
    fn to_word(self) -> u64;
    /// From the low bits of a word.
    fn from_word(word: u64) -> Self;
}

macro_rules! field {
    ($($kind:ty),+) => { $(
        impl Field for $kind {
            const BITS: u32 = <$kind>::BITS;
            #[inline]
            fn to_word(self) -> u64 {
                u64::from(self)
            }
            #[inline]
            #[expect(clippy::as_conversions, reason = "the low bits are what is wanted")]
            fn from_word(word: u64) -> Self {
                word as Self
            }
        }
    )+ };
}
field!(u8, u16, u32, u64);

/// The fields of one record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packed {
    words: [u64; WORDS_MAX],
    bits: u32,
}

impl Packed {
    /// Adds a field. What does not fit is left out; declarations are tested to fit.
    #[inline]
    pub(super) fn push<F: Field>(&mut self, value: F) {
        let at = aligned(self.bits, F::BITS);
        if let Some(word) = self.words.get_mut(word_index(at)) {
            *word |= value.to_word().wrapping_shl(at);
            self.bits = at.saturating_add(F::BITS);
        }
    }

    /// The words in use.
    #[inline]
    pub(super) fn words(&self) -> &[u64] {
        let count = word_index(self.bits.saturating_add(63));
        self.words.get(..count).unwrap_or(&self.words)
    }
}

/// Fields being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacker<'a> {
    words: &'a [u64],
    bits: u32,
}

impl<'a> Unpacker<'a> {
    pub(super) const fn new(words: &'a [u64]) -> Self {
        Self { words, bits: 0 }
    }

    /// The next field; `None` past the end.
    pub(super) fn pull<F: Field>(&mut self) -> Option<F> {
        let at = aligned(self.bits, F::BITS);
        let word = self.words.get(word_index(at))?;
        self.bits = at.saturating_add(F::BITS);
        Some(F::from_word(word.wrapping_shr(at)))
    }
}

/// The next multiple of a width, which is a power of two.
const fn aligned(bits: u32, width: u32) -> u32 {
    let ones = width.wrapping_sub(1);
    bits.wrapping_add(ones) & !ones
}

#[expect(clippy::as_conversions, reason = "at most a few words")]
const fn word_index(bits: u32) -> usize {
    (bits >> 6) as usize
}
