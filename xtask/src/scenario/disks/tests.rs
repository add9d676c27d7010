//! Disks that are refused, each with file, line and key, and what becomes of good ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hypercall_abi::device::{NO_DISK, block_access};
use hypervisor_core::config::Device;

use super::super::{Refusal, Scenario, lower};

const BEFORE: &str = "description = \"a test\"\nmemory = \"64M\"\nslice = \"5ms\"\n";

fn entry(name: &str, more: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nimage = \"web\"\nmemory = \"2M\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"destroy\"\n{more}\n"
    )
}

/// A scenario of two back ends and the guests `a`, `b`, ... with these disks, in whose texts `DIR` is the folder.
fn judge(folder: &Path, disks: &[&str]) -> Result<Scenario, Refusal> {
    let mut text = BEFORE.to_owned() + &entry("driver", "") + &entry("second", "");
    for (name, disk) in ["a", "b", "c", "d"].iter().zip(disks) {
        let disk = disk.replace("DIR", &folder.to_string_lossy());
        text += &entry(name, &format!("disk = [{{ {disk} }}]"));
    }
    let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text)?;
    scenario.check(&|_| true)?;
    Ok(scenario)
}

/// A folder with an image of 1 MiB, one of odd size, an empty one, one that is read-only, and one that may not be read.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("good", 1 << 20), ("odd", 1000), ("empty", 0), ("fixed", 1 << 20), ("locked", 1 << 20)]
    {
        fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
    }
    for (name, mode) in [("fixed", 0o444), ("locked", 0o200)] {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

#[track_caller]
fn refused(disks: &[&str], parts: &[&str]) {
    let folder = folder();
    let message = judge(folder.path(), disks).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn an_image_that_cannot_be_a_disk_is_refused_by_name() {
    let image =
        |name: &str, mode: &str| format!("backend = \"driver\", image = \"DIR/{name}\", mode = \"{mode}\"");
    let place = "images/t.toml:30: domain[2].disk[0].image";
    refused(&[&image("odd", "r")], &[place, "1000 bytes", "whole number of sectors"]);
    refused(&[&image("empty", "r")], &[place, "is empty"]);
    refused(&[&image("missing", "r")], &[place, "missing", "cannot be read"]);
    refused(&[&image("fixed", "w")], &[place, "read-only"]);
    refused(&[&image("locked", "r")], &[place, "permissions let nobody"]);
    refused(&[&image("good", "rw")], &["domain[2].disk[0].mode", "\"r\" or \"w\""]);
    refused(&["backend = \"driver\", image = \"\", mode = \"r\""], &[place, "an empty name"]);
    let folder = folder();
    judge(folder.path(), &[&image("fixed", "r")]).unwrap();
    judge(folder.path(), &[&(image("fixed", "w") + ", overlay = \"64K\"")]).unwrap();
}

#[test]
fn the_image_that_is_one_too_many_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let guests = (1..=16).map(|number| {
        let image = folder.path().join(number.to_string());
        fs::write(&image, [0; 512]).unwrap();
        entry(
            &format!("g{number}"),
            &format!("disk = [{{ backend = \"driver\", image = {image:?}, mode = \"r\" }}]"),
        )
    });
    let text = BEFORE.to_owned() + &entry("driver", "") + &guests.collect::<String>();
    let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text).unwrap();
    let message = scenario.check(&|_| true).unwrap_err().to_string();
    assert_eq!(message, "images/t.toml:156: domain[16].disk[0].image: more than 15 images");
}

#[test]
fn the_front_end_that_is_one_too_many_is_named() {
    let scenario = |disks: usize| {
        let disks = vec!["{ backend = \"driver\", ram = \"4K\", mode = \"w\" },\n"; disks].concat();
        let devices = format!("net = [{{ backend = \"driver\" }}]\ndisk = [\n{disks}]");
        let text = BEFORE.to_owned() + &entry("driver", "") + &entry("many", &devices);
        let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text).unwrap();
        scenario.check(&|_| true).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(scenario(509), Ok(()));
    let message = scenario(510).unwrap_err();
    assert!(
        message.starts_with("images/t.toml:532: domain[1].disk[509].backend: more than 510"),
        "{message}"
    );
}

