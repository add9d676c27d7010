//! The form of a log: one entry after the other, each a tag and as many words as the tag says.
//! A word is written as its difference from the same word of the last entry with this tag, seven bits a byte, so that
//! what comes again and again takes a byte.

use alloc::format;
use alloc::string::String;

use crate::registers::Registers;

/// Version of the form; a log of another one cannot be played.
pub(super) const VERSION: u64 = 1;

/// Most words of an entry.
pub(super) const WORDS: usize = 6;
/// Room for tags.
const TAGS: usize = 32;
/// Registers of a frame.
const REGISTERS: usize = 21;

/// The tags: number, words that the core says, words that it is told, and what the words are.
macro_rules! tags {
    ($( $(#[doc = $doc:literal])* $name:ident = $number:literal, $text:literal,
        says $says:literal $says_names:tt, told $told:literal $told_names:tt; )+) => {
        /// What an entry is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Tag { $( $(#[doc = $doc])* $name = $number, )+ }

        impl Tag {
            /// The tag with this number.
            pub(super) const fn from_raw(raw: u8) -> Option<Self> {
                match raw { $( $number => Some(Self::$name), )+ _ => None }
            }

            /// Words that the core says, by which it is compared.
            pub(super) const fn says(self) -> usize {
                match self { $( Self::$name => $says, )+ }
            }

            /// Words that it is told.
            pub(super) const fn told(self) -> usize {
                match self { $( Self::$name => $told, )+ }
            }

            /// What the core does.
            const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// Names of what it says.
            const fn names(self) -> &'static [&'static str] {
                match self { $( Self::$name => &$says_names, )+ }
            }
        }
    };
}

tags! {
    /// The core reads a word.
    Load = 1, "reads a word", says 1 ["at"], told 1 ["word"];
    /// It writes a word.
    Store = 2, "writes a word", says 2 ["at", "word"], told 0 [];
    /// It sets bits.
    FetchOr = 3, "sets bits", says 2 ["at", "bits"], told 1 ["was"];
    /// It clears bits.
    FetchAnd = 4, "clears bits", says 2 ["at", "keeps"], told 1 ["was"];
    /// It replaces a word that is as expected.
    Exchange = 5, "replaces a word", says 3 ["at", "old", "new"], told 2 ["done", "was"];
    /// It reads bytes, which follow.
    Read = 6, "reads bytes", says 2 ["at", "bytes"], told 0 [];
    /// It writes bytes, of which this is the sum.
    Write = 7, "writes bytes", says 3 ["at", "bytes", "sum"], told 0 [];
    /// It copies within memory.
    Copy = 8, "copies bytes", says 3 ["to", "from", "bytes"], told 0 [];
    /// It clears a frame.
    Zero = 9, "clears a frame", says 1 ["frame"], told 0 [];
    /// It asks for the time.
    Now = 10, "asks for the time", says 0 [], told 1 ["time"];
    /// It asks how full the heap is.
    Heap = 11, "asks for the heap's bytes", says 0 [], told 1 ["bytes"];
    /// It has an address forgotten.
    Flush = 12, "flushes an address", says 1 ["address"], told 0 [];
    /// It loads a root.
    Root = 13, "loads a root", says 2 ["ring", "frame"], told 0 [];
    /// It reads configuration space.
    PciRead = 14, "reads configuration space", says 3 ["device", "offset", "width"], told 1 ["value"];
    /// It writes configuration space.
    PciWrite = 15, "writes configuration space", says 4 ["device", "offset", "width", "value"], told 0 [];
    /// It asks what the processor is.
    Cpuid = 16, "asks for a leaf of CPUID", says 2 ["leaf", "subleaf"], told 4 ["eax", "ebx", "ecx", "edx"];
    /// It asks for the bases of FS and GS.
    Bases = 17, "asks for segment bases", says 0 [], told 3 ["known", "fs", "gs"];
    /// It asks for the scale of the trace's clock.
    Scale = 18, "asks for the clock's scale", says 0 [], told 3 ["origin", "multiplier", "shift"];
    /// It reads the trace's clock.
    Ticks = 19, "asks for ticks", says 0 [], told 1 ["ticks"];
    /// It reads the trace's storage.
    TraceLoad = 20, "reads the trace's storage", says 1 ["index"], told 1 ["word"];
    /// It asks for what struck the processor.
    Strikes = 21, "asks for strikes", says 0 [], told 2 ["nmis", "machine_checks"];
    /// It asks what the hypervisor took of a domain's time.
    Took = 22, "asks for the hypervisor's ticks", says 1 ["domain"], told 2 ["known", "ticks"];
    /// Somebody comes in: which entry, its arguments, and what is left of the effects. Registers follow if it has any.
    Enter = 24, "is entered", says 5 ["entry", "first", "second", "third", "todo"], told 0 [];
    /// The core returns: its answer, the effects, the next deadline. Registers follow if the entry has any.
    Leave = 25, "returns", says 4 ["answer", "second", "todo", "deadline"], told 0 [];
    /// The digest of the state.
    Digest = 26, "has a digest", says 1 ["digest"], told 0 [];
}

