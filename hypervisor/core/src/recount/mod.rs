//! The recount: every reference and every use of every frame, computed anew from what holds them.
//! It exists because the counts are what keeps guests apart; a count that is wrong by one is a hole, and is found here.
//!
//! What holds a reference: the owner, a pin, the sharing with the hypervisor, the release queue, an entry of a table, a
//! root in use, a mapped grant. Frames are recounted a window at a time, so that the audit needs little memory.

mod grants;
mod tally;

use alloc::format;
use alloc::string::String;

use hypercall_abi::{DomId, Mfn};

use crate::domains::Domains;
use crate::frames::{FrameTable, FrameType, Level};
use crate::guest_access::{self, Access};
use crate::memory::MachineMemory;
use tally::Tally;

/// What was found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// Frames that are recounted at once when nothing else is said.
pub const WINDOW: usize = 1 << 16;

/// What a death must leave behind: no frame of the dead, and no frame lost between the owned and the free. It looks at
/// each frame but at no table, so that it can follow every death.
///
/// # Errors
/// The first disagreement.
pub fn after_death(frames: &FrameTable, dead: DomId) -> Result<(), Violation> {
    frames.check_free_lists().map_err(|what| Violation(what.into()))?;
    match frames.first_of(dead) {
        Some(mfn) => Err(Violation(format!("{mfn} still belongs to {dead}, which is gone"))),
        None => Ok(()),
    }
}

/// Compares all counts with what holds them, `window` frames at a time.
///
/// # Errors
/// The first disagreement, or that there is no memory for a window.
pub fn recount<M: MachineMemory>(
    frames: &FrameTable,
    memory: &M,
    domains: &Domains,
    window: usize,
) -> Result<(), Violation> {
    frames.check_free_lists().map_err(|what| Violation(what.into()))?;
    grants::check(domains)?;
    check_remembered(frames, memory, domains)?;
    let step = u64::try_from(window.max(1)).unwrap_or(u64::MAX);
    let mut first = 0;
    while first < frames.limit().0 {
        let mut tally = Tally::new(frames, Mfn(first), window)?;
        tally.count_flags();
        // What an entry may say does not depend on the window, so it is judged once.
        tally.count_tables(memory, domains, first == 0)?;
        tally.count_holders(domains);
        tally.compare()?;
        first = first.saturating_add(step);
    }
    Ok(())
}

/// Compares what each domain remembers of its addresses with its tables.
fn check_remembered<M: MachineMemory>(
    frames: &FrameTable,
    memory: &M,
    domains: &Domains,
) -> Result<(), Violation> {
    for domain in domains.iter() {
        for (root, page, at) in domain.address_space.remembered().get() {
            let is_root = frames.owner(root) == Some(domain.id)
                && frames.frame_type(root) == FrameType::Table(Level::L4);
            let found = guest_access::translate(memory, frames, root, page, Access::Write);
            if !is_root || found != Ok(at) {
                return Err(Violation(format!(
                    "{}: remembers {page:#x} at {at:?} under {root}, where there is {found:?}",
                    domain.id
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hypercall_abi::mmu::pte;

    use crate::memory::{MachineAddress, MachineMemory};
    use crate::testing::Fixture;

    /// Changes one bit in a hypervisor's slot of a domain's root.
    fn with_slot_bit(bit: u64) -> Fixture<crate::fake::FakeMemory> {
        let mut fixture = Fixture::new(1024);
        let domain = fixture.domain();
        let root = fixture.world.domain(domain).unwrap().vcpu.root();
        let slot = MachineAddress::in_frame(root, 256 << 3);
        let entry = fixture.machine.load(slot);
        fixture.machine.store(slot, entry ^ bit);
        fixture
    }

    #[test]
    fn what_the_processor_marks_as_walked_is_no_violation() {
        with_slot_bit(pte::ACCESSED).check();
    }

    #[test]
    #[should_panic(expected = "the hypervisor's slot 256")]
    fn a_hypervisors_slot_that_changed_is_a_violation() {
        with_slot_bit(pte::USER).check();
    }
}
