//! A process's registers, and the one frame in which they lie while it runs.
//! They are moved only when another process has its turn: a system call that returns to its caller moves nothing. The
//! same goes for bases of FS and GS and for the FPU, which lie in the processor itself meanwhile.

extern crate alloc;

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA};
use process_abi::layout::STACK_END;

use super::bases::Bases;
use super::entry::{self, reason};
use super::fpu::{self, Fpu};
use crate::machine::{trap, upcall};
use crate::process::area::Access;

/// The registers of a process, in the order in which the entry code stores them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "registers are named by the processor")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub r11: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// Interrupts on, and the bit that is always set.
const RFLAGS: u64 = 0x202;
/// Bytes of the entry stack.
const STACK_BYTES: usize = 8192;
/// Where the frame ends in it: away from the page's end, so that a whole frame fits however it is looked at.
const FRAME_END: usize = STACK_BYTES - 128;
/// Where the frame begins in it.
pub(super) const FRAME: usize = FRAME_END - size_of::<Registers>();

const _: () = assert!(size_of::<Registers>() == 160 && FRAME_END.is_multiple_of(16));

/// The stack on which the kernel is entered from a process; upcalls may come on top.
#[repr(C, align(4096))]
pub(super) struct EntryStack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: one vCPU; the entry code uses it while a process runs, `Context` while none does.
unsafe impl Sync for EntryStack {}

/// The one.
pub(super) static ENTRY_STACK: EntryStack = EntryStack(UnsafeCell::new([0; STACK_BYTES]));

/// Address of the end of its frame, for the hypervisor.
pub(super) fn entry_stack() -> u64 {
    ENTRY_STACK.0.get() as u64 + FRAME_END as u64
}

fn frame() -> *mut Registers {
    ENTRY_STACK.0.get().cast::<u8>().wrapping_add(FRAME).cast()
}

/// What a process computes with, while it has not its turn.
#[derive(Debug)]
struct Saved {
    registers: Registers,
    bases: Bases,
}

/// Whose turn it is: where the registers in the frame belong; null for nowhere.
static OWNER: AtomicPtr<Saved> = AtomicPtr::new(core::ptr::null_mut());

/// Why a process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A system call; its number is in RAX.
    SystemCall,
    /// A page fault.
    PageFault {
        /// The address that was used.
        address: u64,
        /// How it was used.
        wanted: Access,
    },
    /// Another exception.
    Exception {
        /// Its number.
        vector: u8,
    },
    /// Something else may have to run.
    Upcall,
}

/// What a process computes with.
#[derive(Debug)]
pub struct Context {
    saved: Box<UnsafeCell<Saved>>,
    fpu: Fpu,
}

impl Context {
    /// At its first instruction, with an argument in RDI and an empty stack.
    #[must_use]
    pub fn new(entry: u64, argument: u64) -> Self {
        let registers = Registers {
            rdi: argument,
            rip: entry,
            cs: GUEST_CODE.into(),
            rflags: RFLAGS,
            // As after a call.
            rsp: STACK_END - 8,
            ss: GUEST_DATA.into(),
            ..Registers::default()
        };
        Self::with(Saved { registers, bases: Bases::default() }, Fpu::default())
    }

    fn with(saved: Saved, fpu: Fpu) -> Self {
        Self { saved: Box::new(UnsafeCell::new(saved)), fpu }
    }

    /// With the same registers.
    #[must_use]
    pub fn copy(&mut self) -> Self {
        let registers = *self.registers();
        let bases = self.bases();
        Self::with(Saved { registers, bases }, self.fpu.copy())
    }

    /// The bases of FS and GS. It is this process's turn from now on.
    fn bases(&mut self) -> Bases {
        self.registers();
        let saved = self.saved();
        saved.bases.keep();
        saved.bases
    }

    fn saved(&mut self) -> &mut Saved {
        // SAFETY: nobody else has a reference: others only have a pointer, and use it when they have the frame.
        unsafe { &mut *self.saved.get() }
    }

    /// Changes the base of FS.
    pub(super) fn set_fs_base(&mut self, base: u64) {
        let bases = Bases { fs: base, ..self.bases() };
        self.saved().bases = bases;
        bases.load();
    }

    /// Changes the base of GS.
    pub(super) fn set_gs_base(&mut self, base: u64) {
        let bases = Bases { gs: base, ..self.bases() };
        self.saved().bases = bases;
        bases.load();
    }

    /// Gives it the FPU, which it used without having it.
    pub(super) fn hand_over_fpu(&mut self) {
        self.registers();
        self.fpu.hand_over();
    }

    /// The registers, which lie in the frame from now on.
    #[inline]
    pub fn registers(&mut self) -> &mut Registers {
        let owner = OWNER.load(Relaxed);
        if owner != self.saved.get() {
            self.take_frame(owner);
        }
        // SAFETY: no process runs, and this context has the frame as long as it is borrowed.
        unsafe { &mut *frame() }
    }

    #[cold]
    fn take_frame(&mut self, owner: *mut Saved) {
        fpu::withhold();
        // SAFETY: an owner is a living context's, and not this one's, so that nobody else has a reference to it.
        if let Some(owner) = unsafe { owner.as_mut() } {
            // SAFETY: no process runs, and the frame holds its registers.
            owner.registers = unsafe { *frame() };
            owner.bases.keep();
        }
        let own = self.saved();
        // SAFETY: no process runs; what the frame holds is stored.
        unsafe { *frame() = own.registers };
        own.bases.load();
        OWNER.store(self.saved.get(), Relaxed);
    }

    /// Lets the process go on until something stops it. Its address space must be active.
    pub fn execute(&mut self) -> Stop {
        self.registers();
        // The process runs with upcalls unmasked, which none may be waiting for.
        upcall::unmask();
        // SAFETY: the frame holds registers of a process, and the entry code was set up before any process was made.
        match unsafe { entry::process_execute() } {
            reason::SYSTEM_CALL => Stop::SystemCall,
            reason::EXCEPTION => exception(),
            reason => {
                if reason == reason::UPCALL {
                    upcall::handle();
                } else {
                    upcall::unmask();
                }
                // The caller has been told now.
                entry::TOLD.store(false, Relaxed);
                Stop::Upcall
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if OWNER.load(Relaxed) == self.saved.get() {
            OWNER.store(core::ptr::null_mut(), Relaxed);
        }
    }
}

/// What the last exception was.
fn exception() -> Stop {
    /// Bits of a page fault's error code (Intel SDM volume 3, 4.7).
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    const PAGE_FAULT: u8 = hypercall_abi::trap::Vector::PageFault.raw();
    match entry::VECTOR.load(Relaxed) as u8 {
        PAGE_FAULT => {
            let error = entry::ERROR.load(Relaxed);
            let wanted = Access { write: error & WRITE != 0, execute: error & FETCH != 0 };
            Stop::PageFault { address: trap::fault_address(), wanted }
        }
        vector => Stop::Exception { vector },
    }
}
