//! The disk as the store knows it.

use guest_kernel::block::{Disk, DiskError};
use key_value::Medium;

/// A disk of this domain.
pub(crate) struct DiskMedium(pub(crate) Disk);

impl Medium for DiskMedium {
    type Error = DiskError;

    fn sectors(&self) -> u64 {
        self.0.capacity()
    }

    fn life(&self) -> u64 {
        self.0.life()
    }

    async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.0.read(sector, into).await
    }

    async fn write(&self, sector: u64, data: &[u8]) -> Result<(), DiskError> {
        self.0.write(sector, data).await
    }

    async fn flush(&self) -> Result<(), DiskError> {
        self.0.flush().await
    }
}
