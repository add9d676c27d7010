//! From the boot loader to a running system.
//! It exists to turn what two boot protocols say into one [`information::Information`] before anything else looks at
//! the machine, and to build the [`System`] from it in one readable order.

mod archive;
mod bytes;
mod information;
mod memory_map;
mod multiboot2;
#[cfg(target_os = "none")]
mod plan;
mod pvh;
#[cfg(target_os = "none")]
mod sequence;
#[cfg(target_os = "none")]
mod start;

#[cfg(target_os = "none")]
pub(crate) use sequence::enter;
