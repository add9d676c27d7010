//! A file system: find a path, list a directory, read a file.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use ext4_view::{Ext4, Ext4Error, File, FileType, Path};

use crate::chunks::{Blocks, Chunk, Chunks};
use crate::listing::Listing;

/// Parts that one step may need at once: a directory of 1 MiB.
const HELD_MAX: usize = 32;

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault<E> {
    /// The disk failed.
    Disk(E),
    /// The file system says no, or makes no sense.
    System(Ext4Error),
    /// It needs more of the disk at once than fits into memory.
    TooLarge,
}

impl<E: fmt::Display> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk: {error}"),
            Self::System(error) => write!(f, "the file system: {error}"),
            Self::TooLarge => f.write_str("this takes too much memory"),
        }
    }
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found<B> {
    /// A file.
    File(Box<OpenFile<B>>),
    /// A directory.
    Directory,
    /// Something that has no content: a device, a pipe, a socket.
    Special,
    /// Nothing.
    Nothing,
}

pub(crate) struct Shared<B> {
    blocks: B,
    chunks: Chunks,
}

impl<B> fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// An ext4 file system, read only. Clones share it.
#[derive(Debug)]
pub struct Volume<B> {
    shared: Rc<Shared<B>>,
    system: Ext4,
}

impl<B> Clone for Volume<B> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), system: self.system.clone() }
    }
}

impl<B: Blocks> Volume<B> {
    /// Reads what a disk says of itself.
    ///
    /// # Errors
    /// [`Fault`], when there is no file system that can be read.
    pub async fn open(blocks: B) -> Result<Self, Fault<B::Error>> {
        let chunks = Chunks::new(blocks.bytes());
        let shared = Rc::new(Shared { blocks, chunks });
        let system = shared.attempt(|| Ext4::load(Box::new(shared.chunks.clone()))).await?;
        Ok(Self { shared, system })
    }

    /// What an absolute path leads to, through symbolic links.
    ///
    /// # Errors
    /// [`Fault`], when that cannot be told.
    pub async fn find(&self, path: &[u8]) -> Result<Found<B>, Fault<B::Error>> {
        let opened = self.shared.attempt(|| self.system.open(checked(path)?)).await;
        match opened {
            Ok(file) => {
                let length = file.metadata().len();
                Ok(Found::File(Box::new(OpenFile { shared: self.shared.clone(), file, length })))
            }
            Err(Fault::System(Ext4Error::IsADirectory)) => Ok(Found::Directory),
            Err(Fault::System(Ext4Error::IsASpecialFile)) => Ok(Found::Special),
            Err(Fault::System(
                Ext4Error::NotFound
                | Ext4Error::NotADirectory
                | Ext4Error::MalformedPath
                | Ext4Error::PathTooLong
                | Ext4Error::TooManySymlinks,
            )) => Ok(Found::Nothing),
            Err(fault) => Err(fault),
        }
    }

    /// The entries of a directory, sorted.
    ///
    /// # Errors
    /// [`Fault`], when it cannot be read as a whole.
    pub async fn list(&self, path: &[u8]) -> Result<Listing, Fault<B::Error>> {
        let entries = self
            .shared
            .attempt(|| {
                let mut entries = Vec::new();
                for entry in self.system.read_dir(checked(path)?)? {
                    let entry = entry?;
                    let name = entry.file_name();
                    if ![b".".as_slice(), b".."].contains(&name.as_ref()) {
                        entries.push((entry.file_type()? == FileType::Directory, name.as_ref().to_vec()));
                    }
                }
                Ok(entries)
            })
            .await?;
        Ok(Listing::new(entries))
    }

    /// What the file system calls itself: its label, or its number.
    #[must_use]
    pub fn label(&self) -> alloc::string::String {
        match self.system.label().to_str() {
            Ok(label) if !label.is_empty() => label.to_string(),
            _ => self.system.uuid().to_string(),
        }
    }
}

fn checked(path: &[u8]) -> Result<Path<'_>, Ext4Error> {
    Path::try_from(path).map_err(|_| Ext4Error::MalformedPath)
}

/// A file that is being read from its beginning to its end.
#[derive(Debug)]
pub struct OpenFile<B> {
    shared: Rc<Shared<B>>,
    file: File,
    length: u64,
}

impl<B: Blocks> OpenFile<B> {
    /// Bytes from beginning to end.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Reads what comes next; 0 bytes at the end. There may be more when fewer come than there was room for.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, Fault<B::Error>> {
        let Self { shared, file, .. } = self;
        let (position, mut again) = (file.position(), false);
        shared
            .attempt(|| {
                if again {
                    // A failed read may have left the file between two blocks. Finding the place may miss something as
                    // well, and does not say so.
                    file.seek_to(position)?;
                    if shared.chunks.is_missing() {
                        return Ok(0);
                    }
                }
                again = true;
                file.read_bytes(into)
            })
            .await
    }
}

impl<B: Blocks> Shared<B> {
    #[cfg(test)]
    pub(crate) fn of(blocks: B) -> Self {
        let chunks = Chunks::new(blocks.bytes());
        Self { blocks, chunks }
    }

    #[cfg(test)]
    pub(crate) const fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Tries a step until nothing that it needs is missing. What was fetched for it stays until it is done, so that it
    /// needs each part once, whatever others do meanwhile.
    pub(crate) async fn attempt<T>(
        &self,
        mut step: impl FnMut() -> Result<T, Ext4Error>,
    ) -> Result<T, Fault<B::Error>> {
        let mut held: Vec<Chunk> = Vec::new();
        let result = loop {
            self.chunks.keep(&held);
            let result = step();
            let missing = self.chunks.take_missing();
            if missing.is_empty() {
                break result.map_err(Fault::System);
            }
            if held.len() + missing.len() > HELD_MAX {
                break Err(Fault::TooLarge);
            }
            for number in missing {
                let mut room = self.chunks.room(number);
                let start = number.saturating_mul(crate::CHUNK_BYTES as u64);
                self.blocks.read(start, &mut room).await.map_err(Fault::Disk)?;
                held.push((number, room.into()));
            }
        };
        self.chunks.trim();
        result
    }
}
