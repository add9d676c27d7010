//! Grants and event channels between the domains of one process.
//! It keeps the hypervisor's rules, so that a driver which breaks one fails its test.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use drivers_frontend::Access;
use hypercall_abi::grant_table::{CopyGrant, CopySide, GrantStatus, copy_flags};
use hypercall_abi::ring::{FakePage, RingRecord, SharedPage};
use hypercall_abi::{DomId, Errno, GrantRef, Port};

/// A page that a domain lets another use.
#[derive(Debug)]
pub(crate) struct Grant {
    page: FakePage,
    peer: DomId,
    access: Access,
    mappings: u32,
}

#[derive(Clone, Copy, Debug)]
enum Channel {
    Unbound(DomId),
    Bound(DomId, Port),
}

/// What the hypervisor knows.
#[derive(Debug, Default)]
pub struct State {
    grants: BTreeMap<(DomId, GrantRef), Grant>,
    channels: BTreeMap<(DomId, Port), Channel>,
    pending: BTreeMap<DomId, BTreeSet<Port>>,
    buffers: BTreeMap<u64, Rc<RefCell<Vec<u8>>>>,
    next_port: u32,
    next_reference: u32,
    next_frame: u64,
    /// Pages that may still be allocated, by all domains together.
    pub pages_left: usize,
    /// Notifications sent, those that found their bit pending included.
    pub raised: u64,
    /// Copies refused.
    pub refused: u64,
    /// Pieces of work that domains were charged for.
    pub charged: BTreeMap<DomId, u64>,
    /// What domains have recorded of their rings, once somebody wants it.
    pub traced: Option<Vec<(DomId, RingRecord)>>,
}

/// The hypervisor; clones are the same one.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<State>>);

/// A split device between two domains, as the directory describes it.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its page.
    pub page: FakePage,
    /// What grants the page to the back end.
    pub reference: GrantRef,
    /// The front end's port for changes of state.
    pub front_port: Port,
    /// The back end's.
    pub back_port: Port,
}

impl Default for World {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(State { pages_left: 1 << 20, ..State::default() })))
    }
}

impl World {
    /// What the hypervisor knows, to look at and to change.
    pub fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Makes a device page and binds its event channel.
    pub fn device(&self, front: DomId, back: DomId) -> Device {
        let mut state = self.state();
        let page = FakePage::default();
        let reference = state.grant(front, &page, back, Access::ReadWrite);
        let (front_port, back_port) = (state.port(), state.port());
        state.channels.insert((front, front_port), Channel::Bound(back, back_port));
        state.channels.insert((back, back_port), Channel::Bound(front, front_port));
        Device { page, reference, front_port, back_port }
    }

    /// Breaks a device whose back end has died: its state ports close and its page is granted to nobody.
    pub fn unbind(&self, front: DomId, back: DomId, device: &Device) {
        let mut state = self.state();
        state.close(back, device.back_port);
        state.close(front, device.front_port);
        state.revoke(front, device.reference);
    }

    /// Connects a device to its back end, built again: the same page, other ports.
    #[must_use]
    pub fn bind_again(&self, front: DomId, back: DomId, device: &Device) -> Device {
        let mut state = self.state();
        let reference = state.grant(front, &device.page, back, Access::ReadWrite);
        let (front_port, back_port) = (state.port(), state.port());
        state.channels.insert((front, front_port), Channel::Bound(back, back_port));
        state.channels.insert((back, back_port), Channel::Bound(front, front_port));
        Device { page: device.page.clone(), reference, front_port, back_port }
    }

    /// Takes a record of a ring if somebody wants it.
    pub(crate) fn trace(&self, domain: DomId, record: RingRecord) {
        let mut state = self.state();
        let traced = state.traced.as_mut().expect("nothing is recorded unless somebody wants it");
        traced.push((domain, record));
    }

    /// Takes the ports of a domain that have fired.
    pub fn fired(&self, domain: DomId) -> BTreeSet<Port> {
        self.state().pending.remove(&domain).unwrap_or_default()
    }

    /// Ends a domain: its ports close and its grants end, mapped or not.
    pub fn destroy(&self, domain: DomId) {
        let mut state = self.state();
        state.grants.retain(|(owner, _), _| *owner != domain);
        let closed: Vec<Port> =
            state.channels.keys().filter(|(owner, _)| *owner == domain).map(|(_, port)| *port).collect();
        for port in closed {
            state.close(domain, port);
        }
    }
}

impl State {
    fn port(&mut self) -> Port {
        self.next_port += 1;
        Port(self.next_port)
    }

    /// Grants that a domain has given and not taken back.
    #[must_use]
    pub fn grants_of(&self, domain: DomId) -> usize {
        self.grants.keys().filter(|(owner, _)| *owner == domain).count()
    }

    /// Grants of a domain that somebody has mapped.
    #[must_use]
    pub fn mapped_of(&self, domain: DomId) -> usize {
        self.grants.iter().filter(|((owner, _), grant)| *owner == domain && grant.mappings > 0).count()
    }

    /// Ports that a domain has.
    #[must_use]
    pub fn ports_of(&self, domain: DomId) -> usize {
        self.channels.keys().filter(|(owner, _)| *owner == domain).count()
    }

    pub(crate) fn grant(&mut self, owner: DomId, page: &FakePage, peer: DomId, access: Access) -> GrantRef {
        self.next_reference += 1;
        let reference = GrantRef(self.next_reference);
        let grant = Grant { page: page.clone(), peer, access, mappings: 0 };
        self.grants.insert((owner, reference), grant);
        reference
    }

    pub(crate) fn revoke(&mut self, owner: DomId, reference: GrantRef) -> bool {
        let grant = self.grants.get(&(owner, reference)).expect("only what was granted is revoked");
        let free = grant.mappings == 0;
        if free {
            self.grants.remove(&(owner, reference));
        }
        free
    }

