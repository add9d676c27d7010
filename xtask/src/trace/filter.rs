//! Which records are wanted: by domain, by record, by time.
//! It exists so that every view takes the same options and refuses the same mistakes.

use hypercall_abi::DomId;
use hypervisor_core::trace::Category;
use hypervisor_core::trace::reader::Entry;
use hypervisor_core::trace::records::DESCRIPTIONS;

use super::names::Names;
use super::text::seconds;
use crate::BadInput;
use crate::cli;

/// A choice of records.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    domains: Option<Vec<DomId>>,
    kinds: Option<[bool; 256]>,
    categories: Option<u32>,
    from: u64,
    to: u64,
}

impl Default for Filter {
    fn default() -> Self {
        Self { domains: None, kinds: None, categories: None, from: 0, to: u64::MAX }
    }
}

impl Filter {
    /// As the options say; names of domains are those of the trace.
    ///
    /// # Errors
    /// [`BadInput`] for a domain or a record that there is none of.
    pub(crate) fn new(options: &cli::Filter, names: &Names) -> Result<Self, BadInput> {
        let mut domains = Vec::new();
        for pattern in &options.domain {
            let found = names.fitting(pattern);
            if found.is_empty() {
                return Err(BadInput(format!("no domain fits {pattern}; the trace has {}", names.all())));
            }
            domains.extend(found);
        }
        let mut kinds = [false; 256];
        for word in &options.record {
            let wanted = DESCRIPTIONS.iter().filter(|about| fits(word, about.name));
            let before = kinds;
            wanted.for_each(|about| kinds[usize::from(about.kind)] = true);
            if before == kinds && !DESCRIPTIONS.iter().any(|about| fits(word, about.name)) {
                return Err(BadInput(format!("no record is called {word}; docs/TRACE.md lists them")));
            }
        }
        let mut categories = 0;
        for word in &options.category {
            let known =
                || Category::ALL.iter().map(|category| category.word()).collect::<Vec<_>>().join(", ");
            let category = Category::named(word);
            let category = category
                .ok_or_else(|| BadInput(format!("no category is called {word}; there are {}", known())))?;
            categories |= category.bit();
        }
        let (from, to) = (options.from.map_or(0, |time| time.0), options.to.map_or(u64::MAX, |time| time.0));
        if from > to {
            return Err(BadInput("--from is later than --to".to_owned()));
        }
        Ok(Self {
            domains: (!options.domain.is_empty()).then_some(domains),
            kinds: (!options.record.is_empty()).then_some(kinds),
            categories: (!options.category.is_empty()).then_some(categories),
            from,
            to,
        })
    }

    /// Categories of which every record is wanted.
    pub(crate) fn categories(&self) -> u32 {
        let mut all = self.categories.unwrap_or(Category::EVERY);
        for about in DESCRIPTIONS {
            if self.kinds.is_some_and(|kinds| !kinds[usize::from(about.kind)]) {
                all &= !about.category.bit();
            }
        }
        all
    }

    /// Whether records of all domains are wanted.
    pub(crate) const fn all_domains(&self) -> bool {
        self.domains.is_none()
    }

    /// Whether those of this one are.
    pub(crate) fn means(&self, domain: DomId) -> bool {
        self.domains.as_ref().is_none_or(|domains| domains.contains(&domain))
    }

    /// The part of a time that is wanted.
    pub(crate) fn clipped(&self, from: u64, to: u64) -> (u64, u64) {
        let from = from.max(self.from);
        (from, to.min(self.to).max(from))
    }

    /// Refuses times that a trace does not reach.
    ///
    /// # Errors
    /// [`BadInput`] that says how far it does.
    pub(crate) fn must_meet(&self, reach: Option<(u64, u64)>) -> Result<(), BadInput> {
        let Some((first, last)) = reach.filter(|(first, last)| self.from > *last || self.to < *first) else {
            return Ok(());
        };
        let when = if self.from > last { ("from", self.from, "on") } else { ("up to", self.to, "") };
        let [asked, first, last] = [when.1, first, last].map(|ns| seconds(ns).trim().to_owned());
        let nothing = format!("nothing is recorded {} {asked} s {}", when.0, when.2);
        Err(BadInput(format!("{}; the trace goes from {first} s to {last} s", nothing.trim_end())))
    }

