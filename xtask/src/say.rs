//! Lines on the standard output, of which whoever reads may have had enough: `| head` is no error.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Prints a line; to nobody if nobody reads.
pub(crate) fn line(text: Arguments<'_>) {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            // Nothing could be said about it where it would be read.
            eprintln!("error: writing to the standard output: {error}");
        }
        _ => {}
    }
}
