//! The guest: opens disk and file system, then serves.

mod answer;

use files_volume::{Blocks, Volume};
use guest_kernel::block::{Disk, DiskError, SECTOR_BYTES};
use guest_kernel::{Guest, net};
use http_server::{CONNECTIONS_MAX, Connections};
use picoserve::Router;

use self::answer::Files;

/// Bytes that one connection may have on the way.
const TX_BUFFER_BYTES: usize = 8192;

/// A disk as the volume reads it.
pub(crate) struct Sectors(Disk);

impl Blocks for Sectors {
    type Error = DiskError;

    fn bytes(&self) -> u64 {
        self.0.capacity().saturating_mul(SECTOR_BYTES as u64)
    }

    async fn read(&self, start: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.0.read(start / SECTOR_BYTES as u64, into).await
    }
}

/// Runs the guest.
pub(crate) async fn run(guest: Guest) {
    let line = guest.command_line();
    let count = line.parse("connections", CONNECTIONS_MAX).unwrap_or_else(|error| panic!("{error}"));
    // Without a file system there is nothing to do, and being built anew would not help.
    let disk = match Disk::open(&guest, 0).await {
        Ok(disk) => disk,
        Err(error) => return log::error!("disk 0: {error}"),
    };
    let volume = match Volume::open(Sectors(disk)).await {
        Ok(volume) => volume,
        Err(fault) => return log::error!("disk 0 holds no file system that can be read: {fault}"),
    };
    let network = net::start::<{ CONNECTIONS_MAX + 1 }>(&guest).unwrap_or_else(|error| panic!("{error}"));
    network.stack.wait_link_up().await;
    log::info!("serving file system {} on http://{}/", volume.label(), network.address);
    let limits = Connections { count, tx_buffer: TX_BUFFER_BYTES };
    let app =
        move |hangup| Router::from_service(Files { volume: volume.clone(), name: guest.name(), hangup });
    http_server::run(guest, network, limits, app).await
}
