//! Loads web guests over the same network that they serve, and rules the run if its domain may.
//!
//! For each policy of its command line it sets the delivery of all others, takes a snapshot, loads for some seconds,
//! takes another, and says a `@result` line. Then it turns the system off. Without control over the system it
//! only loads and reports.
//!
//! In a measurement several of it share the work by `role=`: one rules and loads nothing, the others load at the times
//! of the command line and say `@segment`, `@latency` and `@served` lines.

#![no_std]
#![no_main]

extern crate alloc;

mod control;
mod flood;
mod histogram;
mod http;
mod load;
mod ruler;
mod samples;
mod schedule;
mod segments;
mod settings;
mod spread;
mod ticks;

use guest_kernel::{Guest, net, println};

use self::schedule::Schedule;
use self::settings::{Bad, CONNECTIONS_MAX, Role, Settings};

guest_kernel::main!(run);

async fn run(guest: Guest) {
    let line = guest.command_line();
    let role = understood(Role::read(&line));
    if role == Role::Ruler {
        return ruler::run(&understood(Schedule::read(&line))).await;
    }
    if role == Role::Flood {
        return match net::start::<2>(&guest) {
            Ok(network) => flood::run(&network).await,
            Err(error) => panic!("{error}"),
        };
    }
    let settings = understood(Settings::read(&line));
    // The stack looks at all its places with each packet.
    let network = match settings.connections {
        ..=64 => net::start::<65>(&guest),
        _ => net::start::<{ CONNECTIONS_MAX + 1 }>(&guest),
    };
    let network = match network {
        Ok(network) => network,
        Err(error) => panic!("{error}"),
    };
    control::set_own_delivery(settings.own_delivery);
    network.look_every(settings.look_us);
    network.stack.wait_link_up().await;
    if role == Role::Client {
        let schedule = understood(Schedule::read(&line));
        // The name ends in our number, from 1.
        let number = guest.name().rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
        return segments::run(network.stack, &settings, &schedule, number.unwrap_or(1).saturating_sub(1))
            .await;
    }
    let ready = load::await_ready(network.stack, &settings, &settings.targets).await;
    log::info!("{} of {} targets answer", ready, settings.targets.len());
    for (index, &policy) in settings.policies.iter().enumerate() {
        control::set_delivery(policy);
        control::snapshot(2 * index as u64);
        let mut outcome = load::run(network.stack, &settings).await;
        control::snapshot(2 * index as u64 + 1);
        println!(
            "@result {{\"delivery\":\"{}\",\"requests\":{},\"errors\":{},\"p50_us\":{},\"p99_us\":{},\
             \"ready\":{ready},\"targets\":{}}}",
            settings::word(policy),
            outcome.requests,
            outcome.errors,
            outcome.latencies_us.percentile(50),
            outcome.latencies_us.percentile(99),
            settings.targets.len(),
        );
    }
    control::power_off();
}

/// What the command line says, or the end of this domain.
fn understood<T>(read: Result<T, Bad>) -> T {
    match read {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
