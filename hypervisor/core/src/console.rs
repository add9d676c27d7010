//! One log per domain on the one serial line: whole lines, each with its domain's name before it.
//! The name cannot be forged, and a domain that writes too much loses its own text and nobody else's.

use alloc::format;
use alloc::vec::Vec;

use hypercall_abi::Errno;
use hypercall_abi::console::ConsoleOp;

use crate::call::Call;
use crate::dispatch::Arguments;
use crate::effects::Todo;
use crate::guest_access;
use crate::machine::Machine;
use crate::time::Time;

/// Longest line of a guest; a longer one is continued on the next.
const LINE_BYTES: usize = 192;
/// Bytes that a domain may put on the serial line at once, its name before each line included.
const BURST: i64 = 64 * 1024;
/// Bytes that it may put there in a second on the average.
const BYTES_PER_SECOND: u64 = 256 * 1024;
/// Most bytes that one call carries; the rest is lost to the limit anyway.
const CALL_BYTES_MAX: u64 = BURST.unsigned_abs();
/// What stands between a domain's name and its text.
const AFTER_NAME: &[u8] = b"| ";

/// What a domain has written of a line.
#[derive(Clone, Debug)]
pub struct Line {
    text: [u8; LINE_BYTES],
    used: usize,
    /// Bytes that it may still write, as of `since`. Below zero, the last line was longer than that.
    credit: i64,
    since: Time,
    lost: u64,
}

