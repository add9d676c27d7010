//! System time in nanoseconds, and how the TSC becomes it.
//! Time is always an argument in the core, so that a test or a replay decides what time it is.

use core::ops::Add;

/// Nanoseconds since the hypervisor's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than any deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// Nanoseconds from `earlier` to this time; 0 if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time and `ns` more, or [`Time::NEVER`].
    #[must_use]
    pub const fn after(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}

impl Add<u64> for Time {
    type Output = Self;

    /// This time and `ns` more, or [`Time::NEVER`].
    fn add(self, ns: u64) -> Self {
        self.after(ns)
    }
}

/// How ticks of the TSC become nanoseconds: `((tsc - origin) << shift) * multiplier >> 32`, as guests compute it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale {
    /// TSC at system time 0.
    pub origin: u64,
    /// 32.32 fixed-point factor.
    pub multiplier: u32,
    /// Left shift of the ticks; right if negative.
    pub shift: i8,
}

impl TimeScale {
    /// The system time at so many ticks.
    #[must_use]
    pub fn at(self, ticks: u64) -> Time {
        let (since, by) = (ticks.wrapping_sub(self.origin), u32::from(self.shift.unsigned_abs()));
        let shifted = if self.shift < 0 { since.unbounded_shr(by) } else { since.unbounded_shl(by) };
        let ns = u128::from(shifted).wrapping_mul(u128::from(self.multiplier)) >> 32;
        Time(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}
