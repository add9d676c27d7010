//! `update_va_mapping`: changing the entry that maps one address.
//! It exists beside `mmu_update` because a guest knows addresses better than where its entries lie.

use hypercall_abi::mmu::{UpdateKind, flush};
use hypercall_abi::{Errno, Hypercall};

use super::{Tables, trace};
use crate::call::Call;
use crate::effects::Todo;
use crate::guest_access;
use crate::machine::Machine;
use crate::memory::MachineAddress;

/// `update_va_mapping(va, entry, flags)`.
///
/// # Errors
/// `Inval`: no level 1 table maps the address, or unknown flags, or an entry that may not be; and as `mmu_update`.
#[inline]
pub fn update_va_mapping<M: Machine>(call: &mut Call<'_, M>, args: [u64; 5]) -> Result<u64, Errno> {
    let [va, value, flags, ..] = args;
    if flags & flush::KIND == flush::KIND {
        return Err(Errno::Inval);
    }
    let caller = call.caller;
    let domain = call.world.domains.get_mut(caller).ok_or(Errno::Srch)?;
    let root = domain.vcpu.root();
    let l1 = guest_access::find_l1(call.memory, root, va).map_err(|_| Errno::Inval)?;
    let at = MachineAddress::in_frame(l1, ((va >> 12) & 0x1ff) << 3);
    let mut tables = Tables::new(&mut call.world.frames, call.memory, &mut domain.address_space);
    tables.update_l1(at, value, UpdateKind::NormalPtUpdate, caller)?;
    let todo = tables.todo;
    call.world.effects.todo |= todo;
    match flags & flush::KIND {
        flush::TLB => call.world.effects.todo |= Todo::FLUSH_TLB,
        flush::INVLPG => call.memory.flush_address(va),
        _ => {}
    }
    trace(call, Hypercall::UpdateVaMapping, 1);
    Ok(0)
}
