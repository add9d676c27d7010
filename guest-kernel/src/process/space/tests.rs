//! Demand-zero, copy-on-write and limits, against page tables that are a map.

use std::cell::RefCell;
use std::collections::BTreeMap;

use process_abi::layout::{END, IMAGE, STACK_END, START};

use super::*;
use crate::process::program::tests::file;

/// A frame with a number for an address.
#[derive(Debug)]
struct Fake {
    number: u64,
    bytes: RefCell<Vec<u8>>,
}

thread_local! {
    static NEXT: RefCell<u64> = const { RefCell::new(1) };
}

impl Frame for Fake {
    fn zeroed() -> Option<Self> {
        let number = NEXT.with_borrow_mut(|next| {
            *next += 1;
            *next
        });
        Some(Self { number, bytes: RefCell::new(vec![0; 4096]) })
    }

    fn copy(&self) -> Option<Self> {
        Self::zeroed().inspect(|copy| copy.bytes.borrow_mut().copy_from_slice(&self.bytes.borrow()))
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes.borrow()[offset..offset + into.len()]);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        let length = from.len().min(4096 - offset);
        self.bytes.borrow_mut()[offset..offset + length].copy_from_slice(&from[..length]);
    }

    fn machine_address(&self) -> u64 {
        self.number << 12
    }
}

/// Page tables.
#[derive(Default, Debug, Clone, PartialEq)]
struct Tables(BTreeMap<u64, u64>);

impl Told for Tables {
    fn change(&mut self, change: Change, fresh: bool) -> Result<(), Refusal> {
        assert_eq!(self.0.contains_key(&change.address), !fresh, "{change:x?}");
        if change.entry == 0 {
            self.0.remove(&change.address);
        } else {
            self.0.insert(change.address, change.entry);
        }
        Ok(())
    }
}

/// A process with its page tables.
struct Process {
    space: Space<Fake>,
    tables: Tables,
}

impl Process {
    fn new(limit: u64) -> Self {
        let parts: [(u64, u64, u32, &[u8]); 2] =
            [(IMAGE, 5, 5, b"code!"), (IMAGE + PAGE, 2 * PAGE, 6, &[7; 5000])];
        let program = Program::read(file(IMAGE, &parts)).unwrap();
        Self { space: Space::new(&program, limit), tables: Tables::default() }
    }

    fn fork(&mut self) -> Self {
        let space = self.space.fork(&mut self.tables).unwrap();
        let mut tables = Tables::default();
        for leaf in space.leaves() {
            for (index, entry) in space.entries(leaf) {
                tables.0.insert(leaf * BYTES + index as u64 * PAGE, entry);
            }
        }
        Self { space, tables }
    }

    /// Writes a byte as the processor would: by the entry, after a page fault if need be.
    fn write(&mut self, address: u64, byte: u8) -> Result<(), Refusal> {
        let page = address / PAGE * PAGE;
        if self.tables.0.get(&page).is_none_or(|entry| entry & pte::WRITABLE == 0) {
            self.space.fault(address, Access::DATA, &mut self.tables)?;
        }
        let entry = self.tables.0[&page];
        assert_eq!(
            entry & (pte::WRITABLE | pte::PRESENT | pte::USER),
            pte::WRITABLE | pte::PRESENT | pte::USER
        );
        let frame = self.space.leaves[&(address / BYTES)].frame(index(address)).unwrap();
        assert_eq!(frame.machine_address(), entry & pte::ADDRESS);
        assert_eq!(Rc::strong_count(frame), 1, "a frame that others have is written");
        frame.write((address % PAGE) as usize, &[byte]);
        Ok(())
    }

    fn read(&mut self, address: u64) -> u8 {
        let mut byte = [0];
        self.space.read(address, &mut byte, &mut self.tables).unwrap();
        byte[0]
    }
}

#[test]
fn pages_are_filled_when_they_are_first_used() {
    let mut process = Process::new(100);
    assert_eq!(process.space.pages(), 0);
    let mut bytes = [0; 5];
    process.space.read(IMAGE, &mut bytes, &mut process.tables).unwrap();
    assert_eq!(&bytes, b"code!");
    assert_eq!((process.read(IMAGE + PAGE + 4999), process.read(IMAGE + PAGE + 5000)), (7, 0));
    assert_eq!(process.read(STACK_END - 1), 0);
    // Three pages and a leaf.
    assert_eq!(process.space.pages(), 3 + LEAF_PAGES);
    assert_eq!(process.tables.0[&IMAGE] & (pte::NO_EXECUTE | pte::WRITABLE), 0);
    assert_eq!(process.tables.0[&(IMAGE + 2 * PAGE)] & pte::NO_EXECUTE, pte::NO_EXECUTE);
}

