//! Looks around at the start: which frames, tables and pages there are to play with.

use alloc::vec::Vec;

use guest_kernel::hypercall::grant;
use guest_kernel::memory::{self, address_of, machine_frame, machine_frame_at, pseudo_physical_frame};
use guest_kernel::window::{self, Range, SHARED_INFO};
use guest_kernel::{devices, grants};
use hostile_plan::{Estate, GRANT_FRAMES, Playground};
use hypercall_abi::device::{DeviceKind, DirectoryEntry};
use hypercall_abi::mmu::{flush, pte};
use hypercall_abi::{DomId, Mfn, PAGE_SIZE, Pfn};

use super::{death, image, instructions, probe};

/// Pages for arguments.
const ARGUMENT_PAGES: usize = 3;
/// Pages to lose.
const PLAYGROUND_PAGES: usize = 16;
/// Entries of the grant table to play with.
const GRANT_ENTRIES: (u32, u32) = (256, 272);

/// What the guest has, and where.
pub(super) struct Home {
    /// What the plan knows of it.
    pub(super) estate: Estate,
    /// The pages for arguments, each with the entry that maps it.
    pub(super) argument_entries: [(u64, u64); ARGUMENT_PAGES],
    /// Address of the first frame of the grant table.
    pub(super) grant_table: u64,
    /// Four pages for rings and packets.
    pub(super) rings: u64,
    /// Our network device.
    pub(super) front: Option<(u32, DirectoryEntry)>,
}

/// Finds everything.
pub(super) fn explore(deaths: bool) -> Home {
    let argument = pages(ARGUMENT_PAGES + 1);
    let hole = argument + (ARGUMENT_PAGES * PAGE_SIZE) as u64;
    // SAFETY: the last page was allocated to be this hole, and is never used.
    unsafe { guest_kernel::hypercall::memory::update_va_mapping(hole, 0, flush::INVLPG) }
        .expect("one's own page can be taken away");
    let playground = pages(PLAYGROUND_PAGES);
    let page = |index: usize| playground + (index * PAGE_SIZE) as u64;
    let frame = |va| machine_frame_at(va).expect("the heap lies within our memory");
    let entry = |va| window::entry_machine_address(va).expect("the heap is mapped");
    let mut list = [Mfn(0); GRANT_FRAMES];
    grant::setup_table(&mut list).expect("the grant table can be as large as it may");
    let range = Range::new(1).expect("the window has room");
    range.map(0, list[0], window::DATA).expect("the grant table can be mapped");
    let grant_table = range.address();
    core::mem::forget(range);
    let front = devices::of_kind(DeviceKind::NetFront).next();
    let tables = tables(playground);
    let shared_entry = entry(SHARED_INFO as u64);
    let estate = Estate {
        argument,
        argument_pages: ARGUMENT_PAGES as u64,
        read_only: address_of(pseudo_physical_frame(tables[2])),
        unmapped: hole,
        shared_info: SHARED_INFO as u64,
        shared_info_frame: Mfn::containing(read_entry(shared_entry) & pte::ADDRESS),
        grant_frames: list.to_vec(),
        grant_entries: GRANT_ENTRIES,
        playground: Playground {
            va: playground,
            frames: (0..PLAYGROUND_PAGES).map(|index| frame(page(index))).collect(),
            entries: (0..PLAYGROUND_PAGES).map(|index| entry(page(index))).collect(),
        },
        root: frame(memory::root()),
        tables,
        start: memory::VIRT_BASE,
        shared: image::pages()
            .filter(|page| read_entry(entry(*page)) & pte::WRITABLE == 0)
            .map(frame)
            .collect(),
        frames: (0..memory::frames()).filter_map(|pfn| machine_frame(Pfn(pfn))).collect::<Vec<_>>(),
        handlers: probe::handlers(),
        stack: (&raw const list) as u64 & !0xfff,
        state_ports: front.iter().map(|(_, entry)| entry.state_port).collect(),
        own: grants::own_domain().map_or(0, |own| own.0),
        backend: front.map_or(DomId::INVALID.0, |(_, entry)| entry.peer),
        now_ns: 0,
        instructions: instructions::INSTRUCTIONS.len() as u64,
        deaths: if deaths { death::WAYS } else { 0 },
    };
    let argument_entries = core::array::from_fn(|index| {
        let va = argument + (index * PAGE_SIZE) as u64;
        (va, read_entry(entry(va)))
    });
    Home { estate, argument_entries, grant_table, rings: pages(4), front }
}

/// Zeroed pages in one line that are never given back.
fn pages(count: usize) -> u64 {
    let layout = core::alloc::Layout::from_size_align(count * PAGE_SIZE, PAGE_SIZE).expect("whole pages");
    // SAFETY: the layout's size is not 0.
    let start = unsafe { alloc::alloc::alloc_zeroed(layout) };
    assert!(!start.is_null(), "no memory for {count} pages");
    start as u64
}

/// The tables of levels 3, 2 and 1 that map an address.
fn tables(va: u64) -> [Mfn; 3] {
    let mut table = machine_frame_at(memory::root()).expect("the root is ours");
    [4, 3, 2].map(|level| {
        let index = (va >> (12 + 9 * (level - 1))) & 511;
        table = Mfn::containing(read_entry(table.address() + 8 * index) & pte::ADDRESS);
        table
    })
}

/// A page-table entry, by its machine address.
fn read_entry(at: u64) -> u64 {
    let va = address_of(pseudo_physical_frame(Mfn::containing(at))) + (at & 0xfff);
    // SAFETY: page tables of ours are mapped for reading in our own memory.
    unsafe { (va as *const u64).read_volatile() }
}
