//! A web server: says its name, its counters, and pages of any size, over HTTP/1.1 with keep-alive.
//!
//! Command line: `size=BYTES` of a page that asks for no other, `connections=N` at once (at most [`CONNECTIONS_MAX`]),
//! `tx_buffer=BYTES` of each connection, `ticks=PORT` to answer updates of a game by UDP too.

#![no_std]
#![no_main]

extern crate alloc;

mod app;
mod content;
mod ticks;

use guest_kernel::{Guest, net};
use http_server::{CONNECTIONS_MAX, Connections};

guest_kernel::main!(run);

/// What a connection takes beside what it has on the way: a request, and the state of its task.
const CONNECTION_BYTES: usize = 6 * 1024;

/// The page that Denali's measurements used.
const SIZE_DEFAULT: usize = 2258;

async fn run(guest: Guest) {
    let settings = match Settings::read(&guest) {
        Ok(settings) => settings,
        Err(error) => panic!("{error}"),
    };
    let network = match net::start::<{ CONNECTIONS_MAX + 2 }>(&guest) {
        Ok(network) => network,
        Err(error) => panic!("{error}"),
    };
    network.stack.wait_link_up().await;
    log::info!("serving on http://{}/", network.address);
    if settings.ticks != 0 {
        guest.spawn(ticks::answer(network.stack, settings.ticks));
    }
    let state = app::State::new(guest, settings.size);
    // Those for which there is no memory wait until others have ended; most of the rest is the network's.
    let fitting = guest.heap_bytes() / 3 / (settings.tx_buffer + CONNECTION_BYTES);
    let count = settings.connections.min(fitting.max(1));
    let limits = Connections { count, tx_buffer: settings.tx_buffer };
    http_server::run(guest, network, limits, move |_hangup| app::router(state.clone())).await
}

/// What the command line says.
#[derive(Clone, Copy)]
struct Settings {
    /// Bytes of a page that asks for no other size.
    size: usize,
    /// Connections at once.
    connections: usize,
    /// Bytes that one connection may have on the way.
    tx_buffer: usize,
    /// UDP port for updates of a game; 0 for none.
    ticks: u16,
}

impl Settings {
    fn read(guest: &Guest) -> Result<Self, guest_kernel::command_line::BadValue<'static>> {
        let line = guest.command_line();
        let size = line.parse("size", SIZE_DEFAULT)?;
        Ok(Self {
            size,
            ticks: line.parse("ticks", 0)?,
            connections: line.parse("connections", CONNECTIONS_MAX)?.clamp(1, CONNECTIONS_MAX),
            // A default page and its headers in one go, within reason.
            tx_buffer: line.parse("tx_buffer", (size + 512).clamp(1024, 8192))?.max(512),
        })
    }
}
