//! World and hardware behind one lock.
//! There is one, because on one processor more would buy nothing; per-CPU memory stays outside it.

use hypervisor_core::world::World;
use spin::{Mutex, MutexGuard, Once};

use crate::hardware::Hardware;

/// All that changes after boot.
pub(crate) struct System {
    /// What the core knows.
    pub(crate) world: World,
    /// What it acts on.
    pub(crate) hardware: Hardware,
}

static SYSTEM: Once<Mutex<System>> = Once::new();

/// Puts the system in its place, once.
pub(crate) fn install(system: System) {
    SYSTEM.call_once(|| Mutex::new(system));
}

/// Waits for the system.
///
/// # Panics
/// Before [`install`].
#[inline]
pub(crate) fn lock() -> MutexGuard<'static, System> {
    SYSTEM.get().expect("the system is installed before the first guest runs").lock()
}
