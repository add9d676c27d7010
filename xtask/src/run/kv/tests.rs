//! Promises, recordings and images without a machine.

use std::os::unix::fs::FileExt;

use super::image::{Content, content, content_of_file};
use super::promise::{Change, Promise, judge};
use super::recording::Recording;

fn found(value: Option<&str>) -> Content {
    value.map(|value| (b"key".to_vec(), value.as_bytes().to_vec())).into_iter().collect()
}

#[test]
fn a_promise_allows_what_was_said_and_what_is_under_way() {
    let mut promise = Promise { acknowledged: Some("old".to_owned()), ..Promise::new("key".to_owned()) };
    let judged = |promise: &Promise, value| judge(std::slice::from_ref(promise), &found(value)).is_ok();
    assert!(judged(&promise, Some("old")));
    assert!(!judged(&promise, Some("ol")) && !judged(&promise, None));
    promise.under_way = Some(Change::Set("new".to_owned()));
    assert!(judged(&promise, Some("new")) && judged(&promise, Some("old")) && !judged(&promise, None));
    promise.under_way = Some(Change::Delete);
    assert!(judged(&promise, None) && !judged(&promise, Some("new")));
    let text = serde_json::to_string(&promise).unwrap();
    assert_eq!(serde_json::from_str::<Promise>(&text).unwrap(), promise);
    assert!(judge(&[], &found(Some("x"))).is_err(), "nobody set it");
}

/// An entry of a recording.
fn entry(first: u64, count: u64, flags: u64, data: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = [first, count, flags, 0].into_iter().flat_map(u64::to_le_bytes).collect();
    bytes.resize(512 + count as usize * 512, data);
    bytes[32..512].fill(0);
    bytes
}

#[test]
fn a_power_cut_keeps_what_was_flushed_and_nothing_that_was_not_written() {
    let mut log: Vec<u8> =
        [0x006a_7366_7773_6872_u64, 1, 2, 512].into_iter().flat_map(u64::to_le_bytes).collect();
    log.resize(512, 0);
    log.extend(entry(0, 2, 0, 1));
    log.extend(entry(0, 0, 1, 0));
    log.extend(entry(1, 2, 0, 2));
    let mut cut_off = entry(3, 1, 0, 3);
    cut_off.truncate(700);
    log.extend(cut_off);
    let recording = Recording::read(&log).unwrap();
    assert_eq!((recording.flushes, recording.unflushed()), (1, 2));
    let (mut kept, mut torn) = (0, 0);
    for seed in 0..100 {
        let image = recording.cut(&[9; 2048], &mut fastrand::Rng::with_seed(seed));
        assert!(image[..512] == [1; 512] && image[1536..] == [9; 512]);
        assert!(image[512..1024].iter().all(|byte| [1, 2].contains(byte)));
        kept += u32::from(image[512] == 2);
        torn += u32::from(image[512] != image[1023]);
    }
    assert!((20..80).contains(&kept) && torn > 0, "{kept} kept, {torn} torn");
    assert!(Recording::read(&[7; 512]).is_err());
    assert_eq!(Recording::read(&[]), Ok(Recording::default()));
}

#[test]
fn an_empty_disk_is_an_empty_store_and_noise_is_none() {
    assert_eq!(content(&vec![0; 1 << 18]).unwrap(), Content::new());
    assert!(content(&vec![1; 1 << 18]).unwrap_err().to_string().contains("is no store"));
    assert!(content(&[0; 512]).unwrap_err().to_string().contains("too small"));
}

#[test]
fn an_image_in_a_file_is_read_where_it_lies_however_large_it_is() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 18).unwrap();
    assert_eq!(content_of_file(&file).unwrap(), Content::new());
    file.write_all_at(&[1; 512], 0).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(content_of_file(&file).unwrap_err().to_string().contains("is no store"));
}
