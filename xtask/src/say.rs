//! Lines on the standard output and beside it, of which whoever reads may have had enough: `| head` is no error.
//! It exists because Rust's own macros panic then, and what was still to be written to files would be lost.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line.
macro_rules! say {
    () => { $crate::say::line(format_args!("")) };
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}

/// Prints a line for whoever looks on, on the standard error.
macro_rules! tell {
    ($($text:tt)*) => { $crate::say::aside(format_args!("{}\n", format_args!($($text)*))) };
}

/// Whether something that was said is written nowhere.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints a line; to nobody if nobody reads.
pub(crate) fn line(text: Arguments<'_>) {
    let Err(error) = writeln!(stdout().lock(), "{text}") else { return };
    if error.kind() != ErrorKind::BrokenPipe && !LOST.swap(true, Ordering::Relaxed) {
        tell!("error: writing to the standard output: {error}");
    }
}

/// Prints a text on the standard error, where nothing can be said if that fails.
pub(crate) fn aside(text: Arguments<'_>) {
    let _ = stderr().lock().write_fmt(text);
}

/// Whether something could not be written to the standard output though somebody reads there.
pub(crate) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}
