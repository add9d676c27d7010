//! The lines that clients speak: a command a line, an answer a line.
//!
//! ```text
//! SET key value that may have spaces   ->  OK
//! GET key                              ->  VALUE value that may have spaces, or NONE
//! DEL key                              ->  OK, or NONE if there was no such key
//! COUNT                                ->  COUNT keys bytes most-bytes
//! QUIT                                 ->  the connection ends
//! anything that goes wrong             ->  ERR why
//! ```
//!
//! A line ends with LF; a CR before it is left out. A key has no spaces. `OK` means that the change is durable.

use alloc::vec::Vec;
use core::fmt;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A new value for a key.
    Set {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// The value of a key.
    Get(&'a [u8]),
    /// A key is not wanted any more.
    Delete(&'a [u8]),
    /// How much there is.
    Count,
    /// The end of the connection.
    Quit,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRefusal {
    /// There is no such command.
    Unknown,
    /// The command wants other words.
    Form(&'static str),
    /// The line has more bytes than this.
    Long(usize),
}

impl fmt::Display for LineRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such command: SET, GET, DEL, COUNT, QUIT"),
            Self::Form(form) => write!(f, "the form is: {form}"),
            Self::Long(most) => write!(f, "a line has at most {most} bytes; nothing was changed"),
        }
    }
}

impl<'a> Command<'a> {
    /// Reads a line without its end.
    ///
    /// # Errors
    /// As [`LineRefusal`] says.
    pub fn read(line: &'a [u8]) -> Result<Self, LineRefusal> {
        let (word, rest) = word(line);
        let key = |form| match rest.map(self::word) {
            Some((key, None)) if !key.is_empty() => Ok(key),
            _ => Err(LineRefusal::Form(form)),
        };
        match word.to_ascii_uppercase().as_slice() {
            b"SET" => match rest.map(self::word) {
                Some((key, Some(value))) if !key.is_empty() => Ok(Self::Set { key, value }),
                _ => Err(LineRefusal::Form("SET key value")),
            },
            b"GET" => key("GET key").map(Self::Get),
            b"DEL" => key("DEL key").map(Self::Delete),
            b"COUNT" if rest.is_none() => Ok(Self::Count),
            b"QUIT" if rest.is_none() => Ok(Self::Quit),
            b"COUNT" => Err(LineRefusal::Form("COUNT")),
            b"QUIT" => Err(LineRefusal::Form("QUIT")),
            _ => Err(LineRefusal::Unknown),
        }
    }
}

/// What stands before the first space, and what after it.
fn word(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

/// A line of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// It was too long and is gone.
    Long,
}

/// Cuts a stream of bytes into lines of at most so many bytes, and takes no more memory than one of them.
#[derive(Debug)]
pub struct LineReader {
    line: Vec<u8>,
    most: usize,
    too_long: bool,
}

impl LineReader {
    /// A reader of lines that have at most so many bytes, their end not counted.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { line: Vec::new(), most, too_long: false }
    }

    /// Takes bytes up to the end of a line: how many were taken, and the line, if there is a whole one.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        // One more than a line may have, for a CR.
        if self.line.len() + part.len() > self.most + 1 {
            self.too_long = true;
            self.line = Vec::new();
        }
        if !self.too_long {
            self.line.extend_from_slice(part);
        }
        if end.is_none() {
            return (part.len(), None);
        }
        let mut line = core::mem::take(&mut self.line);
        line.pop_if(|last| *last == b'\r');
        let long = core::mem::take(&mut self.too_long) || line.len() > self.most;
        (part.len() + 1, Some(if long { Line::Long } else { Line::Whole(line) }))
    }
}
