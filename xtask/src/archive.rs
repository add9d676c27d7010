//! The boot archive: a cpio file with the configuration and the guests' images.
//! It exists because the hypervisor gets exactly one module from its boot loader.

use std::io::Cursor;

use anyhow::{Context, Result};
use cpio::newc::Builder;

/// Bytes of an archive with these members, by name.
pub(crate) fn pack(members: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let inputs = members.iter().zip(1_u32..).map(|((name, bytes), inode)| {
        (Builder::new(name).ino(inode).mode(0o100_644).nlink(1), Cursor::new(bytes.clone()))
    });
    cpio::write_cpio(inputs, Vec::new()).context("packing the boot archive")
}

#[cfg(test)]
mod tests {
    use super::pack;
    use std::io::Read;

    #[test]
    fn an_archive_gives_back_its_members_in_order() {
        let members = [("config.json".to_owned(), b"{}".to_vec()), ("guests/web".to_owned(), vec![7; 4099])];
        let bytes = pack(&members).unwrap();
        let mut rest = bytes.as_slice();
        for (name, contents) in &members {
            let mut member = cpio::newc::Reader::new(rest).unwrap();
            assert_eq!(member.entry().name(), name);
            let mut read = Vec::new();
            member.read_to_end(&mut read).unwrap();
            assert_eq!(&read, contents);
            rest = member.finish().unwrap();
        }
        assert!(cpio::newc::Reader::new(rest).unwrap().entry().is_trailer());
    }

    #[test]
    fn the_same_members_give_the_same_bytes() {
        let members = [("config.json".to_owned(), b"{\"seed\":1}".to_vec())];
        assert_eq!(pack(&members).unwrap(), pack(&members).unwrap());
    }
}
