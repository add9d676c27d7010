//! A game server's ticks: each update that a player sends moves the world a step and is answered by its new state.

use embassy_net::Stack;
use embassy_net::udp::{PacketMetadata, UdpSocket};

/// Updates that may wait.
const WAITING: usize = 8;
/// Bytes of the world's state, which an answer has after the update that it answers.
const STATE_BYTES: usize = 64;
/// The longest update.
const UPDATE_BYTES: usize = 64;

/// Answers for ever.
pub(crate) async fn answer(stack: Stack<'static>, port: u16) {
    let (mut receive, mut send) = ([PacketMetadata::EMPTY; WAITING], [PacketMetadata::EMPTY; WAITING]);
    let mut received = [0; WAITING * UPDATE_BYTES];
    let mut sent = [0; WAITING * (UPDATE_BYTES + STATE_BYTES)];
    let mut socket = UdpSocket::new(stack, &mut receive, &mut received, &mut send, &mut sent);
    if let Err(error) = socket.bind(port) {
        return log::warn!("ticks: port {port}: {error:?}");
    }
    let mut state = [0_u8; STATE_BYTES];
    let mut message = [0; UPDATE_BYTES + STATE_BYTES];
    loop {
        let (update, rest) = message.split_at_mut(UPDATE_BYTES);
        // A longer one is no update.
        let Ok((bytes, from)) = socket.recv_from(update).await else { continue };
        step(&mut state, update.get(..bytes).unwrap_or_default());
        rest.copy_from_slice(&state);
        message.copy_within(UPDATE_BYTES.., bytes);
        let answer = message.get(..bytes + STATE_BYTES).unwrap_or_default();
        if let Err(error) = socket.send_to(answer, from).await {
            log::debug!("ticks: {error:?}");
        }
    }
}

/// Moves the world by an update.
fn step(state: &mut [u8; STATE_BYTES], update: &[u8]) {
    for (at, cell) in state.iter_mut().enumerate() {
        let force = update.get(at % update.len().max(1)).copied().unwrap_or(1);
        *cell = cell.wrapping_mul(31).wrapping_add(force).rotate_left(1);
    }
}
