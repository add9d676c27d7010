//! The mapping side: handles for what a domain has mapped of others, and their making and undoing.
//! A handle is a small index, and its record says where to give the mapping back when the guest cannot.

use alloc::vec::Vec;

use hypercall_abi::grant_table::{GrantStatus, MapGrantRef, UnmapGrantRef, map_flags};
use hypercall_abi::{DomId, GrantRef, Mfn};

use super::{MAPPINGS_MAX, pte};
use crate::attention::Attention;
use crate::call::Call;
use crate::domain::State;
use crate::domains::Domains;
use crate::effects::Todo;
use crate::frames::FrameTable;
use crate::machine::Machine;
use crate::memory::MachineMemory;
use crate::paging::{Progress, Tables};

/// One mapping of another's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    granter: DomId,
    write: bool,
    contains_pte: bool,
    reference: GrantRef,
    /// A machine frame; an entry of the table can name none that does not fit.
    frame: u32,
}

impl Mapping {
    fn frame(self) -> Mfn {
        Mfn(u64::from(self.frame))
    }
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Taken(Mapping),
    /// Free; the next free slot.
    Free(Option<u32>),
}

const _: () = assert!(size_of::<Slot>() <= 16, "sixteen bytes a mapping");

/// A domain's mappings by handle.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    slots: Vec<Slot>,
    free: Option<u32>,
    count: usize,
}

impl Mappings {
    pub(super) const EMPTY: Self = Self { slots: Vec::new(), free: None, count: 0 };

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity().saturating_mul(size_of::<Slot>())
    }

    fn taken(&self) -> impl Iterator<Item = &Mapping> + '_ {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Taken(mapping) => Some(mapping),
            Slot::Free(_) => None,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DomId, GrantRef, bool)> + '_ {
        self.taken().map(|mapping| (mapping.granter, mapping.reference, mapping.write))
    }

    pub(super) fn maps(&self, frame: Mfn) -> bool {
        self.taken().any(|mapping| mapping.frame() == frame)
    }

    /// Makes sure that one more fits.
    fn reserve(&mut self) -> bool {
        self.free.is_some() || (self.slots.len() < MAPPINGS_MAX && self.slots.try_reserve(1).is_ok())
    }

    fn insert(&mut self, mapping: Mapping) -> u32 {
        self.count = self.count.saturating_add(1);
        if let Some(handle) = self.free
            && let Some(slot) = self.slots.get_mut(usize::try_from(handle).unwrap_or(usize::MAX))
        {
            if let Slot::Free(next) = *slot {
                self.free = next;
            }
            *slot = Slot::Taken(mapping);
            return handle;
        }
        let handle = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot::Taken(mapping));
        handle
    }

    fn get(&self, handle: u32) -> Option<Mapping> {
        match self.slots.get(usize::try_from(handle).ok()?)? {
            Slot::Taken(mapping) => Some(*mapping),
            Slot::Free(_) => None,
        }
    }

    fn remove(&mut self, handle: u32) {
        if let Some(slot) = self.slots.get_mut(usize::try_from(handle).unwrap_or(usize::MAX))
            && matches!(slot, Slot::Taken(_))
        {
            *slot = Slot::Free(self.free);
            self.free = Some(handle);
            self.count = self.count.saturating_sub(1);
        }
    }

    /// Takes the last mapping out; the list shrinks as it goes.
    fn pop(&mut self) -> Option<Mapping> {
        while let Some(slot) = self.slots.pop() {
            if let Slot::Taken(mapping) = slot {
                self.count = self.count.saturating_sub(1);
                return Some(mapping);
            }
        }
        self.free = None;
        self.slots = Vec::new();
        None
    }
}

/// Gives a mapping back to the domain that granted it, which may have ended but is kept until then. True when it has.
fn give_back<M: MachineMemory>(
    domains: &mut Domains,
    frames: &mut FrameTable,
    memory: &mut M,
    mapping: Mapping,
) -> bool {
    let Some(granter) = domains.get_mut(mapping.granter) else { return false };
    granter.grants.release(memory, frames, mapping.reference, mapping.write);
    granter.state != State::Running
}