    /// Whether a record is wanted.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        (self.from..=self.to).contains(&entry.time_ns)
            && self.means(entry.domain)
            && self.categories.is_none_or(|wanted| wanted & entry.record.category().bit() != 0)
            && self.kinds.is_none_or(|kinds| kinds[usize::from(entry.record.kind())])
    }
}

/// Whether a name is meant, whatever its letters' case.
fn fits(word: &str, name: &str) -> bool {
    match word.strip_suffix('*') {
        Some(prefix) => name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)),
        None => name.eq_ignore_ascii_case(word),
    }
}

/// A point of time in a trace: seconds, or a number with a unit.
pub(crate) fn time(text: &str) -> Result<cli::Ns, String> {
    let refused = || format!("{text} is no time; write seconds (0.25) or a unit (250ms, 3us, 12ns)");
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u32 = match unit {
        "" | "s" => 9,
        "ms" => 6,
        "us" => 3,
        "ns" => 0,
        _ => return Err(refused()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(refused());
    }
    // Digits past the nanosecond are dropped.
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(scale as usize).collect();
    let parse = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map_err(|_| refused()) };
    let whole = parse(whole)?.checked_mul(10_u64.pow(scale)).ok_or_else(refused)?;
    whole.checked_add(parse(&fraction)?).map(cli::Ns).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use hypervisor_core::trace::Record;

    fn names() -> Names {
        let names = [(1, "web-1"), (2, "web-2"), (3, "driver")];
        Names::new(
            &names.map(|(id, name)| (DomId(id), name.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
        )
    }

    fn options(domain: &[&str], record: &[&str]) -> cli::Filter {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        cli::Filter { domain: owned(domain), record: owned(record), ..cli::Filter::default() }
    }

    fn entry(time_ns: u64, id: u16) -> Entry {
        Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record: Record::Upcall { selector: 1 } }
    }

    #[test]
    fn times_have_units_and_are_exact() {
        for (text, ns) in [("1", 1_000_000_000), ("0.123456789", 123_456_789), ("250ms", 250_000_000)] {
            assert_eq!(time(text).unwrap().0, ns);
        }
        assert_eq!((time("3.5us").unwrap().0, time("12ns").unwrap().0), (3500, 12));
        for text in ["", "1.5.2", "-1", "1h", "ms", "99999999999999999999"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_must_fit_all_that_is_asked() {
        let mut wanted = options(&["web-*"], &["upcall"]);
        (wanted.from, wanted.to) = (Some(cli::Ns(10)), Some(cli::Ns(20)));
        let filter = Filter::new(&wanted, &names()).unwrap();
        assert!(filter.wants(&entry(10, 1)) && filter.wants(&entry(20, 2)));
        assert!(!filter.wants(&entry(15, 3)) && !filter.wants(&entry(21, 1)));
        assert!(!Filter::new(&options(&[], &["wake"]), &names()).unwrap().wants(&entry(15, 1)));
    }

    #[test]
    fn a_name_that_is_not_there_is_refused_and_the_others_are_listed() {
        let error = Filter::new(&options(&["nobody"], &[]), &names()).unwrap_err();
        assert!(error.0.contains("driver"), "{}", error.0);
        assert!(Filter::new(&options(&[], &["Nothing"]), &names()).is_err());
        let category = |word: &str| cli::Filter { category: vec![word.to_owned()], ..cli::Filter::default() };
        assert!(Filter::new(&category("nothing"), &names()).unwrap_err().0.contains("run-state"));
        assert!(Filter::new(&category("event"), &names()).unwrap().wants(&entry(1, 1)));
        assert!(!Filter::new(&category("grant"), &names()).unwrap().wants(&entry(1, 1)));
        let late = cli::Filter { from: Some(cli::Ns(2)), to: Some(cli::Ns(1)), ..cli::Filter::default() };
        assert!(Filter::new(&late, &names()).is_err());
    }
}
