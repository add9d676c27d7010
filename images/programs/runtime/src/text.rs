//! Text for the guest's console, a system call for each line.

use core::fmt::{self, Write};

use crate::calls;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 128;

struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    used: usize,
}

impl Buffer {
    fn flush(&mut self) {
        // A console that refuses text leaves nobody to tell.
        let _ = calls::write(&self.bytes[..self.used]);
        self.used = 0;
    }
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == BUFFER_BYTES {
                self.flush();
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Writes formatted text; [`crate::println!`] is how it is used.
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; BUFFER_BYTES], used: 0 };
    // Only a `Display` implementation can fail here; what it wrote until then is still of use.
    let _ = buffer.write_fmt(arguments);
    buffer.flush();
}

/// Writes a formatted line to the guest's console.
#[macro_export]
macro_rules! println {
    ($($arguments:tt)*) => { $crate::text::print(format_args!("{}\n", format_args!($($arguments)*))) };
}
