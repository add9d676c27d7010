//! The domain that rules a measurement: it sets the policies and takes the snapshots, and makes no requests itself.

use embassy_time::Timer;
use guest_kernel::println;

use crate::control;
use crate::schedule::Schedule;

/// Rules the whole measurement, then ends the system.
pub(crate) async fn run(schedule: &Schedule) {
    for segment in schedule.segments() {
        let Some(&policy) = schedule.policies.get(segment.policy) else { continue };
        Timer::at(segment.begin).await;
        control::set_policy(policy);
        Timer::at(segment.settled).await;
        control::brief_snapshot(2 * segment.number as u64);
        if segment.traced {
            control::trace(true);
        }
        Timer::at(segment.end).await;
        if segment.traced {
            control::trace(false);
        }
        control::brief_snapshot(2 * segment.number as u64 + 1);
    }
    if let Some(last) = schedule.segments().last() {
        // The clients have their results to say.
        Timer::at(last.end + crate::segments::FAREWELL).await;
    }
    println!("@ruled {{}}");
    control::power_off();
}
