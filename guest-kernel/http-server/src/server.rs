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

use crate::socket::{Eager, Hangup};

/// The most connections at once: each has a socket of its own that listens while it has no peer.
pub const CONNECTIONS_MAX: usize = 64;

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// At once; at most [`CONNECTIONS_MAX`].
    pub count: usize,
    /// Bytes that one may have on the way.
    pub tx_buffer: usize,
}

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

/// Serves for ever. `app` makes what answers on one connection; what it is given ends that connection.
pub async fn run<P: PathRouter + 'static>(
    guest: Guest,
    network: Network,
    limits: Connections,
    app: impl Fn(Hangup) -> Router<P> + 'static,
) {
    let listener = network.listen(PORT);
    let app: &'static _ = Box::leak(Box::new(app));
    for index in 0..limits.count.clamp(1, CONNECTIONS_MAX) {
        if index >= SPARE {
            listener.wanted().await;
        }
        let hangup = Hangup::default();
        let router = app(hangup.clone());
        guest.spawn(connections(network.stack, listener.clone(), router, hangup, limits.tx_buffer));
        // Let it listen before the next is judged to be wanted.
        embassy_futures::yield_now().await;
    }
    core::future::pending().await
}

/// Serves one connection after the other.
async fn connections<P: PathRouter>(
    stack: Stack<'static>,
    listener: Listener,
    app: Router<P>,
    hangup: Hangup,
    tx_buffer: usize,
) {
    let mut rx = vec![0; RX_BUFFER_BYTES];
    let mut tx = vec![0; tx_buffer];
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
        hangup.reset();
        // A peer that goes away in the middle harms its own connection alone.
        if let Err(error) = Server::new(&app, &CONFIG, &mut http).serve(Eager::new(socket, &hangup)).await {
            log::debug!("connection: {error:?}");
        }
    }
}
