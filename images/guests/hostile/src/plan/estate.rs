//! What the hostile guest knows of its surroundings.
//! Attacks are drawn from it, so that they hit things that are there.

use alloc::vec::Vec;

use hypercall_abi::mmu::pte;
use hypercall_abi::{Mfn, PAGE_SIZE};

/// Pages that a guest may lose: each is one frame of its own, mapped at one address, without a use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Playground {
    /// Address of the first page; the others follow.
    pub va: u64,
    /// The frame of each page at the start.
    pub frames: Vec<Mfn>,
    /// Machine address of the level 1 entry that maps each page.
    pub entries: Vec<u64>,
}

impl Playground {
    /// Address of a page.
    #[must_use]
    pub fn page(&self, index: usize) -> u64 {
        self.va + (index * PAGE_SIZE) as u64
    }
}

/// Frames of a whole grant table: it is taken at the start, so that attacks know each frame that is theirs.
pub const GRANT_FRAMES: usize = 8;

/// The surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estate {
    /// Writable pages for arguments; the page after them is not mapped.
    pub argument: u64,
    /// Their count.
    pub argument_pages: u64,
    /// A page that is mapped for reading alone (a page table).
    pub read_only: u64,
    /// An address that is never mapped.
    pub unmapped: u64,
    /// The shared page.
    pub shared_info: u64,
    /// The frame of the shared page.
    pub shared_info_frame: Mfn,
    /// Frames of our grant table.
    pub grant_frames: Vec<Mfn>,
    /// Entries of our grant table that are free to play with: from the first up to the second.
    pub grant_entries: (u32, u32),
    /// Pages to lose.
    pub playground: Playground,
    /// Root of the page tables.
    pub root: Mfn,
    /// Other page tables that are in use, of levels 3, 2 and 1.
    pub tables: [Mfn; 3],
    /// Address at which the domain's memory begins, in one line.
    pub start: u64,
    /// All frames of the domain.
    pub frames: Vec<Mfn>,
    /// Of these, the parts of the image that other domains have too.
    pub shared: Vec<Mfn>,
    /// Addresses of handlers that work: event upcall, failsafe, exceptions.
    pub handlers: [u64; 3],
    /// The stack's end.
    pub stack: u64,
    /// Ports that the system gave us.
    pub state_ports: Vec<u32>,
    /// Our own number.
    pub own: u16,
    /// The other end of our devices; not an ordinary number without one.
    pub backend: u16,
    /// System time, brought up to date before each draw.
    pub now_ns: u64,
    /// How many instructions the executor knows.
    pub instructions: u64,
    /// How many ways of dying it knows; 0 to never die.
    pub deaths: u64,
}

impl Estate {
    /// Whether a frame is the domain's own.
    #[must_use]
    pub fn owns(&self, frame: Mfn) -> bool {
        self.frames.contains(&frame) || self.grant_frames.contains(&frame) || frame == self.shared_info_frame
    }

    /// Whether an address lies in the domain's memory, but not where attacks are meant to write.
    #[must_use]
    pub fn is_image(&self, va: u64) -> bool {
        let end = self.start + (self.frames.len() * PAGE_SIZE) as u64;
        let playground = self.playground.page(0)..self.playground.page(self.playground.frames.len());
        (self.start..end).contains(&va)
            && !(self.argument..self.argument_end()).contains(&va)
            && !playground.contains(&va)
    }

    /// Whether a word that an attack puts anywhere may hit the image: as an address, a frame, or an entry of a page table.
    #[must_use]
    pub fn may_hit_image(&self, word: u64) -> bool {
        let holds = |frame: u64| {
            let page = self.frames.iter().position(|own| own.0 == frame);
            page.is_some_and(|page| self.is_image(self.start + (page * PAGE_SIZE) as u64))
        };
        self.is_image(word) || holds(word) || holds((word & pte::ADDRESS) >> 12)
    }

    /// First address past the argument pages.
    #[must_use]
    pub const fn argument_end(&self) -> u64 {
        self.argument + self.argument_pages * PAGE_SIZE as u64
    }
}
