//! By what QEMU reads and writes images of disks: io_uring where QEMU and the kernel have it, else threads; past the host's
//! cache where the file system can.
//! It exists because threads give a machine one of two speeds, boot by boot, and io_uring always the same; and because a disk whose
//! reads are copies of the host's memory says nothing of disks.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use rustix::fs::OFlags;

use super::PROGRAM;
use crate::tied;

/// QEMU's word for threads, which are always there.
pub(crate) const THREADS: &str = "threads";
/// QEMU's word for io_uring.
pub(crate) const IO_URING: &str = "io_uring";

/// QEMU's word for what it is to use, found out once.
pub(crate) fn chosen() -> &'static str {
    static CHOSEN: OnceLock<&str> = OnceLock::new();
    // The program itself is a file that is there and can be read.
    CHOSEN.get_or_init(|| if can(Path::new("/proc/self/exe"), IO_URING) { IO_URING } else { THREADS })
}

/// A page for the host's disk to write to, which asks for its alignment.
#[repr(align(4096))]
struct Page([u8; 4096]);

/// Whether an image can be read and written past the host's cache, which not every file system allows.
pub(crate) fn goes_direct(image: &Path) -> bool {
    let flags = OFlags::DIRECT.bits().cast_signed();
    let Ok(file) = File::options().read(true).custom_flags(flags).open(image) else { return false };
    // Some open a file so and refuse to read it.
    file.read_at(&mut Page([0; 4096]).0, 0).is_ok()
}

/// Whether QEMU opens a file so. It makes its queue when it does, and fails when it was built without or the kernel refuses.
fn can(file: &Path, aio: &str) -> bool {
    let file = file.to_string_lossy().replace(',', ",,");
    let drive = format!("file={file},format=raw,if=none,readonly=on,aio={aio}");
    let mut command = tied::command(PROGRAM);
    command.args(["-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "stdio"]);
    command.args(["-drive", &drive]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    // One that failed reads nothing.
    let told = child.stdin.take().is_some_and(|mut input| input.write_all(b"quit\n").is_ok());
    child.wait().is_ok_and(|status| status.success()) && told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_believed_about_what_it_can() {
        if !crate::setup::present(PROGRAM) {
            return;
        }
        let there = Path::new("/proc/self/exe");
        assert!(can(there, THREADS));
        assert!(!can(there, "no-such-way"));
        assert!(!can(Path::new("/no/such/file"), THREADS));
        assert!([THREADS, IO_URING].contains(&chosen()));
    }

    #[test]
    fn what_is_no_file_of_a_disk_is_read_from_the_cache() {
        assert!(!goes_direct(Path::new("/proc/self/maps")));
        assert!(!goes_direct(Path::new("/no/such/file")));
    }
}
