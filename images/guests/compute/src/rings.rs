//! A ring flood: datagrams to the other neighbour as fast as the transmit ring takes them, each a copy for the driver domain.

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

/// Floods until the end.
pub(crate) async fn flood(guest: &Guest, start: Instant, turns: &mut Turns) {
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
        if socket.send_to(&[0; BYTES], to).await.is_ok() {
            turns.done();
        } else {
            break;
        }
    }
}