#[test]
fn a_writer_is_alone_with_its_bytes() {
    let write = "backend = \"driver\", image = \"DIR/good\", mode = \"w\"";
    let read =
        "backend = \"driver\", image = \"DIR/../DIR/good\", mode = \"r\"".replace("DIR/../DIR", "DIR/.");
    let part = |from: &str| format!("{write}, offset = \"{from}\", size = \"512K\"");
    let place = "images/t.toml:39: domain[3].disk[0].mode";
    refused(&[write, write], &[place, "two writers of one image", "\"a\" and \"b\""]);
    refused(&[write, &read], &[place, "a writer and a reader"]);
    refused(&[&part("0K"), &part("511K")], &[place, "two writers of one image"]);
    let through_second = write.replace("driver", "second") + ", offset = \"512K\"";
    refused(&[&part("0K"), &through_second], &[place, "one back end owns it"]);
    let folder = folder();
    judge(folder.path(), &[&part("0K"), &part("512K")]).unwrap();
    judge(folder.path(), &[&read, &read, &format!("{write}, overlay = \"4K\"")]).unwrap();
}

#[test]
fn a_file_of_two_names_is_one_image() {
    let folder = folder();
    fs::hard_link(folder.path().join("good"), folder.path().join("hard")).unwrap();
    std::os::unix::fs::symlink("good", folder.path().join("soft")).unwrap();
    let disk =
        |name: &str, more: &str| format!("backend = \"driver\", image = \"DIR/{name}\", mode = \"w\"{more}");
    for name in ["hard", "soft"] {
        let message = judge(folder.path(), &[&disk("good", ""), &disk(name, "")]).unwrap_err().to_string();
        assert!(message.contains("two writers of one image"), "{message}");
        let parts = [disk("good", ", size = \"512K\""), disk(name, ", offset = \"512K\"")];
        let scenario = judge(folder.path(), &[&parts[0], &parts[1]]).unwrap();
        assert_eq!(lower(&scenario).unwrap().drives.len(), 1, "QEMU opens it once");
    }
}

#[test]
fn several_domains_of_one_entry_do_not_write_to_one_image() {
    let folder = folder();
    let text = BEFORE.to_owned()
        + &entry("driver", "")
        + &entry("many", "count = 2\ndisk = [{ backend = \"driver\", image = \"DIR/good\", mode = \"w\" }]")
            .replace("DIR", &folder.path().to_string_lossy());
    let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text).unwrap();
    let message = scenario.check(&|_| true).unwrap_err().to_string();
    assert!(message.contains("disk[0].mode") && message.contains("2 domains \"many\""), "{message}");
}

#[test]
fn back_ends_that_wait_for_each_other_are_refused() {
    let of = |backend: &str| format!("disk = [{{ backend = \"{backend}\", ram = \"1M\", mode = \"r\" }}]");
    let judged = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(name, backend)| {
            entry(name, &if backend.is_empty() { String::new() } else { of(backend) })
        });
        let text = BEFORE.to_owned() + &entries.collect::<String>();
        let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text).unwrap();
        scenario.check(&|_| true).map_err(|refusal| refusal.to_string())
    };
    judged(&[("a", "b"), ("b", "c"), ("c", ""), ("d", "b")]).unwrap();
    for round in [&[("a", "b"), ("b", "a")][..], &[("d", "a"), ("a", "b"), ("b", "c"), ("c", "a")]] {
        let message = judged(round).unwrap_err();
        assert!(message.contains("disk[0].backend") && message.contains("neither would start"), "{message}");
    }
}

#[test]
fn a_place_outside_the_image_is_refused() {
    let part = |more: &str| format!("backend = \"driver\", image = \"DIR/good\", mode = \"r\", {more}");
    refused(&[&part("offset = \"1M\"")], &["disk[0].offset", "byte 1048576 is not in the image"]);
    refused(&[&part("offset = \"2M\"")], &["disk[0].offset", "byte 2097152 is not in the image"]);
    refused(&[&part("offset = \"512K\", size = \"513K\"")], &["disk[0].size", "not in the image"]);
    refused(&[&part("size = \"0K\"")], &["disk[0].size", "0 bytes"]);
}

