//! Where in a scenario file something is wrong: file, line and key.
//! It exists because a message without a place costs its reader more than the mistake did.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::System;

/// Why a scenario is refused; ends the program with status 2 before anything is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    place: String,
    key: String,
    message: String,
}

impl Refusal {
    /// Something is wrong with the file as a whole.
    pub(crate) fn whole(path: &Path, message: impl Into<String>) -> Self {
        Self { place: path.display().to_string(), key: String::new(), message: message.into() }
    }

    /// Something is wrong at bytes `span` of `text`.
    pub(crate) fn at(path: &Path, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let line = text.get(..span.start).unwrap_or(text).matches('\n').count() + 1;
        let key = key_at(text, &span).unwrap_or_default();
        Self { place: format!("{}:{line}", path.display()), key, message: message.into() }
    }

    /// The same place for another reason.
    pub(super) fn because(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Reads a scenario's text.
pub(super) fn read(path: &Path, text: &str) -> Result<System, Refusal> {
    toml::from_str(text).map_err(|error| {
        let mut message = error.message().trim().replace('\n', ", ");
        // Of what is no TOML no key is found: the place in the text is all there is.
        if let Some(key) = error.span().filter(|_| message == "duplicate key").and_then(|span| text.get(span))
        {
            message = format!("{message} {key:?}");
        }
        match error.span() {
            Some(span) => Refusal::at(path, text, span, message),
            None => Refusal::whole(path, message),
        }
    })
}

/// The dotted key whose name or value holds `span`, the innermost one: `domain[1].memory`.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut path = String::new();
    in_table(table.get_ref(), span, &mut path).then_some(path)
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn in_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut String) -> bool {
    for (key, value) in table {
        let before = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key.get_ref());
        if holds(&key.span(), span) || in_value(value, span, path) {
            return true;
        }
        path.truncate(before);
    }
    false
}

fn in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut String) -> bool {
    let found = match value.get_ref() {
        DeValue::Table(table) => in_table(table, span, path),
        DeValue::Array(items) => items.iter().enumerate().any(|(index, item)| {
            let before = path.len();
            path.push_str(&format!("[{index}]"));
            let found = in_value(item, span, path);
            if !found {
                path.truncate(before);
            }
            found
        }),
        _ => false,
    };
    found || holds(&value.span(), span)
}
