//! Crashes a domain while it is under load, again and again.
//! It exists because a driver domain that dies must cost its guests time alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::session::Session;
use crate::cli;

/// From a crash, or the load's begin, to the next crash: others are to find out, and to get going again.
const PAUSE: Duration = Duration::from_millis(400);
/// How often a run with crashes looks up from the machine's lines.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Crashes that are still to come.
#[derive(Debug)]
pub(super) struct Crashes {
    name: String,
    left: u32,
    next: Option<Instant>,
}

impl Crashes {
    /// What the options want, if they want any.
    pub(super) fn new(options: &cli::Run) -> Option<Self> {
        let name = options.crash.clone()?;
        Some(Self { name, left: options.crashes, next: None })
    }

    /// Crashes the domain if it is time for that; to be called often while there is load.
    pub(super) fn tend(&mut self, session: &mut Session) -> Result<()> {
        let now = Instant::now();
        let due = *self.next.get_or_insert(now + PAUSE);
        let lives = session.watch.states.get(&self.name).is_none_or(|state| state == "running");
        if self.left > 0 && lives && now >= due {
            session.machine.tell(&format!("crash {}", self.name))?;
            self.left -= 1;
            self.next = Some(now + PAUSE);
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
