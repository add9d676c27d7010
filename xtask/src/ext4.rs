//! Disks made of folders: an ext4 file system, the same bytes for the same files whoever makes it when.
//! It exists so that a scenario can name a folder, and a checksum of its disk means something.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::setup;

/// It is in the same package.
const DEBUGFS: &str = "/sbin/debugfs";
/// What would otherwise be drawn at random, or be the time.
const UUID: &str = "5c0e5ea8-1f35-4d1e-9f0e-0de712e00001";
const HASH_SEED: &str = "5c0e5ea8-1f35-4d1e-9f0e-0de712e00002";
const TIME: &str = "1767225600";
/// What mke2fs chooses for ext4 by itself, in words, so that no file of the host's has a say.
const FEATURES: &str = "none,has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize,sparse_super,\
                        filetype,dir_index,ext_attr,large_file";
const BLOCK: u64 = 4096;
/// For the journal, tables and what they leave.
const SPARE_BYTES: u64 = 8 << 20;
/// The root of each file system, and the first inode after those that are reserved.
const ROOT: u64 = 2;
const FIRST: u64 = 11;

/// What a folder needs.
#[derive(Debug, Default)]
struct Needs {
    bytes: u64,
    /// By device and number, since a file may have several names.
    inodes: BTreeSet<(u64, u64)>,
}

/// Makes a file system of a folder's files and writes it to `image`.
pub(crate) fn make(folder: &Path, image: &Path) -> Result<()> {
    setup::need(setup::EXT4)?;
    let mut needs = Needs::default();
    survey(folder, &mut needs)?;
    let megabyte = 1 << 20;
    let bytes = (needs.bytes + needs.bytes / 8 + SPARE_BYTES).next_multiple_of(megabyte);
    let parent = image.parent().context("an image lies in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    // A machine that runs keeps the old one, and whoever makes it at the same time makes one of its own.
    let made = || -> std::io::Result<NamedTempFile> {
        let fresh = NamedTempFile::new_in(parent)?;
        fresh.as_file().set_len(bytes)?;
        Ok(fresh)
    };
    let made = made().with_context(|| format!("making a file in {}", parent.display()))?;
    let fresh = made.path();
    let inodes = (needs.inodes.len() as u64 + 64).to_string();
    let extended = format!("hash_seed={HASH_SEED},lazy_itable_init=0,root_owner=0:0");
    let line =
        ["-q", "-F", "-b", "4096", "-I", "256", "-N", &inodes, "-O", FEATURES, "-U", UUID, "-E", &extended];
    let mut command = Command::new(setup::MKE2FS);
    command.args(line).arg("-d").args([folder, fresh]).env("MKE2FS_CONFIG", "/dev/null");
    run(&mut command, "")?;
    // The files' times and owners are still those of the folder.
    let mut fields = String::new();
    for inode in std::iter::once(ROOT).chain(FIRST..=FIRST + needs.inodes.len() as u64) {
        for (field, value) in [("atime", "@"), ("ctime", "@"), ("mtime", "@"), ("uid", "0"), ("gid", "0")] {
            let value = if value == "@" { format!("@{TIME}") } else { value.to_owned() };
            fields.push_str(&format!("set_inode_field <{inode}> {field} {value}\n"));
        }
    }
    run(Command::new(DEBUGFS).args(["-w", "-f", "-"]).arg(fresh), &fields)?;
    made.persist(image).map(drop).with_context(|| format!("writing {}", image.display()))
}

fn survey(folder: &Path, needs: &mut Needs) -> Result<()> {
    let context = || format!("reading {}", folder.display());
    for item in fs::read_dir(folder).with_context(context)? {
        let path = item.with_context(context)?.path();
        let facts = fs::symlink_metadata(&path).with_context(|| format!("reading {}", path.display()))?;
        if needs.inodes.insert((facts.dev(), facts.ino())) {
            needs.bytes += facts.len().next_multiple_of(BLOCK);
        }
        if facts.is_dir() {
            survey(&path, needs)?;
        }
    }
    Ok(())
}

/// Runs a program with text to read, at the fixed time.
fn run(command: &mut Command, text: &str) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.env("E2FSPROGS_FAKE_TIME", TIME).env("DEBUGFS_PAGER", "cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    // Its output is read meanwhile.
    let mut input = child.stdin.take().context("a program that reads")?;
    let writer = std::thread::spawn({
        let text = text.to_owned();
        move || input.write_all(text.as_bytes())
    });
    let output = child.wait_with_output().with_context(|| format!("waiting for {name}"))?;
    // Should it not have read everything, its status says why.
    drop(writer.join());
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        bail!("{name}: {last}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_is_counted_once_and_rounded_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), [0; 5000]).unwrap();
        fs::hard_link(folder.path().join("one"), folder.path().join("other")).unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("sub", folder.path().join("link")).unwrap();
        let mut needs = Needs::default();
        survey(folder.path(), &mut needs).unwrap();
        assert_eq!(needs.inodes.len(), 3);
        assert!(needs.bytes >= 8192 + 4096 && needs.bytes.is_multiple_of(4096));
    }
}
