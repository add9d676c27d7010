//! What is recorded while the trace is on: categories, domains, hypercalls, how long they take, and when to stop.
//! The words are the same in a scenario, on the command line and in a command on the serial line.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hypercall_abi::{DomId, Hypercall};

use super::category::Category;
use super::layout::BLOCK_WORDS_MIN;
use super::records::{Condition, UNKNOWN};
use super::stream::Mode;
use crate::domain::Domain;
use crate::report::hypercall_name;

/// What each setting takes.
const SETTINGS: [(&str, &str); 7] = [
    ("categories", "names of categories, or all"),
    ("domains", "names of domains or the beginnings of them (web-*), or all"),
    ("calls", "names of hypercalls, or all"),
    ("longer", "ns that a hypercall must take"),
    ("stop", "call NS, delay NS, death or never"),
    ("mode", "flight or live"),
    ("buffer", "bytes, or all"),
];

/// Patterns of names that one choice may have.
const PATTERNS_MAX: usize = 16;
/// Numbers of domains there can be.
const DOMAINS: usize = 1 << 15;

/// What is recorded.
#[derive(Debug)]
pub struct Choice {
    /// A bit a category.
    pub(super) categories: u32,
    /// Names of the domains that are recorded; empty for all.
    patterns: Vec<String>,
    /// Their numbers, a bit each.
    domains: Vec<u64>,
    /// Numbers of the hypercalls that are recorded, a bit each.
    calls: u64,
    /// ns that a hypercall must take to be recorded.
    longer: u64,
    /// What ends the recording, and the least value that does.
    ends: Option<(Condition, u64)>,
    /// What happens when the buffer is full.
    pub(super) mode: Mode,
    /// Words of the buffer; 0 for all that there is.
    pub(super) buffer_words: usize,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            categories: Category::EVERY,
            patterns: Vec::new(),
            domains: Vec::new(),
            calls: u64::MAX,
            longer: 0,
            ends: None,
            mode: Mode::Flight,
            buffer_words: 0,
        }
    }
}

impl Choice {
    /// Takes one setting: `categories event,grant`, `domains web-*`, `calls sched_op`, `longer NS`,
    /// `stop call NS`, `stop delay NS`, `stop death`, `mode live`, `buffer BYTES`; `all` or `never` takes one back.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed.
    pub fn set(&mut self, words: &[&str]) -> Result<(), String> {
        self.take(words).map_err(|why| {
            let key = words.first().copied().unwrap_or_default();
            let Some((_, allowed)) = SETTINGS.iter().find(|(name, _)| *name == key) else {
                let names: Vec<_> = SETTINGS.iter().map(|(name, _)| *name).collect();
                return format!("unknown setting of the trace: {key}; there are {}", names.join(", "));
            };
            match why {
                Some(why) => format!("{key}: {why}"),
                None => format!("{key} is {allowed}"),
            }
        })
    }

    /// The same; what is wrong beside the form.
    fn take(&mut self, words: &[&str]) -> Result<(), Option<String>> {
        match words {
            ["categories", "all"] => self.categories = Category::EVERY,
            ["categories", list] => self.categories = categories(list)?,
            ["domains", "all"] => self.patterns = Vec::new(),
            ["domains", list] => self.patterns = patterns(list)?,
            ["calls", "all"] => self.calls = u64::MAX,
            ["calls", list] => self.calls = calls(list)?,
            ["longer", ns] => self.longer = number(ns)?,
            ["stop", "never"] => self.ends = None,
            ["stop", "death"] => self.ends = Some((Condition::Death, 0)),
            ["stop", "call", ns] => self.ends = Some((Condition::Call, number(ns)?)),
            ["stop", "delay", ns] => self.ends = Some((Condition::Delay, number(ns)?)),
            ["mode", "flight"] => self.mode = Mode::Flight,
            ["mode", "live"] => self.mode = Mode::Live,
            ["buffer", "all"] => self.buffer_words = 0,
            ["buffer", bytes] => self.buffer_words = buffer(bytes)?,
            _ => return Err(None),
        }
        Ok(())
    }

    /// Whether the setting divides the storage anew, which it can only while nothing is recorded.
    #[must_use]
    pub fn is_about_storage(words: &[&str]) -> bool {
        matches!(words, ["mode" | "buffer", ..])
    }

