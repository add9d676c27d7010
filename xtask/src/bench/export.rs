//! `bench export`: what it takes to export a trace of ten million records, in time and memory.
//! Its records are made here, as a driver domain and guests would cause them, and laid out by the hypervisor's own writer.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use hypercall_abi::{DomId, Hypercall};
use hypervisor_core::trace::layout::{
    BLOCK_WORDS, BLOCKS_START, MAGIC, STREAM_BLOCKS, STREAM_HEAD, STREAM_OF_HYPERVISOR, STREAMS_START,
    VERSION, WORD_MAGIC, WORD_SCALE, WORD_STREAMS, WORD_VERSION, head,
};
use hypervisor_core::trace::{Mode, Record, Stream};
use serde::Serialize;

use crate::cli::Bench;
use crate::paths;
use crate::table::{grouped, new};

/// Records of the trace.
const RECORDS: u64 = 10_000_000;
/// Most seconds that an export may take.
const LIMIT: f64 = 10.0;
/// Guests beside the driver domain.
const GUESTS: u16 = 16;
const DRIVER: u16 = 1;
/// Words that are more than enough for a record.
const WORDS: usize = 4;

/// One format.
#[derive(Clone, Debug, Serialize)]
struct Export {
    /// Events written.
    events: u64,
    /// From start to end.
    wall_seconds: f64,
    /// Of processors, the kernel's included.
    processor_seconds: f64,
    /// The most memory that the process had.
    peak_bytes: u64,
    /// Of the file or files.
    output_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    command: String,
    records: u64,
    trace_bytes: u64,
    formats: BTreeMap<&'static str, Export>,
}

/// Measures.
pub(super) fn bench(options: &Bench) -> Result<()> {
    let folder = paths::run("bench-export");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let trace = folder.join("trace.bin");
    tell!("making a trace of {} records ...", grouped(RECORDS));
    made(&trace)?;
    let mut formats = BTreeMap::new();
    let mut table = new(&["export", "events", "seconds", "of processors", "MiB of memory", "MiB written"]);
    for format in ["ctf", "perfetto", "csv"] {
        tell!("exporting to {format} ...");
        let one = exported(&trace, format)?;
        let mib = |bytes: u64| (bytes >> 20).to_string();
        table.add_row([
            format.to_owned(),
            grouped(one.events),
            format!("{:.1}", one.wall_seconds),
            format!("{:.1}", one.processor_seconds),
            mib(one.peak_bytes),
            mib(one.output_bytes),
        ]);
        ensure!(
            one.processor_seconds < LIMIT,
            "an export to {format} takes {:.1} s of processors; the limit is {LIMIT} s",
            one.processor_seconds
        );
        formats.insert(format, one);
    }
    let trace_bytes = std::fs::metadata(&trace).context("looking at the trace")?.len();
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    say!(
        "{table}\na trace of {} MiB; seconds of processors are the program's and the kernel's",
        trace_bytes >> 20
    );
    super::write(
        &options.json,
        &Figures { command: super::command(), records: RECORDS, trace_bytes, formats },
    )
}

/// Exports in a process of its own, which says what it cost.
fn exported(trace: &Path, format: &str) -> Result<Export> {
    let (output, json) = (trace.with_extension(format), trace.with_extension("json"));
    let start = Instant::now();
    let done = Command::new(std::env::current_exe().context("finding this program")?)
        .args(["trace", "export", format])
        .args([trace, &output])
        .arg("--json")
        .arg(&json)
        .stdin(Stdio::null())
        .output()
        .context("starting an export")?;
    let wall_seconds = start.elapsed().as_secs_f64();
    if !done.status.success() {
        bail!("the export failed: {}", String::from_utf8_lossy(&done.stderr));
    }
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).context("reading figures")?)
        .context("reading figures")?;
    ensure!(told["records"] == RECORDS, "{} of {RECORDS} records were read", told["records"]);
    Ok(Export {
        events: told["events"].as_u64().context("no count of events")?,
        wall_seconds,
        processor_seconds: told["processor_seconds"].as_f64().context("no time of processors")?,
        peak_bytes: told["peak_bytes"].as_u64().context("no memory")?,
        output_bytes: size(&output)?,
    })
}

