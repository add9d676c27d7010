//! A ring flood: datagrams to the other neighbour as fast as the transmit ring takes them, each a copy for the driver domain.
//! While the ring is full the flooder sleeps, or spins.

use core::pin::pin;

use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Ipv4Address};
use embassy_time::{Instant, Timer};
use guest_kernel::{Guest, net};

use crate::turns::Turns;

/// Datagrams that wait for the ring.
const WAITING: usize = 16;
/// Bytes of a datagram: small ones cost the most for each byte.
const BYTES: usize = 64;
/// The port, which nobody listens to.
const PORT: u16 = 9;

/// Floods until the end; spins while the ring is full if it `spins`.
pub(crate) async fn flood(guest: &Guest, spins: bool, start: Instant, turns: &mut Turns) {
    let to = match guest.command_line().parse("to", Ipv4Address::UNSPECIFIED) {
        Ok(to) => to,
        Err(error) => panic!("{error}"),
    };
    let network = match net::start::<2>(guest) {
        Ok(network) => network,
        Err(error) => panic!("{error}"),
    };
    network.stack.wait_link_up().await;
    let (mut receive, mut send) = ([PacketMetadata::EMPTY; 1], [PacketMetadata::EMPTY; WAITING]);
    let (mut received, mut sent) = ([0; BYTES], [0; WAITING * BYTES]);
    let mut socket = UdpSocket::new(network.stack, &mut receive, &mut received, &mut send, &mut sent);
    socket.bind(PORT + 1).expect("a free port");
    Timer::at(start).await;
    let to = IpEndpoint::new(to.into(), PORT);
    turns.begin();
    while turns.goes_on() {
        let sent = awake(socket.send_to(&[0; BYTES], to), spins).await;
        if sent.is_err() {
            break;
        }
        turns.done();
    }
}

/// Waits for work; while it is not done others' tasks have their turn, but this domain never sleeps if it `spins`.
async fn awake<F: Future>(work: F, spins: bool) -> F::Output {
    let mut work = pin!(work);
    core::future::poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if spins && polled.is_pending() {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}
