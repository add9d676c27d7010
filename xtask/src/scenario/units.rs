//! Sizes and times as people write them: `512M`, `5ms`.
//! They are types so that a bare number never passes for bytes or seconds by accident.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A number of bytes, written with K, M or G.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// A length of time, written with us, ms or s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Microseconds.
    pub(crate) us: u64,
}

fn scaled(text: &str, units: &[(&str, u64)], wanted: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let number = digits.trim().parse::<u64>().ok();
    number
        .zip(scale)
        .and_then(|(number, scale)| number.checked_mul(scale))
        .ok_or_else(|| format!("{text:?} is not {wanted}"))
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(
            text,
            &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)],
            "a size like \"512K\", \"64M\" or \"1G\"",
        )
        .map(Self)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &[("us", 1), ("ms", 1000), ("s", 1_000_000)], "a time like \"200us\", \"5ms\" or \"1s\"")
            .map(|us| Self { us })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes % (1 << 30) == 0 => write!(f, "{}G", bytes >> 30),
            bytes if bytes > 0 && bytes % (1 << 20) == 0 => write!(f, "{}M", bytes >> 20),
            bytes => write!(f, "{}K", bytes.div_ceil(1 << 10)),
        }
    }
}

/// Reads a string and hands it to `FromStr`.
struct Text<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_message| E::invalid_value(Unexpected::Str(text), &self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("a size like \"512K\", \"64M\" or \"1G\"", std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("a time like \"200us\", \"5ms\" or \"1s\"", std::marker::PhantomData))
    }
}
