//! Charging: a driver domain says whom it worked for, and that domain pays with a part of its next turn.
//! Without it a guest that floods its driver domain takes the processor by another's hands, at everybody's cost.
//!
//! Nobody can charge more than the time that it ran itself, nor a domain that it does not serve, and nobody is charged
//! more than a turn at a time ([`crate::scheduler::Scheduler::charge`]).

use hypercall_abi::{DomId, Errno};

use crate::call::Call;
use crate::devices;
use crate::machine::Machine;

/// Charges `part / of` of what the caller ran and has not charged yet to a domain; how many ns.
///
/// # Errors
/// [`Errno::Inval`] for no such part, [`Errno::Perm`] for a domain to which the caller is no back end.
#[inline(never)]
pub(crate) fn charge<M: Machine>(
    call: &mut Call<'_, M>,
    domid: u64,
    part: u64,
    of: u64,
) -> Result<u64, Errno> {
    if part > of || of == 0 {
        return Err(Errno::Inval);
    }
    let served = u16::try_from(domid).map(DomId).map_err(|_| Errno::Perm)?;
    if !devices::serves(call.world, call.caller, served) {
        return Err(Errno::Perm);
    }
    let now = call.memory.now();
    let domain = call.domain_mut()?;
    let [ran, ..] = domain.vcpu.times.spent_at(now);
    let open = u128::from(ran.saturating_sub(domain.charged_ns));
    let share = open.checked_mul(part.into()).and_then(|ns| ns.checked_div(of.into()));
    let share = share.and_then(|ns| u64::try_from(ns).ok()).ok_or(Errno::Inval)?;
    domain.charged_ns = domain.charged_ns.saturating_add(share);
    call.world.scheduler.charge(served, share);
    Ok(share)
}
