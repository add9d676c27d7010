//! Files of an ext4 disk, fetched over TCP from guests that read it, and held against the files themselves.
//! It exists because a file system is read right only when somebody else says what is in it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::keep::connect;
use crate::load::{Fetched, Target, fetch, fetch_each};
use crate::qemu::{Clock, Machine};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::{compile, ext4, paths};

const GUESTS: u32 = 8;
/// How long guests may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Files in the folder whose list fills several blocks.
const MANY: usize = 300;

/// A path as a client asks for it, the file that it is, and its type.
const FILES: &[(&str, &str, &str)] = &[
    ("/small.txt", "small.txt", "text/plain; charset=utf-8"),
    ("/empty", "empty", "application/octet-stream"),
    ("/large.bin", "large.bin", "application/octet-stream"),
    ("/holes.bin", "holes.bin", "application/octet-stream"),
    ("/sub/deep/page.html", "sub/deep/page.html", "text/html; charset=utf-8"),
    ("/a%20%3Cb%3E%20%25%26%20%C3%A4.json", "a <b> %& ä.json", "application/json"),
    ("/link", "large.bin", "application/octet-stream"),
    ("/sub/up", "small.txt", "application/octet-stream"),
    ("/also/deep/page.html", "sub/deep/page.html", "text/html; charset=utf-8"),
    ("/many/299", "many/299", "application/octet-stream"),
];

/// What is answered otherwise.
const OTHERS: &[(&str, u16)] = &[
    ("/missing", 404),
    ("/small.txt/x", 404),
    ("/dangling", 404),
    ("/loop", 404),
    ("/sub", 301),
    ("/also", 301),
];

/// Requests that are refused, so many letters behind each; the connection ends with the answer.
const REFUSED: &[(&str, u16)] =
    &[("GET /small.txt HTTP/1.1\r\nHost: x\r\nX-Long: ", 431), ("GET /", 431), ("no\r\nrequest\r\n", 400)];
/// More than a head may have, and than the guest's socket holds beside.
const PADDING: usize = 5000;

/// Fetches every file from every guest.
pub(super) fn served() -> Result<String> {
    let folder = paths::run("suite").join("files");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing old files")?;
    }
    let tree = folder.join("tree");
    lay_out(&tree).context("making files for a disk")?;
    repeated(&tree, &folder)?;
    let scenario = Scenario::parse(&paths::root(), &folder.join("files-served.toml"), text(&tree))?;
    scenario.check(&compile::is_guest)?;
    let how = How { forwarded: true, ..How::new(Clock::Real) };
    let mut booted = boot::boot(how, &scenario, lower(&scenario)?)?;
    let targets: Vec<Target> = booted
        .forwards
        .iter()
        .map(|(port, guest)| Target {
            name: guest.name.clone(),
            address: ([127, 0, 0, 1], *port).into(),
            page: "/".to_owned(),
        })
        .collect();
    ensure!(targets.len() == GUESTS as usize, "{} guests of {GUESTS}", targets.len());
    let ended = booted.machine.ended();
    let silent = fetch_each(&targets, Instant::now() + PATIENCE, &ended, |_target| ())?;
    ensure!(silent.is_empty(), "{silent:?}; the log is {}", booted.machine.log().display());
    let mut bytes = 0;
    for target in &targets {
        bytes += judge(target, &tree).with_context(|| target.name.clone())?;
    }
    over(&mut booted.machine)?;
    let unharmed = FILES.len() * targets.len();
    Ok(format!("{unharmed} files from {GUESTS} guests, {} MiB, none differs", bytes >> 20))
}

