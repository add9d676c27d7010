//! The hypercall by which a guest's kernel returns from a handler, to itself or to user mode.
//! It loads what `iretq` cannot: the upcall mask, and the root of user mode.

use hypercall_abi::trap::{IRET_IN_SYSCALL, IretContext};
use hypercall_abi::{Errno, layout};

use crate::attention::Attention;
use crate::call::Call;
use crate::guest_access::{Access, View};
use crate::life;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::{Registers, rflags};
use crate::ring::Ring;
use crate::trace::{Category, Record};
use crate::vcpu::Mode;

/// `iret()`: its frame lies on the stack. A frame that cannot be returned to ends the domain.
#[inline(never)]
pub(crate) fn iret<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) {
    if leave(call, regs).is_err() {
        let end = life::End::BadReturn { rip: regs.rip, rsp: regs.rsp };
        life::end(call.world, call.memory, call.caller, end);
    }
}

/// The frame at an address. Where it lies in one page, as it does nearly always, it goes from memory to registers.
#[inline(always)]
fn frame<M: Machine>(view: &View<'_>, m: &M, va: u64) -> Result<IretContext, Errno> {
    if va & 7 != 0 || va & 0xfff > 0x1000 - 72 {
        return view.read(m, va);
    }
    let at = view.translate(m, va, Access::Read)?;
    let word = |offset| m.load(MachineAddress(at.0.wrapping_add(offset)));
    Ok(IretContext {
        rax: word(0),
        r11: word(8),
        rcx: word(16),
        flags: word(24),
        rip: word(32),
        cs: word(40),
        rflags: word(48),
        rsp: word(56),
        ss: word(64),
    })
}

#[inline]
fn leave<M: Machine>(call: &mut Call<'_, M>, regs: &mut Registers) -> Result<(), Errno> {
    let world = &mut *call.world;
    let domain = world.domains.get_mut(call.caller).ok_or(Errno::Srch)?;
    let frame = frame(&View::of_kernel(domain, &world.frames), call.memory, regs.rsp)?;
    if !layout::is_guest(frame.rip) {
        return Err(Errno::Fault);
    }
    let mut selectors = domain.vcpu.ring.kernel();
    if frame.cs & 3 == 3 {
        selectors = Ring::USER;
        if domain.vcpu.mode != Mode::BySelector {
            domain.vcpu.user_root.ok_or(Errno::Fault)?;
            world.attention |= Attention::USER;
            world.effects.todo |= super::process::change_mode(domain, call.memory, Mode::User);
        }
    }
    if frame.rflags & rflags::INTERRUPT != 0 {
        call.memory.fetch_and(world.shared_page, !0xff00);
    } else {
        call.memory.fetch_or(world.shared_page, 1 << 8);
    }
    (regs.rax, regs.rcx, regs.r11) = (frame.rax, frame.rcx, frame.r11);
    (regs.rip, regs.rsp, regs.rflags) = (frame.rip, frame.rsp, frame.rflags);
    regs.sanitise(selectors);
    if frame.flags & IRET_IN_SYSCALL == 0 {
        // RCX and R11 count, so the way back is not that of a hypercall.
        regs.entry = 0;
    }
    if call.world.trace.wants(Category::Event) {
        let user = u8::from(frame.cs & 3 == 3);
        call.world.trace.put(call.memory, call.caller, &Record::Return { user, rip: frame.rip });
    }
    Ok(())
}
