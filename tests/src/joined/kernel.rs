//! A guest kernel in a few lines: pages, a grant table, events and the directory of one domain, by hypercalls.
//! Arguments go through a page of the domain's own memory, as they do on the real machine.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use hypercall_abi::device::DirectoryEntry;
use hypercall_abi::extension::{DeviceDirectoryInfo, ExtensionOp};
use hypercall_abi::grant_table::{GrantEntry, GrantTableOp, SetupTable, entry_flags};
use hypercall_abi::shared_info::SharedInfo;
use hypercall_abi::{DomId, Errno, GrantRef, Hypercall, Mfn, PAGE_SIZE, Pfn, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{CorePage, System, VIRT_BASE};

/// First reference that is ours to give; those below are the hypervisor's.
const REFERENCES: u32 = 64;

struct State {
    /// Frames from here to the end have been given out; the builder's own are far below.
    top: u64,
    free: Vec<Pfn>,
    references: Vec<u32>,
    next_reference: u32,
    grant_frame: Mfn,
}

/// One domain's kernel; clones are the same one.
#[derive(Clone)]
pub struct Kernel {
    /// Its hypervisor.
    pub system: System,
    /// Its domain.
    pub domain: DomId,
    argument: Pfn,
    state: Rc<RefCell<State>>,
}

impl Kernel {
    /// The kernel of the domain with this name, with its grant table set up.
    ///
    /// # Panics
    /// When the hypervisor refuses what it must accept.
    #[must_use]
    pub fn start(system: &System, name: &str) -> Self {
        let domain = system.domain(name);
        let frames = system.0.borrow().world.domain(domain).expect("it lives").address_space.frames();
        let state = State {
            top: frames - 1,
            free: Vec::new(),
            references: Vec::new(),
            next_reference: REFERENCES,
            grant_frame: Mfn(0),
        };
        let kernel = Self {
            system: system.clone(),
            domain,
            argument: Pfn(frames - 1),
            state: Rc::new(RefCell::new(state)),
        };
        let list = kernel.allocate().expect("there is memory");
        let mut argument = SetupTable {
            dom: DomId::SELF.0,
            pad: 0,
            frames: 1,
            status: -1,
            pad2: [0; 3],
            frame_list: VIRT_BASE + list.0 * PAGE_SIZE as u64,
        };
        kernel
            .grant_table(GrantTableOp::SetupTable, core::slice::from_mut(&mut argument))
            .expect("it is set up");
        assert_eq!(argument.status, 0);
        let mut frame = [0; 8];
        system.read(kernel.mfn(list), 0, &mut frame);
        kernel.state.borrow_mut().grant_frame = Mfn(u64::from_le_bytes(frame));
        kernel
    }

    /// The machine frame of one of ours.
    ///
    /// # Panics
    /// When it is not one of ours.
    #[must_use]
    pub fn mfn(&self, pfn: Pfn) -> Mfn {
        let inner = self.system.0.borrow();
        inner.world.domain(self.domain).expect("it lives").address_space.built_mfn(pfn).expect("it is ours")
    }

    /// One of our frames as a shared page.
    #[must_use]
    pub fn page(&self, pfn: Pfn) -> CorePage {
        CorePage { system: self.system.clone(), mfn: self.mfn(pfn) }
    }

    /// A frame of zeros.
    ///
    /// # Errors
    /// [`Errno::NoMem`].
    pub fn allocate(&self) -> Result<Pfn, Errno> {
        let mut state = self.state.borrow_mut();
        let pfn = match state.free.pop() {
            Some(pfn) => pfn,
            None if state.top > 256 => {
                state.top -= 1;
                Pfn(state.top)
            }
            None => return Err(Errno::NoMem),
        };
        drop(state);
        self.system.write(self.mfn(pfn), 0, &[0; PAGE_SIZE]);
        Ok(pfn)
    }

    /// Gives a frame back.
    pub fn free(&self, pfn: Pfn) {
        self.state.borrow_mut().free.push(pfn);
    }

    /// A hypercall whose argument is a structure in memory.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn call<T>(&self, call: Hypercall, op: u32, argument: &mut [T]) -> Result<u64, Errno>
    where
        T: IntoBytes + FromBytes + Immutable,
    {
        let mfn = self.mfn(self.argument);
        self.system.write(mfn, 0, argument.as_bytes());
        let address = VIRT_BASE + self.argument.0 * PAGE_SIZE as u64;
        let answer =
            self.system.hypercall(self.domain, call.raw(), &[op.into(), address, argument.len() as u64]);
        self.system.read(mfn, 0, argument.as_mut_bytes());
        answer
    }

    /// An operation on grants.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn grant_table<T>(&self, op: GrantTableOp, argument: &mut [T]) -> Result<u64, Errno>
    where
        T: IntoBytes + FromBytes + Immutable,
    {
        self.call(Hypercall::GrantTableOp, op.raw(), argument)
    }

    /// Changes what is mapped at one of our frames' addresses.
    ///
    /// # Errors
    /// As the hypervisor says.
    pub fn map_at(&self, pfn: Pfn, entry: u64) -> Result<u64, Errno> {
        let address = VIRT_BASE + pfn.0 * PAGE_SIZE as u64;
        self.system.hypercall(self.domain, Hypercall::UpdateVaMapping.raw(), &[address, entry, 2])
    }

    /// Lets `peer` use a frame.
    pub fn grant(&self, pfn: Pfn, peer: DomId, read_only: bool) -> GrantRef {
        let frame = self.mfn(pfn).0 as u32;
        let mut state = self.state.borrow_mut();
        let reference = state.references.pop().unwrap_or_else(|| {
            state.next_reference += 1;
            state.next_reference
        });
        let flags = entry_flags::PERMIT_ACCESS | if read_only { entry_flags::READ_ONLY } else { 0 };
        let entry = GrantEntry { flags, domid: peer.0, frame };
        self.system.write(state.grant_frame, reference as usize * 8, entry.as_bytes());
        GrantRef(reference)
    }

    /// Takes leave back; false while it is in use.
    pub fn revoke(&self, reference: GrantRef) -> bool {
        let mut state = self.state.borrow_mut();
        let mut entry = GrantEntry::zeroed();
        self.system.read(state.grant_frame, reference.0 as usize * 8, entry.as_mut_bytes());
        if entry.flags & (entry_flags::READING | entry_flags::WRITING) != 0 {
            return false;
        }
        self.system.write(state.grant_frame, reference.0 as usize * 8, GrantEntry::zeroed().as_bytes());
        state.references.push(reference.0);
        true
    }

    /// Takes the ports that have fired.
    ///
    /// # Panics
    /// When the domain is dead.
    pub fn fired(&self) -> BTreeSet<Port> {
        let shared = self.system.0.borrow().world.domain(self.domain).expect("it lives").shared_info;
        let mut ports = BTreeSet::new();
        for word in 0..64_usize {
            let at = core::mem::offset_of!(SharedInfo, evtchn_pending) + word * 8;
            let mut bits = [0; 8];
            self.system.read(shared, at, &mut bits);
            self.system.write(shared, at, &[0; 8]);
            let bits = u64::from_le_bytes(bits);
            ports.extend((0..64).filter(|bit| bits >> bit & 1 != 0).map(|bit| Port(word as u32 * 64 + bit)));
        }
        ports
    }

    /// The device directory.
    ///
    /// # Panics
    /// When the hypervisor does not say where it is.
    #[must_use]
    pub fn directory(&self) -> Vec<DirectoryEntry> {
        let mut info = DeviceDirectoryInfo::zeroed();
        self.call(Hypercall::Extension, ExtensionOp::Devices.raw(), core::slice::from_mut(&mut info))
            .expect("the directory has a place");
        let per_page = PAGE_SIZE / size_of::<DirectoryEntry>();
        (0..info.entries as usize)
            .map(|at| {
                let mut entry = DirectoryEntry::zeroed();
                let mfn = self.mfn(Pfn(info.first_pfn + (at / per_page) as u64));
                self.system.read(mfn, at % per_page * size_of::<DirectoryEntry>(), entry.as_mut_bytes());
                entry
            })
            .collect()
    }
}
