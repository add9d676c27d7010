//! What this host has and allows.
//! It exists so that a run which cannot fit is refused, and one that can is not stopped by a small default.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory of this host, if it says.
pub(crate) fn memory_bytes() -> Option<u64> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Allows as many open files as this user may have: each guest and each connection takes some, here and in QEMU.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where this is refused the run goes on with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(super::total("MemTotal:       1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(super::total("nothing"), None);
    }
}