impl Line {
    /// An empty line.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self { text: [0; LINE_BYTES], used: 0, credit: BURST, since: now, lost: 0 }
    }

    fn earn(&mut self, now: Time) {
        // Per ns it is less than a byte, so nothing is earned until a whole one is.
        let earned = now.since(self.since).saturating_mul(BYTES_PER_SECOND) / 1_000_000_000;
        if earned > 0 {
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.credit = self.credit.saturating_add(earned).min(BURST);
            self.since = now;
        }
    }

    /// Takes a byte of the guest; complete lines go out.
    fn put(&mut self, name: &str, byte: u8, output: &mut Output) {
        let byte = match byte {
            b'\n' => {
                self.end(name, output);
                return;
            }
            b'\r' => return,
            b' '..=b'~' | b'\t' | 0x80.. => byte,
            // Among these is the escape by which a terminal would move to another's line.
            _ => b'.',
        };
        if self.credit <= 0 {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.credit = self.credit.saturating_sub(1);
        if self.used >= LINE_BYTES {
            self.end(name, output);
        }
        if let Some(slot) = self.text.get_mut(self.used) {
            *slot = byte;
            self.used = self.used.saturating_add(1);
        }
    }

    /// Sends the line as it is.
    fn end(&mut self, name: &str, output: &mut Output) {
        if self.lost > 0 && self.credit > 0 {
            let text = format!("[{} bytes lost: too much output]", self.lost);
            output.guest(name, text.as_bytes());
            self.pay(name.len().saturating_add(text.len()));
            self.lost = 0;
        }
        if self.credit <= 0 && self.used == 0 {
            return;
        }
        output.guest(name, self.text.get(..self.used).unwrap_or(&[]));
        self.pay(name.len());
        self.used = 0;
    }

    /// A line costs what stands around its text too: else short ones, and those without text, would be for nothing.
    fn pay(&mut self, bytes: usize) {
        let bytes = bytes.saturating_add(AFTER_NAME.len()).saturating_add(1);
        self.credit = self.credit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sends what there is of an unfinished line, for a domain that ends.
    pub fn flush(&mut self, name: &str, output: &mut Output) {
        if self.used > 0 || self.lost > 0 {
            self.credit = self.credit.max(1);
            self.end(name, output);
        }
    }
}

/// Text on its way to the serial line.
#[derive(Debug, Default)]
pub struct Output {
    text: Vec<u8>,
    /// Bytes of guests that found no room.
    lost: u64,
}

/// Bytes that may wait for the serial line.
const OUTPUT_MAX: usize = 1 << 20;

impl Output {
    /// A line of the hypervisor's log.
    pub fn log(&mut self, text: &str) {
        self.line(&[b"denizen: ", text.as_bytes()]);
    }

    /// A line for a program to read: `@kind {json}`.
    pub fn report(&mut self, kind: &str, json: &str) {
        self.line(&[b"@", kind.as_bytes(), b" ", json.as_bytes()]);
    }

    /// A line of a guest.
    fn guest(&mut self, name: &str, text: &[u8]) {
        if self.text.len() > OUTPUT_MAX {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.line(&[name.as_bytes(), AFTER_NAME, text]);
        }
    }

    fn line(&mut self, parts: &[&[u8]]) {
        let bytes = parts.iter().fold(1_usize, |sum, part| sum.saturating_add(part.len()));
        if self.text.try_reserve(bytes).is_err() {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        for part in parts {
            self.text.extend_from_slice(part);
        }
        self.text.push(b'\n');
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Hands out all text.
    pub fn take(&mut self, write: &mut dyn FnMut(&[u8])) {
        if !self.text.is_empty() {
            write(&self.text);
            self.text.clear();
            self.text.shrink_to(4096);
        }
        if self.lost > 0 {
            write(format!("denizen: {} console lines lost: no room\n", self.lost).as_bytes());
            self.lost = 0;
        }
    }
}

/// `console_io(op, count, buffer)`.
///
/// # Errors
/// [`Errno::Fault`] for a bad buffer, what could be read of it before being written out; [`Errno::NoSys`] for an
/// unknown operation.
pub fn console_io<M: Machine>(call: &mut Call<'_, M>, args: Arguments) -> Result<u64, Errno> {
    let [op, count, buffer, ..] = args;
    match u32::try_from(op).ok().and_then(ConsoleOp::from_raw).ok_or(Errno::NoSys)? {
        ConsoleOp::Write => write(call, count, buffer),
        ConsoleOp::Read if cfg!(feature = "plant-console-read") => unreachable!("a planted fault"),
        // What is typed on the serial line is for the hypervisor, so a domain finds nothing.
        ConsoleOp::Read => Ok(0),
    }
}

fn write<M: Machine>(call: &mut Call<'_, M>, count: u64, buffer: u64) -> Result<u64, Errno> {
    let now = call.memory.now();
    let world = &mut *call.world;
    let domain = world.domains.get_mut(call.caller).ok_or(Errno::Srch)?;
    let root = domain.vcpu.root();
    domain.console.earn(now);
    world.effects.todo |= Todo::CONSOLE;
    let mut chunk = [0_u8; 256];
    let mut at = buffer;
    let mut left = usize::try_from(count.min(CALL_BYTES_MAX)).unwrap_or(0);
    while left > 0 {
        let Some(part) = chunk.get_mut(..left.min(256)) else { break };
        guest_access::read_bytes(call.memory, &world.frames, root, at, part)?;
        for byte in part.iter() {
            domain.console.put(&domain.name, *byte, &mut world.output);
        }
        at = at.wrapping_add(256);
        left = left.saturating_sub(256);
    }
    Ok(u64::from(cfg!(feature = "plant-console-write")))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn text(output: &mut Output) -> String {
        let mut all = Vec::new();
        output.take(&mut |text| all.extend_from_slice(text));
        String::from_utf8(all).unwrap()
    }

    fn put(line: &mut Line, text: &str, output: &mut Output) {
        for byte in text.bytes() {
            line.put("web-1", byte, output);
        }
    }

    #[test]
    fn a_guest_cannot_forge_a_report() {
        let (mut line, mut output) = (Line::new(Time(0)), Output::default());
        put(&mut line, "@ok {}\ndenizen: x\n\r\n@audit\r\nrest", &mut output);
        line.flush("web-1", &mut output);
        assert!(text(&mut output).lines().all(|line| line.starts_with("web-1| ")));
    }

    #[test]
    fn a_guest_cannot_command_the_terminal() {
        let (mut line, mut output) = (Line::new(Time(0)), Output::default());
        put(&mut line, "\x1b[2J\x1b]0;x\x07\x08\x7f\r\n", &mut output);
        assert_eq!(text(&mut output), "web-1| .[2J.]0;x...\n");
    }

    #[test]
    fn lines_go_out_whole() {
        let (mut line, mut output) = (Line::new(Time(0)), Output::default());
        put(&mut line, "one ", &mut output);
        assert!(output.is_empty());
        put(&mut line, "line\n", &mut output);
        assert_eq!(text(&mut output), "web-1| one line\n");
    }

    #[test]
    fn lines_without_text_and_short_ones_are_text_too() {
        for piece in ["\n", "x\n", "\r\n"] {
            let (mut line, mut output) = (Line::new(Time(0)), Output::default());
            for _ in 0..BURST {
                put(&mut line, piece, &mut output);
            }
            let sent = text(&mut output).len() as i64;
            assert!(sent <= BURST + LINE_BYTES as i64, "{sent} bytes of {piece:?}");
        }
    }

    #[test]
    fn a_line_that_tells_of_lost_text_is_no_way_around_the_limit() {
        let (mut line, mut output) = (Line::new(Time(0)), Output::default());
        let mut sent = 0;
        for us in 0..1_000_000 {
            line.earn(Time(us * 1000));
            put(&mut line, "x\n", &mut output);
            sent += text(&mut output).len() as i64;
        }
        let most = BURST + BYTES_PER_SECOND.cast_signed() + LINE_BYTES as i64;
        assert!(sent <= most, "{sent} bytes in a second");
    }

    #[test]
    fn too_much_text_is_lost_and_counted() {
        let (mut line, mut output) = (Line::new(Time(0)), Output::default());
        for _ in 0..BURST {
            put(&mut line, "xxxx", &mut output);
        }
        text(&mut output);
        line.earn(Time(1_000_000_000));
        put(&mut line, "\n", &mut output);
        assert!(text(&mut output).contains("bytes lost"));
    }
}