    /// Looks which domains are meant.
    pub(super) fn look_at<'a>(&mut self, domains: impl Iterator<Item = &'a Domain>) {
        self.domains = Vec::new();
        if !self.patterns.is_empty() && self.domains.try_reserve_exact(DOMAINS / 64).is_ok() {
            self.domains.resize(DOMAINS / 64, 0);
        }
        for domain in domains {
            self.named(domain.id, &domain.name);
        }
    }

    /// A domain of this name and number has come.
    pub(super) fn named(&mut self, id: DomId, name: &str) {
        let meant = self.patterns.iter().any(|pattern| crate::control::fits(pattern, name));
        if let Some(word) = self.domains.get_mut(usize::from(id.0 >> 6)) {
            let bit = 1 << (id.0 & 63);
            *word = if meant { *word | bit } else { *word & !bit };
        }
    }

    /// Whether a record with this first word is wanted.
    #[cold]
    pub(super) fn passes(&self, head: u64) -> bool {
        let kind = head & 0x7f;
        let of_a_call = (1..=4).contains(&kind);
        let number = (head >> 32) & 0xff;
        if of_a_call && self.calls != u64::MAX && (number > 63 || (self.calls >> number) & 1 == 0) {
            return false;
        }
        let id = DomId(u16::try_from((head >> 17) & 0x7fff).unwrap_or(0));
        id == DomId::IDLE || self.means(id)
    }

    /// Whether a domain is recorded.
    pub(super) fn means(&self, id: DomId) -> bool {
        let known = self.domains.get(usize::from(id.0 >> 6));
        known.is_none_or(|word| (word >> (id.0 & 63)) & 1 != 0)
    }

    /// What is left out on purpose, for the header.
    pub(super) fn left_out(&self) -> u64 {
        u64::from(!self.patterns.is_empty())
            | (u64::from(self.calls != u64::MAX) << 1)
            | (u64::from(self.longer > 0) << 2)
    }

    /// Whether hypercalls are timed.
    #[inline]
    pub(crate) const fn times_calls(&self) -> bool {
        self.longer > 0 || matches!(self.ends, Some((Condition::Call, _)))
    }

    /// ns that a hypercall must take to be recorded; 0 if all are.
    #[inline]
    pub(crate) const fn longer(&self) -> u64 {
        self.longer
    }

    /// Whether this call is wanted, by its number.
    pub(crate) fn wants_call(&self, number: u8) -> bool {
        self.calls == u64::MAX || (number != UNKNOWN && (self.calls >> (number & 63)) & 1 != 0)
    }

    /// Whether the recording ends on this.
    pub(super) fn ends_on(&self, condition: Condition, value: u64) -> bool {
        self.ends.is_some_and(|(which, least)| which == condition && value >= least)
    }

    /// Whether delays are watched.
    #[inline]
    pub(crate) const fn watches_delays(&self) -> bool {
        matches!(self.ends, Some((Condition::Delay, _)))
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

fn categories(list: &str) -> Result<u32, String> {
    let mut bits = 0;
    for word in list.split(',') {
        let category = Category::named(word).ok_or_else(|| {
            let known: Vec<_> = Category::ALL.iter().map(|category| category.word()).collect();
            format!("unknown category: {word}; there are {}", known.join(", "))
        })?;
        bits |= category.bit();
    }
    Ok(bits)
}

fn patterns(list: &str) -> Result<Vec<String>, String> {
    let patterns: Vec<String> = list.split(',').map(ToString::to_string).collect();
    if patterns.iter().any(String::is_empty) {
        return Err(format!("no name between two commas: {list}"));
    }
    if patterns.len() > PATTERNS_MAX {
        return Err(format!("more than {PATTERNS_MAX} patterns of domains"));
    }
    Ok(patterns)
}

fn calls(list: &str) -> Result<u64, String> {
    let mut bits = 0;
    for word in list.split(',') {
        let known = Hypercall::ALL.iter().find(|call| hypercall_name(call.raw()) == word);
        let unknown = || {
            let known: Vec<_> = Hypercall::ALL.iter().map(|call| hypercall_name(call.raw())).collect();
            format!("unknown hypercall: {word}; there are {}", known.join(", "))
        };
        bits |= 1_u64 << known.ok_or_else(unknown)?.raw();
    }
    Ok(bits)
}

fn buffer(text: &str) -> Result<usize, String> {
    let words = usize::try_from(number(text)? / 8).unwrap_or(usize::MAX);
    if words < 4 * BLOCK_WORDS_MIN {
        return Err(format!("a buffer of {text} bytes holds no four blocks of {}", 8 * BLOCK_WORDS_MIN));
    }
    Ok(words)
}
