//! What the hypervisor writes on the serial line, one line at a time.
//! It exists so that reports read facts of the hypervisor and never a guest's imitation of them: a guest's line
//! always carries its name first.

use serde::Deserialize;
use serde_json::Value;

/// A line of the serial log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// The hypervisor's log.
    Log(String),
    /// A domain's console.
    Console {
        /// Its name.
        domain: String,
        /// What it wrote.
        text: String,
    },
    /// A record of the hypervisor.
    Record {
        /// Its kind, without `@`.
        kind: String,
        /// What it says.
        body: Value,
    },
    /// Anything else: firmware, a damaged line.
    Other(String),
}

impl Line {
    /// Reads a line without its newline.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim_end_matches(['\r', '\n']);
        if let Some((kind, body)) = record(text) {
            return Self::Record { kind, body };
        }
        if let Some(text) = text.strip_prefix("denizen: ") {
            return Self::Log(text.to_owned());
        }
        match text.split_once("| ").or_else(|| text.strip_suffix('|').map(|name| (name, ""))) {
            Some((domain, text)) if !domain.contains(char::is_whitespace) && !domain.is_empty() => {
                Self::Console { domain: domain.to_owned(), text: text.to_owned() }
            }
            _ => Self::Other(text.to_owned()),
        }
    }

    /// The record on a guest's own console, if the line is one: `(domain, kind, body)`.
    pub(crate) fn guest_record(&self) -> Option<(&str, String, Value)> {
        let Self::Console { domain, text } = self else { return None };
        let (kind, body) = record(text)?;
        Some((domain, kind, body))
    }
}

fn record(text: &str) -> Option<(String, Value)> {
    let (kind, body) = text.strip_prefix('@')?.split_once(' ')?;
    let body = serde_json::from_str(body).ok()?;
    Some((kind.to_owned(), body))
}

/// What a guest says of itself when it starts: `@guest`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Banner {
    /// Privilege level, as the guest read it from CS.
    pub(crate) cpl: u8,
    /// Its memory.
    #[serde(default)]
    pub(crate) memory_bytes: u64,
    /// The interface that it found.
    #[serde(default)]
    pub(crate) abi: String,
}

#[cfg(test)]
mod tests {
    use super::Line;
    use serde_json::json;

    #[test]
    fn each_kind_of_line_is_told_apart() {
        assert_eq!(Line::parse("denizen: up\r"), Line::Log("up".into()));
        assert_eq!(
            Line::parse("web-1| hello | world"),
            Line::Console { domain: "web-1".into(), text: "hello | world".into() }
        );
        assert_eq!(Line::parse("web-1|"), Line::Console { domain: "web-1".into(), text: String::new() });
        assert_eq!(Line::parse("@ok {\"a\":1}"), Line::Record { kind: "ok".into(), body: json!({"a": 1}) });
        assert_eq!(Line::parse("SeaBIOS (version"), Line::Other("SeaBIOS (version".into()));
    }

    #[test]
    fn a_guest_cannot_forge_a_record_of_the_hypervisor() {
        let line = Line::parse("evil| @snapshot {\"label\":\"x\"}");
        assert!(matches!(line, Line::Console { .. }));
        assert_eq!(line.guest_record().unwrap().0, "evil");
    }

    #[test]
    fn a_damaged_record_is_no_record() {
        assert_eq!(Line::parse("@snapshot {\"label"), Line::Other("@snapshot {\"label".into()));
    }
}
