//! What this process has cost so far, as Linux tells it.

/// Seconds of processor time, its own and the kernel's for it.
pub(crate) fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name stands in brackets and may hold anything.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let sum = ticks()?.saturating_add(ticks()?);
    Some(sum as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The most memory that it ever had, in bytes.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_and_holds_memory_has_cost_something() {
        let before = peak_bytes().unwrap();
        let held = vec![1_u8; 64 << 20];
        let mut sum = 0_u64;
        while sum == 0 || processor_seconds().unwrap() < 0.02 {
            let pass: u64 = std::hint::black_box(&held).iter().map(|byte| u64::from(*byte)).sum();
            sum = sum.wrapping_add(pass);
        }
        assert!(sum > 0 && peak_bytes().unwrap() >= before.max(64 << 20));
    }
}