/// Bytes of a file, or of the files in a folder.
fn size(path: &Path) -> Result<u64> {
    let about = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    let files = std::fs::read_dir(path).context("looking into a folder")?;
    files.map(|file| size(&file.context("looking into a folder")?.path())).sum()
}

/// Writes the trace.
fn made(path: &Path) -> Result<()> {
    let blocks = usize::try_from(RECORDS).context("counting")? * WORDS / BLOCK_WORDS + 1;
    let words: Vec<AtomicU64> =
        std::iter::repeat_with(|| AtomicU64::new(0)).take(BLOCKS_START + blocks * BLOCK_WORDS).collect();
    // A stream may write to its storage for ever; this process ends soon.
    let words: &'static [AtomicU64] = words.leak();
    let mut stream = Stream::new(words, 0, (BLOCKS_START, blocks, BLOCK_WORDS), Mode::Flight);
    stream.begin(STREAM_OF_HYPERVISOR);
    // Ticks are nanoseconds: twice a half.
    for (index, word) in
        [(WORD_VERSION, VERSION), (WORD_STREAMS, 1), (WORD_SCALE, 1 << 31 | 1 << 32), (WORD_MAGIC, MAGIC)]
    {
        words[index].store(word, Relaxed);
    }
    let mut made = 0;
    for round in 0.. {
        for (domain, record) in requested(round) {
            if made == RECORDS {
                return written(path, words);
            }
            made += 1;
            put(&mut stream, words, made * 150, domain, &record);
        }
    }
    Ok(())
}

/// The file, without blocks that nothing is in.
fn written(path: &Path, words: &[AtomicU64]) -> Result<()> {
    let used = words[STREAMS_START + STREAM_HEAD].load(Relaxed);
    words[STREAMS_START + STREAM_BLOCKS].store(used, Relaxed);
    let end = BLOCKS_START + usize::try_from(used).context("counting")? * BLOCK_WORDS;
    let file = std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for word in words.get(..end).context("the records do not fit")? {
        file.write_all(&word.load(Relaxed).to_le_bytes()).context("writing the trace")?;
    }
    file.flush().context("writing the trace")
}

/// Lays out a record: its first field in the first word if that is a byte, the others at multiples of their width.
fn put(stream: &mut Stream, storage: &'static [AtomicU64], now: u64, domain: u16, record: &Record) {
    let (mut small, mut fields, mut bits, mut first) = (0, [0_u64; 6], 0_u32, true);
    record.each_field(|field, value| {
        if std::mem::take(&mut first) && field.bits == 8 {
            small = value;
            return;
        }
        bits = bits.next_multiple_of(field.bits);
        fields[(bits / 64) as usize] |= value << (bits % 64);
        bits += field.bits;
    });
    let words = bits.div_ceil(64) as u8;
    let head = head(record.kind(), words, domain, small);
    let [a, b, c, d, e, f] = fields;
    let there_is_room = match words {
        0 => stream.write(&storage, now, head, []),
        1 => stream.write(&storage, now, head, [a]),
        2 => stream.write(&storage, now, head, [a, b]),
        3 => stream.write(&storage, now, head, [a, b, c]),
        4 => stream.write(&storage, now, head, [a, b, c, d]),
        5 => stream.write(&storage, now, head, [a, b, c, d, e]),
        _ => stream.write(&storage, now, head, [a, b, c, d, e, f]),
    };
    debug_assert!(there_is_room, "the trace is too small");
}

