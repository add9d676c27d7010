//! What this machine needs, installed where that needs no question and otherwise named with its command.
//! It exists so that the first command on a fresh machine is also the only one.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{BadInput, compile, qemu};

/// Something that must be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// Program or file by which its presence is seen.
    mark: &'static str,
    /// Debian's package.
    package: &'static str,
}

/// The emulator.
pub(crate) const QEMU: &[Tool] = &[Tool { mark: qemu::PROGRAM, package: "qemu-system-x86" }];

/// What a bootable ISO is made with.
pub(crate) const ISO: &[Tool] = &[
    Tool { mark: "grub-mkrescue", package: "grub-common" },
    Tool { mark: "/usr/lib/grub/i386-pc/moddep.lst", package: "grub-pc-bin" },
    Tool { mark: "/usr/lib/grub/x86_64-efi/moddep.lst", package: "grub-efi-amd64-bin" },
    Tool { mark: "xorriso", package: "xorriso" },
    Tool { mark: "mformat", package: "mtools" },
    // Firmware for the UEFI line that is printed.
    Tool { mark: FIRMWARE, package: "ovmf" },
];

/// What makes file systems.
pub(crate) const EXT4: &[Tool] = &[Tool { mark: MKE2FS, package: "e2fsprogs" }];

/// Where Debian puts what makes file systems, which need not be where a user looks for programs.
pub(crate) const MKE2FS: &str = "/sbin/mke2fs";

/// What reads traces in the Common Trace Format.
pub(crate) const BABELTRACE: &[Tool] = &[Tool { mark: "babeltrace2", package: "babeltrace2" }];

/// Where Debian puts UEFI firmware for QEMU.
pub(crate) const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";

/// Sees to it that these tools are there.
///
/// # Errors
/// [`BadInput`] that names the command which installs what is missing.
pub(crate) fn need(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| !present(tool.mark)).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let command = format!("apt-get update && apt-get install --yes --no-install-recommends {packages}");
    let named = || BadInput(format!("this machine lacks {packages}; install with: sudo sh -c '{command}'"));
    if !present("apt-get") {
        return Err(BadInput(format!("this machine lacks {packages} (Debian's names); install them")).into());
    }
    let prefix: &[&str] = if rustix::process::geteuid().is_root() {
        &[]
    } else if std::env::var_os("CI").is_some() && quiet("sudo", &["-n", "true"]) {
        &["sudo", "-n"]
    } else {
        return Err(named().into());
    };
    tell!("installing {packages} ...");
    let mut line: Vec<&str> = prefix.to_vec();
    line.extend(["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", &command]);
    let output =
        Command::new(line[0]).args(&line[1..]).stdin(Stdio::null()).output().context("starting apt-get")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        return Err(named()).context(format!("apt-get failed: {last}"));
    }
    match tools.iter().find(|tool| !present(tool.mark)) {
        None => Ok(()),
        Some(tool) => {
            Err(BadInput(format!("{} is installed, but {} is not there", tool.package, tool.mark)).into())
        }
    }
}

/// Sees to it that Rust can build for bare metal.
pub(crate) fn need_target() -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().context("starting rustc")?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if Path::new(&sysroot).join("lib/rustlib").join(compile::TARGET).is_dir() {
        return Ok(());
    }
    tell!("installing the Rust target {} ...", compile::TARGET);
    if quiet("rustup", &["target", "add", compile::TARGET]) {
        return Ok(());
    }
    let target = compile::TARGET;
    Err(BadInput(format!("the Rust target {target} is missing; install it with: rustup target add {target}"))
        .into())
}

/// Whether a program is in PATH, or a file is there.
pub(crate) fn present(mark: &str) -> bool {
    if mark.starts_with('/') {
        return Path::new(mark).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(mark).is_file())
}

fn quiet(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
