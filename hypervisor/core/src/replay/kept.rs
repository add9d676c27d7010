//! A recording that is kept as a test: what must come of it, and whether it does.
//! It exists so that a run that failed once is tried again on each change, on the host and in a moment.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};

use super::file::File;
use super::play::{Play, Step, Summary};

/// What a recording says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The scenario.
    pub scenario: String,
    /// The hypervisor's version.
    pub version: String,
    /// What was typed to make it.
    pub command: String,
    /// Of one that is kept as a test: what must come of it.
    #[serde(default)]
    pub expects: Expects,
    /// Of one that is kept: entries into the core.
    #[serde(default)]
    pub calls: u64,
}

/// What must come of a recording. All but the last entry into the core must be as recorded in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expects {
    /// Everything is as recorded.
    #[default]
    Same,
    /// The last entry broke the hypervisor then: now the core comes back from it, and its state holds.
    Survives,
    /// The answer to the last entry was wrong then: now it is another, and the state holds.
    Otherwise,
}

/// The boot archive of a recording, for as long as the program runs: the core takes images that stay.
#[derive(Debug)]
pub struct Members(BTreeMap<String, &'static [u8]>);

impl Members {
    /// The files of a recording.
    #[must_use]
    pub fn of(file: &File) -> Self {
        let leaked = |bytes: &[u8]| -> &'static [u8] { Box::leak(bytes.into()) };
        Self(file.members.iter().map(|(name, bytes)| (name.clone(), leaked(bytes))).collect())
    }

    /// A file's contents.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static [u8]> {
        self.0.get(name).copied()
    }
}

/// What a recording says of itself.
///
/// # Errors
/// That it says nothing that can be understood.
pub fn about(file: &File) -> Result<About, String> {
    serde_json::from_str(&file.about)
        .map_err(|error| format!("what it says of itself is not understood: {error}"))
}

/// Plays a kept recording and judges what comes of it. A core that panics does so here.
///
/// # Errors
/// What is not as it must be.
pub fn judge(file: &File) -> Result<Summary, String> {
    let About { expects, calls, .. } = about(file)?;
    let members = Members::of(file);
    let find = |name: &str| members.find(name);
    let mut play = Play::new(&file.log, &find).ok_or_else(|| "its log is of another version".to_owned())?;
    let step = loop {
        match play.step() {
            Step::More => {}
            step => break step,
        }
    };
    let is_last = play.summary().calls == calls;
    match (expects, step) {
        (Expects::Same | Expects::Survives, Step::End) => {}
        (Expects::Survives | Expects::Otherwise, Step::Differs(_)) if is_last => {}
        (Expects::Otherwise, Step::End) => {
            let (domain, what) = play.at();
            return Err(format!(
                "call {}: {domain}, {what}: the answer is still the same",
                play.summary().calls
            ));
        }
        (_, Step::Differs(difference)) => return Err(difference.to_string()),
        (_, Step::More) => {}
    }
    play.check().map_err(|broken| format!("the state does not hold at the end: {broken}"))?;
    Ok(play.summary())
}
