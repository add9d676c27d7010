//! System time: the time-stamp counter, scaled to nanoseconds.
//! The scale is measured once against a timer of known frequency, and guests are given the same one.

use hypervisor_core::time::{Time, TimeScale};

use crate::acpi::PmTimer;
use crate::apic::local::LocalApic;
use crate::cpu::{self, port};

/// Ticks of ACPI's timer in a second.
const PM_HZ: u64 = 3_579_545;
/// Ticks of the interval timer in a second.
const PIT_HZ: u64 = 1_193_182;
/// The measurement takes a 50th of a second.
const FRACTION: u64 = 50;

/// The clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// As guests compute it. The shift is never negative.
    scale: TimeScale,
    /// Ticks of the local APIC's timer in a nanosecond, 32.32.
    apic_ticks: u64,
    /// Ticks of the counter in a millisecond.
    tsc_khz: u64,
}

/// Ticks in one measured interval.
struct Measurement {
    tsc: u64,
    apic: u64,
    /// The interval in ticks of the reference, and their frequency.
    reference: u64,
    hz: u64,
}

impl Clock {
    /// Measures for 20 ms. System time 0 is `origin`.
    pub(crate) fn calibrate(origin: u64, timer: Option<&PmTimer>, apic: &LocalApic) -> Self {
        let found = match timer {
            Some(timer) => measure_by_pm_timer(timer, apic),
            None => measure_by_pit(apic),
        };
        let frequency = |ticks: u64| u128::from(ticks) * u128::from(found.hz) / u128::from(found.reference);
        let tsc_hz = frequency(found.tsc).max(1);
        let mut shift = 0;
        let mut multiplier = (1_000_000_000_u128 << 32) / tsc_hz;
        while multiplier > u128::from(u32::MAX) {
            multiplier >>= 1;
            shift += 1;
        }
        let apic_ticks = (frequency(found.apic) << 32) / 1_000_000_000;
        Self {
            scale: TimeScale { origin, multiplier: multiplier as u32, shift },
            apic_ticks: apic_ticks as u64,
            tsc_khz: (tsc_hz / 1000) as u64,
        }
    }

    /// System time.
    #[inline]
    pub(crate) fn now(&self) -> Time {
        let ticks = cpu::tsc().wrapping_sub(self.scale.origin) << self.scale.shift;
        Time(((u128::from(ticks) * u128::from(self.scale.multiplier)) >> 32) as u64)
    }

    /// How guests compute the time.
    pub(crate) fn scale(&self) -> TimeScale {
        self.scale
    }

    /// Ticks of the counter in a millisecond.
    pub(crate) fn tsc_khz(&self) -> u64 {
        self.tsc_khz
    }

    /// Ticks of the local APIC's timer in `ns`, rounded up, as many as it can count.
    pub(crate) fn apic_ticks(&self, ns: u64) -> u32 {
        let ticks = (u128::from(ns) * u128::from(self.apic_ticks)).div_ceil(1 << 32);
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    }
}

fn measure_by_pm_timer(timer: &PmTimer, apic: &LocalApic) -> Measurement {
    // Both ends lie on a tick of the reference.
    let start = timer.next_tick();
    let (tsc, count) = (cpu::tsc(), apic.start_counting());
    loop {
        let reference = timer.since(start);
        if reference >= PM_HZ / FRACTION {
            let (tsc, apic) = (cpu::tsc() - tsc, u64::from(count - apic.count()));
            return Measurement { tsc, apic, reference, hz: PM_HZ };
        }
    }
}

/// Channel 2 of the interval timer counts down once; its output shows in bit 5 of port 0x61.
fn measure_by_pit(apic: &LocalApic) -> Measurement {
    let reference = PIT_HZ / FRACTION;
    port::write_u8(0x61, port::read_u8(0x61) & !2 | 1);
    port::write_u8(0x43, 0xb0);
    port::write_u8(0x42, reference as u8);
    port::write_u8(0x42, (reference >> 8) as u8);
    let (tsc, count) = (cpu::tsc(), apic.start_counting());
    while port::read_u8(0x61) & 0x20 == 0 {}
    Measurement { tsc: cpu::tsc() - tsc, apic: u64::from(count - apic.count()), reference, hz: PIT_HZ }
}
