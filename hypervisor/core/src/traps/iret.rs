//! The hypercall by which a guest's kernel returns from a handler, to itself or to user mode.
//! It loads what `iretq` cannot: the upcall mask, and the root of user mode.

use hypercall_abi::trap::{IRET_IN_SYSCALL, IretContext};
use hypercall_abi::{Errno, layout};

use crate::attention::Attention;
use crate::call::Call;
use crate::effects::Todo;
use crate::life;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::{Registers, rflags};

/// `iret()`: its frame lies on the stack. A frame that cannot be returned to ends the domain.
pub(crate) fn iret<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) {
    if leave(call, regs).is_err() {
        let end = life::End::BadReturn { rip: regs.rip, rsp: regs.rsp };
        life::end(call.world, call.memory, call.caller, end);
    }
}

fn leave<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) -> Result<(), Errno> {
    let frame: IretContext = call.read(regs.rsp)?;
    if !layout::is_guest(frame.rip) {
        return Err(Errno::Fault);
    }
    let to_user = frame.cs & 3 == 3;
    let domain = call.world.domain_mut(call.caller)?;
    if to_user {
        domain.vcpu.user_root.ok_or(Errno::Fault)?;
        domain.vcpu.user_mode = true;
    }
    let at = MachineAddress::in_frame(domain.shared_info, 0);
    if to_user {
        call.world.attention |= Attention::USER;
        call.world.effects.todo |= Todo::LOAD_ROOT | Todo::SEGMENTS;
    }
    call.memory.fetch_and(at, !0xff00);
    if frame.rflags & rflags::INTERRUPT == 0 {
        call.memory.fetch_or(at, 1 << 8);
    }
    // RCX and R11 are the guest's own again, unlike after other hypercalls.
    regs.entry = 0;
    regs.rax = frame.rax;
    regs.rcx = frame.rcx;
    regs.r11 = frame.r11;
    regs.rip = frame.rip;
    regs.rsp = frame.rsp;
    regs.rflags = frame.rflags;
    regs.sanitise();
    if frame.flags & IRET_IN_SYSCALL == 0 {
        // RCX and R11 count, so the way back is not that of a hypercall.
        regs.entry = 0;
    }
    Ok(())
}
