//! Debian's Xen as a peer: fetched, unpacked, never installed.
//! It is not installed because its package rewrites the machine's boot menu.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::qemu::{Clock, Options};
use crate::scenario::Size;
use crate::serial::Line;
use crate::{paths, setup};

/// Debian's package.
const PACKAGE: &str = "xen-hypervisor-4.17-amd64";
/// The image in it.
const IMAGE: &str = "boot/xen-4.17-amd64.gz";
/// `credit` is the faster of Xen's two common schedulers for these operations.
const APPEND: &str = "console=com1 com1=115200 noreboot sched=credit dom0_mem=64M";
const MEMORY: Size = Size(512 << 20);

/// Xen's image, fetched at the first time.
pub(super) fn fetch() -> Result<PathBuf> {
    let folder = paths::run("xen");
    let image = folder.join("xen");
    if image.is_file() {
        return Ok(image);
    }
    for tool in ["apt-get", "dpkg-deb", "gzip"] {
        if !setup::present(tool) {
            bail!("{tool} is missing; {PACKAGE} is a package of Debian");
        }
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    tell!("fetching {PACKAGE} ...");
    if run(&folder, "apt-get", &["download", PACKAGE]).is_err() {
        run(&folder, "apt-get", &["update"])?;
        run(&folder, "apt-get", &["download", PACKAGE])?;
    }
    let deb = newest_deb(&folder)?;
    let root = folder.join("root");
    run(&folder, "dpkg-deb", &["-x", &deb.to_string_lossy(), &root.to_string_lossy()])?;
    let bytes = run(&folder, "gzip", &["-dc", &root.join(IMAGE).to_string_lossy()])?;
    // Renamed when whole: a run that is cut off leaves no half of an image.
    let partial = folder.join("xen.partial");
    fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &image)).context("writing Xen's image")?;
    Ok(image)
}

fn newest_deb(folder: &Path) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .context("looking for Xen's package")?
        .filter_map(|item| Some(item.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
        .collect();
    found.sort();
    found.pop().context("apt-get downloaded no package")
}

/// Runs a program quietly; returns what it wrote.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
    bail!("{program} {}: {last}", arguments.first().copied().unwrap_or_default())
}

/// A machine with Xen and `guest` as its initial domain, with this command line.
pub(super) fn options(kernel: PathBuf, guest: &Path, command_line: &str, clock: Clock) -> Options {
    // QEMU hands what follows a module's name on to it.
    let mut initrd = guest.as_os_str().to_owned();
    if !command_line.is_empty() {
        initrd.push(format!(" {command_line}"));
    }
    Options {
        kernel,
        initrd: initrd.into(),
        append: Some(APPEND.to_owned()),
        memory: MEMORY,
        clock,
        network: None,
        drives: Vec::new(),
        aio: crate::qemu::aio::THREADS,
        trace: None,
        monitor: None,
        gdb: false,
        more: Vec::new(),
    }
}

/// Whether Xen says that its initial domain has ended; with `noreboot` it then stands still.
pub(super) fn is_end(line: &Line) -> bool {
    matches!(line, Line::Other(text) if text.contains("Hardware Dom0 "))
}
