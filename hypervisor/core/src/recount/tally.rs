//! Expected counts of a window of frames, gathered from all that can hold a frame.
//! It also judges each present entry by the rules that updates are judged by, from the other end.

use alloc::format;
use alloc::vec::Vec;

use hypercall_abi::mmu::pte;
use hypercall_abi::{DomId, Mfn, layout};

use super::Violation;
use crate::domains::Domains;
use crate::frames::{DEMOTING, FrameTable, FrameType, HELD, Level, PINNED, SHARED, State};
use crate::memory::{MachineAddress, MachineMemory};
use crate::paging::ENTRIES;
use crate::ring::Ring;

/// References and uses that a frame should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Expected {
    refs: u32,
    uses: u32,
}

pub(super) struct Tally<'a> {
    frames: &'a FrameTable,
    first: u64,
    expected: Vec<Expected>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(frames: &'a FrameTable, first: Mfn, window: usize) -> Result<Self, Violation> {
        let left = usize::try_from(frames.limit().0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        let count = window.min(left);
        let mut expected = Vec::new();
        expected
            .try_reserve_exact(count)
            .map_err(|_| Violation(format!("no memory to recount {count} frames")))?;
        expected.resize(count, Expected::default());
        Ok(Self { frames, first: first.0, expected })
    }

    fn add(&mut self, mfn: Mfn, refs: u32, uses: u32) {
        let index = mfn.0.checked_sub(self.first).and_then(|offset| usize::try_from(offset).ok());
        if let Some(expected) = index.and_then(|index| self.expected.get_mut(index)) {
            expected.refs = expected.refs.saturating_add(refs);
            expected.uses = expected.uses.saturating_add(uses);
        }
    }

    /// The frames of the window.
    fn window(&self) -> impl Iterator<Item = Mfn> + use<> {
        (self.first..).take(self.expected.len()).map(Mfn)
    }

    /// What flags of the frames themselves hold.
    pub(super) fn count_flags(&mut self) {
        for mfn in self.window() {
            for (flag, uses) in [(HELD, 0), (PINNED, 1), (SHARED, 1), (DEMOTING, 0)] {
                if self.frames.has_flag(mfn, flag) {
                    self.add(mfn, 1, uses);
                }
            }
            // What it is an image's for holds it as that.
            if self.frames.frame_type(mfn) == FrameType::Image {
                self.add(mfn, 0, 1);
            }
        }
    }

    /// What entries of tables hold.
    pub(super) fn count_tables<M: MachineMemory>(
        &mut self,
        memory: &M,
        domains: &Domains,
        judge: bool,
    ) -> Result<(), Violation> {
        for table in (0..self.frames.limit().0).map(Mfn) {
            let Some(owner) = self.frames.owner(table) else { continue };
            let in_use = self.frames.uses(table) > 0;
            let FrameType::Table(level) = self.frames.last_type(table) else { continue };
            if !in_use && !self.frames.has_flag(table, DEMOTING) {
                continue;
            }
            let released = domains
                .get(owner)
                .and_then(|domain| domain.address_space.release_progress())
                .filter(|(first, _)| *first == table)
                .map_or(0, |(_, released)| released);
            for index in released..ENTRIES {
                let entry = memory.load(MachineAddress::in_frame(table, index << 3));
                if is_hypervisors(level, index) {
                    // The processor marks what it has walked.
                    let ring = domains.get(owner).map_or(Ring::Three, |domain| domain.address_space.ring());
                    let same = (entry ^ self.hypervisor_slot(index, ring)) & !pte::ACCESSED == 0;
                    if judge && in_use && !same {
                        return Err(Violation(format!(
                            "{table}: the hypervisor's slot {index} is {entry:#x}"
                        )));
                    }
                    continue;
                }
                if entry & pte::PRESENT != 0 {
                    if judge {
                        self.judge(domains, owner, table, level, entry)?;
                    }
                    self.count_entry(level, entry);
                }
            }
        }
        Ok(())
    }

    fn hypervisor_slot(&self, index: u64, ring: Ring) -> u64 {
        usize::try_from(index)
            .ok()
            .and_then(|index| index.checked_sub(layout::HYPERVISOR_SLOT_FIRST))
            .and_then(|slot| self.frames.maps().slots(ring).get(slot).copied())
            .unwrap_or(0)
    }

    fn count_entry(&mut self, level: Level, entry: u64) {
        let mfn = Mfn::containing(entry & pte::ADDRESS);
        if self.frames.state(mfn) == State::Absent {
            return;
        }
        let uses = u32::from(level != Level::L1 || entry & pte::WRITABLE != 0);
        self.add(mfn, 1, uses);
    }

    /// Whether an entry may stand where it stands.
    fn judge(
        &self,
        domains: &Domains,
        owner: DomId,
        table: Mfn,
        level: Level,
        entry: u64,
    ) -> Result<(), Violation> {
        let mfn = Mfn::containing(entry & pte::ADDRESS);
        let space = domains.get(owner);
        let forced = space.map_or(Ring::Three, |domain| domain.address_space.ring()).forced();
        let wrong = if entry & forced != forced || entry & pte::GLOBAL != 0 {
            Some("is for supervisors in ring 3, or global")
        } else if level != Level::L1 && entry & pte::LARGE != 0 {
            Some("is a large page")
        } else if self.frames.state(mfn) == State::Absent {
            let permitted =
                level == Level::L1 && space.is_some_and(|domain| domain.address_space.permits_device(mfn));
            (!permitted).then_some("maps a device that the domain was not given")
        } else if self.frames.state(mfn) == State::Free {
            Some("refers to a free frame")
        } else if let Some(below) = level.below() {
            let is_table = self.frames.uses(mfn) > 0
                && self.frames.last_type(mfn) == FrameType::Table(below)
                && self.frames.owner(mfn) == Some(owner);
            (!is_table)
                .then_some("refers to something that is no table of the level below and of the same domain")
        } else if entry & pte::WRITABLE != 0 && self.frames.frame_type(mfn) != FrameType::Writable {
            Some("maps a frame for writing that is not writable")
        } else if self.frames.owner(mfn) != Some(owner) {
            // Of an image's frame it has been seen above that the entry does not write it.
            let allowed = space.is_some_and(|domain| {
                let space = &domain.address_space;
                space.is_privileged() || domain.grants.maps(mfn) || space.shares(mfn)
            });
            (!allowed).then_some("maps another domain's frame without a grant")
        } else {
            None
        };
        match wrong {
            None => Ok(()),
            Some(why) => Err(Violation(format!("{table} of {owner}, {level:?}: entry {entry:#x} {why}"))),
        }
    }

    /// What domains hold beside their tables.
    pub(super) fn count_holders(&mut self, domains: &Domains) {
        for domain in domains.iter() {
            let kernel_root = (domain.vcpu.kernel_root != Mfn(0)).then_some(domain.vcpu.kernel_root);
            for root in [kernel_root, domain.vcpu.user_root].into_iter().flatten() {
                self.add(root, 1, 1);
            }
            for (frame, readers, writers) in domain.grants.mapped() {
                self.add(frame, readers.saturating_add(writers), writers);
            }
        }
    }

    /// Compares with the frame table.
    pub(super) fn compare(&self) -> Result<(), Violation> {
        for (mfn, expected) in self.window().zip(&self.expected) {
            let found = Expected { refs: self.frames.references(mfn), uses: self.frames.uses(mfn) };
            if found != *expected {
                let (state, kind) = (self.frames.state(mfn), self.frames.last_type(mfn));
                return Err(Violation(format!(
                    "{mfn} ({state:?}, {kind:?}) has {found:?}, but {expected:?} are held"
                )));
            }
        }
        Ok(())
    }
}

fn is_hypervisors(level: Level, index: u64) -> bool {
    level == Level::L4
        && usize::try_from(index).is_ok_and(|index| {
            (layout::HYPERVISOR_SLOT_FIRST..=layout::HYPERVISOR_SLOT_LAST).contains(&index)
        })
}
