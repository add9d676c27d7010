//! Images that are none, beside good ones in one boot archive.
//! Each is made of a good image by changing what its notes say, so that nothing else is wrong with it.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::judge::plain;
use crate::{compile, paths};

/// A bad image, and what the hypervisor says of it.
struct Bad {
    name: &'static str,
    says: &'static str,
    make: fn(Vec<u8>) -> Result<Vec<u8>>,
}

const BAD: &[Bad] = &[
    Bad {
        name: "no-elf",
        says: "is no 64-bit little-endian ELF file",
        make: |_| Ok(b"#!/bin/sh\n".to_vec()),
    },
    Bad { name: "no-notes", says: "has no Xen ELF notes", make: |good| without_notes(good) },
    Bad { name: "overlapping", says: "overlaps the hypervisor's range", make: |good| overlapping(good) },
    Bad { name: "other-abi", says: "asks for the interface 'xen-9.0'", make: |good| other_abi(good) },
];

/// Notes by number: where a guest starts, its hypercall page, its base, its interface.
const ENTRY: u8 = 1;
const HYPERCALL_PAGE: u8 = 2;
const BASE: u8 = 3;
const VERSION: u8 = 5;
/// The first address of the hypervisor.
const RESERVED: u64 = hypercall_abi::layout::HYPERVISOR_START;

/// Runs them beside good ones: each is named with what is wrong, and the good ones start.
pub(super) fn beside_good_ones() -> Result<String> {
    let good = compile::guests(&["hello".to_owned()])?.pop().context("hello was not built")?;
    let good = fs::read(&good).with_context(|| format!("reading {}", good.display()))?;
    let folder = paths::run("suite").join("bad-images");
    fs::create_dir_all(&folder).context("making a folder for bad images")?;
    let mut scenario =
        String::from("description = \"Bad images among good ones\"\nmemory = \"64M\"\nslice = \"5ms\"\n");
    scenario += &entry("first", "hello");
    for bad in BAD {
        let file = folder.join(bad.name);
        fs::write(&file, (bad.make)(good.clone())?).context("writing a bad image")?;
        scenario += &entry(bad.name, &file.to_string_lossy());
    }
    scenario += &entry("last", "hello");
    let path = folder.join("bad-images.toml");
    fs::write(&path, scenario).context("writing the scenario of bad images")?;
    let output = plain("bad-images", &["run", &path.to_string_lossy(), "--seconds", "20"])?;
    for bad in BAD {
        let said = |line: &str| {
            line.starts_with(&format!("denizen: {} not started: ", bad.name)) && line.contains(bad.says)
        };
        ensure!(output.lines().any(said), "{} is not named as {:?}:\n{output}", bad.name, bad.says);
    }
    for name in ["first", "last"] {
        ensure!(output.contains(&format!("{name}| hello from {name}")), "{name} did not start:\n{output}");
    }
    Ok(format!("{} named, the others start", BAD.len()))
}

fn entry(name: &str, image: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nimage = \"{image}\"\nmemory = \"1M\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"destroy\"\n"
    )
}

/// The value of the Xen note with this number.
fn note(image: &mut [u8], kind: u8) -> Result<&mut [u8]> {
    let starts = |at: &usize| {
        let header = image.get(*at..at + 16);
        header.is_some_and(|header| {
            header[..4] == [4, 0, 0, 0] && header[8..12] == [kind, 0, 0, 0] && header[12..] == *b"Xen\0"
        })
    };
    let at = (0..image.len()).step_by(4).find(starts).with_context(|| format!("hello has no note {kind}"))?;
    let bytes = usize::from(image[at + 4]);
    image.get_mut(at + 16..at + 16 + bytes).context("the note is cut off")
}

fn without_notes(mut image: Vec<u8>) -> Result<Vec<u8>> {
    let _there = note(&mut image, VERSION)?;
    for at in 0..image.len().saturating_sub(16) {
        if image[at..at + 4] == [4, 0, 0, 0] && image[at + 12..at + 16] == *b"Xen\0" {
            image[at + 12] = b'N';
        }
    }
    Ok(image)
}

fn other_abi(mut image: Vec<u8>) -> Result<Vec<u8>> {
    note(&mut image, VERSION)?.copy_from_slice(b"xen-9.0\0");
    Ok(image)
}

/// The whole image at the hypervisor's addresses.
fn overlapping(mut image: Vec<u8>) -> Result<Vec<u8>> {
    let number = |bytes: &[u8]| -> Result<u64> { Ok(u64::from_le_bytes(bytes.try_into()?)) };
    let base = number(note(&mut image, BASE)?)?;
    for kind in [BASE, ENTRY, HYPERCALL_PAGE] {
        let value = note(&mut image, kind)?;
        let moved = number(value)? - base + RESERVED;
        value.copy_from_slice(&moved.to_le_bytes());
    }
    Ok(image)
}

/// So that a change of the notes' form is seen here rather than in a boot.
#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<u8> {
        let mut image = vec![0; 8];
        for (kind, value) in
            [(ENTRY, 0x40_9000), (HYPERCALL_PAGE, 0x40_8000), (BASE, 0x40_0000), (VERSION, 0)]
        {
            image.extend([4, 0, 0, 0, 8, 0, 0, 0, kind, 0, 0, 0]);
            image.extend(b"Xen\0");
            image.extend(u64::to_le_bytes(value));
        }
        image
    }

    #[test]
    fn notes_are_found_changed_and_hidden() {
        let mut moved = overlapping(image()).unwrap();
        assert_eq!(note(&mut moved, ENTRY).unwrap(), (RESERVED + 0x9000).to_le_bytes());
        assert_eq!(note(&mut other_abi(image()).unwrap(), VERSION).unwrap(), b"xen-9.0\0");
        assert!(note(&mut without_notes(image()).unwrap(), VERSION).is_err());
    }
}