/// Makes the files.
fn lay_out(tree: &Path) -> Result<()> {
    for folder in ["sub/deep", "many"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    let noise =
        |bytes: u32| (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>();
    fs::write(tree.join("small.txt"), "a few words\n")?;
    fs::write(tree.join("empty"), "")?;
    // More than the driver domain and the guest hold at once, and no whole number of anything.
    fs::write(tree.join("large.bin"), noise(3_000_001))?;
    let mut holes = vec![0; 200_000];
    holes.extend(noise(10_000));
    holes.extend(vec![0; 100_000]);
    fs::write(tree.join("holes.bin"), holes)?;
    fs::write(tree.join("sub/deep/page.html"), "<!doctype html><p>deep\n")?;
    fs::write(tree.join("a <b> %& ä.json"), "{}\n")?;
    for number in 0..MANY {
        fs::write(tree.join(format!("many/{number}")), format!("{number}\n"))?;
    }
    symlink("large.bin", tree.join("link"))?;
    symlink("../small.txt", tree.join("sub/up"))?;
    symlink("/sub", tree.join("also"))?;
    symlink("loop", tree.join("loop"))?;
    symlink("nothing", tree.join("dangling"))?;
    Ok(())
}

/// The same files make the same disk, whenever they were written.
fn repeated(tree: &Path, folder: &Path) -> Result<()> {
    let (one, other) = (folder.join("one.ext4"), folder.join("other.ext4"));
    ext4::make(tree, &one)?;
    let file = fs::File::options().append(true).open(tree.join("small.txt")).context("opening a file")?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).context("changing a file's time")?;
    ext4::make(tree, &other)?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    ensure!(read(&one)? == read(&other)?, "the same files make different disks");
    fs::remove_file(&one).and_then(|()| fs::remove_file(&other)).context("removing disks")
}

fn text(tree: &Path) -> String {
    format!(
        "description = \"Files of an ext4 disk\"\nmemory = \"128M\"\nslice = \"5ms\"\nsubject = \"files\"\n\
         [[domain]]\nname = \"driver\"\nimage = \"driver-domain\"\nmemory = \"16M\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"destroy\"\npci = [\"1af4:1041\"]\n\
         [[domain]]\nname = \"files\"\nimage = \"files\"\ncount = {GUESTS}\nmemory = \"4M\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"destroy\"\nnet = [{{ backend = \"driver\" }}]\n\
         disk = [{{ backend = \"driver\", folder = {:?}, mode = \"r\" }}]\n",
        tree.to_string_lossy()
    )
}

/// Looks at all that one guest answers; returns how many bytes of files that were.
fn judge(target: &Target, tree: &Path) -> Result<usize> {
    let paths: Vec<&str> =
        FILES.iter().map(|(path, ..)| *path).chain(OTHERS.iter().map(|(path, _)| *path)).collect();
    let fetched = fetch(target.address, &paths)?;
    let mut bytes = 0;
    for ((path, file, kind), Fetched { status, kind: said, body }) in FILES.iter().zip(&fetched) {
        let real = fs::read(tree.join(file)).with_context(|| format!("reading {file}"))?;
        ensure!(*status == 200 && said == kind, "{path}: status {status}, {said}");
        ensure!(*body == real, "{path} is not the file: {} of {} bytes", body.len(), real.len());
        bytes += real.len();
    }
    for ((path, wanted), Fetched { status, .. }) in OTHERS.iter().zip(fetched.iter().skip(FILES.len())) {
        ensure!(status == wanted, "{path}: status {status} where {wanted} was due");
    }
    listed(target, tree, "/")?;
    listed(target, tree, "/many/")?;
    for (head, status) in REFUSED {
        let answer = said(target, &format!("{head}{}\r\n\r\n", "a".repeat(PADDING)))?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}: {answer:?} where {status} was due"
        );
    }
    Ok(bytes)
}

/// What is answered to these bytes until the connection ends.
fn said(target: &Target, request: &str) -> Result<String> {
    let mut stream = connect(target.address)?;
    stream.write_all(request.as_bytes()).context("asking")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("hearing an answer")?;
    Ok(answer)
}

/// The page of a directory leads to all that is in it.
fn listed(target: &Target, tree: &Path, path: &str) -> Result<()> {
    let page = fetch(target.address, &[path])?.pop().context("no answer")?;
    ensure!(page.status == 200, "{path}: status {}", page.status);
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let entries = fs::read_dir(tree.join(path.trim_start_matches('/'))).context("reading a folder")?;
    let real = entries.count();
    // Beside them: the way up, or what mke2fs puts into a root.
    let links = text.matches("<li>").count();
    ensure!(links == real + 1, "{path} lists {links} entries, there are {real} and one more:\n{text}");
    Ok(())
}

/// The audit holds with everything in use, and the machine ends.
fn over(machine: &mut Machine) -> Result<()> {
    let (_, audit) = machine.command("audit", |_line| ())?;
    ensure!(audit["ok"] == true, "the audit failed: {audit}");
    machine.tell("poweroff")
}
