//! Intervals of made-up streams.

use hypercall_abi::DomId;
use hypervisor_core::trace::Record;
use hypervisor_core::trace::layout::{
    BLOCK_WORDS, BLOCKS_START, MAGIC, VERSION, WORD_CATEGORIES, WORD_MAGIC, WORD_VERSION,
};
use hypervisor_core::trace::reader::{Entry, Reader};

use super::Board;

/// A header that says that everything is recorded.
fn header() -> Vec<u8> {
    let mut words = vec![0_u64; BLOCKS_START + BLOCK_WORDS];
    (words[WORD_MAGIC], words[WORD_VERSION], words[WORD_CATEGORIES]) = (MAGIC, VERSION, u64::from(u32::MAX));
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn seen(board: &mut Board, id: u16, time_ns: u64, record: Record) {
    board.see(&Entry { time_ns, cpu: 0, vcpu: 0, domain: DomId(id), record });
}

#[test]
fn the_time_of_an_interval_is_shared_out_whole() {
    let bytes = header();
    let reader = Reader::new(bytes.as_slice()).unwrap();
    let mut board = Board::default();
    for id in [1, 2] {
        seen(&mut board, id, 0, Record::StateTime { state: 1, spent: 0, present: 1 });
    }
    seen(&mut board, 1, 0, Record::Switch { from: 32767, why: 4 });
    seen(&mut board, 2, 600, Record::Switch { from: 1, why: 1 });
    let first = board.close(1000, "test", &reader);
    let shares: Vec<_> = first.domains.iter().map(|row| (row.running, row.runnable, row.blocked)).collect();
    assert_eq!(shares, [(Some(0.6), Some(0.4), Some(0.0)), (Some(0.4), Some(0.6), Some(0.0))]);
    assert_eq!(first.idle_share, Some(0.0));
    // Nothing happens: the states go on.
    let second = board.close(2000, "test", &reader);
    let shares: Vec<_> = second.domains.iter().map(|row| (row.state, row.running)).collect();
    assert_eq!(shares, [(Some("runnable"), Some(0.0)), (Some("running"), Some(1.0))]);
    assert_eq!((second.records_per_s, second.switches_per_s), (0.0, 0.0));
}

#[test]
fn rings_are_added_up_over_their_peers() {
    let bytes = header();
    let reader = Reader::new(bytes.as_slice()).unwrap();
    let mut board = Board::default();
    for (peer, waiting) in [(2, 5), (3, 7), (2, 1)] {
        let record = Record::RingConsumed { ring: 2, peer, index: 0, count: 1, waiting };
        seen(&mut board, 1, 10, record);
    }
    let picture = board.close(100, "test", &reader);
    let ring = &picture.domains[0].rings[0];
    assert_eq!((ring.ring, ring.waiting, ring.most), ("back tx", 8, 12));
    assert_eq!(picture.domains[0].rings(), "tx 8/12");
    let later = board.close(200, "test", &reader);
    assert_eq!(later.domains[0].rings[0].most, 8, "the most is the interval's own");
}
