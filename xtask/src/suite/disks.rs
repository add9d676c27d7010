//! Guests write to disks of every kind, and the host looks at the images afterwards.
//! It exists because a guest that reads back what it wrote would believe a cache as well.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate};
use serde_json::Value;

use super::judge::{plain, records};
use crate::paths;

/// Sectors of an image: not a whole number of pages.
pub(super) const SECTORS: usize = 2 * 1024 + 3;
pub(super) const SECTOR: usize = hypercall_abi::blkif::SECTOR_BYTES;
/// Where the disk that is a part of an image begins and ends, in bytes.
const PART: std::ops::Range<usize> = 64 << 10..576 << 10;

/// What each guest tries by which disk: name, and the end of its entry.
const GUESTS: &[(&str, &str)] = &[
    ("whole", "image = \"FOLDER/whole.img\", mode = \"w\""),
    ("part", "image = \"FOLDER/part.img\", mode = \"w\", offset = \"64K\", size = \"512K\""),
    ("reader", "image = \"FOLDER/base.img\", mode = \"r\""),
    ("overlay", "image = \"FOLDER/base.img\", mode = \"w\", overlay = \"1M\""),
    ("other", "image = \"FOLDER/base.img\", mode = \"w\", overlay = \"1M\""),
    ("memory", "ram = \"512K\", mode = \"w\""),
    // Too small for two of the four writes that a guest makes one after the other.
    ("full", "image = \"FOLDER/base.img\", mode = \"w\", overlay = \"32K\""),
    ("holes", "image = \"FOLDER/holes.img\", mode = \"w\""),
];
/// Sectors that the guest of `holes` discards at the end, from the same number on.
const DISCARDED: usize = 1024;
/// Of each write that finds no room: that it went well, and that it is read back.
const CHECKS_OF_A_WRITE: u64 = 2;
/// Bytes that a guest writes and that find room in the small overlay: where, and in which round.
const ROOM: [(usize, usize, u64); 7] = [
    (SECTORS * SECTOR - SECTOR, SECTOR, 1),
    (SECTORS * SECTOR - 4096, 4096, 2),
    (0, 4096, 5),
    (4096, 4096, 6),
    (8192, 4096, 7),
    (12288, 4096, 8),
    (20480, 8192, 9),
];

/// Guests use disks of each kind, once through the host's cache, as counted machines do, and once past it, where its file system
/// can.
pub(super) fn written() -> Result<String> {
    let counted = used("disks", &["--icount", "--seconds", "25"])?;
    let timed = used("disks-in-time", &["--seconds", "300"])?;
    ensure!(counted == timed, "{counted} checks when counted, and {timed} in time");
    Ok(format!("{} disks, {counted} checks, twice", GUESTS.len()))
}

