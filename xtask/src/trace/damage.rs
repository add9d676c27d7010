//! Damaged traces: every view of a file that was cut, flipped or never was a trace ends, with what is sound or an error.

use std::path::Path;

use hypervisor_core::trace::layout::{
    BLOCK_HEADER, BLOCK_WORDS, BLOCKS_START, KIND_TAKEN_IN, NAME_WORDS, NAMES_START, WORD_NAMES,
};
use hypervisor_core::trace::reader::Reader;
use hypervisor_core::trace::records::is_known;
use proptest::prelude::*;

use super::look::{self, Written};
use super::stats;

fn records() -> impl Strategy<Value = Vec<Written>> {
    // Mostly kinds that there are, few domains, times that may be far apart.
    let kind = prop_oneof![9 => 1u8..45, 1 => any::<u8>()];
    let pause = prop_oneof![9 => 0u32..1000, 1 => any::<u32>()];
    let field = prop_oneof![Just(0), 0u64..64, any::<u64>()];
    let fields = [field.clone(), field.clone(), field.clone(), field];
    prop::collection::vec((kind, any::<u16>(), any::<u8>(), fields, pause), 0..1200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_records_are_seen_in_every_view(mut records in records()) {
        // A head of others that says wrong numbers of them is damage.
        for record in records.iter_mut().filter(|record| record.0 & 0x7f == KIND_TAKEN_IN) {
            record.0 ^= 1;
        }
        let bytes = look::file(&records);
        look::at(&bytes);
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
        let mut bytes = look::file(&records);
        // Half of the flips hit the blocks alone, so that the header does not hide them.
        let first = if headed { 0 } else { BLOCKS_START * 8 };
        for (at, bit) in flips {
            let at = first + at.index(bytes.len() - first);
            bytes[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        look::at(&bytes);
    }

    #[test]
    fn blocks_of_noise_end_every_view(
        records in records(),
        noise in prop::collection::vec(any::<u64>(), 1..200),
        whole in any::<bool>(),
    ) {
        let mut bytes = look::file(&records);
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
        look::at(&bytes);
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
    look::at(&look::file(&[(8, 1, 0, [u64::from(u16::MAX); 4], 5), (6, 1, 0, [1; 4], 5)]));
}

#[test]
fn domains_of_one_name_and_of_none_have_tracks_of_their_own() {
    // Each sleeps from before the other wakes.
    let mut bytes =
        look::file(&[(6, 1, 0, [1; 4], 5), (6, 2, 0, [1; 4], 5), (6, 1, 0, [0; 4], 5), (6, 2, 0, [0; 4], 5)]);
    for name in ["", "twin"] {
        for (slot, domain) in [1_u16, 2].into_iter().enumerate() {
            let at = (NAMES_START + slot * NAME_WORDS) * 8;
            let [low, high] = domain.to_le_bytes();
            bytes[at..at + 3].copy_from_slice(&[low, high, name.len() as u8]);
            bytes[at + 3..at + 3 + name.len()].copy_from_slice(name.as_bytes());
        }
        bytes[WORD_NAMES * 8] = 2;
        let named = Reader::new(bytes.as_slice()).unwrap().names().len();
        assert_eq!(named, if name.is_empty() { 0 } else { 2 });
        look::at(&bytes);
    }
}

/// Cuts, flips and splices a file, once or several times.
fn mutated(random: &mut fastrand::Rng, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..random.u8(1..6) {
        if bytes.is_empty() {
            break;
        }
        // Whole words, whole blocks, or anything.
        let width = [1, 8, BLOCK_WORDS * 8][random.usize(..3)];
        let at = random.usize(..bytes.len()) / width * width;
        let most = 1 << random.u32(..16);
        let count = random.usize(..=most.min(bytes.len() - at));
        let from = random.usize(..=other.len().saturating_sub(count));
        match random.u8(..6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes[at..at + count].fill(random.u8(..)),
            3 => drop(bytes.splice(at..at + count, other.iter().copied().skip(from).take(count))),
            4 => drop(bytes.drain(at..at + count)),
            _ => bytes[at..at + count].rotate_left(count / 2),
        }
    }
    bytes
}

/// As many seeds as `DAMAGE_SEEDS` says: some always, many when somebody has the time.
#[test]
fn a_mutated_or_spliced_file_ends_every_view() {
    let seeds = std::env::var("DAMAGE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(60_u64);
    for seed in 0..seeds {
        let random = &mut fastrand::Rng::with_seed(seed);
        let [one, other] = [(); 2].map(|()| {
            let records: Vec<Written> = (0..random.usize(..1500))
                .map(|_| {
                    let fields = [(); 4].map(|()| random.u64(..) >> random.u32(..64));
                    (
                        random.u8(1..45),
                        random.u16(..),
                        random.u8(..),
                        fields,
                        random.u32(..) >> random.u32(..32),
                    )
                })
                .collect();
            look::file(&records)
        });
        let bytes = mutated(random, one, &other);
        let ended = std::panic::catch_unwind(|| look::at(&bytes));
        assert!(ended.is_ok(), "seed {seed}");
    }
}
