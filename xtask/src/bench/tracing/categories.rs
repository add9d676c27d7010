//! What each category of records costs by itself, under the web load.
//! It exists because an average over all records does not say which of them is dear.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hypervisor_core::trace::Category;
use serde::Serialize;

use super::{Load, Row, State, loaded, rounded};
use crate::table::{new, or_dash};

/// One category.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    /// Records a request.
    records: f64,
    /// Instructions a request, against the trace off.
    more: f64,
    /// The one divided by the other; nothing where nothing is recorded.
    per_record: Option<f64>,
}

/// Measures each, as a flight recorder.
pub(super) fn measure(loads: &BTreeMap<String, Row>) -> Result<BTreeMap<&'static str, Cost>> {
    let web = loads.get(Load::Web.word()).context("the web load was not measured")?;
    let off = web.instructions.get(State::Off.word()).context("the trace was not off")?;
    let mut costs = BTreeMap::new();
    for category in Category::ALL {
        tell!("measuring with {} alone ...", category.word());
        let found = loaded(State::Flight, Load::Web, &[format!("categories {}", category.word())])?;
        let (records, more) = (found.records, rounded(found.instructions - off));
        let per_record = (records >= 0.1).then(|| rounded(more / records));
        costs.insert(category.word(), Cost { records, more, per_record });
    }
    Ok(costs)
}

/// Prints them.
pub(super) fn print(costs: &BTreeMap<&'static str, Cost>) {
    if costs.is_empty() {
        return;
    }
    let mut table = new(&["category alone", "records a request", "instructions more", "a record"]);
    for (name, cost) in costs {
        table.add_row([
            (*name).to_owned(),
            format!("{:.2}", cost.records),
            format!("{:.0}", cost.more),
            or_dash(cost.per_record.map(|cost| format!("{cost:.1}"))),
        ]);
    }
    say!("{table}");
}