/// Releases what a domain that has ended still maps, at most `budget` mappings.
pub fn release_mappings<M: MachineMemory>(
    domains: &mut Domains,
    frames: &mut FrameTable,
    memory: &mut M,
    ended: DomId,
    budget: usize,
) -> Progress {
    for _ in 0..budget {
        let Some(domain) = domains.get_mut(ended) else { return Progress::Done };
        match domain.grants.mappings.pop() {
            // Whose death this is looks after other dead ones too, when it is done.
            Some(mapping) => {
                let _ended = give_back(domains, frames, memory, mapping);
            }
            None => return Progress::Done,
        }
    }
    Progress::More
}

/// Maps one grant for the caller. Returns handle and machine frame.
pub(super) fn map<M: Machine>(
    call: &mut Call<'_, M>,
    request: &MapGrantRef,
) -> Result<(u32, Mfn), GrantStatus> {
    const KNOWN: u32 = map_flags::DEVICE_MAP
        | map_flags::HOST_MAP
        | map_flags::READ_ONLY
        | map_flags::APPLICATION_MAP
        | map_flags::CONTAINS_PTE;
    if request.flags & !KNOWN != 0 || request.flags & map_flags::HOST_MAP == 0 {
        return Err(GrantStatus::GeneralError);
    }
    let caller = call.caller;
    let granter_id = if request.dom == DomId::SELF.0 { caller } else { DomId(request.dom) };
    let write = request.flags & map_flags::READ_ONLY == 0;
    let contains_pte = request.flags & map_flags::CONTAINS_PTE != 0;
    let world = &mut *call.world;
    let mapper = world.domains.get_mut(caller).ok_or(GrantStatus::BadDomain)?;
    if !mapper.grants.mappings.reserve() {
        return Err(GrantStatus::NoDeviceSpace);
    }
    let root = mapper.vcpu.root();
    let owner = mapper.id;
    let at = pte::place(call.memory, &world.frames, owner, root, request.host_addr, contains_pte)?;
    let granter = world.domains.get_mut(granter_id).ok_or(GrantStatus::BadDomain)?;
    let reference = GrantRef(request.reference);
    let frame = granter.grants.acquire(call.memory, &mut world.frames, reference, caller, write)?;
    let mapper = world.domains.get_mut(caller).ok_or(GrantStatus::BadDomain)?;
    let mut tables = Tables::new(&mut world.frames, call.memory, &mut mapper.address_space);
    let installed = pte::install(&mut tables, at, frame, granter_id, write);
    let todo = tables.todo;
    world.effects.todo |= todo;
    let number = u32::try_from(frame.0).unwrap_or(u32::MAX);
    let mapping = Mapping { granter: granter_id, write, contains_pte, reference, frame: number };
    if let Err(status) = installed {
        let _ended = give_back(&mut world.domains, &mut world.frames, call.memory, mapping);
        return Err(status);
    }
    Ok((mapper.grants.mappings.insert(mapping), frame))
}

/// Undoes one mapping of the caller.
pub(super) fn unmap<M: Machine>(call: &mut Call<'_, M>, request: &UnmapGrantRef) -> Result<(), GrantStatus> {
    let world = &mut *call.world;
    let mapper = world.domains.get_mut(call.caller).ok_or(GrantStatus::BadDomain)?;
    let mapping = mapper.grants.mappings.get(request.handle).ok_or(GrantStatus::BadHandle)?;
    let root = mapper.vcpu.root();
    let owner = mapper.id;
    let at = pte::place(call.memory, &world.frames, owner, root, request.host_addr, mapping.contains_pte)?;
    let mut tables = Tables::new(&mut world.frames, call.memory, &mut mapper.address_space);
    pte::remove(&mut tables, at, mapping.frame(), mapping.write)?;
    mapper.grants.mappings.remove(request.handle);
    world.effects.todo |= Todo::FLUSH_TLB;
    if give_back(&mut world.domains, &mut world.frames, call.memory, mapping) {
        // It may have been the last that kept a dead domain, and nothing else may come to look for a long time.
        world.attention |= Attention::LIFE;
    }
    Ok(())
}
