//! A key-value server: keeps what it is told on its disk, and says `OK` when that is durable.
//! Its lines are described in `images/key-value/src/lines.rs`; `nc` speaks them.
//!
//! Command line: `port=N`, `connections=N` at once (at most [`CONNECTIONS_MAX`]). `@kv` says what it found on its disk.

#![no_std]
#![no_main]

extern crate alloc;

mod keeper;
mod medium;
mod server;

use alloc::rc::Rc;

use guest_kernel::block::Disk;
use guest_kernel::{Guest, net, println};
use key_value::Store;

use self::keeper::Keeper;
use self::medium::DiskMedium;

guest_kernel::main!(run);

/// The most connections at once: each has a socket of its own.
const CONNECTIONS_MAX: usize = 32;
const CONNECTIONS_DEFAULT: usize = 16;
const PORT_DEFAULT: u16 = 7000;

async fn run(guest: Guest) {
    let line = guest.command_line();
    let port = line.parse("port", PORT_DEFAULT).unwrap_or_else(|error| panic!("{error}"));
    let connections =
        line.parse("connections", CONNECTIONS_DEFAULT).unwrap_or_else(|error| panic!("{error}"));
    let disk = match Disk::open(&guest, 0).await {
        Ok(disk) => disk,
        Err(error) => return log::error!("disk 0: {error}"),
    };
    if disk.is_read_only() {
        return log::error!("disk 0: it is read-only, and is to be written to");
    }
    let store = match Store::open(DiskMedium(disk)).await {
        Ok(store) => store,
        Err(error) => return log::error!("disk 0: {error}"),
    };
    let found = store.superblock();
    println!(
        "@kv {{\"keys\":{},\"bytes\":{},\"generation\":{},\"mount\":{}}}",
        store.len(),
        store.live_bytes().0,
        found.generation,
        found.mount
    );
    let network = match net::start::<{ CONNECTIONS_MAX + 1 }>(&guest) {
        Ok(network) => network,
        Err(error) => return log::error!("{error}"),
    };
    let keeper = Rc::new(Keeper::new(store));
    guest.spawn(keeper::keep(keeper.clone()));
    network.stack.wait_link_up().await;
    log::info!("serving on {} port {port}", network.address);
    server::run(guest, network, keeper, port, connections.clamp(1, CONNECTIONS_MAX)).await
}