impl Tag {
    /// The number in a log.
    #[expect(clippy::as_conversions, reason = "an enum of bytes")]
    pub(super) const fn raw(self) -> u8 {
        self as u8
    }

    /// What the core does, in words for people.
    pub(super) fn describe(self, says: &[u64]) -> String {
        let mut text = String::from(self.text());
        for (name, word) in self.names().iter().zip(says) {
            text.push_str(&format!(" {name}={word:#x}"));
        }
        text
    }
}

/// What the words of the last entries were. Writer and reader each keep one, and they stay alike.
#[derive(Clone, Debug)]
pub(super) struct Before {
    words: [[u64; WORDS]; TAGS],
    registers: [u64; REGISTERS],
}

impl Before {
    pub(super) const fn new() -> Self {
        Self { words: [[0; WORDS]; TAGS], registers: [0; REGISTERS] }
    }

    fn of(&mut self, tag: Tag) -> impl Iterator<Item = &mut u64> {
        self.words.get_mut(usize::from(tag.raw())).into_iter().flatten()
    }

    /// Writes an entry.
    pub(super) fn write(&mut self, tag: Tag, words: &[u64], put: &mut impl FnMut(u8)) {
        put(tag.raw());
        for (word, before) in words.iter().zip(self.of(tag)) {
            write_word(fold(word.wrapping_sub(*before)), put);
            *before = *word;
        }
    }

    /// Writes the registers that have changed.
    pub(super) fn write_registers(&mut self, regs: &Registers, put: &mut impl FnMut(u8)) {
        let words = words_of(regs);
        let mut changed = 0_u64;
        for ((word, before), bit) in words.iter().zip(self.registers).zip(0_u32..) {
            changed |= u64::from(*word != before).wrapping_shl(bit);
        }
        write_word(changed, put);
        for (word, before) in words.iter().zip(&mut self.registers) {
            if word != before {
                write_word(fold(word.wrapping_sub(*before)), put);
                *before = *word;
            }
        }
    }

    /// Reads the words of an entry whose tag was read; `None` if the log ends within.
    pub(super) fn read(&mut self, tag: Tag, log: &mut Bytes<'_>) -> Option<[u64; WORDS]> {
        let mut words = [0; WORDS];
        let count = tag.says().saturating_add(tag.told());
        for (word, before) in words.iter_mut().zip(self.of(tag)).take(count) {
            *before = before.wrapping_add(unfold(log.word()?));
            *word = *before;
        }
        Some(words)
    }

    /// Reads the registers that have changed, and returns all of them.
    pub(super) fn read_registers(&mut self, log: &mut Bytes<'_>) -> Option<Registers> {
        let changed = log.word()?;
        for (before, bit) in self.registers.iter_mut().zip(0_u32..) {
            if changed.wrapping_shr(bit) & 1 != 0 {
                *before = before.wrapping_add(unfold(log.word()?));
            }
        }
        Some(of_words(self.registers))
    }
}

/// Small differences of either sign become small numbers.
const fn fold(difference: u64) -> u64 {
    let sign = if difference >> 63 == 0 { 0 } else { u64::MAX };
    (difference << 1) ^ sign
}

const fn unfold(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

fn write_word(mut word: u64, put: &mut impl FnMut(u8)) {
    loop {
        let [low, ..] = word.to_le_bytes();
        word >>= 7;
        if word == 0 {
            return put(low & 0x7f);
        }
        put(low | 0x80);
    }
}

/// The bytes of a log that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn word(&mut self) -> Option<u64> {
        let mut word = 0_u64;
        for shift in (0_u32..64).step_by(7) {
            let byte = self.byte()?;
            word |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(word)
    }
}

/// A sum over bytes in which their order counts (FNV-1a).
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(SUM_START, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(SUM_FACTOR))
}

/// Where a sum begins.
pub(super) const SUM_START: u64 = 0xcbf2_9ce4_8422_2325;
/// By what it is multiplied.
pub(super) const SUM_FACTOR: u64 = 0x0000_0100_0000_01b3;

/// Names of the registers, in their order in a log.
pub(super) const REGISTER_NAMES: [&str; REGISTERS] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "entry", "rip", "cs", "rflags", "rsp", "ss",
];

/// The registers as words, in their order.
pub(super) const fn words_of(regs: &Registers) -> [u64; REGISTERS] {
    let Registers { r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, .. } = *regs;
    let Registers { entry, rip, cs, rflags, rsp, ss, .. } = *regs;
    [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, entry, rip, cs, rflags, rsp, ss]
}

const fn of_words(words: [u64; REGISTERS]) -> Registers {
    let [
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r11,
        r10,
        r9,
        r8,
        rax,
        rcx,
        rdx,
        rsi,
        rdi,
        entry,
        rip,
        cs,
        rflags,
        rsp,
        ss,
    ] = words;
    Registers {
        r15,
        r14,
        r13,
        r12,
        rbp,
        rbx,
        r11,
        r10,
        r9,
        r8,
        rax,
        rcx,
        rdx,
        rsi,
        rdi,
        entry,
        rip,
        cs,
        rflags,
        rsp,
        ss,
    }
}