/// Writes, flushes and reads disks of each kind in a machine; every check of the guests holds, and the images are as they
/// should be. How many checks.
fn used(name: &str, how: &[&str]) -> Result<u64> {
    let folder = paths::run("suite").join("disks");
    fs::create_dir_all(&folder).context("making a folder for disks")?;
    let old: Vec<u8> = (0..SECTORS * SECTOR).map(|at| ((at * 131) >> 7) as u8).collect();
    for name in ["whole", "part", "base", "holes"] {
        fs::write(folder.join(name).with_extension("img"), &old).context("writing an image")?;
    }
    let path = folder.join("disks.toml");
    fs::write(&path, scenario(&folder)).context("writing the scenario of disks")?;
    let output = plain(name, &[&["run", &*path.to_string_lossy()], how].concat())?;
    let mut checks = 0;
    let mut sums = Vec::new();
    for (name, _) in GUESTS {
        let wanted = format!("{name}| @disk ");
        let body = output.lines().find_map(|line| line.strip_prefix(&wanted));
        let body = body.with_context(|| format!("{name} said nothing of its disk:\n{output}"))?;
        let said: Value = serde_json::from_str(body).context("reading @disk")?;
        let count = |key: &str| said[key].as_u64().unwrap_or(0);
        let refused = if *name == "full" { 2 * CHECKS_OF_A_WRITE } else { 0 };
        ensure!(count("good") + refused == count("of"), "{name}: not as many checks held as should: {said}");
        ensure!(said["writable"] == (*name != "reader"), "{name} may do what it should not, or not: {said}");
        checks += count("of");
        sums.push(said["sum"].as_str().unwrap_or_default().to_owned());
    }
    let image = |name: &str| fs::read(folder.join(name).with_extension("img")).context("reading an image");
    let (whole, part, base, mut holes) = (image("whole")?, image("part")?, image("base")?, image("holes")?);
    ensure!(whole != old && sum(&whole) == sums[0], "the image is not what its guest wrote");
    ensure!(part[..PART.start] == old[..PART.start], "something was written before a part of an image");
    ensure!(part[PART.end..] == old[PART.end..], "something was written after a part of an image");
    ensure!(part[PART] != old[PART] && sum(&part[PART]) == sums[1], "the part is not what its guest wrote");
    ensure!(sum(&holes) == sums[7], "the image with a hole is not what its guest saw");
    let hole = DISCARDED * SECTOR..2 * DISCARDED * SECTOR;
    holes[hole.clone()].copy_from_slice(&whole[hole.clone()]);
    ensure!(holes == whole, "something was discarded beside what should be");
    let taken = |name: &str| -> Result<u64> {
        let known = fs::metadata(folder.join(name).with_extension("img")).context("looking at an image")?;
        Ok(known.blocks() * 512)
    };
    // Where the host's file system makes no holes, a discard leaves what was there.
    if makes_holes(&folder)? {
        let (taken, whole) = (taken("holes")?, taken("whole")?);
        ensure!(taken + hole.len() as u64 <= whole, "{taken} bytes are taken, where {whole} were");
    }
    ensure!(base == old, "the image under overlays has changed");
    ensure!(sum(&base) == sums[2], "the reader saw another image than there is");
    // Two overlays hold the same, since their guests wrote the same, and so does an image that was written to.
    ensure!(sums[3] == sums[0] && sums[4] == sums[0], "an overlay is not what its guest wrote");
    let mut small = base;
    for (start, bytes, round) in ROOM {
        small[start..start + bytes].copy_from_slice(&pattern(bytes, round));
    }
    ensure!(sums[6] == sum(&small), "a full overlay is not what was written before and after it was full");
    ensure!(
        output.contains("the overlay of disk 0 of full is full with 32768 bytes"),
        "a full overlay was not named:\n{output}"
    );
    ensure!(output.contains("\"ok\":true,\"total_frames\""), "no audit held:\n{output}");
    Ok(checks)
}

/// Whether the host's file system makes holes in files.
fn makes_holes(folder: &Path) -> Result<bool> {
    let mut file = tempfile::tempfile_in(folder).context("making a file")?;
    file.write_all(&[1; 4096]).context("writing a file")?;
    Ok(fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096).is_ok())
}

/// Disks of one guest: more than there are reserved references for their device pages.
const MANY: usize = 12;

/// Disks of a guest that has memory for some of them.
const TOO_MANY: usize = 40;

/// A guest has many disks, another one more than it has memory for, and a third one a disk that another driver domain has no memory
/// for: every check of the first holds, the others are told and lose nothing, and nobody dies.
pub(super) fn many() -> Result<String> {
    let folder = paths::run("suite").join("many-disks");
    fs::create_dir_all(&folder).context("making a folder for disks")?;
    let disk =
        |back: &str, bytes: &str| format!("{{ backend = \"{back}\", ram = \"{bytes}\", mode = \"w\" }}");
    let disks = vec![disk("driver", "64K"); MANY].join(", ");
    let too_many = vec![disk("driver", "64K"); TOO_MANY].join(", ");
    let text = head("Many disks, and one that is too large", "128M")
        + &domain("driver", "image = \"driver-domain\"\nmemory = \"8M\"")
        + &domain("small", "image = \"driver-domain\"\nmemory = \"4M\"")
        + &domain("many", &format!("image = \"disk\"\nmemory = \"32M\"\ndisk = [{disks}]"))
        + &domain("poor", &format!("image = \"disk\"\nmemory = \"4M\"\ndisk = [{too_many}]"))
        + &domain(
            "large",
            &format!(
                "image = \"disk\"\nmemory = \"4M\"\ncommand_line = \"work_ms=200\"\ndisk = [{}]",
                disk("small", "64M")
            ),
        );
    let path = folder.join("many-disks.toml");
    fs::write(&path, text).context("writing the scenario of many disks")?;
    let output = plain("many-disks", &["run", &path.to_string_lossy(), "--icount", "--seconds", "25"])?;
    let checked = records(&output, "many", "@disk")?;
    ensure!(
        checked.len() == MANY && checked.iter().all(|disk| disk["good"] == disk["of"]),
        "not every check of {MANY} disks held:\n{output}"
    );
    let some = records(&output, "poor", "@disk")?;
    ensure!(
        !some.is_empty() && some.iter().all(|disk| disk["good"] == disk["of"]),
        "not every check of the disks that there is memory for held:\n{output}"
    );
    let told = output.matches("this domain has too little memory for the disk").count();
    ensure!(some.len() + told == TOO_MANY, "a guest was not told of each disk without memory:\n{output}");
    let worked = records(&output, "large", "@work")?;
    ensure!(
        worked.iter().any(|work| work["failed"].as_u64() > Some(0) && work["wrong"] == 0),
        "the disk that is too large failed nothing, or lost something:\n{output}"
    );
    ensure!(
        output.contains("there is no memory for what is written to disk 0 of large"),
        "a disk without memory was not named:\n{output}"
    );
    ensure!(!output.contains(": crash"), "somebody died:\n{output}");
    Ok(format!(
        "{MANY} disks of one guest; {told} of {TOO_MANY} that another had no memory for; {} operations without memory failed and were told",
        worked[0]["failed"]
    ))
}