    pub(crate) fn map(
        &mut self,
        by: DomId,
        peer: DomId,
        reference: GrantRef,
    ) -> Result<FakePage, GrantStatus> {
        let grant = self.grants.get_mut(&(peer, reference)).filter(|grant| grant.peer == by);
        let grant = grant.ok_or(GrantStatus::BadGntref)?;
        if grant.access == Access::ReadOnly {
            return Err(GrantStatus::PermissionDenied);
        }
        grant.mappings += 1;
        Ok(grant.page.clone())
    }

    pub(crate) fn unmap(&mut self, page: &FakePage) {
        // The grant may be gone with its domain.
        if let Some(grant) = self.grants.values_mut().find(|grant| grant.page.is(page)) {
            grant.mappings = grant.mappings.checked_sub(1).expect("what is unmapped was mapped");
        }
    }

    /// A page that a domain has granted.
    ///
    /// # Panics
    /// When there is no such grant.
    #[must_use]
    pub fn granted_page(&self, owner: DomId, reference: GrantRef) -> FakePage {
        self.grants.get(&(owner, reference)).expect("it was granted").page.clone()
    }

    /// Undoes all mappings of a domain, as its death does.
    pub fn unmap_all(&mut self, by: DomId) {
        self.grants.values_mut().filter(|grant| grant.peer == by).for_each(|grant| grant.mappings = 0);
    }

    pub(crate) fn alloc_unbound(&mut self, owner: DomId, peer: DomId) -> Port {
        let port = self.port();
        self.channels.insert((owner, port), Channel::Unbound(peer));
        port
    }

    pub(crate) fn bind(&mut self, by: DomId, peer: DomId, remote: Port) -> Result<Port, Errno> {
        match self.channels.get(&(peer, remote)) {
            Some(Channel::Unbound(allowed)) if *allowed == by => {}
            _ => return Err(Errno::Inval),
        }
        let port = self.port();
        self.channels.insert((by, port), Channel::Bound(peer, remote));
        self.channels.insert((peer, remote), Channel::Bound(by, port));
        // As Xen does: a fresh binding is signalled once, so that nothing sent before it is missed.
        self.pending.entry(by).or_default().insert(port);
        Ok(port)
    }

    pub(crate) fn close(&mut self, owner: DomId, port: Port) {
        match self.channels.remove(&(owner, port)).expect("only open ports are closed") {
            Channel::Bound(peer, remote) => {
                self.channels.insert((peer, remote), Channel::Unbound(owner));
            }
            Channel::Unbound(_) => {}
        }
        if let Some(ports) = self.pending.get_mut(&owner) {
            ports.remove(&port);
        }
    }

    pub(crate) fn notify(&mut self, owner: DomId, port: Port) {
        self.raised += 1;
        if let Some(Channel::Bound(peer, remote)) = self.channels.get(&(owner, port)) {
            self.pending.entry(*peer).or_default().insert(*remote);
        }
    }

    pub(crate) fn buffer(&mut self) -> (u64, Rc<RefCell<Vec<u8>>>) {
        self.next_frame += 1;
        let bytes = Rc::new(RefCell::new(vec![0; hypercall_abi::PAGE_SIZE]));
        self.buffers.insert(self.next_frame, Rc::clone(&bytes));
        (self.next_frame, bytes)
    }

    /// One grant copy, judged as the hypervisor judges it.
    pub(crate) fn copy(&mut self, by: DomId, copy: &CopyGrant) -> GrantStatus {
        let status = self.try_copy(by, copy).err().unwrap_or(GrantStatus::Okay);
        self.refused += u64::from(status != GrantStatus::Okay);
        status
    }

    fn try_copy(&self, by: DomId, copy: &CopyGrant) -> Result<(), GrantStatus> {
        let len = usize::from(copy.len);
        let mut bytes = vec![0; len];
        let fits = |side: &CopySide| usize::from(side.offset) + len <= hypercall_abi::PAGE_SIZE;
        if !fits(&copy.source) || !fits(&copy.dest) {
            return Err(GrantStatus::BadCopyArg);
        }
        if copy.flags & copy_flags::SOURCE_GREF != 0 {
            let grant = self.granted(by, &copy.source, Access::ReadOnly)?;
            grant.copy_out(usize::from(copy.source.offset), &mut bytes);
        } else {
            let buffer = self.buffers.get(&copy.source.frame_or_ref).ok_or(GrantStatus::BadPage)?.borrow();
            bytes.copy_from_slice(&buffer[usize::from(copy.source.offset)..][..len]);
        }
        if copy.flags & copy_flags::DEST_GREF != 0 {
            let grant = self.granted(by, &copy.dest, Access::ReadWrite)?;
            grant.copy_in(usize::from(copy.dest.offset), &bytes);
        } else {
            let buffer = self.buffers.get(&copy.dest.frame_or_ref).ok_or(GrantStatus::BadPage)?;
            buffer.borrow_mut()[usize::from(copy.dest.offset)..][..len].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn granted(&self, by: DomId, side: &CopySide, access: Access) -> Result<&FakePage, GrantStatus> {
        let reference = u32::try_from(side.frame_or_ref).map_err(|_| GrantStatus::BadGntref)?;
        let grant =
            self.grants.get(&(DomId(side.domid), GrantRef(reference))).ok_or(GrantStatus::BadGntref)?;
        if grant.peer != by {
            return Err(GrantStatus::BadGntref);
        }
        if access == Access::ReadWrite && grant.access == Access::ReadOnly {
            return Err(GrantStatus::PermissionDenied);
        }
        Ok(&grant.page)
    }
}
