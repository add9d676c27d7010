//! Connections: tasks, each with a socket; lines in, answers out, one after the other.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use embassy_net::tcp::{Error, TcpSocket};
use embassy_time::{Duration, with_timeout};
use guest_kernel::Guest;
use guest_kernel::net::{Listener, Network, Room};
use key_value::{Command, KEY_MAX, Line, LineReader, LineRefusal, Refusal};

use crate::keeper::{Keeper, Outcome};

/// The longest value that a line can bring; the store may take shorter ones only.
const VALUE_MAX: usize = 4096;
const RX_BUFFER_BYTES: usize = 2048;
const TX_BUFFER_BYTES: usize = 2048;
/// Sockets that listen from the start; more are made when connections wait.
const SPARE: usize = 4;
/// How long data may stay unacknowledged.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a connection may ask nothing while others find no socket.
const IDLE: Duration = Duration::from_secs(2);

/// Serves for ever.
pub(crate) async fn run(guest: Guest, network: Network, keeper: Rc<Keeper>, port: u16, connections: usize) {
    let listener = network.listen(port);
    for index in 0..connections {
        if index >= SPARE {
            listener.wanted().await;
        }
        guest.spawn(serve(network.clone(), listener.clone(), keeper.clone()));
        // Let it listen before the next is judged to be wanted.
        embassy_futures::yield_now().await;
    }
    core::future::pending().await
}

/// Serves one connection after the other.
async fn serve(network: Network, listener: Listener, keeper: Rc<Keeper>) {
    let mut rx = vec![0; RX_BUFFER_BYTES];
    let mut tx = vec![0; TX_BUFFER_BYTES];
    loop {
        let mut socket = TcpSocket::new(network.stack, &mut rx, &mut tx);
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(SILENCE));
        socket.set_keep_alive(Some(SILENCE / 4));
        if let Err(error) = listener.accept(&mut socket).await {
            log::warn!("accept: {error:?}");
            continue;
        }
        // A peer that goes away in the middle harms its own connection alone.
        let ended = talk(&mut socket, &listener, &keeper).await;
        if let Err(error) = &ended {
            log::debug!("connection: {error:?}");
        }
        socket.close();
        let _ = socket.flush().await;
    }
}

/// Answers until the client ends it, or until the connection makes room for another.
async fn talk(
    socket: &mut TcpSocket<'_>,
    listener: &Listener,
    keeper: &Keeper,
) -> Result<Option<Room>, Error> {
    let most = VALUE_MAX.min(keeper.value_max());
    let longest = b"SET  ".len() + KEY_MAX + most;
    let mut reader = LineReader::new(longest);
    loop {
        let line = match with_timeout(IDLE, socket.read_with(|bytes| reader.take(bytes))).await {
            Ok(line) => line?,
            // Who says nothing makes room for those who might.
            Err(_) => match listener.room() {
                Some(room) => return Ok(Some(room)),
                None => continue,
            },
        };
        let Some(line) = line else { continue };
        let Some(answer) = answer(keeper, line, longest, most).await else { return Ok(None) };
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let sent = socket.write(rest).await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
    }
}

/// The answer to a line, with its end; `None` when the client wants none.
async fn answer(keeper: &Keeper, line: Line, longest: usize, most: usize) -> Option<Vec<u8>> {
    let line = match line {
        Line::Whole(line) => line,
        Line::Long => return Some(error(LineRefusal::Long(longest))),
    };
    let command = match Command::read(&line) {
        Ok(command) => command,
        Err(refusal) => return Some(error(refusal)),
    };
    Some(match command {
        // A short key leaves room in a line for more.
        Command::Set { value, .. } if value.len() > most => error(Refusal::Value(most)),
        Command::Set { key, value } => outcome(keeper.change(key, Some(value)).await),
        Command::Delete(key) => outcome(keeper.change(key, None).await),
        Command::Get(key) => match keeper.get(key).await {
            Ok(Some(value)) => [b"VALUE ", value.as_slice(), b"\n"].concat(),
            Ok(None) => b"NONE\n".to_vec(),
            Err(()) => error("the disk failed"),
        },
        Command::Count => {
            let (keys, bytes, most) = keeper.size();
            text(format_args!("COUNT {keys} {bytes} {most}\n"))
        }
        Command::Quit => return None,
    })
}

fn outcome(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Done => b"OK\n".to_vec(),
        Outcome::Absent => b"NONE\n".to_vec(),
        Outcome::Refused(refusal) => error(refusal),
        Outcome::Failed(why) => error(format_args!("{why}; this one may be there or not")),
    }
}

fn error(why: impl core::fmt::Display) -> Vec<u8> {
    text(format_args!("ERR {why}\n"))
}

fn text(arguments: core::fmt::Arguments<'_>) -> Vec<u8> {
    let mut text = alloc::string::String::new();
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
    text.into_bytes()
}
