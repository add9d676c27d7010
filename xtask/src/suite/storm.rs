//! NMIs in the midst of the recorder: nothing is torn, and what is missing is counted.
//! It exists because a recorder without locks is only as good as the worst moment at which it can be interrupted, which
//! a usual run does not meet.
//!
//! The emulator goes instruction by instruction, so that an NMI can come between any two. Each is waited for, as two at
//! once count as one, and its record says where it struck; the hypervisor's image says which places lie between the
//! reading of the clock, after which room is found, and the store that makes a record visible.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::layout::WRITTEN_START;
use hypervisor_core::trace::reader::Entry;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::part::Part;
use crate::qemu::{Clock, Machine, Next};
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::serial::Line;
use crate::trace::{self, Drain};
use crate::{compile, paths};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest pause between two strikes, in us.
const PAUSE_US: u64 = 1500;
/// Bytes of the buffer: one page.
const PAGE: &str = "buffer 4096";
/// Functions in which records are written.
const RECORDER: &[&str] = &["5trace5Trace", "5trace5calls", "5trace6stream", "18recorded_hypercall"];

/// The short one.
pub(super) fn part() -> Part {
    Part::here("trace: NMIs strike the recorder", || storm(150, false, 1))
}

/// Many, in both modes.
pub(super) fn long() -> Part {
    Part::here("trace: NMIs strike the recorder, flight and live", || {
        let mut said = Vec::new();
        for seed in 1..=3 {
            said.push(storm(900, false, seed)?);
            said.push(storm(900, true, seed + 100)?);
        }
        Ok(said.join("; "))
    })
}

/// Events without end, a buffer of one page, and so many strikes.
fn storm(strikes: u64, live: bool, seed: u64) -> Result<String> {
    let scenario = Scenario::open(&paths::root(), "bench")?;
    scenario.check(&compile::is_guest)?;
    let mut plan = lower(&scenario)?;
    plan.config.trace = true;
    plan.config.trace_settings = vec![PAGE.to_owned()];
    if live {
        plan.config.trace_settings.push("mode live".to_owned());
    }
    let how = How::new(Clock::Real);
    let socket = Socket::new();
    let more = ["-qmp", &socket.option(), "-singlestep"].map(str::to_owned).to_vec();
    let mut machine = boot::boot_with(how, &scenario, plan, more)?.machine;
    let file = paths::run(&scenario.name).join("trace.bin");
    let drain = live.then(|| Drain::start(&file));
    let struck = strike(&mut machine, &mut socket.open()?, &file, strikes, seed)?;
    machine.tell("poweroff")?;
    while !matches!(machine.next(Instant::now() + PATIENCE)?, Next::End | Next::Timeout) {}
    drop(machine);
    let tally = drain.map(Drain::finish).transpose()?;
    judge(&file, struck, tally)
}

/// Strikes until it was often enough or the guest is at its end; how often.
fn strike(machine: &mut Machine, monitor: &mut Monitor, file: &Path, wanted: u64, seed: u64) -> Result<u64> {
    let trace = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let at = 8 * (WRITTEN_START as u64 + u64::from(Record::Nmi { rip: 0 }.kind()));
    let count = || -> Result<u64> {
        let mut word = [0; 8];
        trace.read_exact_at(&mut word, at).context("reading the trace")?;
        Ok(u64::from_le_bytes(word))
    };
    // The first measurement is on its way.
    let begun = |line: &Line| line.guest_record().is_some_and(|(_, kind, _)| kind == "bench");
    loop {
        match machine.next(Instant::now() + PATIENCE)? {
            Next::Line(line) if begun(&line) => break,
            Next::Line(_) => {}
            Next::Timeout | Next::End => {
                bail!("the guest measures nothing; the log is {}", machine.log().display())
            }
        }
    }
    let mut random = seed;
    for struck in 0..wanted {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Instant::now() + Duration::from_micros((random >> 33) % PAUSE_US);
        loop {
            match machine.next(pause)? {
                Next::Line(line) if crate::bench::is_dead(&line) => return Ok(struck),
                Next::Line(_) => {}
                Next::Timeout => break,
                Next::End => bail!("the machine has ended; the log is {}", machine.log().display()),
            }
        }
        monitor.inject()?;
        let deadline = Instant::now() + PATIENCE;
        while count()? <= struck {
            ensure!(
                Instant::now() < deadline,
                "NMI {struck} is not recorded within {} s",
                PATIENCE.as_secs()
            );
        }
        ensure!(count()? == struck + 1, "{} NMIs are recorded of {}", count()?, struck + 1);
    }
    Ok(wanted)
}

/// What was read is whole, and it and what is counted as lost are what was written.
fn judge(file: &Path, struck: u64, drained: Option<hypervisor_core::trace::reader::Tally>) -> Result<String> {
    let mut records = trace::open(file)?;
    let header = records.header().clone();
    let places = windows()?;
    let (mut between, mut order) = (0, Order::default());
    for entry in records.by_ref() {
        if let Record::Nmi { rip } = entry.record {
            between += u64::from(places.contains(&rip));
        }
        order.see(&entry)?;
    }
    let read = records.tally();
    let tally = drained.unwrap_or(read);
    ensure!(tally.damaged_blocks == 0, "{} damaged blocks", tally.damaged_blocks);
    ensure!(tally.unknown == 0, "{} records of no known kind", tally.unknown);
    let written: u64 = header.written.values().sum();
    let lost = tally.lost + tally.dropped;
    ensure!(
        written == tally.records + lost,
        "{written} records written, {} read and {lost} counted as lost",
        tally.records
    );
    ensure!(lost > 0, "a page was enough: there was no storm");
    ensure!(between > 0, "none of {struck} NMIs came between reserving and committing");
    let mode = if drained.is_some() { "live" } else { "flight" };
    Ok(format!(
        "{mode}: {struck} NMIs, {between} between reserving and committing; {written} records written, {} read, {lost} lost",
        tally.records
    ))
}