#[test]
fn a_disk_that_says_too_much_or_too_little_is_refused() {
    let front = |more: &str| format!("backend = \"driver\", {more}");
    refused(&[&front("mode = \"w\"")], &["disk[0].mode", "image = ..., folder = ... or ram = ..."]);
    refused(
        &[&front("image = \"DIR/good\", ram = \"1M\", mode = \"w\"")],
        &["disk[0].ram", "not two of them"],
    );
    refused(
        &[&front("image = \"DIR/good\", folder = \"DIR\", mode = \"r\"")],
        &["disk[0].folder", "not two of them"],
    );
    refused(&[&front("ram = \"1M\", mode = \"w\", overlay = \"1M\"")], &["disk[0].overlay"]);
    refused(&[&front("image = \"DIR/good\", mode = \"r\", overlay = \"1M\"")], &["disk[0].mode"]);
    refused(&[&front("image = \"DIR/good\", mode = \"w\", overlay = \"1K\"")], &["disk[0].overlay", "4K"]);
    refused(&["backend = \"drvier\", ram = \"1M\", mode = \"w\""], &["disk[0].backend", "drvier"]);
}

#[test]
fn a_folder_is_read_or_written_over() {
    let of = |folder: &str, more: &str| format!("backend = \"driver\", folder = \"{folder}\", {more}");
    refused(&[&of("DIR/missing", "mode = \"r\"")], &["disk[0].folder", "missing", "cannot be read"]);
    refused(&[&of("DIR/good", "mode = \"r\"")], &["disk[0].folder", "good", "cannot be read"]);
    refused(&[&of("DIR", "mode = \"w\"")], &["disk[0].mode", "would be lost", "overlay"]);
    refused(&[&of("", "mode = \"r\"")], &["disk[0].folder", "an empty name"]);
    let runs = crate::paths::target();
    refused(&[&of(&runs.to_string_lossy(), "mode = \"r\"")], &["disk[0].folder", "holds the place"]);
    refused(&[&of("DIR", "mode = \"r\", size = \"4K\"")], &["disk[0].size", "as large as its files need"]);
    let folder = folder();
    let disks = [of("DIR", "mode = \"r\""), of("DIR/.", "mode = \"w\", overlay = \"64K\"")];
    let plan = lower(&judge(folder.path(), &[&disks[0], &disks[1]]).unwrap()).unwrap();
    let made: Vec<_> = plan.drives.iter().map(|drive| (drive.folder.clone(), drive.read_only)).collect();
    assert_eq!(made, [(folder.path().canonicalize().ok(), true)]);
}

#[test]
fn an_image_is_one_drive_of_the_domain_that_owns_it() {
    let folder = folder();
    let disks = [
        "backend = \"driver\", image = \"DIR/good\", mode = \"r\", offset = \"4K\"",
        "backend = \"driver\", image = \"DIR/good\", mode = \"w\", overlay = \"64K\"",
        "backend = \"second\", image = \"DIR/fixed\", mode = \"r\"",
        "backend = \"driver\", ram = \"1M\", mode = \"w\"",
    ];
    let plan = lower(&judge(folder.path(), &disks).unwrap()).unwrap();
    let slots: Vec<_> = plan.drives.iter().map(|drive| (drive.slot, drive.read_only)).collect();
    assert_eq!(slots, [(0x10, true), (0x11, true)]);
    let devices = |at: usize| plan.config.domains[at].devices.as_slice();
    let pci = |slot, disk| Device::Pci { vendor: 0x1af4, device: 0x1042, slot: Some(slot), disk: Some(disk) };
    assert_eq!((devices(0), devices(1)), ([pci(0x10, 0)].as_slice(), [pci(0x11, 1)].as_slice()));
    let facts = |at: usize| match devices(at) {
        [Device::BlockFront { disk, access, first_sector, sectors, memory_bytes, .. }] => {
            (*disk, *access, *first_sector, *sectors, *memory_bytes)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(facts(2), (0, 0, 8, 0, 0));
    assert_eq!(facts(3), (0, block_access::OVERLAY, 0, 0, 64 << 10));
    assert_eq!(facts(4), (1, 0, 0, 0, 0));
    assert_eq!(facts(5), (NO_DISK, block_access::WRITE | block_access::MEMORY, 0, 2048, 1 << 20));
}
