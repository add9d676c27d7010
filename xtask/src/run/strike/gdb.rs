//! A client of QEMU's gdb stub: breakpoints, one step, physical memory, interrupts.
//! It exists because nothing else stops the processor before an instruction of our choice.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long the stub may take for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Hexadecimal digits of the registers before RIP, of 64 bits each.
const BEFORE_RIP: usize = 16 * 16;
/// The same before CS: RIP, and flags of 32 bits.
const BEFORE_CS: usize = BEFORE_RIP + 16 + 8;

/// Where devices write messages for the first processor.
const MESSAGES: u64 = 0xfee0_0000;

/// A connection to the stub. The processor stands still whenever a method is called that asks something of it.
#[derive(Debug)]
pub(super) struct Gdb {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Gdb {
    /// Takes over a machine that has not begun to run; memory is physical from now on.
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        let mut gdb = Self { stream, bytes: Vec::new() };
        gdb.ask("?")?;
        gdb.order("Qqemu.PhyMemMode:1")?;
        Ok(gdb)
    }

    /// Sets a breakpoint.
    pub(super) fn set(&mut self, address: u64) -> Result<()> {
        self.order(&format!("Z0,{address:x},1"))
    }

    /// Removes it.
    pub(super) fn remove(&mut self, address: u64) -> Result<()> {
        self.order(&format!("z0,{address:x},1"))
    }

    /// Where the processor stands: RIP, and the ring.
    pub(super) fn place(&mut self) -> Result<(u64, u8)> {
        let answer = self.ask("g")?;
        let rip = answer.get(BEFORE_RIP..BEFORE_RIP + 16).context("there are too few registers")?;
        let rip = words(rip)?.first().copied().context("RIP is no word")?;
        let cs = answer.get(BEFORE_CS..BEFORE_CS + 2).context("there are too few registers")?;
        let cs = u8::from_str_radix(cs, 16).with_context(|| format!("CS is {cs:?}"))?;
        Ok((rip, cs & 3))
    }

    /// Words of physical memory.
    pub(super) fn read(&mut self, address: u64, count: usize) -> Result<Vec<u64>> {
        let answer = self.ask(&format!("m{address:x},{:x}", 8 * count))?;
        let words = words(&answer)?;
        ensure!(words.len() == count, "{} of {count} words at {address:#x}", words.len());
        Ok(words)
    }

    /// Raises an interrupt as a device does, by a message to the interrupt controller; the vector is 32 at least.
    pub(super) fn interrupt(&mut self, vector: u8) -> Result<()> {
        self.order(&format!("M{MESSAGES:x},4:{vector:02x}000000"))
    }

    /// Lets it run until a breakpoint, which [`Gdb::stopped`] sees.
    pub(super) fn go(&mut self) -> Result<()> {
        self.send("c")
    }

    /// One instruction, without interrupts.
    pub(super) fn step(&mut self) -> Result<()> {
        self.ask("s").map(drop)
    }

    /// Whether it has stopped, waiting no longer than `patience`.
    pub(super) fn stopped(&mut self, patience: Duration) -> Result<bool> {
        let Some(packet) = self.packet(patience)? else { return Ok(false) };
        ensure!(
            packet.starts_with(['T', 'S']),
            "the processor stopped in another way than expected: {packet}"
        );
        Ok(true)
    }

    /// Stops it wherever it is.
    pub(super) fn halt(&mut self) -> Result<()> {
        self.stream.write_all(&[3]).context("stopping the processor")?;
        ensure!(self.stopped(ANSWER)?, "the processor does not stop");
        Ok(())
    }

    /// Stops it wherever it is, removes all breakpoints, and lets it run for good.
    pub(super) fn leave(mut self) -> Result<()> {
        self.halt()?;
        self.order("D")
    }

    fn order(&mut self, text: &str) -> Result<()> {
        let answer = self.ask(text)?;
        ensure!(answer == "OK", "QEMU's gdb stub answers {answer:?} to {text:?}");
        Ok(())
    }

    fn ask(&mut self, text: &str) -> Result<String> {
        self.send(text)?;
        self.packet(ANSWER)?.with_context(|| format!("QEMU's gdb stub does not answer to {text:?}"))
    }

    fn send(&mut self, text: &str) -> Result<()> {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.stream, "${text}#{sum:02x}").context("writing to QEMU's gdb stub")
    }

    /// The next packet, acknowledged.
    fn packet(&mut self, patience: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + patience;
        loop {
            let start = self.bytes.iter().position(|&byte| byte == b'$');
            let end = self.bytes.iter().position(|&byte| byte == b'#');
            if let (Some(start), Some(end)) = (start, end)
                && self.bytes.len() >= end + 3
            {
                let text = String::from_utf8_lossy(&self.bytes[start + 1..end]).into_owned();
                self.bytes.drain(..end + 3);
                self.stream.write_all(b"+").context("writing to QEMU's gdb stub")?;
                return Ok(Some(text));
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).context("setting a timeout")?;
            let mut more = [0; 4096];
            match self.stream.read(&mut more) {
                Ok(0) => bail!("QEMU's gdb stub has closed the connection"),
                Ok(count) => self.bytes.extend(&more[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error).context("reading from QEMU's gdb stub"),
            }
        }
    }
}

/// Words of eight bytes in hexadecimal digits, the lowest byte first.
fn words(text: &str) -> Result<Vec<u64>> {
    ensure!(text.len().is_multiple_of(16) && text.is_ascii(), "QEMU's gdb stub answers {text:?} for memory");
    let word = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).map(u64::swap_bytes);
    (0..text.len()).step_by(16).map(|at| word(at).with_context(|| format!("{text:?} is no word"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_with_their_lowest_byte_first() {
        assert_eq!(words("0102000000000080ffffffffffffffff").unwrap(), [0x8000_0000_0000_0201, u64::MAX]);
        assert!(words("E14").is_err() && words("zz00000000000000").is_err());
    }

    #[test]
    fn a_packet_is_found_between_acknowledgements_and_answered() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut gdb = Gdb { stream: ours, bytes: Vec::new() };
        theirs.write_all(b"+$T05thread:01;#07").unwrap();
        assert!(gdb.stopped(ANSWER).unwrap());
        assert!(!gdb.stopped(Duration::from_millis(1)).unwrap());
        let mut answer = [0];
        theirs.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+");
    }
}
