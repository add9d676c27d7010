//! What the back end needs of the guest kernel: grants mapped and copied, ports bound, pages for packets.
//! One set of ports wakes the one task that serves them all.

use drivers_backend::{Buffer, Platform};
use guest_kernel::hypercall::{event, extension, grant};
use guest_kernel::memory::Page;
use guest_kernel::ports::{EventPort, PortSet};
use guest_kernel::shared_page::Mapped;
use guest_kernel::trace;
use guest_kernel::window::Range;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, MapGrantRef, UnmapGrantRef, map_flags};
use hypercall_abi::ring::RingTold;
use hypercall_abi::shared_info::TRACE_RING;
use hypercall_abi::{DomId, Errno, GrantRef, PAGE_SIZE, Port, pass_on_page};

/// All ports of this domain.
pub static PORTS: PortSet = PortSet::new();

/// Has the events of a port that the hypervisor bound for us come to [`PORTS`].
pub fn serve(port: Port) {
    let port = EventPort::adopt(port);
    port.join(&PORTS);
    // It stays open for as long as the hypervisor keeps it.
    let _ = port.release();
}

/// This kernel, as the back end sees it.
#[derive(Debug)]
pub struct Kernel;

/// A page of a front end's, mapped.
#[derive(Debug)]
pub struct GrantedPage {
    range: Range,
    page: Mapped,
    handle: u32,
    /// Where the page is for devices.
    machine: u64,
}

impl GrantedPage {
    /// Its machine address.
    pub(crate) const fn machine_address(&self) -> u64 {
        self.machine
    }
}

impl Platform for Kernel {
    type Page = GrantedPage;
    type Buffer = PacketPage;

    fn map(&mut self, peer: DomId, reference: GrantRef) -> Result<GrantedPage, GrantStatus> {
        let range = Range::new(1).map_err(|_| GrantStatus::NoDeviceSpace)?;
        let mut request = MapGrantRef {
            host_addr: range.address(),
            flags: map_flags::HOST_MAP,
            reference: reference.0,
            dom: peer.0,
            status: GrantStatus::GeneralError.raw(),
            handle: 0,
            dev_bus_addr: 0,
        };
        // SAFETY: the address is reserved by the range and nothing is mapped there.
        let called = unsafe { grant::map(core::slice::from_mut(&mut request)) };
        match GrantStatus::from_raw(request.status) {
            Some(GrantStatus::Okay) if called.is_ok() => {}
            status => return Err(status.filter(|_| called.is_ok()).unwrap_or(GrantStatus::GeneralError)),
        }
        // SAFETY: mapped just now, for as long as the range is kept, and Rust owns nothing in it.
        let page = unsafe { Mapped::new(range.address()) };
        Ok(GrantedPage { range, page, handle: request.handle, machine: request.dev_bus_addr })
    }

    fn unmap(&mut self, page: GrantedPage) {
        let mut request = UnmapGrantRef {
            host_addr: page.range.address(),
            dev_bus_addr: 0,
            handle: page.handle,
            status: GrantStatus::GeneralError.raw(),
            pad: 0,
        };
        // SAFETY: the page was given up by whoever used it.
        let called = unsafe { grant::unmap(core::slice::from_mut(&mut request)) };
        if called.is_err() || request.status != GrantStatus::Okay.raw() {
            log::warn!(
                "a granted page at {:#x} stays mapped: status {}",
                page.range.address(),
                request.status
            );
            // Its address must not be used for anything else.
            core::mem::forget(page.range);
        }
    }

    fn bind_port(&mut self, peer: DomId, remote: Port) -> Result<Port, Errno> {
        let port = EventPort::connect(peer, remote)?;
        port.join(&PORTS);
        Ok(port.release())
    }

    fn close_port(&mut self, port: Port) {
        // Dropping it closes it.
        drop(EventPort::adopt(port));
    }

    fn notify(&mut self, port: Port) {
        // A peer that is gone needs no notice.
        let _ = event::send(port);
    }

    fn charge(&mut self, peer: DomId, part: u32, of: u32) {
        // A peer that is gone has nothing to pay with, and Xen keeps no such accounts.
        let _ = extension::charge(peer, part, of);
    }

    fn traces_rings(&self) -> bool {
        trace::wants(TRACE_RING)
    }

    #[inline(always)]
    fn trace_ring(&mut self, told: RingTold) {
        trace::ring(told);
    }

    fn copy(&mut self, batch: &mut [CopyGrant]) {
        // SAFETY: destinations of ours are places of the packet pool, to which no reference exists now. Should the call
        // fail as a whole, each status is still the error that it was set to.
        let _ = unsafe { grant::copy(batch) };
    }

    fn allocate(&mut self) -> Result<PacketPage, Errno> {
        Page::new().map(PacketPage).ok_or(Errno::NoMem)
    }
}

pass_on_page!(GrantedPage, granted => &granted.page);

/// A page that data passes through. The hypervisor writes it during a copy, a disk while it holds it as a piece of work;
/// no reference to it exists then.
#[derive(Debug)]
pub struct PacketPage(Page);

impl PacketPage {
    /// Its machine address.
    pub(crate) fn machine_address(&self) -> u64 {
        self.0.machine_frame().address()
    }
}

impl Buffer for PacketPage {
    fn side(&self) -> CopySide {
        CopySide { frame_or_ref: self.0.machine_frame().0, domid: DomId::SELF.0, offset: 0, pad: 0 }
    }

    fn read<R>(&self, reader: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: the page is ours, initialized, and written only through this value or during a copy.
        reader(unsafe { core::slice::from_raw_parts(self.0.as_ptr(), PAGE_SIZE) })
    }

    fn write<R>(&mut self, writer: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: as for `read`, and this value is borrowed mutably.
        writer(unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr(), PAGE_SIZE) })
    }
}
