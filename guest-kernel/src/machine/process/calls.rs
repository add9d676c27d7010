//! System calls: those that need only an answer, on the entry stack, and those of one process alone.
//! What concerns other processes is its family's business, in `run`.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use process_abi::{Call, Error};

use super::context::Context;
use super::member::Member;
use crate::machine::clock;
use crate::machine::hypercall::domain::console_write;
use crate::process::space::Refusal;

/// The number of the process that runs.
pub(super) static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The answer to a system call, if it has one already.
#[repr(C)]
pub(super) struct Quick {
    value: u64,
    answered: u64,
}

/// Answers a system call that needs nothing but an answer. It runs on the entry stack, where upcalls may interrupt it.
pub(super) extern "C" fn process_quick(_a: u64, _b: u64, _c: u64, number: u64) -> Quick {
    const NOTHING: u64 = Call::Nothing as u64;
    const NUMBER_OF_PROCESS: u64 = Call::Number as u64;
    const CLOCK: u64 = Call::Clock as u64;
    let value = match number {
        NOTHING => 0,
        NUMBER_OF_PROCESS => NUMBER.load(Relaxed),
        CLOCK => return quick_clock(),
        _ => return Quick { value: 0, answered: 0 },
    };
    Quick { value, answered: 1 }
}

/// The time. Apart, so that no other answer keeps anything over the call.
#[inline(never)]
extern "C" fn quick_clock() -> Quick {
    Quick { value: clock::now_ns(), answered: 1 }
}

/// The most text that one call writes.
const TEXT_BYTES: usize = 512;
/// First bit of an address that is not in the lower half.
const LOWER_HALF_BITS: u32 = 47;

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Access => Self::Fault,
            Refusal::Memory => Self::NoMemory,
        }
    }
}

/// What a refused argument is called where it is no pointer.
fn invalid(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Access => Error::Invalid,
        Refusal::Memory => Error::NoMemory,
    }
}

impl Member {
    /// Writes text of the process to the guest's console; the bytes written.
    pub(super) fn write(&mut self, address: u64, bytes: u64) -> Result<u64, Error> {
        let mut text = [0; TEXT_BYTES];
        let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(TEXT_BYTES);
        let text = &mut text[..count];
        self.read(address, text)?;
        // A console that refuses text leaves nobody to tell.
        let _ = console_write(text);
        Ok(count as u64)
    }

    /// Makes the heap longer; its old end.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<u64, Error> {
        self.space.grow(bytes).map_err(invalid)
    }

    /// Makes room for pages of zeros.
    pub(super) fn map(&mut self, pages: u64) -> Result<u64, Error> {
        self.space.map(pages).map_err(invalid)
    }

    /// Changes the base of FS or GS to an address of the lower half.
    pub(super) fn set_base(&mut self, base: u64, set: fn(&mut Context, u64)) -> Result<u64, Error> {
        if base >> LOWER_HALF_BITS != 0 {
            return Err(Error::Invalid);
        }
        set(&mut self.context, base);
        Ok(0)
    }

    /// Gives pages back.
    pub(super) fn unmap(&mut self, address: u64, pages: u64) -> Result<u64, Error> {
        self.space.unmap(address, pages, &mut self.tables).map_err(invalid)?;
        self.tables.commit()?;
        Ok(0)
    }
}
