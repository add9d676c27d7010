//! The console: lines of text to the domain's log.
//! A line is gathered before it is written, so that it costs one hypercall.

use core::fmt::{self, Write};

use super::hypercall::domain::console_write;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 256;

/// Gathers text and writes it when it is full or dropped.
struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    used: usize,
}

impl Buffer {
    fn flush(&mut self) {
        if let Some(text) = self.bytes.get(..self.used)
            && !text.is_empty()
        {
            // A console that refuses text leaves nobody to tell.
            let _ = console_write(text);
        }
        self.used = 0;
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == BUFFER_BYTES {
                self.flush();
            }
            if let Some(slot) = self.bytes.get_mut(self.used) {
                *slot = byte;
                self.used += 1;
            }
        }
        Ok(())
    }
}

/// Writes formatted text to the console; [`crate::println!`] is how it is used.
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; BUFFER_BYTES], used: 0 };
    // Only a `Display` implementation can fail here; what it wrote until then is still of use.
    let _ = buffer.write_fmt(arguments);
    buffer.flush();
}

/// Writes formatted text to the console.
#[macro_export]
macro_rules! print {
    ($($arguments:tt)*) => { $crate::console::print(format_args!($($arguments)*)) };
}

/// Writes a formatted line to the console.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print(format_args!("\n")) };
    ($($arguments:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arguments)*))) };
}

/// The `log` crate's records, as lines.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            crate::println!("{} {}: {}", record.level().as_str(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Sends the `log` crate's records to the console, from `level` up.
pub(super) fn init_log(level: log::LevelFilter) {
    // It fails only when a logger is set already, which is as good.
    let _ = log::set_logger(&Logger);
    log::set_max_level(level);
}
