//! Names of what a trace carries as numbers.
//! They are computed once a trace, not once a record.

use std::collections::BTreeMap;

use hypercall_abi::{DomId, Errno};
use hypervisor_core::report::hypercall_name;

/// Names of domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(BTreeMap<DomId, String>);

impl Names {
    /// As a trace gives them.
    pub(crate) fn new(names: &BTreeMap<DomId, String>) -> Self {
        Self(names.clone())
    }

    /// A domain's name, or its number.
    pub(crate) fn of(&self, id: DomId) -> String {
        match self.0.get(&id) {
            Some(name) => name.clone(),
            None if id == DomId::IDLE => "idle".to_owned(),
            None => id.to_string(),
        }
    }

    /// All names with their domains.
    pub(crate) fn each(&self) -> impl Iterator<Item = (DomId, &str)> {
        self.0.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// The domains whose names fit a pattern: a name, a prefix with `*`, or a number.
    pub(crate) fn fitting(&self, pattern: &str) -> Vec<DomId> {
        let number =
            pattern.parse().ok().map(DomId).filter(|id| self.0.is_empty() || self.0.contains_key(id));
        let fits = |name: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        let named = self.0.iter().filter(|(_, name)| fits(name)).map(|(id, _)| *id);
        let mut found: Vec<DomId> = named.chain(number).collect();
        if found.is_empty() && pattern == "idle" {
            found.push(DomId::IDLE);
        }
        found
    }

    /// All names, for an error that lists them.
    pub(crate) fn all(&self) -> String {
        let names: Vec<&str> = self.0.values().map(String::as_str).take(20).collect();
        if names.is_empty() {
            return "no names".to_owned();
        }
        let more = if self.0.len() > names.len() { ", ..." } else { "" };
        format!("{}{more}", names.join(", "))
    }
}

/// A hypercall's name as the counters have it.
pub(crate) fn call(number: u64) -> String {
    hypercall_name(u32::try_from(number).unwrap_or(u32::MAX))
}

/// A hypercall's result: a number or an error.
pub(crate) fn result(value: u64) -> String {
    match Errno::from_rax(value) {
        Err(errno) => format!("-{}", errno.name()),
        Ok(value) if value < 4096 => value.to_string(),
        Ok(value) => format!("{value:#x}"),
    }
}
