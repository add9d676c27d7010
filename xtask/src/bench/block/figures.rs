//! The figures of `bench block` in the form of its JSON file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::{Counted, DISKS, Got, Image, Rates, Sweep};

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) command: String,
    /// QEMU's word for how it read and wrote the images: `io_uring`, or `threads` where that is missing.
    pub(super) aio: &'static str,
    /// Boots behind each bound.
    pub(super) rounds: usize,
    pub(super) points: Vec<Point>,
    /// The same with requests that are pushed together.
    pub(super) gathered: Vec<Point>,
    /// Some of them in the other ways of a guest and of a back end.
    pub(super) ways: Vec<Point>,
    /// Reads in a queue, and by calls: a task, and a copy, for each. All go to the host's disk, past its cache; absent where its file
    /// system refuses that.
    pub(super) bound: Option<Bound>,
    pub(super) bound_of_calls: Option<Bound>,
    /// The same answered by the host's cache, so that the disk is a copy in QEMU.
    pub(super) bound_from_cache: Bound,
    pub(super) bound_of_calls_from_cache: Bound,
    pub(super) guests: Vec<Shared>,
    pub(super) neighbour: Neighbour,
}

/// One point: a request is one read, write, or write with its flush, of the record's bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    pub(super) disk: &'static str,
    /// Which of a disk's interfaces the guest uses: `queue` or `calls`.
    pub(super) way: &'static str,
    /// What the back end may do with the guest's pages: `mapped` or `copied`.
    pub(super) grants: &'static str,
    pub(super) operation: String,
    pub(super) pattern: String,
    pub(super) record: u64,
    pub(super) depth: u64,
    pub(super) requests: u64,
    /// Instructions a request, of the guest with its hypercalls.
    pub(super) guest_instructions: f64,
    /// The same of the driver domain.
    pub(super) driver_instructions: f64,
    /// Both, for each byte.
    pub(super) instructions_per_byte: f64,
    /// Requests in the ring for each of ours.
    pub(super) ring_requests: f64,
    /// Requests in the ring for each notification of the front end.
    pub(super) requests_per_notification: f64,
    /// Notifications that ring indices saved, of all.
    pub(super) suppressed_share: f64,
    /// Events raised for both domains, for each MiB.
    pub(super) interrupts_per_mib: f64,
    pub(super) switches_per_request: f64,
    /// Hypercalls of the driver domain that copy, a request.
    pub(super) copy_calls: f64,
    /// Copies between both domains that the back end counted, a request in the ring.
    pub(super) copies: f64,
    /// Pages of the guest that it counted as used where they are, a request in the ring.
    pub(super) pages_in_place: f64,
    /// Upcalls of the guest and of the driver domain, a request.
    pub(super) guest_upcalls: f64,
    pub(super) driver_upcalls: f64,
    /// Hypercalls of either by name, a request.
    pub(super) guest_hypercalls: BTreeMap<String, f64>,
    pub(super) driver_hypercalls: BTreeMap<String, f64>,
}

impl Point {
    pub(super) fn of(counted: &Counted, sweep: &Sweep<'_>) -> Self {
        let Counted { said, moved, guest, driver, switches } = counted;
        let each = |value: u64| rounded(value as f64 / said.requests.max(1) as f64);
        let (guest_instructions, driver_instructions) = (each(guest.running_ns), each(driver.running_ns));
        let of_sent = |value: u64| rounded(value as f64 / said.sent.max(1) as f64);
        let calls = |image: &Image| {
            let made = image.hypercalls.iter().filter(|(_, count)| **count > 0);
            made.map(|(name, count)| (name.clone(), each(*count))).collect()
        };
        Self {
            disk: DISKS.get(said.disk).copied().unwrap_or("?"),
            way: sweep.way,
            grants: sweep.grants,
            operation: said.operation.clone(),
            pattern: said.pattern.clone(),
            record: said.record,
            depth: said.depth,
            requests: said.requests,
            guest_instructions,
            driver_instructions,
            instructions_per_byte: rounded((guest_instructions + driver_instructions) / said.record as f64),
            ring_requests: each(said.sent),
            requests_per_notification: rounded(said.sent as f64 / said.notified.max(1) as f64),
            suppressed_share: rounded(
                said.suppressed as f64 / (said.suppressed + said.notified).max(1) as f64,
            ),
            interrupts_per_mib: rounded(
                (guest.raised + driver.raised) as f64 * (1 << 20) as f64
                    / (said.requests * said.record).max(1) as f64,
            ),
            switches_per_request: each(*switches),
            copy_calls: each(driver.calls("grant_table_op")),
            copies: of_sent(moved.copied),
            pages_in_place: of_sent(moved.in_place),
            guest_upcalls: each(guest.upcalls),
            driver_upcalls: each(driver.upcalls),
            guest_hypercalls: calls(guest),
            driver_hypercalls: calls(driver),
        }
    }
}

