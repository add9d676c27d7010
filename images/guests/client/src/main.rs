//! Loads web guests over the same network that they serve, and rules the run if its domain may.
//!
//! For each policy of its command line it sets the delivery of all others, takes a snapshot, loads for some seconds,
//! takes another, and says a `@result` line. Then it turns the system off. Without control over the system it
//! only loads and reports.

#![no_std]
#![no_main]

extern crate alloc;

mod control;
mod http;
mod load;
mod samples;
mod settings;

use guest_kernel::{Guest, net, println};

use self::settings::{CONNECTIONS_MAX, Settings};

guest_kernel::main!(run);

async fn run(guest: Guest) {
    let settings = match Settings::read(&guest.command_line()) {
        Ok(settings) => settings,
        Err(error) => panic!("{error}"),
    };
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
    network.stack.wait_link_up().await;
    let ready = load::await_ready(network.stack, &settings).await;
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
