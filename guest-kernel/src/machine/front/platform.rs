//! What a front end needs of this kernel.

use drivers_frontend::{Access, Platform, StillInUse};
use hypercall_abi::ring::RingTold;
use hypercall_abi::shared_info::TRACE_RING;
use hypercall_abi::{DomId, Errno, GrantRef, Port};

use crate::machine::hypercall::event;
use crate::machine::memory::Page;
use crate::machine::{grants, ports, trace};

/// This kernel, as drivers see it.
#[derive(Debug)]
pub struct Kernel;

impl Platform for Kernel {
    type Page = Page;

    fn allocate(&mut self) -> Result<Page, Errno> {
        Page::new().ok_or(Errno::NoMem)
    }

    fn grant(&mut self, page: &Page, peer: DomId, access: Access) -> Result<GrantRef, Errno> {
        grants::allow(peer, page.machine_frame(), access == Access::ReadOnly)
    }

    fn revoke(&mut self, reference: GrantRef) -> Result<(), StillInUse> {
        grants::end(reference).map_err(|_| StillInUse)
    }

    fn open_port(&mut self, peer: DomId) -> Result<Port, Errno> {
        ports::EventPort::unbound(peer).map(ports::EventPort::release)
    }

    fn close_port(&mut self, port: Port) {
        // Dropping it closes it.
        drop(ports::EventPort::adopt(port));
    }

    fn notify(&mut self, port: Port) {
        // A peer that is gone needs no notice.
        let _ = event::send(port);
    }

    fn traces_rings(&self) -> bool {
        trace::wants(TRACE_RING)
    }

    #[inline(always)]
    fn trace_ring(&mut self, told: RingTold) {
        trace::ring(told);
    }
}
