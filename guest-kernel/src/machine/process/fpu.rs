//! The FPU of processes, SSE included: a process gets it when it first uses it after another one did.
//! Those that never do pay nothing: while nobody may use it, a switch between processes does not look at it.
//!
//! The kernel itself is built without it, so that what is in it is always some process's.

extern crate alloc;

use alloc::boxed::Box;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

use crate::machine::hypercall::domain;

/// Registers in the form of FXSAVE.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
struct State([u8; 512]);

impl State {
    /// As after a reset: all exceptions masked, nothing in the registers.
    const fn initial() -> Self {
        let mut bytes = [0; 512];
        (bytes[0], bytes[1], bytes[24], bytes[25]) = (0x7f, 0x03, 0x80, 0x1f);
        Self(bytes)
    }
}

/// Whose registers are in the FPU; null for nobody's.
static USER: AtomicPtr<State> = AtomicPtr::new(core::ptr::null_mut());
/// Whether the process whose turn it is may use it without an exception; it is the user then.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// A process's part in it: its registers while they are not in the FPU, if it ever used it.
#[derive(Debug, Default)]
pub(super) struct Fpu(Option<Box<UnsafeCell<State>>>);

impl Fpu {
    /// The process whose turn it is used the FPU without having it. The exception has allowed its use.
    pub(super) fn hand_over(&mut self) {
        ALLOWED.store(true, Relaxed);
        let own = self.0.get_or_insert_with(|| Box::new(UnsafeCell::new(State::initial()))).get();
        let user = USER.load(Relaxed);
        if user == own {
            return;
        }
        if !user.is_null() {
            // SAFETY: a user is a living process's state, and its registers are in the FPU, whose use is allowed.
            unsafe { save(user) };
        }
        // SAFETY: the area is aligned, of full size, and was written by FXSAVE or is a valid initial state; what was in
        // the FPU is saved or nobody's.
        unsafe { asm!("fxrstor64 [{}]", in(reg) own, options(readonly, nostack)) };
        USER.store(own, Relaxed);
    }

    /// The same registers for a copy of the process whose turn it is.
    pub(super) fn copy(&mut self) -> Self {
        let Some(state) = &self.0 else { return Self(None) };
        let own = state.get();
        if USER.load(Relaxed) == own {
            allow();
            // SAFETY: this process's registers are in the FPU, whose use is allowed.
            unsafe { save(own) };
        }
        // SAFETY: the area is this process's, and nobody writes it now.
        Self(Some(Box::new(UnsafeCell::new(unsafe { (*own).clone() }))))
    }
}

impl Drop for Fpu {
    fn drop(&mut self) {
        if let Some(state) = &self.0
            && USER.load(Relaxed) == state.get()
        {
            USER.store(core::ptr::null_mut(), Relaxed);
        }
    }
}

/// Has the next use of the FPU raise an exception: it is another process's turn.
#[inline]
pub(super) fn withhold() {
    // A refusal, of which there is none, would be tried again at the next switch.
    if ALLOWED.load(Relaxed) && domain::trap_fpu(true).is_ok() {
        ALLOWED.store(false, Relaxed);
    }
}

/// Allows the use of the FPU.
fn allow() {
    if !ALLOWED.load(Relaxed) && domain::trap_fpu(false).is_ok() {
        ALLOWED.store(true, Relaxed);
    }
}

/// Saves what is in the FPU.
///
/// # Safety
/// The area is nobody else's for the moment, and use of the FPU is allowed.
unsafe fn save(area: *mut State) {
    // SAFETY: the area is aligned and of full size; the caller answers for the rest.
    unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
}
