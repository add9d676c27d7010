//! The boot archive: a cpio of the "newc" kind with the configuration and the guests' images.
//! Both boot protocols hand over one block of bytes, and this is its simplest well-known shape.

/// Bytes of a member's header.
const HEADER: usize = 110;

/// An archive in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a>(&'a [u8]);

impl<'a> Archive<'a> {
    /// An archive of these bytes; damage shows as members that are not found.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A member's contents.
    pub(crate) fn find(&self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            let (member, contents, next) = split(rest)?;
            if member == name {
                return Some(contents);
            }
            rest = next;
        }
    }
}

/// The first member's name and contents and the bytes after it; nothing at the trailer or at damage.
fn split(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    if bytes.get(..6)? != b"070701" {
        return None;
    }
    let size = field(bytes, 54)?;
    let name_size = field(bytes, 94)?;
    let name_end = HEADER.checked_add(name_size)?;
    let name = core::str::from_utf8(bytes.get(HEADER..name_end.checked_sub(1)?)?).ok()?;
    if name == "TRAILER!!!" {
        return None;
    }
    let start = name_end.checked_next_multiple_of(4)?;
    let end = start.checked_add(size)?;
    let contents = bytes.get(start..end)?;
    let next = bytes.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
    Some((name.strip_prefix("./").unwrap_or(name), contents, next))
}

/// Eight hexadecimal digits.
fn field(bytes: &[u8], offset: usize) -> Option<usize> {
    let digits = core::str::from_utf8(bytes.get(offset..offset.checked_add(8)?)?).ok()?;
    usize::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, contents: &[u8]) -> Vec<u8> {
        let mut bytes = b"070701".to_vec();
        for value in [1, 0o100_644, 0, 0, 1, 0, contents.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            bytes.extend(format!("{value:08X}").bytes());
        }
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn archive() -> Vec<u8> {
        [member("config.json", b"{}"), member("./guests/web", b"ELF"), member("TRAILER!!!", b"")].concat()
    }

    #[test]
    fn members_are_found_by_name() {
        let bytes = archive();
        let archive = Archive::new(&bytes);
        assert_eq!(archive.find("config.json"), Some(&b"{}"[..]));
        assert_eq!(archive.find("guests/web"), Some(&b"ELF"[..]));
        assert_eq!(archive.find("guests/absent"), None);
    }

    #[test]
    fn a_truncated_archive_is_read_as_far_as_it_goes() {
        let bytes = archive();
        for length in 0..bytes.len() {
            let archive = Archive::new(&bytes[..length]);
            assert!(archive.find("absent").is_none());
            if let Some(contents) = archive.find("config.json") {
                assert_eq!(contents, b"{}");
            }
        }
    }

    #[test]
    fn a_header_of_garbage_ends_the_search() {
        let mut bytes = archive();
        bytes[54..62].copy_from_slice(b"FFFFFFFF");
        assert_eq!(Archive::new(&bytes).find("guests/web"), None);
        bytes[94..102].copy_from_slice(b"zzzzzzzz");
        assert_eq!(Archive::new(&bytes).find("config.json"), None);
    }
}
