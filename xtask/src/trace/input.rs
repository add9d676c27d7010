//! A trace file as the reader wants it: words at a place, read when they are asked for.
//! It exists so that a trace of any length takes the memory of one block.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use hypervisor_core::trace::reader::{Reader, Source};

use crate::BadInput;

/// Records of a file, one by one.
pub(crate) type Records = Reader<Words>;

/// A file of words.
#[derive(Debug)]
pub(crate) struct Words {
    file: File,
    bytes: Vec<u8>,
}

impl Words {
    /// Of an open file.
    pub(crate) fn new(file: File) -> Self {
        Self { file, bytes: Vec::new() }
    }
}

impl Source for Words {
    fn read(&mut self, first: usize, into: &mut [u64]) -> usize {
        self.bytes.resize(into.len() * 8, 0);
        let mut found = 0;
        while found < self.bytes.len() {
            match self.file.read_at(&mut self.bytes[found..], first as u64 * 8 + found as u64) {
                Ok(0) => break,
                Ok(count) => found += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // What cannot be read is not there: the reader says how far it came.
                Err(_) => break,
            }
        }
        let (words, _) = self.bytes[..found].as_chunks::<8>();
        for (to, from) in into.iter_mut().zip(words) {
            *to = u64::from_le_bytes(*from);
        }
        words.len()
    }
}

/// Opens a trace file.
///
/// # Errors
/// [`BadInput`] if it cannot be read or is no trace.
pub(crate) fn open(path: &Path) -> Result<Records> {
    let bad = |error: &dyn std::fmt::Display| BadInput(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| bad(&format!("cannot be read: {error}")))?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err(bad(&"is a folder, not a trace").into());
    }
    Reader::new(Words::new(file)).map_err(|error| bad(&error).into())
}
