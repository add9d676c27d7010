//! One line a record, for people and for `grep`.
//! It exists because every trace is read by eye sooner or later.

use hypercall_abi::{DomId, Errno};
use hypervisor_core::report::hypercall_name;
use hypervisor_core::trace::decode::{Decoded, Entry};

/// `   1.234567890 web-1        HypercallEntry SchedOp arg0=1 ...`.
pub(super) fn line(decoded: &Decoded, entry: &Entry) -> String {
    let (seconds, ns) = (entry.time_ns / 1_000_000_000, entry.time_ns % 1_000_000_000);
    let mut line =
        format!("{seconds:>6}.{ns:09} {:<14} {:<15}", domain(decoded, entry.domain), entry.record.name());
    for (name, value) in entry.record.fields() {
        match name {
            "number" => line.push_str(&format!(" {}", call(value))),
            "result" => line.push_str(&format!(" = {}", result(value))),
            "from" => line.push_str(&format!(
                " from={}",
                u16::try_from(value).map_or("?".to_owned(), |id| domain(decoded, DomId(id)))
            )),
            _ if value < 4096 => line.push_str(&format!(" {name}={value}")),
            _ => line.push_str(&format!(" {name}={value:#x}")),
        }
    }
    line.trim_end().to_owned()
}

/// A domain's name, or its number.
pub(super) fn domain(decoded: &Decoded, id: DomId) -> String {
    match decoded.names.get(&id) {
        Some(name) => name.clone(),
        None if id == DomId::IDLE => "idle".to_owned(),
        None => id.to_string(),
    }
}

/// A hypercall's name as the counters have it.
pub(super) fn call(number: u64) -> String {
    hypercall_name(u32::try_from(number).unwrap_or(u32::MAX))
}

fn result(value: u64) -> String {
    match Errno::from_rax(value) {
        Err(errno) => format!("-{}", errno.name()),
        Ok(value) if value < 4096 => value.to_string(),
        Ok(value) => format!("{value:#x}"),
    }
}
