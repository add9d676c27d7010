//! Guests write to disks of every kind, and the host looks at the images afterwards.
//! It exists because a guest that reads back what it wrote would believe a cache as well.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::judge::plain;
use crate::paths;

/// Sectors of an image: not a whole number of pages.
const SECTORS: usize = 2 * 1024 + 3;
const SECTOR: usize = hypercall_abi::blkif::SECTOR_BYTES;
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
];

/// Writes, flushes and reads disks of each kind in a machine; every check of the guests holds, and the images are as they
/// should be.
pub(super) fn written() -> Result<String> {
    let folder = paths::run("suite").join("disks");
    fs::create_dir_all(&folder).context("making a folder for disks")?;
    let old: Vec<u8> = (0..SECTORS * SECTOR).map(|at| ((at * 131) >> 7) as u8).collect();
    for name in ["whole", "part", "base"] {
        fs::write(folder.join(name).with_extension("img"), &old).context("writing an image")?;
    }
    let path = folder.join("disks.toml");
    fs::write(&path, scenario(&folder)).context("writing the scenario of disks")?;
    let output = plain("disks", &["run", &path.to_string_lossy(), "--icount", "--seconds", "25"])?;
    let mut checks = 0;
    let mut sums = Vec::new();
    for (name, _) in GUESTS {
        let wanted = format!("{name}| @disk ");
        let body = output.lines().find_map(|line| line.strip_prefix(&wanted));
        let body = body.with_context(|| format!("{name} said nothing of its disk:\n{output}"))?;
        let said: Value = serde_json::from_str(body).context("reading @disk")?;
        ensure!(said["good"] == said["of"], "{name}: not every check held: {said}");
        ensure!(said["writable"] == (*name != "reader"), "{name} may do what it should not, or not: {said}");
        checks += said["of"].as_u64().unwrap_or(0);
        sums.push(said["sum"].as_str().unwrap_or_default().to_owned());
    }
    let image = |name: &str| fs::read(folder.join(name).with_extension("img")).context("reading an image");
    let (whole, part, base) = (image("whole")?, image("part")?, image("base")?);
    ensure!(whole != old && sum(&whole) == sums[0], "the image is not what its guest wrote");
    ensure!(part[..PART.start] == old[..PART.start], "something was written before a part of an image");
    ensure!(part[PART.end..] == old[PART.end..], "something was written after a part of an image");
    ensure!(part[PART] != old[PART] && sum(&part[PART]) == sums[1], "the part is not what its guest wrote");
    ensure!(base == old, "the image under overlays has changed");
    ensure!(sum(&base) == sums[2], "the reader saw another image than there is");
    // Two overlays hold the same, since their guests wrote the same, and so does an image that was written to.
    ensure!(sums[3] == sums[0] && sums[4] == sums[0], "an overlay is not what its guest wrote");
    ensure!(output.contains("\"ok\":true,\"total_frames\""), "no audit held:\n{output}");
    Ok(format!("{} disks, {checks} checks", GUESTS.len()))
}

fn scenario(folder: &Path) -> String {
    let mut text = String::from(
        "description = \"Disks of each kind\"\nmemory = \"128M\"\nslice = \"5ms\"\n[[domain]]\nname = \"driver\"\n\
         image = \"driver-domain\"\nmemory = \"16M\"\nweight = 256\nring = 3\ndelivery = \"batched\"\n\
         on_crash = \"destroy\"\n",
    );
    for (name, disk) in GUESTS {
        let disk = disk.replace("FOLDER", &folder.to_string_lossy());
        text += &format!(
            "[[domain]]\nname = \"{name}\"\nimage = \"disk\"\nmemory = \"2M\"\nweight = 256\nring = 3\n\
             delivery = \"batched\"\non_crash = \"destroy\"\ndisk = [{{ backend = \"driver\", {disk} }}]\n"
        );
    }
    text
}

/// 64-bit FNV-1a, as the guest computes it.
fn sum(bytes: &[u8]) -> String {
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{sum:016x}")
}
