//! One line a record, for people and for `grep`.
//! It exists because every trace is read by eye sooner or later.

use std::fmt::Write;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use hypercall_abi::DomId;
use hypervisor_core::trace::declare::Meaning;
use hypervisor_core::trace::reader::Entry;
use serde_json::json;

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

/// Records being written as a JSON array, one by one: a trace may be longer than memory.
pub(super) struct Kept {
    file: BufWriter<File>,
    first: bool,
}

impl Kept {
    /// Begins the file.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file), first: true })
    }

    /// Adds a record.
    pub(super) fn add(&mut self, names: &Names, entry: &Entry) -> std::io::Result<()> {
        let mut numbers = serde_json::Map::new();
        entry.record.each_field(|field, value| drop(numbers.insert(field.name.to_owned(), value.into())));
        let body = json!({
            "time_ns": entry.time_ns,
            "cpu": entry.cpu,
            "vcpu": entry.vcpu,
            "domain": names.of(entry.domain),
            "record": entry.record.name(),
            "fields": numbers,
            "text": fields(names, entry).trim(),
        });
        self.file.write_all(if std::mem::take(&mut self.first) { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut self.file, &body)?;
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<()> {
        let end: &[u8] = if self.first { b"[]\n" } else { b"\n]\n" };
        self.file.write_all(end).and_then(|()| self.file.flush()).context("writing JSON")
    }
}

/// A time in seconds, to the nanosecond.
pub(crate) fn seconds(ns: u64) -> String {
    format!("{:>6}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// The fields of a record, each with a space before it.
pub(crate) fn fields(names: &Names, entry: &Entry) -> String {
    let mut text = String::new();
    entry.record.each_field(|field, value| {
        let name = field.name;
        let _ = match field.meaning {
            Meaning::Hypercall => write!(text, " {}", call(value)),
            Meaning::Result => write!(text, " = {}", result(value)),
            Meaning::Domain => {
                write!(
                    text,
                    " {name}={}",
                    u16::try_from(value).map_or("?".to_owned(), |id| names.of(DomId(id)))
                )
            }
            Meaning::Of(numbers) => {
                let member = numbers.members.iter().find(|member| u64::try_from(member.value) == Ok(value));
                match member {
                    Some(member) => write!(text, " {name}={}", member.name),
                    None => write!(text, " {name}={value}"),
                }
            }
            Meaning::Text => {
                let bytes = value.to_le_bytes();
                let letters = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                write!(text, " {name}={}", String::from_utf8_lossy(letters).escape_debug())
            }
            Meaning::Number | Meaning::Ns | Meaning::Port | Meaning::Flag => write!(text, " {name}={value}"),
            Meaning::Hex if value < 4096 => write!(text, " {name}={value}"),
            Meaning::Hex => write!(text, " {name}={value:#x}"),
        };
    });
    text
}
