//! Every view of a trace, looked at: what tests and fuzzing do with whatever bytes they come up with.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypervisor_core::trace::layout::{
    BLOCK_WORDS, BLOCKS_START, MAGIC, STREAM_OF_HYPERVISOR, VERSION, WORD_MAGIC, WORD_SCALE, WORD_STREAMS,
    WORD_VERSION, head,
};
use hypervisor_core::trace::reader::Reader;
use hypervisor_core::trace::{Mode, Stream};

use super::names::Names;
use super::{diff, export, follow, live, report, stats, text, timeline, why};

/// A record of any kind, known or not, with any fields.
pub(crate) type Written = (u8, u16, u8, [u64; 4], u32);

/// Blocks of a trace that is made here: few, so that it wraps around.
const BLOCKS: usize = 6;

thread_local! {
    /// Where it is made; a stream may write to its storage for ever.
    static WORDS: &'static [AtomicU64] =
        (0..BLOCKS_START + BLOCKS * BLOCK_WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
}

/// A trace of these records, as the hypervisor's own writer lays it out.
pub(crate) fn file(records: &[Written]) -> Vec<u8> {
    let words = WORDS.with(|words| *words);
    words.iter().for_each(|word| word.store(0, Relaxed));
    let mut stream = Stream::new(words, 0, (BLOCKS_START, BLOCKS, BLOCK_WORDS), Mode::Flight);
    stream.begin(STREAM_OF_HYPERVISOR);
    // Ticks are nanoseconds: twice a half.
    let scale = 1 << 31 | 1 << 32;
    for (index, word) in
        [(WORD_VERSION, VERSION), (WORD_STREAMS, 1), (WORD_SCALE, scale), (WORD_MAGIC, MAGIC)]
    {
        words[index].store(word, Relaxed);
    }
    let mut ticks = 0;
    for &(kind, domain, small, fields, pause) in records {
        ticks += u64::from(pause);
        // A kind of 0 is no record.
        stream.write(&words, ticks, head((kind & 0x7f).max(1), 4, domain % 6, small.into()), fields);
    }
    words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
}

/// Every view of a trace.
pub(crate) fn at(bytes: &[u8]) {
    let Ok(reader) = Reader::new(bytes) else { return };
    let names = Names::new(reader.names());
    let entries: Vec<_> = reader.collect();
    for entry in &entries {
        let _ = text::line(&names, text::COLUMNS, 0, entry);
    }
    let mut follow = follow::Follow::default();
    entries.iter().for_each(|entry| follow.see(entry, |_fact| ()));
    let all = || Reader::new(bytes).unwrap();
    let stats = stats::of(all());
    assert_eq!(stats.records, entries.len() as u64);
    diff::tried(&stats, &stats);
    export::tried(&entries, &names);
    why::tried(&entries, &names);
    timeline::tried(&entries, &names);
    report::tried(&entries, &names);
    live::tried(bytes);
}

/// Records made of any bytes: seven to a record.
#[cfg(feature = "fuzz")]
pub(crate) fn records(bytes: &[u8]) -> Vec<Written> {
    let one = |bytes: &[u8; 7]| {
        let [kind, domain, small, a, b, far, pause] = *bytes;
        // A field is small, or fills its word.
        let field = |byte: u8| u64::from(byte) << if far & 1 == 1 { u32::from(far >> 2) } else { 0 };
        let fields = [field(a), field(b), u64::from(far) << 32 | u64::from(a), u64::from(b)];
        let pause = u32::from(pause) << if far & 2 == 2 { 20 } else { 4 };
        (kind & 0x3f, u16::from(domain), small, fields, pause)
    };
    bytes.as_chunks::<7>().0.iter().map(one).collect()
}
