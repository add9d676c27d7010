//! A trace as a table of comma-separated values: a line a record, a column a field.
//! It exists for spreadsheets and data frames; numbers stay numbers, and the first columns are the same for all.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::reader::Entry;
use hypervisor_core::trace::records::DESCRIPTIONS;

use crate::trace::names::Names;

/// Names of all fields, each once, in the order in which records declare them.
fn columns() -> Vec<&'static str> {
    let mut columns = Vec::new();
    for field in DESCRIPTIONS.iter().flat_map(|about| about.fields) {
        if !columns.contains(&field.name) {
            columns.push(field.name);
        }
    }
    columns
}

/// What all lines of a kind of record have in common.
#[derive(Default)]
struct Line {
    /// Category and name.
    words: String,
    /// Its fields in the order of the columns: how many commas stand before it, and which field it is.
    fields: Vec<(usize, usize)>,
    /// Commas after the last.
    rest: usize,
}

impl Line {
    fn of(record: &Record, columns: &[&str]) -> Self {
        let mut places = Vec::new();
        record.each_field(|field, _value| {
            let column = columns.iter().position(|name| *name == field.name).unwrap_or(0);
            places.push((column, places.len()));
        });
        places.sort_unstable();
        let mut before = 0;
        let fields = places.iter().map(|&(column, field)| {
            let commas = column + 1 - before;
            before = column + 1;
            (commas, field)
        });
        let fields = fields.collect();
        let words = format!("{},{}", record.category().word(), record.name());
        Self { words, fields, rest: columns.len() - before }
    }
}

/// Writes a trace; returns how many records.
pub(super) fn write(
    entries: impl Iterator<Item = Entry>,
    names: &Names,
    output: &mut impl Write,
) -> Result<u64> {
    let columns = columns();
    writeln!(output, "time_ns,cpu,domain,name,vcpu,category,record,{}", columns.join(","))?;
    let commas = vec![b','; columns.len()];
    let mut lines: Vec<Option<Line>> = Vec::new();
    lines.resize_with(usize::from(u8::MAX) + 1, || None);
    let mut domains: BTreeMap<DomId, String> = BTreeMap::new();
    let (mut line, mut values): (Vec<u8>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut written = 0;
    for entry in entries {
        let Entry { time_ns, cpu, vcpu, domain, record } = entry;
        let kind = lines[usize::from(record.kind())].get_or_insert_with(|| Line::of(&record, &columns));
        let named =
            domains.entry(domain).or_insert_with(|| format!(",{},{},", domain.0, quoted(&names.of(domain))));
        line.clear();
        number(&mut line, time_ns);
        line.push(b',');
        number(&mut line, cpu.into());
        line.extend_from_slice(named.as_bytes());
        number(&mut line, vcpu.into());
        line.push(b',');
        line.extend_from_slice(kind.words.as_bytes());
        values.clear();
        record.each_field(|_field, value| values.push(value));
        for &(before, field) in &kind.fields {
            line.extend_from_slice(&commas[..before]);
            number(&mut line, values[field]);
        }
        line.extend_from_slice(&commas[..kind.rest]);
        line.push(b'\n');
        output.write_all(&line)?;
        written += 1;
    }
    output.flush()?;
    Ok(written)
}

fn number(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Text that a comma or a quote in it does not tear apart.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_every_column_and_names_stay_whole() {
        let names = Names::new(&[(DomId(1), "a,\"b\"".to_owned())].into());
        let record = Record::EventRaised { merged: 1, port: 7, from: 2 };
        let entry = Entry { time_ns: 5, cpu: 0, vcpu: 0, domain: DomId(1), record };
        let mut text = Vec::new();
        assert_eq!(write([entry, entry].into_iter(), &names, &mut text).unwrap(), 2);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("5,0,1,\"a,\"\"b\"\"\",0,event,EventRaised,"), "{}", lines[1]);
        let commas = |line: &str| line.matches(',').count();
        // One comma stands in the name.
        assert_eq!(commas(lines[1]) - 1, commas(lines[0]));
        let at = lines[0].split(',').position(|column| column == "port").unwrap();
        assert_eq!(lines[1].split(',').nth(at + 1), Some("7"));
    }
}
