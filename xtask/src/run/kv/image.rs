//! A disk's image as the store reads it: the guest's own code, on the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Result, anyhow, bail};
use key_value::{Medium, OpenError, SECTOR_BYTES, Store};

/// All keys and their values.
pub(super) type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// An image, to be read only: its bytes, and what reads some of them from one of them on.
struct Image<R> {
    bytes: u64,
    read: R,
}

impl<R: Fn(u64, &mut [u8]) -> io::Result<()>> Medium for Image<R> {
    type Error = io::Error;

    fn sectors(&self) -> u64 {
        self.bytes / SECTOR_BYTES as u64
    }

    async fn read(&self, sector: u64, into: &mut [u8]) -> io::Result<()> {
        (self.read)(sector.checked_mul(SECTOR_BYTES as u64).ok_or(io::ErrorKind::UnexpectedEof)?, into)
    }

    async fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    async fn flush(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
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

/// All that the store on an image in memory holds.
///
/// # Errors
/// [`NoStore`], or when something of a store is damaged.
pub(super) fn content(bytes: &[u8]) -> Result<Content> {
    let read = |start: u64, into: &mut [u8]| {
        let rest = usize::try_from(start).ok().and_then(|start| bytes.get(start..)?.get(..into.len()));
        into.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    held(Image { bytes: bytes.len() as u64, read })
}

/// The same of an image in a file, of which only what the store looks at is read.
///
/// # Errors
/// As [`content`], and when the file cannot be read.
pub(super) fn content_of_file(file: &File) -> Result<Content> {
    held(Image {
        bytes: file.metadata()?.len(),
        read: |start, into: &mut [u8]| file.read_exact_at(into, start),
    })
}

fn held(image: impl Medium<Error = io::Error>) -> Result<Content> {
    let mut store = at_once(Store::examine(image))?.map_err(|error| match error {
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
        Poll::Pending => bail!("an image let somebody wait"),
    }
}
