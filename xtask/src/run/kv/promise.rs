//! What a client was told of a key, and what may be found of it after a death.

use serde::{Deserialize, Serialize};

use super::image::Content;

/// What a client knows of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Promise {
    /// The key.
    pub(super) key: String,
    /// The value that was acknowledged last; none if that the key is gone was, or nothing.
    pub(super) acknowledged: Option<String>,
    /// A change that was sent and never answered: it may have been made or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) under_way: Option<Change>,
}

/// A change that nobody knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// To this value.
    Set(String),
    /// To none.
    Delete,
}

impl Change {
    fn value(&self) -> Option<&str> {
        match self {
            Self::Set(value) => Some(value),
            Self::Delete => None,
        }
    }
}

impl Promise {
    /// Of a key of which nothing was said.
    pub(super) const fn new(key: String) -> Self {
        Self { key, acknowledged: None, under_way: None }
    }

    /// Whether this value may be found.
    pub(super) fn allows(&self, found: Option<&str>) -> bool {
        found == self.acknowledged.as_deref()
            || self.under_way.as_ref().is_some_and(|change| found == change.value())
    }

    /// Takes what was found for what is there.
    pub(super) fn settle(&mut self, found: Option<String>) {
        (self.acknowledged, self.under_way) = (found, None);
    }

    /// How a disk breaks it, in words.
    pub(super) fn broken(&self, found: &Content) -> Option<String> {
        let bytes = found.get(self.key.as_bytes());
        let value = bytes.map(|bytes| String::from_utf8_lossy(bytes));
        if self.allows(value.as_deref()) {
            return None;
        }
        let begin = |text: Option<&str>| match text {
            Some(text) => format!("{:?} ({} bytes)", text.chars().take(12).collect::<String>(), text.len()),
            None => "nothing".to_owned(),
        };
        Some(format!(
            "{}: {} was acknowledged, {} is found",
            self.key,
            begin(self.acknowledged.as_deref()),
            begin(value.as_deref())
        ))
    }
}

/// How a disk breaks promises, if it does: the first in words, and how many. Nothing else may be on it either.
pub(super) fn judge(promises: &[Promise], found: &Content) -> Result<(), String> {
    let wrong: Vec<String> = promises.iter().filter_map(|promise| promise.broken(found)).collect();
    if let Some(first) = wrong.first() {
        return Err(format!("{} promises are broken, the first: {first}", wrong.len()));
    }
    let unknown = found.keys().find(|key| promises.iter().all(|one| one.key.as_bytes() != key.as_slice()));
    unknown.map_or(Ok(()), |key| Err(format!("nobody ever set {:?}", String::from_utf8_lossy(key))))
}
