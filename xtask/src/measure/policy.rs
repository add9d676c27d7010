//! A delivery policy with its window, as a word: `synchronous`, `batched`, `batched:8:200`.
//! It exists so that the same word stands in options, command lines of guests, files and reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::scenario::Delivery;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Which.
    pub(crate) delivery: Delivery,
    /// Events and microseconds of a window; 0 without.
    pub(crate) window: (u32, u32),
}

impl Policy {
    /// A policy without a window.
    pub(crate) const fn plain(delivery: Delivery) -> Self {
        Self { delivery, window: (0, 0) }
    }
}

impl Policy {
    /// The words of the hypervisor's command that chooses it.
    pub(crate) fn command(&self) -> String {
        self.to_string().replace(':', " ")
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.delivery.word())?;
        match self.window {
            (0, 0) => Ok(()),
            (events, us) => write!(f, ":{events}:{us}"),
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let delivery = Delivery::ALL.iter().copied().find(|delivery| delivery.word() == name);
        let known = || Delivery::ALL.map(Delivery::word).join(", ");
        let delivery = delivery.ok_or_else(|| format!("there is no policy {name:?}, only {}", known()))?;
        let numbers: Vec<Option<u32>> = parts.map(|part| part.parse().ok()).collect();
        let window = match numbers[..] {
            [] => (0, 0),
            [Some(events @ 1..), Some(us @ 1..=1_000_000)] if delivery == Delivery::Batched => (events, us),
            _ => return Err(format!("{text:?} is no policy; a window is written batched:EVENTS:US")),
        };
        Ok(Self { delivery, window })
    }
}

impl Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn a_policy_survives_its_word() {
        for word in ["synchronous", "batched", "batched:8:200"] {
            assert_eq!(word.parse::<Policy>().unwrap().to_string(), word);
        }
        for word in [
            "lazy",
            "batched:8",
            "synchronous:8:200",
            "batched:x:1",
            "batched:1:9999999",
            "batched:0:20",
            "batched:8:0",
        ] {
            assert!(word.parse::<Policy>().is_err(), "{word}");
        }
    }
}
