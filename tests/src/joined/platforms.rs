//! The drivers' platform traits by hypercalls to the core.
//! The counterpart on the real machine is in the guest kernel and in the driver domain.

use drivers_backend::Buffer;
use drivers_frontend::{Access, StillInUse};
use hypercall_abi::event_channel::{AllocUnbound, BindInterdomain, EventChannelOp, PortArgument};
use hypercall_abi::grant_table::{
    CopyGrant, CopySide, GrantStatus, GrantTableOp, MapGrantRef, UnmapGrantRef, map_flags,
};
use hypercall_abi::mmu::pte;
use hypercall_abi::ring::SharedPage as _;
use hypercall_abi::{DomId, Errno, GrantRef, Hypercall, Mfn, PAGE_SIZE, Pfn, Port, pass_on_page};

use super::{CorePage, Kernel, VIRT_BASE};

/// The kernel under a front end.
#[derive(Clone)]
pub struct FrontKernel(pub Kernel);

/// The kernel under a back end.
#[derive(Clone)]
pub struct BackKernel(pub Kernel);

/// A page of our own, given back when it is dropped.
pub struct OwnPage {
    kernel: Kernel,
    pfn: Pfn,
    page: CorePage,
}

/// A page of a front end's, mapped in place of one of our own.
pub struct GrantedPage {
    page: CorePage,
    /// Whose address it has.
    place: Pfn,
    handle: u32,
}

/// A page that packets pass through.
pub struct PacketPage(OwnPage);

fn own(kernel: &Kernel) -> Result<OwnPage, Errno> {
    let pfn = kernel.allocate()?;
    Ok(OwnPage { kernel: kernel.clone(), pfn, page: kernel.page(pfn) })
}

fn ports(kernel: &Kernel, op: EventChannelOp, port: Port) -> Result<u64, Errno> {
    kernel.call(Hypercall::EventChannelOp, op.raw(), &mut [PortArgument { port: port.0 }])
}

impl Drop for OwnPage {
    fn drop(&mut self) {
        self.kernel.free(self.pfn);
    }
}

impl drivers_frontend::Platform for FrontKernel {
    type Page = OwnPage;

    fn allocate(&mut self) -> Result<OwnPage, Errno> {
        own(&self.0)
    }

    fn grant(&mut self, page: &OwnPage, peer: DomId, access: Access) -> Result<GrantRef, Errno> {
        Ok(self.0.grant(page.pfn, peer, access == Access::ReadOnly))
    }

    fn revoke(&mut self, reference: GrantRef) -> Result<(), StillInUse> {
        if self.0.revoke(reference) { Ok(()) } else { Err(StillInUse) }
    }

    fn open_port(&mut self, peer: DomId) -> Result<Port, Errno> {
        let mut argument = [AllocUnbound { dom: DomId::SELF.0, remote_dom: peer.0, port: 0 }];
        self.0.call(Hypercall::EventChannelOp, EventChannelOp::AllocUnbound.raw(), &mut argument)?;
        Ok(Port(argument[0].port))
    }

    fn close_port(&mut self, port: Port) {
        ports(&self.0, EventChannelOp::Close, port).expect("only open ports are closed");
    }

    fn notify(&mut self, port: Port) {
        // A peer that is gone needs no notice.
        let _ = ports(&self.0, EventChannelOp::Send, port);
    }
}

impl drivers_backend::Platform for BackKernel {
    type Page = GrantedPage;
    type Buffer = PacketPage;

    fn map(&mut self, peer: DomId, reference: GrantRef) -> Result<GrantedPage, GrantStatus> {
        let place = self.0.allocate().map_err(|_| GrantStatus::NoDeviceSpace)?;
        self.0.map_at(place, 0).expect("our own page can be unmapped");
        let mut request = [MapGrantRef {
            host_addr: VIRT_BASE + place.0 * PAGE_SIZE as u64,
            flags: map_flags::HOST_MAP,
            reference: reference.0,
            dom: peer.0,
            status: GrantStatus::GeneralError.raw(),
            handle: 0,
            dev_bus_addr: 0,
        }];
        self.0.grant_table(GrantTableOp::MapGrantRef, &mut request).map_err(|_| GrantStatus::GeneralError)?;
        match GrantStatus::from_raw(request[0].status) {
            Some(GrantStatus::Okay) => {}
            status => {
                self.give_back(place);
                return Err(status.unwrap_or(GrantStatus::GeneralError));
            }
        }
        let page = CorePage { system: self.0.system.clone(), mfn: Mfn::containing(request[0].dev_bus_addr) };
        Ok(GrantedPage { page, place, handle: request[0].handle })
    }

    fn unmap(&mut self, page: GrantedPage) {
        let mut request = [UnmapGrantRef {
            host_addr: VIRT_BASE + page.place.0 * PAGE_SIZE as u64,
            dev_bus_addr: 0,
            handle: page.handle,
            status: GrantStatus::GeneralError.raw(),
            pad: 0,
        }];
        self.0.grant_table(GrantTableOp::UnmapGrantRef, &mut request).expect("the call as a whole works");
        assert_eq!(request[0].status, GrantStatus::Okay.raw(), "what was mapped can be unmapped");
        self.give_back(page.place);
    }

    fn bind_port(&mut self, peer: DomId, remote: Port) -> Result<Port, Errno> {
        let mut argument =
            [BindInterdomain { remote_dom: peer.0, pad: 0, remote_port: remote.0, local_port: 0 }];
        self.0.call(Hypercall::EventChannelOp, EventChannelOp::BindInterdomain.raw(), &mut argument)?;
        Ok(Port(argument[0].local_port))
    }

    fn close_port(&mut self, port: Port) {
        ports(&self.0, EventChannelOp::Close, port).expect("only open ports are closed");
    }

    fn notify(&mut self, port: Port) {
        // A peer that is gone needs no notice.
        let _ = ports(&self.0, EventChannelOp::Send, port);
    }

    fn copy(&mut self, batch: &mut [CopyGrant]) {
        self.0.grant_table(GrantTableOp::Copy, batch).expect("the call as a whole works");
    }

    fn allocate(&mut self) -> Result<PacketPage, Errno> {
        own(&self.0).map(PacketPage)
    }
}

impl BackKernel {
    /// Maps our own page at its place again and frees it.
    fn give_back(&self, place: Pfn) {
        let flags = pte::PRESENT | pte::WRITABLE | pte::USER | pte::ACCESSED | pte::DIRTY;
        self.0.map_at(place, self.0.mfn(place).address() | flags).expect("our own page can be mapped");
        self.0.free(place);
    }
}

impl Buffer for PacketPage {
    fn side(&self) -> CopySide {
        CopySide { frame_or_ref: self.0.page.mfn.0, domid: DomId::SELF.0, offset: 0, pad: 0 }
    }

    fn read<R>(&self, reader: impl FnOnce(&[u8]) -> R) -> R {
        let mut bytes = vec![0; PAGE_SIZE];
        self.0.page.copy_out(0, &mut bytes);
        reader(&bytes)
    }

    fn write<R>(&mut self, writer: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut bytes = vec![0; PAGE_SIZE];
        self.0.page.copy_out(0, &mut bytes);
        let result = writer(&mut bytes);
        self.0.page.copy_in(0, &bytes);
        result
    }
}

pass_on_page!(OwnPage, own => &own.page);
pass_on_page!(GrantedPage, granted => &granted.page);
