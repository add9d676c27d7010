//! The hypervisor's core with domains built from an image, and the drivers' platforms by real hypercalls.
//! Here grants, event channels and the directory are the hypervisor's own; only the processor is missing.

mod image;
mod kernel;
mod page;
mod platforms;
mod system;

pub use kernel::Kernel;
pub use page::CorePage;
pub use platforms::{BackKernel, FrontKernel, PacketPage};
pub use system::{System, VIRT_BASE};
