//! One line a record, for people and for `grep`.
//! It exists because every trace is read by eye sooner or later.

use std::fmt::Write;

use hypercall_abi::DomId;
use hypervisor_core::trace::reader::Entry;

use super::names::{Names, call, result};
use crate::cli::Column;

/// The columns when nobody chooses.
pub(crate) const COLUMNS: &[Column] = &[Column::Time, Column::Domain, Column::Record, Column::Fields];

/// `   1.234567890 web-1        HypercallEntry SchedOp arg0=1 ...`; `last` is the time of the line before.
pub(crate) fn line(names: &Names, columns: &[Column], last: u64, entry: &Entry) -> String {
    let mut line = String::new();
    for column in columns {
        let _ = match column {
            Column::Time => write!(line, "{}  ", seconds(entry.time_ns)),
            Column::Delta => write!(line, "{:>12}  ", format!("+{}", entry.time_ns.saturating_sub(last))),
            Column::Domain => write!(line, "{:<14} ", names.of(entry.domain)),
            Column::Record => write!(line, "{:<15}", entry.record.name()),
            Column::Fields => write!(line, "{}", fields(names, entry)),
        };
    }
    line.trim_end().to_owned()
}

/// A time in seconds, to the nanosecond.
pub(crate) fn seconds(ns: u64) -> String {
    format!("{:>6}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// The fields of a record, each with a space before it.
pub(crate) fn fields(names: &Names, entry: &Entry) -> String {
    let mut text = String::new();
    entry.record.each_field(|name, value| {
        let _ = match name {
            "number" => write!(text, " {}", call(value)),
            "result" => write!(text, " = {}", result(value)),
            "from" | "peer" => {
                write!(
                    text,
                    " {name}={}",
                    u16::try_from(value).map_or("?".to_owned(), |id| names.of(DomId(id)))
                )
            }
            _ if value < 4096 => write!(text, " {name}={value}"),
            _ => write!(text, " {name}={value:#x}"),
        };
    });
    text
}
