//! Damaged traces: every view of a file that was cut, flipped or never was a trace ends, with what is sound or an error.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypervisor_core::trace::layout::{
    BLOCK_HEADER, BLOCK_WORDS, BLOCKS_START, MAGIC, STREAM_OF_HYPERVISOR, VERSION, WORD_MAGIC, WORD_SCALE,
    WORD_STREAMS, WORD_VERSION, head,
};
use hypervisor_core::trace::reader::Reader;
use hypervisor_core::trace::records::is_known;
use hypervisor_core::trace::{Mode, Stream};
use proptest::prelude::*;

use super::names::Names;
use super::{export, follow, live, report, stats, text, timeline, why};

/// A record of any kind, known or not, with any fields.
type Written = (u8, u16, u8, [u64; 4], u32);

/// A trace of these records, as the hypervisor's own writer lays it out.
fn file(records: &[Written]) -> Vec<u8> {
    const BLOCKS: usize = 6;
    // It is never given back, as a stream may write to it for ever.
    let words: &'static [AtomicU64] =
        (0..BLOCKS_START + BLOCKS * BLOCK_WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
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

fn records() -> impl Strategy<Value = Vec<Written>> {
    // Mostly kinds that there are, few domains, times that may be far apart.
    let kind = prop_oneof![9 => 1u8..45, 1 => any::<u8>()];
    let pause = prop_oneof![9 => 0u32..1000, 1 => any::<u32>()];
    let field = prop_oneof![Just(0), 0u64..64, any::<u64>()];
    let fields = [field.clone(), field.clone(), field.clone(), field];
    prop::collection::vec((kind, any::<u16>(), any::<u8>(), fields, pause), 0..1200)
}

/// Every view of a trace.
fn looked_at(bytes: &[u8]) {
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
    super::diff::tried(&stats, &stats);
    export::tried(&entries, &names);
    why::tried(&entries, &names);
    timeline::tried(&entries, &names);
    report::tried(&entries, &names);
    live::tried(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_records_are_seen_in_every_view(records in records()) {
        let bytes = file(&records);
        looked_at(&bytes);
        let known = records.iter().filter(|record| is_known(record.0 & 0x7f)).count();
        let stats = stats::of(Reader::new(bytes.as_slice()).unwrap());
        let overwritten = stats.overwritten as usize;
        prop_assert!(stats.records as usize + overwritten >= known && stats.damaged_blocks == 0);
    }

    #[test]
    fn a_cut_or_flipped_file_ends_every_view(
        records in records(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..64),
        headed in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file(&records);
        // Half of the flips hit the blocks alone, so that the header does not hide them.
        let first = if headed { 0 } else { BLOCKS_START * 8 };
        for (at, bit) in flips {
            let at = first + at.index(bytes.len() - first);
            bytes[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        looked_at(&bytes);
    }

    #[test]
    fn blocks_of_noise_end_every_view(
        records in records(),
        noise in prop::collection::vec(any::<u64>(), 1..200),
        whole in any::<bool>(),
    ) {
        let mut bytes = file(&records);
        // The blocks' own headers say that all is well, unless they are noise too.
        let kept = if whole { 0 } else { BLOCK_HEADER };
        let (words, _) = bytes[BLOCKS_START * 8..].as_chunks_mut::<8>();
        let places = words.iter_mut().enumerate().filter(|(index, _)| index % BLOCK_WORDS >= kept);
        for ((_, word), noise) in places.zip(noise.iter().cycle()) {
            // A place that no record has reached stays empty half of the time.
            if *word != [0; 8] || noise % 2 == 0 {
                *word = noise.to_le_bytes();
            }
        }
        looked_at(&bytes);
    }

    #[test]
    fn a_foreign_file_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(Reader::new(bytes.as_slice()).is_err());
    }
}

#[test]
fn a_file_that_is_not_there_or_no_trace_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("foreign");
    std::fs::write(&file, "no trace").unwrap();
    for path in [file.as_path(), folder.path(), Path::new("/nowhere/trace.bin")] {
        let error = super::open(path).map(drop).unwrap_err();
        assert!(error.is::<crate::BadInput>(), "{error}");
    }
}

#[test]
fn a_domain_of_any_number_ends_every_view() {
    // A switch from the largest number that a record can name.
    looked_at(&file(&[(8, 1, 0, [u64::from(u16::MAX); 4], 5), (6, 1, 0, [1; 4], 5)]));
}
