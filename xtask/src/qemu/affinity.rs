//! A child that stays on one of the host's processors.
//! It exists because QEMU counts the same instructions each time only if its two threads take turns.
//!
//! QEMU's main loop moves a counted clock on to the next timer once the emulated processor has halted, and may see that before the
//! thread of that processor has written down how many instructions it executed: the clock is then too far by them, and a
//! timer late. On two of the host's processors this befell about one boot in fourteen of those with a thousand sleeps
//! (5 of 68), on one none of 240.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The processors on which children are kept.
static TAKEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// One of the host's processors, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(usize);

impl Place {
    /// One of these on which the fewest are kept, this thread's own if that is one.
    fn among(all: &CpuSet) -> Self {
        let mut taken = taken();
        let here = sched_getcpu();
        let allowed = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor));
        let crowd = |processor: usize| taken.iter().filter(|other| **other == processor).count();
        let chosen = allowed.min_by_key(|processor| (crowd(*processor), *processor != here)).unwrap_or(here);
        taken.push(chosen);
        Self(chosen)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = taken();
        if let Some(at) = taken.iter().position(|processor| *processor == self.0) {
            taken.swap_remove(at);
        }
    }
}

fn taken() -> MutexGuard<'static, Vec<usize>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child all of whose threads stay on one processor; a host that allows no such thing starts it as any other.
///
/// # Errors
/// Those of [`Command::spawn`].
pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Option<Place>)> {
    let Ok(all) = sched_getaffinity(None) else { return Ok((command.spawn()?, None)) };
    let place = Place::among(&all);
    let mut one = CpuSet::new();
    one.set(place.0);
    // A child has its parent's, from its first moment on: there is none in which QEMU could make threads that have more.
    let kept = sched_setaffinity(None, &one);
    let child = command.spawn();
    if kept.is_ok() {
        // What was so before may be so again.
        let _ = sched_setaffinity(None, &all);
    }
    Ok((child?, Some(place)))
}

#[cfg(test)]
mod tests {
    use rustix::process::Pid;

    use super::*;

    #[test]
    fn each_child_has_a_processor_and_this_thread_all_it_had() {
        let before = sched_getaffinity(None).unwrap();
        let start = || spawn(Command::new("sleep").arg("60")).unwrap();
        let mut children = [start(), start()];
        let sets = children.each_mut().map(|(child, _)| {
            let set = sched_getaffinity(Pid::from_raw(child.id().try_into().unwrap())).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            set
        });
        assert!(sets.iter().all(|set| set.count() == 1));
        assert_eq!(sets[0] == sets[1], before.count() == 1, "one processor for both");
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
