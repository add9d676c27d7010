//! A log in a file, with all that it takes to play it: what the hypervisor was started with, and where it comes from.
//! It is a row of parts, each with a sum over its bytes, closed by an end; so what is damaged or cut short is found
//! before anything is played.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::form::sum;

/// What a file begins with.
pub const MAGIC: [u8; 8] = *b"DENREPLY";
/// Version of the file's form.
pub const VERSION: u32 = 1;
/// Bytes before the first part.
pub const HEADER: usize = 12;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Text about the run, JSON.
    About = 1,
    /// A file of the boot archive: its name, a zero byte, its contents.
    Member = 2,
    /// The next bytes of the log.
    Log = 3,
    /// The end; empty.
    End = 4,
}

impl Kind {
    const ALL: [Self; 4] = [Self::About, Self::Member, Self::Log, Self::End];

    #[expect(clippy::as_conversions, reason = "an enum of bytes")]
    const fn raw(self) -> u8 {
        self as u8
    }
}

/// The bytes that a file begins with.
#[must_use]
pub fn header() -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat()
}

/// The bytes of a part: kind, length, sum, contents.
#[must_use]
pub fn part(kind: Kind, contents: &[u8]) -> Vec<u8> {
    let length = u64::try_from(contents.len()).unwrap_or(u64::MAX);
    [&[kind.raw()][..], &length.to_le_bytes(), &sum_of(kind, contents).to_le_bytes(), contents].concat()
}

fn sum_of(kind: Kind, contents: &[u8]) -> u64 {
    sum(contents).wrapping_add(u64::from(kind.raw()))
}

/// The contents of a part for a file of the boot archive.
#[must_use]
pub fn member(name: &str, contents: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], contents].concat()
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Text about the run, JSON.
    pub about: String,
    /// Files of the boot archive by name.
    pub members: Vec<(String, Vec<u8>)>,
    /// The log.
    pub log: Vec<u8>,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let Some((header, mut rest)) = bytes.split_at_checked(HEADER) else {
            return Err("it is too short for a recording".to_owned());
        };
        let Some(version) = header.strip_prefix(&MAGIC).and_then(|version| version.try_into().ok()) else {
            return Err("it is no recording".to_owned());
        };
        let version = u32::from_le_bytes(version);
        if version != VERSION {
            return Err(format!("it is a recording of version {version}, and this program reads {VERSION}"));
        }
        let mut file = Self::default();
        loop {
            let at = bytes.len().saturating_sub(rest.len());
            let (kind, contents, after) = next(rest).map_err(|why| format!("at byte {at} {why}"))?;
            rest = after;
            match kind {
                Kind::About => {
                    file.about =
                        str::from_utf8(contents).map_err(|_| "its text is no text".to_owned())?.to_owned();
                }
                Kind::Member => {
                    let split = contents.iter().position(|byte| *byte == 0);
                    let split = split.and_then(|at| contents.split_at_checked(at));
                    let (name, contents) = split.ok_or_else(|| format!("at byte {at} a file has no name"))?;
                    let name = str::from_utf8(name).map_err(|_| format!("at byte {at} a name is no text"))?;
                    let (_zero, contents) = contents.split_first().unwrap_or((&0, &[]));
                    file.members.push((name.to_owned(), contents.to_owned()));
                }
                Kind::Log => file.log.extend_from_slice(contents),
                Kind::End if rest.is_empty() => return Ok(file),
                Kind::End => return Err(format!("{} bytes follow its end", rest.len())),
            }
        }
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = header();
        bytes.extend(part(Kind::About, self.about.as_bytes()));
        for (name, contents) in &self.members {
            bytes.extend(part(Kind::Member, &member(name, contents)));
        }
        bytes.extend(part(Kind::Log, &self.log));
        bytes.extend(part(Kind::End, &[]));
        bytes
    }
}

/// The next part and what follows it.
fn next(bytes: &[u8]) -> Result<(Kind, &[u8], &[u8]), &'static str> {
    const CUT: &str = "it is cut short";
    let (kind, rest) = bytes.split_first().ok_or(CUT)?;
    let (length, rest) = rest.split_first_chunk().ok_or(CUT)?;
    let (wanted, rest) = rest.split_first_chunk().ok_or(CUT)?;
    let kind = Kind::ALL.into_iter().find(|known| known.raw() == *kind).ok_or("it is damaged")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| CUT)?;
    let (contents, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    if sum_of(kind, contents) != u64::from_le_bytes(*wanted) {
        return Err("it is damaged");
    }
    Ok((kind, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        File {
            about: "{}".into(),
            members: alloc::vec![
                ("config.json".into(), b"{\"a\":0}".to_vec()),
                ("guests/a".into(), alloc::vec![0, 1])
            ],
            log: (0..200).collect(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        assert_eq!(File::read(&file().bytes()), Ok(file()));
    }

    #[test]
    fn a_file_that_is_cut_short_or_has_one_bit_changed_is_refused() {
        let bytes = file().bytes();
        for length in 0..bytes.len() {
            assert!(File::read(&bytes[..length]).is_err(), "cut to {length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = File::read(&bytes);
            assert!(read.is_err(), "bit {bit}");
        }
        assert!(File::read(&[&bytes[..], &[0]].concat()).unwrap_err().contains("follow its end"));
        assert!(File::read(b"DENTRACE and something else").unwrap_err().contains("no recording"));
    }
}
