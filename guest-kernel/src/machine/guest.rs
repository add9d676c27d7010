//! What the application is given at its start: its name, command line, and whom it runs on.

use core::fmt;
use core::future::{Future, poll_fn};

use alloc::boxed::Box;
use embassy_executor::Spawner;
use embassy_executor::raw::TaskStorage;

use super::{heap, memory, time_driver};
use crate::command_line::CommandLine;

/// The hypervisor that the domain runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// Denizen, with its extension's version.
    Denizen {
        /// A change breaks guests.
        major: u16,
        /// A change only adds.
        minor: u16,
    },
    /// Xen, with the version of its interface.
    Xen {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
}

impl Hypervisor {
    /// Asks the hypervisor who it is.
    pub(super) fn detect() -> Self {
        let split = |version: u64| ((version >> 16) as u16, version as u16);
        match super::hypercall::extension::version() {
            Ok(version) => {
                let (major, minor) = split(version);
                Self::Denizen { major, minor }
            }
            Err(_) => {
                let (major, minor) = split(super::hypercall::domain::version());
                Self::Xen { major, minor }
            }
        }
    }

    /// Whether Denizen's extension is there.
    #[must_use]
    pub const fn is_denizen(self) -> bool {
        matches!(self, Self::Denizen { .. })
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denizen { major, minor } => write!(f, "denizen-{major}.{minor}"),
            Self::Xen { major, minor } => write!(f, "xen-{major}.{minor}"),
        }
    }
}

/// The domain as its application sees it.
#[derive(Clone, Copy)]
pub struct Guest {
    pub(super) image: &'static str,
    pub(super) command_line: CommandLine<'static>,
    pub(super) hypervisor: Hypervisor,
    pub(super) spawner: Spawner,
}

impl Guest {
    /// The name that the command line gives (`name=`), else the image's.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.command_line.get("name").unwrap_or(self.image)
    }

    /// The command line.
    #[must_use]
    pub const fn command_line(&self) -> CommandLine<'static> {
        self.command_line
    }

    /// The hypervisor that the domain runs on.
    #[must_use]
    pub const fn hypervisor(&self) -> Hypervisor {
        self.hypervisor
    }

    /// Bytes of memory that the domain has.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        memory::frames() << hypercall_abi::PAGE_SHIFT
    }

    /// Bytes that were left for the heap at the start.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        heap::bytes()
    }

    /// The ring that we run in, read from the processor.
    #[must_use]
    pub fn cpl(&self) -> u8 {
        (super::trap::code_selector() & 3) as u8
    }

    /// The executor's spawner, for tasks made by its own macros.
    #[must_use]
    pub const fn spawner(&self) -> Spawner {
        self.spawner
    }

    /// Runs a future as a task of its own. Its memory is kept for the domain's life, so this is for tasks that
    /// last; short work belongs into the task that needs it.
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, task: F) {
        let mut task = Box::pin(task);
        let with_its_own_timers = poll_fn(move |context| {
            time_driver::forget(context.waker());
            task.as_mut().poll(context)
        });
        let storage: &'static TaskStorage<_> = Box::leak(Box::new(TaskStorage::new()));
        let token = storage.spawn(|| with_its_own_timers).expect("fresh storage has no task");
        self.spawner.spawn(token);
    }
}
