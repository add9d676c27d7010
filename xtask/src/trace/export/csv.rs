//! A trace as a table of comma-separated values: a line a record, a column a field.
//! It exists for spreadsheets and data frames; numbers stay numbers, and the first columns are the same for all.

use std::io::{Result, Write};

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

/// Writes a trace; returns how many records.
pub(super) fn write(
    entries: impl Iterator<Item = Entry>,
    names: &Names,
    output: &mut impl Write,
) -> Result<u64> {
    let columns = columns();
    writeln!(output, "time_ns,cpu,domain,name,vcpu,category,record,{}", columns.join(","))?;
    let mut written = 0;
    let mut values = vec![None; columns.len()];
    for entry in entries {
        let Entry { time_ns, cpu, vcpu, domain, record } = entry;
        let name = quoted(&names.of(domain));
        let category = record.category().word();
        write!(output, "{time_ns},{cpu},{},{name},{vcpu},{category},{}", domain.0, record.name())?;
        values.fill(None);
        record.each_field(|field, value| {
            if let Some(at) = columns.iter().position(|name| *name == field.name) {
                values[at] = Some(value);
            }
        });
        for value in &values {
            match value {
                Some(value) => write!(output, ",{value}")?,
                None => output.write_all(b",")?,
            }
        }
        output.write_all(b"\n")?;
        written += 1;
    }
    output.flush()?;
    Ok(written)
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
    use hypercall_abi::DomId;
    use hypervisor_core::trace::Record;

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
