//! What touches the hypervisor, memory or the processor; built for bare metal alone.

#[cfg(feature = "block")]
pub mod block;
pub mod clock;
pub mod console;
pub mod devices;
mod entry;
pub mod executor;
#[cfg(any(feature = "net", feature = "block"))]
mod front;
pub mod grants;
mod guest;
mod heap;
pub mod hypercall;
pub mod memory;
#[cfg(feature = "net")]
pub mod net;
pub mod notes;
mod panic;
pub mod ports;
pub(crate) mod process;
pub mod shared_page;
mod start;
mod time_driver;
pub mod trace;
pub mod trap;
pub mod upcall;
pub mod window;

#[cfg(any(feature = "net", feature = "block"))]
pub use front::Kernel as FrontKernel;
pub use guest::{Guest, Hypervisor};
pub use start::enter;

/// Declares the application: an `async fn(Guest)` that runs as the domain's first task. The domain ends when
/// it returns.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main() -> ! {
            $crate::enter(env!("CARGO_PKG_NAME"), $main)
        }
    };
}

/// Declares in an ELF note which kinds of devices this image has back ends for. A scenario in which a domain of another image
/// is to serve such a device is refused.
#[macro_export]
macro_rules! back_ends {
    ($($kind:ident),+) => {
        #[used]
        #[unsafe(link_section = ".note.Xen")]
        static BACK_ENDS: $crate::notes::BackEnds<{ [$(stringify!($kind)),+].len() }> =
            $crate::notes::BackEnds::new([$($crate::notes::DeviceKind::$kind),+]);
    };
}
