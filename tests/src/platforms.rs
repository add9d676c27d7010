//! The drivers' platform traits over a [`World`], for front ends and back ends.
//! They only pass on: every rule is the world's.

use std::cell::RefCell;
use std::rc::Rc;

use drivers_backend::Buffer;
use drivers_frontend::{Access, StillInUse};
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus};
use hypercall_abi::ring::{FakePage, RingTold};
use hypercall_abi::{DomId, Errno, GrantRef, Port};

use crate::{FicklePage, World};

/// The kernel of a guest.
#[derive(Clone, Debug)]
pub struct FrontPlatform {
    /// Its hypervisor.
    pub world: World,
    /// Its domain.
    pub domain: DomId,
}

/// The kernel of a driver domain.
#[derive(Clone, Debug)]
pub struct BackPlatform {
    /// Its hypervisor.
    pub world: World,
    /// Its domain.
    pub domain: DomId,
    /// A front end whose pages are rewritten before each read, and the seed of who does it.
    pub fickle: Option<(DomId, u64)>,
}

/// A page of the driver domain's own memory.
#[derive(Debug)]
pub struct PacketPage {
    frame: u64,
    bytes: Rc<RefCell<Vec<u8>>>,
}

impl drivers_frontend::Platform for FrontPlatform {
    type Page = FakePage;

    fn allocate(&mut self) -> Result<FakePage, Errno> {
        let mut state = self.world.state();
        state.pages_left = state.pages_left.checked_sub(1).ok_or(Errno::NoMem)?;
        Ok(FakePage::default())
    }

    fn grant(&mut self, page: &FakePage, peer: DomId, access: Access) -> Result<GrantRef, Errno> {
        Ok(self.world.state().grant(self.domain, page, peer, access))
    }

    fn revoke(&mut self, reference: GrantRef) -> Result<(), StillInUse> {
        if self.world.state().revoke(self.domain, reference) { Ok(()) } else { Err(StillInUse) }
    }

    fn open_port(&mut self, peer: DomId) -> Result<Port, Errno> {
        Ok(self.world.state().alloc_unbound(self.domain, peer))
    }

    fn close_port(&mut self, port: Port) {
        self.world.state().close(self.domain, port);
    }

    fn notify(&mut self, port: Port) {
        self.world.state().notify(self.domain, port);
    }

    fn traces_rings(&self) -> bool {
        self.world.state().traced.is_some()
    }

    fn trace_ring(&mut self, told: RingTold) {
        told.records().for_each(|record| self.world.trace(self.domain, record));
    }
}

impl drivers_backend::Platform for BackPlatform {
    type Page = FicklePage;
    type Buffer = PacketPage;

    fn map(&mut self, peer: DomId, reference: GrantRef) -> Result<FicklePage, GrantStatus> {
        let page = self.world.state().map(self.domain, peer, reference)?;
        let fickle = self.fickle.filter(|(domain, _)| *domain == peer);
        Ok(FicklePage::new(page, fickle.map(|(_, seed)| seed ^ u64::from(reference.0))))
    }

    fn unmap(&mut self, page: FicklePage) {
        self.world.state().unmap(page.inner());
    }

    fn bind_port(&mut self, peer: DomId, remote: Port) -> Result<Port, Errno> {
        self.world.state().bind(self.domain, peer, remote)
    }

    fn close_port(&mut self, port: Port) {
        self.world.state().close(self.domain, port);
    }

    fn notify(&mut self, port: Port) {
        self.world.state().notify(self.domain, port);
    }

    fn traces_rings(&self) -> bool {
        self.world.state().traced.is_some()
    }

    fn trace_ring(&mut self, told: RingTold) {
        told.records().for_each(|record| self.world.trace(self.domain, record));
    }

    fn charge(&mut self, peer: DomId, part: u32, of: u32) {
        *self.world.state().charged.entry(peer).or_default() += u64::from(part);
        assert!(part <= of, "{peer:?} is charged {part} of {of}");
    }

    fn copy(&mut self, batch: &mut [CopyGrant]) {
        for copy in batch {
            copy.status = self.world.state().copy(self.domain, copy).raw();
        }
    }

    fn allocate(&mut self) -> Result<PacketPage, Errno> {
        let (frame, bytes) = self.world.state().buffer();
        Ok(PacketPage { frame, bytes })
    }
}

impl Buffer for PacketPage {
    fn side(&self) -> CopySide {
        CopySide { frame_or_ref: self.frame, domid: DomId::SELF.0, offset: 0, pad: 0 }
    }

    fn read<R>(&self, reader: impl FnOnce(&[u8]) -> R) -> R {
        reader(&self.bytes.borrow())
    }

    fn write<R>(&mut self, writer: impl FnOnce(&mut [u8]) -> R) -> R {
        writer(&mut self.bytes.borrow_mut())
    }
}
