//! A recording, played to its end or to the first thing that is wrong, and what that is.
//! It exists so that a core that panics on the host is a finding and not the end of this program.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use hypervisor_core::replay::file::File;
use hypervisor_core::replay::kept::Members;
use hypervisor_core::replay::{Difference, Play, Step, Summary};
use serde::Serialize;

use crate::table::grouped;

/// Entries into the core between two checks of the whole state while the place is sought where it broke.
const STRIDE: u64 = 4096;

/// What came of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// All is as it was, and the state holds.
    Same,
    /// Something is not as it was.
    Differs,
    /// The core panics.
    Panics,
    /// All is as it was, but the state does not hold.
    Broken,
}

/// A replay that has ended.
#[derive(Debug, Serialize)]
pub(super) struct Played {
    pub(super) outcome: Outcome,
    #[serde(flatten)]
    pub(super) summary: Counts,
    /// The first difference.
    pub(super) difference: Option<Where>,
    /// What the core said when it panicked, or which invariant is broken.
    pub(super) why: Option<String>,
    /// The call in which it panicked or broke something.
    pub(super) at: Option<At>,
}

/// A [`Summary`] to be written.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) hypercalls: u64,
    pub(super) exceptions: u64,
    pub(super) interrupts: u64,
    pub(super) compared: u64,
    pub(super) digests: u64,
    /// In hexadecimal digits: no number of JSON is so long.
    pub(super) digest: String,
    pub(super) powered_off: bool,
    pub(super) broken_off: bool,
}

/// An entry into the core.
#[derive(Clone, Debug, Serialize)]
pub(super) struct At {
    pub(super) call: u64,
    pub(super) domain: String,
    pub(super) what: String,
}

/// A [`Difference`] to be written.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Where {
    #[serde(flatten)]
    pub(super) at: At,
    pub(super) expected: String,
    pub(super) got: String,
}

impl From<Summary> for Counts {
    fn from(summary: Summary) -> Self {
        let Summary { calls, hypercalls, exceptions, interrupts, compared, digests, digest, .. } = summary;
        let Summary { powered_off, broken_off, .. } = summary;
        let digest = format!("{digest:#018x}");
        Self { calls, hypercalls, exceptions, interrupts, compared, digests, digest, powered_off, broken_off }
    }
}

impl From<Difference> for Where {
    fn from(difference: Difference) -> Self {
        let Difference { call, domain, what, expected, got } = difference;
        Self { at: At { call, domain, what }, expected, got }
    }
}

impl Played {
    /// In words.
    pub(super) fn verdict(&self) -> String {
        let mut text = String::new();
        if let Some(Where { at: At { call, domain, what }, expected, got }) = &self.difference {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "first difference at call {}: {domain}, {what}\n  expected: the core {expected}\n  got:      the core {got}",
                grouped(*call)
            );
            return text;
        }
        if let (Some(why), Some(At { call, domain, what })) = (&self.why, &self.at) {
            let does =
                if self.outcome == Outcome::Panics { "the core panics" } else { "the state is broken" };
            return format!("{does} at call {}: {domain}, {what}\n  {why}", grouped(*call));
        }
        let end = match (self.summary.powered_off, self.summary.broken_off) {
            (true, _) => "the run ended in order",
            (false, true) => "the recording breaks off within the last call, and the core comes back from it",
            (false, false) => "the recording ends there",
        };
        format!("the same answers and the same state from beginning to end; {end}")
    }

    /// The call at which something is not as it should be.
    pub(super) fn call(&self) -> Option<u64> {
        let at = self.difference.as_ref().map(|difference| &difference.at).or(self.at.as_ref());
        at.map(|at| at.call)
    }
}

/// Plays the first so many calls of a recording, all of them if nothing is said; `None` if its log is none.
pub(super) fn play(file: &File, until: Option<u64>) -> Option<Played> {
    let members = Members::of(file);
    let (mut played, broken) = once(file, &members, until, u64::MAX)?;
    if broken {
        // From the beginning again, to find where it broke.
        let (found, _) = once(file, &members, until, STRIDE)?;
        let end = found.at.as_ref().map_or(u64::MAX, |at| at.call);
        let from = end.saturating_sub(STRIDE);
        played = narrowed(file, &members, from, end)?.unwrap_or(found);
    }
    Some(played)
}

/// Plays once, checking the state every `stride` calls and at the end. The second is whether a check failed.
fn once(file: &File, members: &Members, until: Option<u64>, stride: u64) -> Option<(Played, bool)> {
    let find = |name: &str| members.find(name);
    let mut play = Play::new(&file.log, &find)?;
    let result = quietly(|| {
        loop {
            let step = play.step();
            let calls = play.summary().calls;
            let over = step != Step::More || until == Some(calls);
            if over || calls.is_multiple_of(stride) {
                if let Step::Differs(difference) = step {
                    return Err(difference);
                }
                if over || play.check().is_err() {
                    return Ok(play.check());
                }
            }
        }
    });
    Some(concluded(&play, result))
}

/// Plays once more, checking after each call from one to another.
fn narrowed(file: &File, members: &Members, from: u64, end: u64) -> Option<Option<Played>> {
    let find = |name: &str| members.find(name);
    let mut play = Play::new(&file.log, &find)?;
    let result = quietly(|| {
        loop {
            let step = play.step();
            let calls = play.summary().calls;
            if calls >= from && play.check().is_err() {
                return Ok(play.check());
            }
            if step != Step::More || calls > end {
                return Ok(Ok(()));
            }
        }
    });
    let (played, broken) = concluded(&play, result);
    Some(broken.then_some(played))
}

type Checked = Result<Result<(), String>, Difference>;

/// What came of it.
fn concluded(play: &Play<'_>, result: Result<Checked, String>) -> (Played, bool) {
    let summary = play.summary();
    let (domain, what) = play.at();
    let at = || At { call: summary.calls, domain: domain.to_owned(), what: what.to_owned() };
    let none =
        Played { outcome: Outcome::Same, summary: summary.into(), difference: None, why: None, at: None };
    match result {
        Ok(Ok(Ok(()))) => (none, false),
        Ok(Ok(Err(broken))) => {
            (Played { outcome: Outcome::Broken, why: Some(broken), at: Some(at()), ..none }, true)
        }
        Ok(Err(difference)) => {
            (Played { outcome: Outcome::Differs, difference: Some(difference.into()), ..none }, false)
        }
        Err(panic) => (Played { outcome: Outcome::Panics, why: Some(panic), at: Some(at()), ..none }, false),
    }
}

/// Calls something that may panic; what it said then.
fn quietly<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    let said = Arc::new(Mutex::new(String::new()));
    let listener = Arc::clone(&said);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *listener.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string().replace('\n', " ");
    }));
    let result = catch_unwind(AssertUnwindSafe(act));
    std::panic::set_hook(before);
    result.map_err(|_| said.lock().unwrap_or_else(PoisonError::into_inner).clone())
}
