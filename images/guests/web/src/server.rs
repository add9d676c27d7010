//! Connections: tasks, each with a socket that listens when it is free. There are few at first, and as many as were ever
//! wanted at once later, since each socket costs memory, and time with each packet.

use alloc::boxed::Box;
use alloc::vec;

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::Duration;
use guest_kernel::Guest;
use guest_kernel::net::{Listener, Network};
use picoserve::routing::PathRouter;
use picoserve::{Config, Router, Server, Timeouts};

use crate::Settings;
use crate::socket::Eager;

const PORT: u16 = 80;
/// A request's headers have to fit.
const HTTP_BUFFER_BYTES: usize = 1024;
const RX_BUFFER_BYTES: usize = 1024;
/// Sockets that listen from the start; more are made when connections wait.
const SPARE: usize = 4;
/// How long data may stay unacknowledged.
const SILENCE: Duration = Duration::from_secs(30);

static CONFIG: Config = Config::new(Timeouts {
    start_read_request: Duration::from_secs(30),
    persistent_start_read_request: Duration::from_secs(60),
    read_request: Duration::from_secs(10),
    write: Duration::from_secs(30),
})
.keep_connection_alive();

/// Serves for ever.
pub(crate) async fn run<P: PathRouter + 'static>(
    guest: Guest,
    network: Network,
    app: Router<P>,
    settings: Settings,
) {
    let listener = network.listen(PORT);
    let app: &'static Router<P> = Box::leak(Box::new(app));
    for index in 0..settings.connections {
        if index >= SPARE {
            listener.wanted().await;
        }
        guest.spawn(connections(network.stack, listener.clone(), app, settings));
        // Let it listen before the next is judged to be wanted.
        embassy_futures::yield_now().await;
    }
    core::future::pending().await
}

/// Serves one connection after the other.
async fn connections<P: PathRouter>(
    stack: Stack<'static>,
    listener: Listener,
    app: &'static Router<P>,
    settings: Settings,
) {
    let mut rx = vec![0; RX_BUFFER_BYTES];
    let mut tx = vec![0; settings.tx_buffer];
    let mut http = vec![0; HTTP_BUFFER_BYTES];
    loop {
        let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
        // An answer is written at once; its last, short segment must not wait for an acknowledgement.
        socket.set_nagle_enabled(false);
        // A peer that has gone silent gives its place back.
        socket.set_timeout(Some(SILENCE));
        if let Err(error) = listener.accept(&mut socket).await {
            log::warn!("accept: {error:?}");
            continue;
        }
        // A peer that goes away in the middle harms its own connection alone.
        if let Err(error) = Server::new(app, &CONFIG, &mut http).serve(Eager(socket)).await {
            log::debug!("connection: {error:?}");
        }
    }
}
