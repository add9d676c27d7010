//! World and hardware behind one lock.
//! There is one, because on one processor more would buy nothing; per-CPU memory stays outside it.

use spin::{Mutex, MutexGuard};

use crate::account;
use crate::record::{Hands, Mind};

/// All that changes after boot. The larger part is last, whose own last part is seldom looked at.
#[repr(C)]
pub(crate) struct System {
    /// What the core acts on.
    pub(crate) hardware: Hands,
    /// What the core knows.
    pub(crate) world: Mind,
}

/// Nothing until boot has built it.
static SYSTEM: Mutex<Option<System>> = Mutex::new(None);

/// The system, held.
pub(crate) struct Guard(MutexGuard<'static, Option<System>>);

/// Puts the system in its place.
pub(crate) fn install(system: System) {
    *SYSTEM.lock() = Some(system);
}

/// The system, if nobody has it.
#[inline(always)]
pub(crate) fn try_lock() -> Option<Guard> {
    SYSTEM.try_lock().map(Guard::new)
}

/// Waits for the system.
#[inline]
pub(crate) fn lock() -> Guard {
    match try_lock() {
        Some(guard) => guard,
        None => wait(),
    }
}

#[cold]
#[inline(never)]
fn wait() -> Guard {
    Guard::new(SYSTEM.lock())
}

impl Guard {
    #[inline(always)]
    fn new(mut system: MutexGuard<'static, Option<System>>) -> Self {
        if account::IS_ON
            && let Some(system) = system.as_mut()
        {
            system.hardware.account.enter();
        }
        Self(system)
    }

    /// What it guards.
    #[inline]
    pub(crate) fn system(&mut self) -> &mut System {
        // SAFETY: only entries from guests and the end of the boot come here, and there is no guest before `install`.
        unsafe { self.0.as_mut().unwrap_unchecked() }
    }
}

impl Drop for Guard {
    #[inline(always)]
    fn drop(&mut self) {
        if account::IS_ON
            && let Some(system) = self.0.as_mut()
        {
            system.hardware.account.leave();
        }
    }
}
