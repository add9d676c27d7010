//! Two guests that tell each other in turn: nothing but events, upcalls and changes of the domain.
//!
//! The first counts; it says `@result` and ends the system, which it must be allowed to.

use embassy_time::{Duration, Instant, Timer};
use guest_kernel::hypercall::extension;
use guest_kernel::ports::EventPort;
use guest_kernel::{Guest, println};
use hypercall_abi::extension::ControlOp;

use crate::events::meet;

/// Rounds before the first snapshot.
const WARM_UP: u64 = 16;

/// Plays so many rounds from `start` on.
pub(crate) async fn run(guest: &Guest, start: Instant, rounds: u64) {
    let port = meet(guest, start).await;
    Timer::at(start).await;
    if !guest.name().ends_with("-1") {
        loop {
            port.wait().await;
            let _ = port.send();
        }
    }
    // The other one is asleep in its wait before it is told anything.
    Timer::after(Duration::from_millis(1)).await;
    play(&port, WARM_UP).await;
    order(ControlOp::Snapshot, [0; 3]);
    play(&port, rounds).await;
    order(ControlOp::Snapshot, [1, 0, 0]);
    println!("@result {{\"requests\":{rounds},\"errors\":0}}");
    order(ControlOp::Poweroff, [0; 3]);
}

async fn play(port: &EventPort, rounds: u64) {
    for _ in 0..rounds {
        let _ = port.send();
        port.wait().await;
    }
}

fn order(op: ControlOp, args: [u64; 3]) {
    extension::order(op, args).unwrap_or_else(|error| panic!("{}: {error:?}", op.name()));
}
