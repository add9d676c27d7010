//! Event storms between two neighbours: as many events as the processor's time allows.

use embassy_time::{Duration, Instant, Timer};
use guest_kernel::hypercall::extension;
use guest_kernel::ports::EventPort;
use guest_kernel::{Guest, clock, upcall};
use hypercall_abi::{DomId, Port};

use crate::turns::Turns;

/// Ports of the peer that are tried: it has hardly any other.
const PORTS: u32 = 64;
/// Events of a unit.
const EVENTS: u64 = 16;
/// The neighbour that sleeps does so for so long after each unit, and has the processor anew when it wakes.
const NAP_NS: u64 = 10_000;

/// Sends events to the peer until the end; sleeps in between if it `naps`.
pub(crate) async fn storm(guest: &Guest, naps: bool, start: Instant, turns: &mut Turns) {
    let port = meet(guest, start).await;
    Timer::at(start).await;
    turns.repeat(|| {
        for _ in 0..EVENTS {
            // It fails when the peer is through.
            let _ = port.send();
        }
        if naps {
            upcall::mask();
            let _ = extension::idle_until(clock::now_ns() + NAP_NS);
        }
    });
}

/// The port to the peer; the first of the two, by name, leaves it for the other.
pub(crate) async fn meet(guest: &Guest, start: Instant) -> EventPort {
    let peer = match guest.command_line().parse("peer", 0_u16) {
        Ok(peer) => DomId(peer),
        Err(error) => panic!("{error}"),
    };
    if guest.name().ends_with("-1") {
        EventPort::unbound(peer).expect("a port for the peer")
    } else {
        connected(peer, start).await
    }
}

/// The peer's port, when it is there.
async fn connected(peer: DomId, start: Instant) -> EventPort {
    while Instant::now() < start {
        if let Some(port) = (1..PORTS).find_map(|port| EventPort::connect(peer, Port(port)).ok()) {
            return port;
        }
        Timer::after(Duration::from_millis(1)).await;
    }
    panic!("the peer has left no port for us");
}
