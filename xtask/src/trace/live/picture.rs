//! What one interval of a running system was like, in figures.

use std::cmp::Reverse;

use serde::Serialize;

use crate::cli::Sort;

/// An interval.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Picture {
    /// What runs.
    pub(crate) scenario: String,
    /// Its end, in ns of system time.
    pub(crate) time_ns: u64,
    /// Its length.
    pub(crate) span_ns: u64,
    /// Categories that are recorded; figures that need others are missing.
    pub(crate) categories: Vec<&'static str>,
    /// Records in it.
    pub(crate) records_per_s: f64,
    /// Records that there was no room for since the beginning.
    pub(crate) lost: u64,
    /// Time in which nobody had the processor.
    pub(crate) idle_share: Option<f64>,
    /// Changes of the domain that has it.
    pub(crate) switches_per_s: f64,
    /// Domains.
    pub(crate) domains: Vec<Row>,
    /// Hypercalls, the most time first.
    pub(crate) hypercalls: Vec<CallRow>,
}

/// One domain in it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) domain: String,
    /// Its run state at the end.
    pub(crate) state: Option<&'static str>,
    /// Share of time with the processor.
    pub(crate) running: Option<f64>,
    /// Share of time of waiting for it.
    pub(crate) runnable: Option<f64>,
    /// Share of time of sleep.
    pub(crate) blocked: Option<f64>,
    /// Hypercalls, parts of multicalls included.
    pub(crate) calls_per_s: f64,
    /// Events raised for it, merged ones included.
    pub(crate) events_per_s: f64,
    /// Upcalls.
    pub(crate) upcalls_per_s: f64,
    /// Events that an upcall found.
    pub(crate) events_per_upcall: Option<f64>,
    /// Times that it got the processor.
    pub(crate) switches_per_s: f64,
    /// Its ends of rings.
    pub(crate) rings: Vec<Ring>,
}

/// One end of the rings of a domain, all peers together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ring {
    /// `tx`, `rx` or `disk` of a front end, `back tx`, `back rx` or `back disk` of a back end.
    pub(crate) ring: &'static str,
    /// Entries that wait in them.
    pub(crate) waiting: u64,
    /// Most that waited in them at once.
    pub(crate) most: u64,
}

/// One hypercall in it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CallRow {
    /// Its name.
    pub(crate) hypercall: String,
    /// How often.
    pub(crate) per_s: f64,
    /// Share of all time.
    pub(crate) share: f64,
    /// Mean duration.
    pub(crate) mean_ns: Option<f64>,
    /// 99 of 100 took no longer.
    pub(crate) p99_ns: u64,
    /// Longest.
    pub(crate) max_ns: u64,
}

impl Row {
    /// Entries that wait in its rings.
    pub(crate) fn waiting(&self) -> u64 {
        self.rings.iter().map(|ring| ring.waiting).sum()
    }

    /// Its rings as text: what waits, and the most that did.
    pub(crate) fn rings(&self) -> String {
        // Of a domain that has back ends alone that need not be said.
        let backs = self.rings.iter().all(|ring| ring.ring.starts_with("back "));
        let name = |ring: &Ring| if backs { ring.ring.trim_start_matches("back ") } else { ring.ring };
        let one = |ring: &Ring| format!("{} {}/{}", name(ring), ring.waiting, ring.most);
        self.rings.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

impl Picture {
    /// Sorts the domains, the most first unless turned; names the other way round.
    pub(crate) fn sort(&mut self, by: Sort, turned: bool) {
        self.domains.sort_by(|one, other| natural(&one.domain, &other.domain));
        let key = |row: &Row| match by {
            Sort::Cpu => row.running.unwrap_or(-1.0),
            Sort::Queue => row.runnable.unwrap_or(-1.0),
            Sort::Calls => row.calls_per_s,
            Sort::Events => row.events_per_s,
            Sort::Batch => row.events_per_upcall.unwrap_or(-1.0),
            Sort::Switches => row.switches_per_s,
            Sort::Rings => row.waiting() as f64,
            Sort::Name => 0.0,
        };
        self.domains.sort_by(|one, other| key(other).total_cmp(&key(one)));
        if turned {
            self.domains.reverse();
        }
    }

    /// The hypercalls that took the most time, first.
    pub(super) fn rank_calls(&mut self) {
        self.hypercalls.sort_by_key(|call| Reverse((call.share * 1e9) as u64));
    }
}

/// Names with numbers at their end in order of those.
fn natural(one: &str, other: &str) -> std::cmp::Ordering {
    let split = |name: &str| {
        let start = name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
        (name[..start].to_owned(), name[start..].parse::<u64>().unwrap_or(0))
    };
    split(one).cmp(&split(other))
}

/// A rate as people read it: `950`, `12.3k`, `4.5M`.
pub(crate) fn rate(value: f64) -> String {
    match value {
        value if value >= 999_950.0 => format!("{:.1}M", value / 1e6),
        value if value >= 9_999.5 => format!("{:.1}k", value / 1e3),
        value if value >= 99.95 || value == 0.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

/// A share in percent, or a dash.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(by: Sort, turned: bool) -> Vec<String> {
        let row = |domain: &str, running, calls_per_s| Row {
            domain: domain.to_owned(),
            running,
            calls_per_s,
            ..Row::default()
        };
        let domains =
            vec![row("web-10", Some(0.1), 5.0), row("web-9", None, 7.0), row("driver", Some(0.5), 1.0)];
        let mut picture = Picture { domains, ..Picture::default() };
        picture.sort(by, turned);
        picture.domains.into_iter().map(|row| row.domain).collect()
    }

    #[test]
    fn the_most_come_first_and_names_in_their_order() {
        assert_eq!(names(Sort::Cpu, false), ["driver", "web-10", "web-9"]);
        assert_eq!(names(Sort::Calls, false), ["web-9", "web-10", "driver"]);
        assert_eq!(names(Sort::Name, false), ["driver", "web-9", "web-10"]);
        assert_eq!(names(Sort::Calls, true), ["driver", "web-10", "web-9"]);
    }

    #[test]
    fn rates_keep_to_a_few_letters() {
        for (value, text) in [(0.0, "0"), (0.5, "0.5"), (950.0, "950"), (12_345.0, "12.3k"), (4.5e6, "4.5M")]
        {
            assert_eq!(rate(value), text);
        }
    }
}
