//! Crashes a domain while it is under load, again and again.
//! It exists because a driver domain that dies must cost its guests time alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::session::Session;
use crate::cli;

/// From a domain's begin, or the load's, to its crash: others are to find out, and to get going again.
const PAUSE: Duration = Duration::from_millis(400);
/// How often a run with crashes looks up from the machine's lines.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Crashes that are still to come.
#[derive(Debug)]
pub(super) struct Crashes {
    name: String,
    left: u32,
    /// How often the domain had begun when it was crashed last.
    begun: u64,
    next: Option<Instant>,
}

impl Crashes {
    /// What the options want, if they want any.
    pub(super) fn new(options: &cli::Run) -> Option<Self> {
        let name = options.crash.clone()?;
        Some(Self::of(name, options.crashes))
    }

    /// So many crashes of a domain.
    pub(super) const fn of(name: String, times: u32) -> Self {
        Self { name, left: times, begun: 0, next: None }
    }

    /// Crashes that are still to come.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// Crashes the domain if it is time for that; to be called often while there is load.
    pub(super) fn tend(&mut self, session: &mut Session) -> Result<()> {
        let begun = session.watch.begun.get(&self.name).copied().unwrap_or(0);
        if self.left == 0 || begun <= self.begun {
            return Ok(());
        }
        // Counted from when it is there again, however long that takes on a busy machine.
        let now = Instant::now();
        if now >= *self.next.get_or_insert(now + PAUSE) {
            session.machine.tell(&format!("crash {}", self.name))?;
            (self.left, self.begun, self.next) = (self.left - 1, begun, None);
        }
        Ok(())
    }

    /// The end of all load.
    ///
    /// # Errors
    /// When it was over before the last crash.
    pub(super) fn finish(&self) -> Result<()> {
        let (left, name) = (self.left, &self.name);
        ensure!(left == 0, "the load was over with {left} crashes of {name} to come: give it more --seconds");
        Ok(())
    }
}
