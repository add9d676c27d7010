//! Fields packed into words: each at a multiple of its own width, none across two words.
//! It is one rule for writer and reader, so that a record's layout follows from its declaration. A first field of
//! one byte goes into the record's first word instead, where there is room for it.

/// The most words that a record's fields take.
pub(super) const WORDS_MAX: usize = 6;

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
            #[inline(always)]
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
    /// The first field, if it is one byte.
    pub(super) small: u64,
    pub(super) words: [u64; WORDS_MAX],
    bits: u32,
    fields: u32,
}

impl Packed {
    /// Adds a field. What does not fit is left out; declarations are tested to fit.
    #[inline(always)]
    pub(super) fn push<F: Field>(&mut self, value: F) {
        let first = self.fields == 0;
        self.fields = self.fields.wrapping_add(1);
        if first && F::BITS == 8 {
            self.small = value.to_word();
            return;
        }
        let at = aligned(self.bits, F::BITS);
        if let Some(word) = self.words.get_mut(word_index(at)) {
            *word |= value.to_word().wrapping_shl(at);
            self.bits = at.wrapping_add(F::BITS);
        }
    }

    /// How many words are in use.
    #[inline(always)]
    pub(super) const fn count(&self) -> usize {
        word_index(self.bits.wrapping_add(63))
    }
}

/// Fields being read. A word that is not there is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacker<'a> {
    small: u8,
    words: &'a [u64],
    bits: u32,
    fields: u32,
}

impl<'a> Unpacker<'a> {
    pub(super) const fn new(small: u8, words: &'a [u64]) -> Self {
        Self { small, words, bits: 0, fields: 0 }
    }

    /// The next field.
    #[inline]
    pub(super) fn pull<F: Field>(&mut self) -> F {
        let first = self.fields == 0;
        self.fields = self.fields.wrapping_add(1);
        if first && F::BITS == 8 {
            return F::from_word(u64::from(self.small));
        }
        let at = aligned(self.bits, F::BITS);
        self.bits = at.wrapping_add(F::BITS);
        let word = self.words.get(word_index(at)).copied().unwrap_or(0);
        F::from_word(word.wrapping_shr(at))
    }
}

/// The next multiple of a width, which is a power of two.
#[inline(always)]
const fn aligned(bits: u32, width: u32) -> u32 {
    let ones = width.wrapping_sub(1);
    bits.wrapping_add(ones) & !ones
}

#[inline(always)]
#[expect(clippy::as_conversions, reason = "at most a few words")]
const fn word_index(bits: u32) -> usize {
    (bits >> 6) as usize
}
