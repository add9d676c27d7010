//! A kernel for tests: grants and ports as plain tables.
//! It lets a test play the back end, and checks that nothing is granted twice or freed while granted.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use hypercall_abi::ring::FakePage;
use hypercall_abi::{DomId, Errno, GrantRef, Port};

use crate::platform::{Access, Platform, StillInUse};

/// A page that was granted.
#[derive(Clone, Debug)]
pub struct FakeGrant {
    /// The page.
    pub page: FakePage,
    /// To whom.
    pub peer: DomId,
    /// For what.
    pub access: Access,
    /// Whether the peer has it mapped.
    pub mapped: bool,
}

/// What a [`FakePlatform`] has given out.
#[derive(Debug, Default)]
pub struct FakeState {
    /// Grants by reference.
    pub grants: Vec<Option<FakeGrant>>,
    /// Open ports.
    pub ports: Vec<Port>,
    /// Notifications sent, in order, not yet taken by the test.
    pub notified: Vec<Port>,
    /// Pages that may still be allocated.
    pub pages_left: usize,
    next_port: u32,
}

/// A kernel for tests; clones share their state.
#[derive(Clone, Debug)]
pub struct FakePlatform {
    /// What it has given out.
    pub state: Rc<RefCell<FakeState>>,
}

impl FakePlatform {
    /// A kernel with so many pages.
    #[must_use]
    pub fn new(pages: usize) -> Self {
        Self {
            state: Rc::new(RefCell::new(FakeState {
                pages_left: pages,
                next_port: 1,
                ..FakeState::default()
            })),
        }
    }

    /// The grant behind a reference.
    #[must_use]
    pub fn grant_at(&self, reference: u32) -> Option<FakeGrant> {
        self.state.borrow().grants.get(reference as usize).cloned().flatten()
    }

    /// Grants that stand.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.state.borrow().grants.iter().flatten().count()
    }

    /// Says whether the peer has a grant mapped.
    pub fn set_mapped(&self, reference: u32, mapped: bool) {
        if let Some(Some(grant)) = self.state.borrow_mut().grants.get_mut(reference as usize) {
            grant.mapped = mapped;
        }
    }
}

impl Platform for FakePlatform {
    type Page = FakePage;

    fn allocate(&mut self) -> Result<FakePage, Errno> {
        let mut state = self.state.borrow_mut();
        state.pages_left = state.pages_left.checked_sub(1).ok_or(Errno::NoMem)?;
        Ok(FakePage::default())
    }

    fn grant(&mut self, page: &FakePage, peer: DomId, access: Access) -> Result<GrantRef, Errno> {
        let mut state = self.state.borrow_mut();
        assert!(!state.grants.iter().flatten().any(|grant| grant.page.is(page)), "a page is granted once");
        let grant = Some(FakeGrant { page: page.clone(), peer, access, mapped: false });
        let at = match state.grants.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                state.grants.push(None);
                state.grants.len() - 1
            }
        };
        state.grants[at] = grant;
        Ok(GrantRef(at as u32))
    }

    fn revoke(&mut self, reference: GrantRef) -> Result<(), StillInUse> {
        let mut state = self.state.borrow_mut();
        let slot = &mut state.grants[reference.0 as usize];
        match slot {
            Some(grant) if grant.mapped => return Err(StillInUse),
            Some(_) => *slot = None,
            None => panic!("{reference} is revoked twice"),
        }
        state.pages_left += 1;
        Ok(())
    }

    fn open_port(&mut self, _peer: DomId) -> Result<Port, Errno> {
        let mut state = self.state.borrow_mut();
        let port = Port(state.next_port);
        state.next_port += 1;
        state.ports.push(port);
        Ok(port)
    }

    fn close_port(&mut self, port: Port) {
        let mut state = self.state.borrow_mut();
        let at = state.ports.iter().position(|open| *open == port).expect("a port is closed once");
        state.ports.swap_remove(at);
    }

    fn notify(&mut self, port: Port) {
        self.state.borrow_mut().notified.push(port);
    }
}
