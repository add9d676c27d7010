//! A disk's image as the store reads it: the guest's own code, on the host.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Result, anyhow, bail};
use key_value::{Medium, OpenError, SECTOR_BYTES, Store};

/// All keys and their values.
pub(super) type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// An image in memory, to be read only.
struct Image<'a>(&'a [u8]);

/// What was asked of an image and cannot be had.
#[derive(Debug)]
struct Beyond;

impl Medium for Image<'_> {
    type Error = Beyond;

    fn sectors(&self) -> u64 {
        (self.0.len() / SECTOR_BYTES) as u64
    }

    async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), Beyond> {
        let start = usize::try_from(sector).map_err(|_| Beyond)?.checked_mul(SECTOR_BYTES).ok_or(Beyond)?;
        let end = start.checked_add(into.len()).ok_or(Beyond)?;
        into.copy_from_slice(self.0.get(start..end).ok_or(Beyond)?);
        Ok(())
    }

    async fn write(&self, _: u64, _: &[u8]) -> Result<(), Beyond> {
        Err(Beyond)
    }

    async fn flush(&self) -> Result<(), Beyond> {
        Err(Beyond)
    }
}

/// What an image holds is no store, and never was one: why.
#[derive(Debug)]
pub(super) struct NoStore(String);

impl std::fmt::Display for NoStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoStore {}

/// All that the store on an image holds.
///
/// # Errors
/// [`NoStore`], or when something of a store is damaged.
pub(super) fn content(bytes: &[u8]) -> Result<Content> {
    let mut store = at_once(Store::examine(Image(bytes)))?.map_err(|error| match error {
        OpenError::NoStore | OpenError::Small(_) => NoStore(error.to_string()).into(),
        OpenError::Disk(_) | OpenError::Size(_) | OpenError::Damaged(_) => anyhow!("{error}"),
    })?;
    let mut content = Content::new();
    let keys: Vec<_> = store.keys().map(<[u8]>::to_vec).collect();
    for key in keys {
        let shown = String::from_utf8_lossy(&key);
        match at_once(store.get(&key))? {
            Ok(Some(value)) => drop(content.insert(key.clone(), value)),
            Ok(None) => bail!("{shown} has no value"),
            Err(error) => bail!("{shown} cannot be read: {error:?}"),
        }
    }
    Ok(content)
}

/// Runs what never waits.
fn at_once<F: Future>(future: F) -> Result<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => bail!("an image in memory let somebody wait"),
    }
}
