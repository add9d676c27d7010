//! Ctrl-C.
//! It exists so that an interrupted run says so in one line; QEMU, tied to this process, ends with it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

static GENTLE: AtomicBool = AtomicBool::new(false);
static PRESSED: AtomicBool = AtomicBool::new(false);
/// What shells give for a program that was interrupted.
const STATUS: i32 = 130;

/// Takes Ctrl-C, SIGTERM and SIGHUP from now on.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        if GENTLE.load(Ordering::Acquire) && !PRESSED.swap(true, Ordering::AcqRel) {
            return;
        }
        tell!("\ninterrupted; the machine is stopped");
        std::process::exit(STATUS);
    })
    .context("taking Ctrl-C")
}

/// From now on the first Ctrl-C only asks: see [`pressed`].
pub(crate) fn be_gentle() {
    GENTLE.store(true, Ordering::Release);
}

/// Whether a gentle Ctrl-C was asked for.
pub(crate) fn pressed() -> bool {
    PRESSED.load(Ordering::Acquire)
}
