//! The hypervisor's own log lines on the serial port.
//! They carry a prefix that no guest's line can, so that a reader knows who speaks.

/// Prints `denizen: ` and a line of text.
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::log::line(format_args!($($argument)*))
    };
}
pub(crate) use log;

use core::fmt::{Arguments, Write};

/// Prints `denizen: `, the text, and a line end.
pub(crate) fn line(text: Arguments<'_>) {
    let mut port = crate::serial::lock();
    // A serial port cannot fail.
    let _ = writeln!(port, "denizen: {text}");
}