/// The head of a scenario.
pub(super) fn head(description: &str, memory: &str) -> String {
    format!("description = \"{description}\"\nmemory = \"{memory}\"\nslice = \"5ms\"\n")
}

/// A domain of a scenario, and what it has of its own.
pub(super) fn domain(name: &str, more: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nweight = 256\nring = 3\ndelivery = \"batched\"\non_crash = \"destroy\"\n{more}\n"
    )
}

/// Guests on overlays of one image at once.
const OVERLAYS: usize = 256;

/// Many guests write over one image, each for itself: it stays as it was, and memory is taken for what was written.
pub(super) fn overlays() -> Result<String> {
    let folder = paths::run("suite").join("overlays");
    fs::create_dir_all(&folder).context("making a folder for disks")?;
    let (image, path) = (folder.join("base.img"), folder.join("overlays.toml"));
    let old = pattern(SECTORS * SECTOR, 99);
    fs::write(&image, &old).context("writing an image")?;
    let disk =
        format!("disk = [{{ backend = \"driver\", image = {image:?}, mode = \"w\", overlay = \"1M\" }}]");
    let text = head("Overlays of one image", "768M")
        + &domain("driver", "image = \"driver-domain\"\nmemory = \"160M\"")
        + &domain("over", &format!("image = \"disk\"\ncount = {OVERLAYS}\nmemory = \"2M\"\n{disk}"));
    fs::write(&path, text).context("writing the scenario of overlays")?;
    let output = plain("overlays", &["run", &path.to_string_lossy(), "--icount", "--seconds", "400"])?;
    let bodies = output.lines().filter_map(|line| line.split_once("| @disk ")).map(|(_, body)| body);
    let disks: Vec<Value> =
        bodies.map(serde_json::from_str).collect::<Result<_, _>>().context("reading @disk")?;
    let held = records(&output, "driver", "@overlay")?;
    ensure!(disks.len() == OVERLAYS, "{} of {OVERLAYS} guests came to their end", disks.len());
    let bad: Vec<_> =
        disks.iter().filter(|disk| disk["good"] != disk["of"] || disk["sum"] != disks[0]["sum"]).collect();
    ensure!(bad.is_empty(), "not every check held, or not all overlays are alike: {bad:?}");
    ensure!(fs::read(&image).context("reading the image")? == old, "the image under overlays has changed");
    // The last 256 KiB, which begin within a block, four blocks at the beginning, and two after the next.
    let written = (SECTORS * SECTOR).div_ceil(4096) - (SECTORS * SECTOR - (256 << 10)) / 4096 + 6;
    let bytes = written as u64 * 4096;
    ensure!(held.len() == OVERLAYS, "{} overlays of {OVERLAYS} were measured", held.len());
    let bad: Vec<_> = held.iter().filter(|one| one["bytes"] != bytes).collect();
    ensure!(bad.is_empty(), "{bytes} bytes each were written to: {bad:?}");
    ensure!(output.contains("\"ok\":true,\"total_frames\""), "no audit held");
    Ok(format!("{OVERLAYS} overlays of {bytes} bytes, the base unchanged"))
}

fn scenario(folder: &Path) -> String {
    let mut text =
        head("Disks of each kind", "128M") + &domain("driver", "image = \"driver-domain\"\nmemory = \"16M\"");
    for (name, disk) in GUESTS {
        let disk = disk.replace("FOLDER", &folder.to_string_lossy());
        let told = if *name == "holes" { format!("discard={DISCARDED}") } else { String::new() };
        text += &domain(
            name,
            &format!(
                "image = \"disk\"\nmemory = \"2M\"\ncommand_line = \"{told}\"\ndisk = [{{ backend = \"driver\", {disk} }}]"
            ),
        );
    }
    text
}

/// What a guest writes in a round.
pub(super) fn pattern(bytes: usize, round: u64) -> Vec<u8> {
    (0..bytes as u64).map(|at| ((at + round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// 64-bit FNV-1a, as the guest computes it.
pub(super) fn sum(bytes: &[u8]) -> String {
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{sum:016x}")
}