/// What a guest and the driver domain do for one request.
fn requested(round: u64) -> Vec<(u16, Record)> {
    let guest = DRIVER + 1 + u16::try_from(round % u64::from(GUESTS)).unwrap_or(0);
    let (events, sleep, grants) = (Hypercall::EventChannelOp, Hypercall::SchedOp, Hypercall::GrantTableOp);
    let enter = |call: Hypercall, arg0| Record::HypercallEntry {
        number: call.raw() as u8,
        arg0,
        arg1: round,
        arg2: 0,
        arg3: 0,
        arg4: 0,
    };
    let leave = |call: Hypercall| Record::HypercallExit { number: call.raw() as u8, result: 0 };
    let (ring, index) = (1, round as u32);
    let turn = |domain: u16, from: u16| {
        [
            (domain, Record::Switch { why: 0, from }),
            (domain, Record::RunState { state: 0, reason: 0 }),
            (domain, Record::EventPending { masked: 0, port: u32::from(guest) }),
            (domain, Record::Upcall { selector: 1 }),
        ]
    };
    let kick = |from: u16, to: u16| {
        [
            (from, enter(events, 4)),
            (to, Record::EventRaised { merged: 0, port: u32::from(guest), from }),
            (to, Record::Wake { ahead: 0 }),
            (from, leave(events)),
        ]
    };
    let rest = |domain: u16| {
        [
            (domain, Record::HandlerDone { ports: 1 }),
            (domain, enter(sleep, 1)),
            (domain, Record::RunState { state: 2, reason: 3 }),
        ]
    };
    let mut all = turn(guest, DomId::IDLE.0).to_vec();
    all.push((guest, Record::RingProduced { ring: 0, peer: DRIVER, index, count: 1, waiting: 1 }));
    all.extend(kick(guest, DRIVER));
    all.extend(rest(guest));
    all.extend(turn(DRIVER, guest));
    all.push((DRIVER, Record::RingConsumed { ring: 2, peer: guest, index, count: 1, waiting: 0 }));
    all.push((DRIVER, enter(grants, 5)));
    all.push((DRIVER, Record::GrantCopy { status: 0, peer: guest, bytes: 1514, reference: index }));
    all.push((DRIVER, leave(grants)));
    all.push((DRIVER, Record::RingProduced { ring: 3, peer: guest, index, count: 1, waiting: 1 }));
    all.extend(kick(DRIVER, guest));
    all.extend(rest(DRIVER));
    all.extend(turn(guest, DRIVER));
    all.push((guest, Record::RingConsumed { ring, peer: DRIVER, index, count: 1, waiting: 0 }));
    all.extend(rest(guest));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::trace::reader::Reader;

    #[test]
    fn the_records_that_are_made_are_read_again() {
        let words: Vec<AtomicU64> =
            std::iter::repeat_with(|| AtomicU64::new(0)).take(BLOCKS_START + 2 * BLOCK_WORDS).collect();
        let words: &'static [AtomicU64] = words.leak();
        let mut stream = Stream::new(words, 0, (BLOCKS_START, 2, BLOCK_WORDS), Mode::Flight);
        stream.begin(STREAM_OF_HYPERVISOR);
        for (index, word) in
            [(WORD_VERSION, VERSION), (WORD_STREAMS, 1), (WORD_SCALE, 1 << 31 | 1 << 32), (WORD_MAGIC, MAGIC)]
        {
            words[index].store(word, Relaxed);
        }
        let records = requested(7);
        for ((domain, record), now) in records.iter().zip(1..) {
            put(&mut stream, words, now, *domain, record);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let read: Vec<(u16, Record)> =
            Reader::new(bytes.as_slice()).unwrap().map(|entry| (entry.domain.0, entry.record)).collect();
        assert_eq!(read, records);
        let stats = crate::trace::stats::of(Reader::new(bytes.as_slice()).unwrap());
        assert_eq!(stats.processor.unwrap().overlap_ns, 0, "one domain at a time has the processor");
    }
}
