//! Steps that are tried until nothing is missing, and pages and names as they should be.

use core::cell::{Cell, RefCell};

use embassy_futures::block_on;
use embassy_futures::join::join;
use embassy_futures::yield_now;

use crate::chunks::{Blocks, CHUNK_BYTES, Chunks};
use crate::listing::Listing;
use crate::{Fault, Volume, content_type, decoded, encoded};

/// A disk of zeros that answers after a while and counts what it is asked.
struct Slow {
    bytes: u64,
    asked: RefCell<Vec<u64>>,
    fails: Cell<bool>,
}

impl Slow {
    fn new(bytes: u64) -> Self {
        Self { bytes, asked: RefCell::default(), fails: Cell::new(false) }
    }
}

impl Blocks for &Slow {
    type Error = &'static str;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn read(&self, start: u64, into: &mut [u8]) -> Result<(), &'static str> {
        yield_now().await;
        if self.fails.get() {
            return Err("failed");
        }
        self.asked.borrow_mut().push(start);
        for (at, byte) in (start..).zip(into) {
            *byte = (at / CHUNK_BYTES as u64) as u8;
        }
        Ok(())
    }
}

#[test]
fn what_is_missing_is_noted_and_found_when_it_is_there() {
    let chunks = Chunks::new(3 * CHUNK_BYTES as u64 + 10);
    let mut into = [0; 20];
    let start = CHUNK_BYTES as u64 - 10;
    assert!(chunks.copy(start, &mut into).is_err());
    assert_eq!(chunks.take_missing(), [0, 1]);
    assert!(!chunks.is_missing());
    chunks.keep(&[(0, vec![7; CHUNK_BYTES].into()), (1, vec![8; CHUNK_BYTES].into())]);
    chunks.copy(start, &mut into).unwrap();
    assert_eq!([into[9], into[10]], [7, 8]);
    assert_eq!(chunks.room(3).len(), 10, "the last part is as long as the disk is");
    assert!(chunks.copy(3 * CHUNK_BYTES as u64, &mut into).is_err(), "beyond the end");
    assert!(!chunks.is_missing(), "what cannot be there is not missing");
}

#[test]
fn a_disk_without_a_file_system_is_refused_and_a_failing_one_as_well() {
    let slow = Slow::new(1 << 20);
    assert!(matches!(block_on(Volume::open(&slow)), Err(Fault::System(_))));
    assert_eq!(*slow.asked.borrow(), [0]);
    slow.fails.set(true);
    assert!(matches!(block_on(Volume::open(&slow)), Err(Fault::Disk("failed"))));
    let small = Slow::new(512);
    assert!(matches!(block_on(Volume::open(&small)), Err(Fault::System(_))));
}

#[test]
fn many_steps_at_once_end_though_each_needs_more_than_is_kept() {
    let slow = Slow::new(64 * CHUNK_BYTES as u64);
    let shared = crate::volume::Shared::of(&slow);
    let step = |first: u64| {
        let shared = &shared;
        shared.attempt(move || {
            let mut seen = Vec::new();
            for number in first..first + 12 {
                let mut byte = [0];
                shared
                    .chunks()
                    .copy(number * CHUNK_BYTES as u64, &mut byte)
                    .map_err(|_| ext4_view::Ext4Error::NotFound)?;
                seen.push(byte[0]);
            }
            Ok(seen)
        })
    };
    let (one, other) = block_on(join(step(0), step(20)));
    assert_eq!(one.unwrap(), (0..12).collect::<Vec<u8>>());
    assert_eq!(other.unwrap(), (20..32).collect::<Vec<u8>>());
    assert!(shared.chunks().count() <= 8, "what nobody needs any more is given back");
    let mut asked = slow.asked.borrow().clone();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), slow.asked.borrow().len(), "each part is fetched once");
}

#[test]
fn a_step_that_needs_too_much_ends() {
    let slow = Slow::new(64 * CHUNK_BYTES as u64);
    let shared = crate::volume::Shared::of(&slow);
    let mut number = 0;
    let result = block_on(shared.attempt(|| {
        number += 1;
        let mut byte = [0];
        let _ = shared.chunks().copy(number * CHUNK_BYTES as u64, &mut byte);
        Ok(())
    }));
    assert!(matches!(result, Err(Fault::TooLarge)), "{result:?}");
}

#[test]
fn pages_show_names_as_they_are_and_lead_to_them() {
    let entries =
        vec![(false, b"b <i>.md".to_vec()), (true, b"sub".to_vec()), (false, b"a%20\"&\xff".to_vec())];
    let page = Listing::new(entries).page("files-1", b"/x/");
    assert!(page.contains("<h1>files-1: /x/</h1>"));
    let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links, ["../", "./sub/", "./a%2520%22%26%FF", "./b%20%3Ci%3E.md"]);
    assert!(page.contains(">b &lt;i&gt;.md<") && !page.contains("<i>"));
    assert_eq!(decoded("/a%2520%22%26%FF"), b"/a%20\"&\xff");
    assert_eq!(encoded(b"/a b/\xc3\xa4"), "/a%20b/%C3%A4");
}

#[test]
fn a_large_directory_is_cut_and_says_so() {
    let entries = (0..20_000).map(|number| (false, format!("{number:05}").into_bytes())).collect();
    let page = Listing::new(entries).page("s", b"/");
    assert!(page.len() < 300 << 10 && page.contains(" more\n") && !page.contains("../"));
}

#[test]
fn types_go_by_the_end_of_the_name() {
    assert_eq!(content_type(b"/a/README.MD"), "text/markdown; charset=utf-8");
    assert_eq!(content_type(b"/a.b/md"), "application/octet-stream");
    assert_eq!(content_type(b"x.tar.gz"), "application/gzip");
    assert_eq!(content_type(b""), "application/octet-stream");
}