/// Random reads of 4 KiB, 32 at once: through a front end beside the driver domain's own. From the host's cache, unless it is said
/// otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bound {
    /// The median of the ratios of each boot.
    pub(super) ratio: f64,
    pub(super) ratios: Vec<f64>,
    /// Reads a second, medians.
    pub(super) own_per_s: f64,
    pub(super) front_per_s: f64,
    /// Instructions of a read of the driver domain's own.
    pub(super) own_instructions: f64,
}

impl Bound {
    pub(super) fn of(rates: &[Rates], own_instructions: f64) -> Self {
        let all = |of: fn(&Rates) -> f64| rates.iter().map(of).map(rounded).collect::<Vec<_>>();
        let ratios = all(|rates| rates.front / rates.own);
        Self {
            ratio: median(ratios.clone()),
            ratios,
            own_per_s: median(all(|rates| rates.own)),
            front_per_s: median(all(|rates| rates.front)),
            own_instructions: rounded(own_instructions),
        }
    }
}

/// Guests with disks in memory on one back end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Shared {
    pub(super) guests: u32,
    /// Of all, in the same time.
    pub(super) requests: u64,
    /// What the least and the most of them got, against the mean.
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Shared {
    pub(super) fn of(guests: u32, got: &[Got]) -> Self {
        let each: Vec<u64> = got.iter().filter(|one| !one.floods).map(|one| one.requests).collect();
        let requests: u64 = each.iter().sum();
        let mean = requests as f64 / each.len().max(1) as f64;
        let against = |value: Option<&u64>| rounded(value.copied().unwrap_or(0) as f64 / mean.max(1e-9));
        Self { guests, requests, least: against(each.iter().min()), most: against(each.iter().max()) }
    }
}

/// Guests beside one that reads long records, many at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Neighbour {
    pub(super) guests: u32,
    /// Requests of all but the one that floods, without it and beside it.
    pub(super) without: u64,
    pub(super) beside: u64,
    /// Through what they would get if all of them shared the same.
    pub(super) against_fair_share: f64,
    /// The least that one of them got beside it, against the mean.
    pub(super) least: f64,
    pub(super) flood_requests: u64,
}

impl Neighbour {
    pub(super) fn of(quiet: &[Got], loud: &[Got]) -> Self {
        let guests = quiet.len() as u32;
        let (alone, beside) = (Shared::of(guests, quiet), Shared::of(guests, loud));
        let fair = alone.requests as f64 * f64::from(guests) / f64::from(guests + 1);
        Self {
            guests,
            without: alone.requests,
            beside: beside.requests,
            against_fair_share: rounded(beside.requests as f64 / fair.max(1e-9)),
            least: beside.least,
            flood_requests: loud.iter().filter(|one| one.floods).map(|one| one.requests).sum(),
        }
    }
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(requests: u64, floods: bool) -> Got {
        let mut got: Got =
            serde_json::from_value(serde_json::json!({"requests": requests, "failed": 0, "late": false}))
                .unwrap();
        got.floods = floods;
        got
    }

    #[test]
    fn who_floods_counts_for_itself() {
        let shared = Shared::of(2, &[got(90, false), got(110, false), got(7, true)]);
        assert_eq!(shared, Shared { guests: 2, requests: 200, least: 0.9, most: 1.1 });
        let neighbour = Neighbour::of(
            &[got(150, false), got(150, false)],
            &[got(90, false), got(110, false), got(7, true)],
        );
        assert_eq!((neighbour.against_fair_share, neighbour.flood_requests), (1.0, 7));
    }

    #[test]
    fn the_ratio_is_that_of_one_boot_and_the_median_of_all() {
        let rates = [(100.0, 90.0), (50.0, 20.0), (200.0, 170.0)].map(|(own, front)| Rates { own, front });
        assert_eq!(Bound::of(&rates, 2000.0).ratio, 0.85);
    }
}