#[test]
fn what_an_area_does_not_allow_changes_nothing() {
    let mut process = Process::new(100);
    for (address, wanted) in [
        (IMAGE, Access::DATA),
        (IMAGE + PAGE, Access::CODE),
        (START, Access::CONSTANTS),
        (0, Access::CONSTANTS),
        (0x40_0000, Access::CONSTANTS),
        (STACK_END, Access::DATA),
        (u64::MAX, Access::CONSTANTS),
    ] {
        let answer = process.space.fault(address, wanted, &mut process.tables);
        assert_eq!(answer, Err(Refusal::Access), "{address:#x} {wanted:?}");
    }
    assert_eq!(process.space.pages(), 0);
    assert_eq!(process.tables, Tables::default());
    let mut bytes = [0; 8];
    let across = process.space.read(STACK_END - 4, &mut bytes, &mut process.tables);
    assert_eq!(across, Err(Refusal::Access));
}

#[test]
fn after_a_fork_each_side_sees_its_own_writes_alone() {
    let mut parent = Process::new(100);
    let at = IMAGE + PAGE;
    parent.write(at, 1).unwrap();
    parent.write(STACK_END - 1, 2).unwrap();
    let mut child = parent.fork();
    let writable =
        |process: &Process| process.tables.0.values().filter(|&entry| entry & pte::WRITABLE != 0).count();
    assert_eq!((writable(&parent), writable(&child)), (0, 0), "shared pages can be written");
    let mut grandchild = child.fork();
    parent.write(at, 10).unwrap();
    child.write(at, 20).unwrap();
    grandchild.write(at + 1, 30).unwrap();
    assert_eq!((parent.read(at), child.read(at), grandchild.read(at)), (10, 20, 1));
    assert_eq!((parent.read(at + 1), child.read(at + 1), grandchild.read(at + 1)), (7, 7, 30));
    for process in [&mut parent, &mut child, &mut grandchild] {
        assert_eq!(process.read(STACK_END - 1), 2);
        assert_eq!(process.space.pages(), parent_pages());
    }
}

fn parent_pages() -> u64 {
    2 + LEAF_PAGES
}

#[test]
fn the_last_that_has_a_page_writes_it_without_a_copy() {
    let mut parent = Process::new(100);
    let at = IMAGE + PAGE;
    parent.write(at, 1).unwrap();
    let before = parent.tables.0[&at] & pte::ADDRESS;
    drop(parent.fork());
    parent.write(at, 2).unwrap();
    assert_eq!(parent.tables.0[&at] & pte::ADDRESS, before);
}

#[test]
fn a_process_gets_no_more_than_its_limit() {
    let mut process = Process::new(10);
    let start = process.space.map(20).unwrap();
    let got = (0..20).take_while(|page| process.write(start + page * PAGE, 1).is_ok()).count() as u64;
    assert_eq!(got, 10 - LEAF_PAGES);
    assert_eq!(process.space.pages(), 10);
    assert_eq!(process.write(start + got * PAGE, 1), Err(Refusal::Memory));
    assert_eq!(process.space.unmap(start, 20, &mut process.tables), Ok(()));
    assert_eq!(process.space.pages(), LEAF_PAGES);
    assert!(process.tables.0.is_empty());
    assert_eq!(process.space.fault(start, Access::DATA, &mut process.tables), Err(Refusal::Access));
}

#[test]
fn heap_and_maps_grow_and_keep_to_themselves() {
    let mut process = Process::new(100);
    let heap = process.space.grow(0).unwrap();
    assert_eq!(process.space.fault(heap, Access::DATA, &mut process.tables), Err(Refusal::Access));
    assert_eq!(process.space.grow(1), Ok(heap));
    assert_eq!(process.space.grow(PAGE), Ok(heap + PAGE));
    process.write(heap + 2 * PAGE - 1, 5).unwrap();
    assert_eq!(process.space.grow(MAPS), Err(Refusal::Memory));
    assert_eq!(process.space.map(0), Err(Refusal::Access));
    assert_eq!(process.space.map(1 << 52), Err(Refusal::Access));
    assert_eq!(process.space.map(1 << 30), Err(Refusal::Memory));
    let first = process.space.map(2).unwrap();
    assert_eq!(process.space.map(2), Ok(first + 2 * PAGE));
    for (address, pages) in
        [(first + 1, 1), (first, 0), (first, u64::MAX), (0, 1), (END, 1), (first, 1 << 20)]
    {
        assert_eq!(process.space.unmap(address, pages, &mut process.tables), Err(Refusal::Access));
    }
}