/// The order of a domain's own records: a hypercall ends before the next begins.
#[derive(Debug, Default)]
struct Order {
    open: Option<u8>,
    pairs: u64,
}

impl Order {
    fn see(&mut self, entry: &Entry) -> Result<()> {
        match entry.record {
            Record::HypercallEntry { number, .. } => {
                ensure!(self.pairs == 0 || self.open.is_none(), "hypercall {number} begins within another");
                self.open = Some(number);
            }
            Record::HypercallExit { number, .. } => {
                // What is before the first one was overwritten.
                let open = self.open.take();
                ensure!(
                    self.pairs == 0 || open == Some(number),
                    "hypercall {number} ends, and {open:?} was begun"
                );
                self.pairs += 1;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Addresses in the hypervisor before which a strike finds a record reserved and not committed.
fn windows() -> Result<BTreeSet<u64>> {
    let path = compile::hypervisor()?;
    let file = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let image = ElfBytes::<LittleEndian>::minimal_parse(&file).context("reading the hypervisor's image")?;
    let (symbols, names) = image.symbol_table()?.context("the hypervisor's image has no symbols")?;
    let mut places = BTreeSet::new();
    for symbol in symbols.iter().filter(|symbol| symbol.st_size > 0 && symbol.st_symtype() == STT_FUNC) {
        let name = names.get(symbol.st_name as usize)?;
        if !RECORDER.iter().any(|part| name.contains(part)) {
            continue;
        }
        let section = image.section_headers().context("no sections")?.get(usize::from(symbol.st_shndx))?;
        let (bytes, _) = image.section_data(&section)?;
        let first = (symbol.st_value - section.sh_addr) as usize;
        let code = bytes.get(first..first + symbol.st_size as usize).context("a symbol past its section")?;
        places.extend(window(code, symbol.st_value));
    }
    ensure!(!places.is_empty(), "the hypervisor's image has no recorder");
    Ok(places)
}

/// Of one function: what follows its last reading of the clock, up to the store of a record's first word, which is the
/// first one without a displacement.
fn window(code: &[u8], at: u64) -> Vec<u64> {
    let all: Vec<Instruction> = Decoder::with_ip(64, code, at, DecoderOptions::NONE).into_iter().collect();
    let Some(clock) = all.iter().rposition(|one| one.mnemonic() == Mnemonic::Rdtsc) else {
        return Vec::new();
    };
    let is_commit = |one: &Instruction| {
        one.mnemonic() == Mnemonic::Mov
            && one.op0_kind() == OpKind::Memory
            && one.op1_kind() == OpKind::Register
            && one.memory_displacement64() == 0
            && (one.memory_index() == Register::None || one.memory_index_scale() == 8)
            && one.memory_base() != Register::RSP
    };
    let after = all.get(clock + 1..).unwrap_or_default();
    let Some(commit) = after.iter().position(is_commit) else { return Vec::new() };
    after.iter().take(commit + 1).map(Instruction::ip).collect()
}

/// The monitor's socket, removed in the end.
struct Socket(PathBuf);

impl Socket {
    fn new() -> Self {
        // The path of a socket must be short, which that of the repository need not be.
        Self(std::env::temp_dir().join(format!("denizen-storm-{}", std::process::id())))
    }

    fn option(&self) -> String {
        format!("unix:{},server=on,wait=off", self.0.display())
    }

    fn open(&self) -> Result<Monitor> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(&self.0) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error).context("connecting to QEMU's monitor"),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
        let mut monitor = Monitor(BufReader::new(stream));
        monitor.execute("qmp_capabilities")?;
        Ok(monitor)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// QEMU's monitor.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn inject(&mut self) -> Result<()> {
        self.execute("inject-nmi")
    }

    fn execute(&mut self, command: &str) -> Result<()> {
        writeln!(self.0.get_mut(), "{{\"execute\":\"{command}\"}}").context("writing to QEMU's monitor")?;
        loop {
            let mut line = String::new();
            ensure!(
                self.0.read_line(&mut line).context("reading from QEMU's monitor")? > 0,
                "QEMU's monitor has gone"
            );
            let answer: serde_json::Value =
                serde_json::from_str(&line).context("QEMU's monitor writes no JSON")?;
            ensure!(answer.get("error").is_none(), "QEMU's monitor refuses {command}: {answer}");
            // Greetings and events pass.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_from_the_clock_to_the_first_word() {
        // rdtsc; mov [rbx+8], rcx; mov [rbx], rdx; mov [rbx+16], rcx; ret
        let code = [0x0f, 0x31, 0x48, 0x89, 0x4b, 0x08, 0x48, 0x89, 0x13, 0x48, 0x89, 0x4b, 0x10, 0xc3];
        assert_eq!(window(&code, 0x1000), [0x1002, 0x1006]);
        assert_eq!(window(&code[2..], 0x1000), [0_u64; 0], "no clock is read");
    }
}
