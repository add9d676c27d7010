//! The moment at which a line came: wall time, and the time that QEMU has had processors of the host until then.
//! It exists because wall time is everybody's: beside other work on the host, only QEMU's own time says what a machine took.

use std::time::{Duration, Instant};

/// A moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    /// Wall time.
    pub(crate) wall: Option<Instant>,
    /// QEMU's time on processors, where the host says it.
    pub(crate) cpu: Option<Duration>,
}

impl Stamp {
    /// Now, of this process.
    pub(super) fn now(process: u32) -> Self {
        Self { wall: Some(Instant::now()), cpu: spent(process) }
    }

    /// Seconds of wall time since another moment.
    pub(crate) fn wall_since(self, other: Self) -> Option<f64> {
        Some(self.wall?.checked_duration_since(other.wall?)?.as_secs_f64())
    }

    /// Seconds on processors since then.
    pub(crate) fn cpu_since(self, other: Self) -> Option<f64> {
        Some(self.cpu?.checked_sub(other.cpu?)?.as_secs_f64())
    }
}

/// What the threads of a process have had of the host's processors.
fn spent(process: u32) -> Option<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
    let read = |task: std::fs::DirEntry| of(std::fs::read_to_string(task.path().join("schedstat")).ok()?);
    // A thread that ends meanwhile takes its time with it; QEMU's processor has one from the first to the last.
    let ns = tasks.flatten().filter_map(read).reduce(|sum, ns| sum.saturating_add(ns))?;
    (ns > 0).then(|| Duration::from_nanos(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_spends_grows_as_it_works() {
        let before = Stamp::now(std::process::id());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let after = Stamp::now(std::process::id());
        assert!(after.wall_since(before).is_some_and(|seconds| seconds >= 0.02));
        // Some kernels do not say; then there is no figure rather than a wrong one.
        assert!(after.cpu_since(before).is_none_or(|seconds| seconds > 0.0));
        assert_eq!(Stamp::default().wall_since(before), None);
    }
}
