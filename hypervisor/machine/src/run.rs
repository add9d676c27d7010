//! The loop between guests: what the entry paths call, and what is carried out before each return.
//! Here the lock around world and hardware is taken, and nowhere else after boot.

mod back;

use core::sync::atomic::Ordering::Relaxed;

use hypercall_abi::{DomId, layout};
use hypervisor_core::dispatch::Begun;
use hypervisor_core::effects::Todo;
use hypervisor_core::registers::Registers;
use hypervisor_core::ring::Ring;
use hypervisor_core::time::Time;
use hypervisor_core::world::{Exception, Next, Short};

use crate::apic::{DEVICE_VECTORS, DEVICE_VECTORS_END, SERIAL_VECTOR, SPURIOUS_VECTOR, TIMER_VECTOR};
use crate::cpu::{self, control};
use crate::per_cpu::PER_CPU;
use crate::system::{self, Guard, System};
use crate::{entry, exit, fpu, ring1, serial, switch};
use back::{
    BY_IRETQ, MORE, by_sysretq, refuse_return, way_back, way_back_of_exception, way_back_of_hypercall,
};

const DEVICE_NOT_AVAILABLE: u8 = 7;
const PAGE_FAULT: u8 = 14;

/// A guest executed `syscall`. The frame's preserved registers are not there yet. How to return at once with them as
/// they are; if there is more to do, [`MORE`], and [`resume`] comes next.
pub(crate) extern "C" fn hypercall(regs: &mut Registers) -> u32 {
    match system::try_lock() {
        Some(guard) => begin(guard, regs),
        None => hypercall_in_turn(regs),
    }
}

/// The same where the lock must be waited for: apart, so that nothing has to be kept over the wait.
#[cold]
#[inline(never)]
fn hypercall_in_turn(regs: &mut Registers) -> u32 {
    begin(system::lock(), regs)
}

#[inline(always)]
fn begin(mut guard: Guard, regs: &mut Registers) -> u32 {
    let System { world, hardware } = guard.system();
    match world.begin_hypercall(hardware, regs) {
        Begun::Answered => way_back_of_hypercall(guard, regs),
        Begun::Counted(caller) => finish_hypercall(guard, regs, caller),
        Begun::Send(caller) => send(guard, regs, caller),
        Begun::Return(caller) => return_from_handler(guard, regs, caller),
        Begun::ReturnToProcess(caller) => return_to_process(guard, regs, caller),
        Begun::Process(caller) => call_of_process(guard, regs, caller),
        Begun::Recorded(caller) => recorded_hypercall(guard, regs, caller),
        Begun::Odd => odd_hypercall(guard, regs),
    }
}

/// A process executed `syscall`, and its kernel is in ring 3.
#[inline(never)]
fn call_of_process(mut guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    let System { world, hardware } = guard.system();
    match world.call_of_process(hardware, regs, caller) {
        Short::Done => way_back_of_hypercall(guard, regs),
        Short::Begun => MORE,
        Short::No => odd_hypercall(guard, regs),
    }
}

/// A guest's handler returns, most likely to a process. The short way has looked at the address.
#[inline(never)]
fn return_to_process(mut guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    let System { world, hardware } = guard.system();
    match world.return_to_process(hardware, regs, caller) {
        Short::Done if regs.entry == entry::SYSCALL => by_sysretq(regs),
        Short::Done => BY_IRETQ,
        Short::Begun => MORE,
        Short::No => return_from_handler(guard, regs, caller),
    }
}

/// An event is sent. Apart, like all that follow, so that no way needs another one's stack.
#[inline(never)]
fn send(mut guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    let System { world, hardware } = guard.system();
    match world.send(hardware, regs, caller) {
        Short::Done => way_back_of_hypercall(guard, regs),
        Short::Begun => MORE,
        Short::No => send_anyhow(guard, regs, caller),
    }
}

/// A guest's handler returns. The short way has looked at the address.
#[inline(never)]
fn return_from_handler(mut guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    let System { world, hardware } = guard.system();
    match world.return_from_handler(hardware, regs, caller) {
        Short::Done => BY_IRETQ,
        Short::Begun => MORE,
        Short::No => return_anyhow(guard, regs, caller),
    }
}

#[inline(never)]
fn send_anyhow(guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    finish(guard, regs, Begun::Send(caller))
}

#[inline(never)]
fn return_anyhow(guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    finish(guard, regs, Begun::Return(caller))
}

#[inline(never)]
fn finish_hypercall(guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    finish(guard, regs, Begun::Counted(caller))
}

/// A guest's kernel executed `syscall` while records are written.
#[inline(never)]
fn recorded_hypercall(mut guard: Guard, regs: &mut Registers, caller: DomId) -> u32 {
    let System { world, hardware } = guard.system();
    if world.recorded_hypercall(hardware, regs, caller) {
        way_back(guard, regs)
    } else {
        after_effects(guard, regs)
    }
}

#[cold]
#[inline(never)]
fn odd_hypercall(guard: Guard, regs: &mut Registers) -> u32 {
    finish(guard, regs, Begun::Odd)
}

#[inline(always)]
fn finish(mut guard: Guard, regs: &mut Registers, begun: Begun) -> u32 {
    let System { world, hardware } = guard.system();
    if world.finish_hypercall(hardware, regs, begun) {
        way_back(guard, regs)
    } else {
        after_effects(guard, regs)
    }
}

/// Carries out what a hypercall has left to do, if that is all before the return.
#[inline(never)]
fn after_effects(mut guard: Guard, regs: &Registers) -> u32 {
    let system = guard.system();
    if !system.world.effects.todo.is_empty() {
        switch::effects(system);
    }
    let System { world, hardware } = system;
    if world.is_quiet(hardware) { way_back(guard, regs) } else { MORE }
}

/// A guest whose kernel is in ring 3 caused a page fault. As [`hypercall`], but the return is always by `iretq`.
pub(crate) extern "C" fn page_fault(regs: &mut Registers) -> u32 {
    let address = control::fault_address();
    match system::try_lock() {
        Some(guard) => begin_page_fault(guard, regs, address),
        None => page_fault_in_turn(regs, address),
    }
}

#[cold]
#[inline(never)]
fn page_fault_in_turn(regs: &mut Registers, address: u64) -> u32 {
    begin_page_fault(system::lock(), regs, address)
}

#[inline(always)]
fn begin_page_fault(mut guard: Guard, regs: &mut Registers, address: u64) -> u32 {
    if guard.system().world.is_in_process() {
        page_fault_of_process(guard, regs, address)
    } else {
        page_fault_of_kernel(guard, regs, address)
    }
}

#[inline(never)]
fn page_fault_of_kernel(mut guard: Guard, regs: &mut Registers, address: u64) -> u32 {
    let error = regs.entry as u32;
    let System { world, hardware } = guard.system();
    match world.page_fault(hardware, regs, error, address) {
        Short::Done => way_back_of_exception(guard, regs),
        Short::Begun => MORE,
        Short::No => recorded_page_fault(guard, regs, address),
    }
}

#[inline(never)]
fn recorded_page_fault(mut guard: Guard, regs: &mut Registers, address: u64) -> u32 {
    let error = regs.entry as u32;
    let System { world, hardware } = guard.system();
    match world.recorded_page_fault(hardware, regs, error, address) {
        Short::Done => way_back_of_exception(guard, regs),
        Short::Begun => MORE,
        Short::No => odd_page_fault(guard, regs, address),
    }
}

#[inline(never)]
fn page_fault_of_process(mut guard: Guard, regs: &mut Registers, address: u64) -> u32 {
    let error = regs.entry as u32;
    let System { world, hardware } = guard.system();
    match world.page_fault_of_process(hardware, regs, error, address) {
        Short::Done => way_back_of_exception(guard, regs),
        Short::Begun => MORE,
        Short::No => odd_page_fault(guard, regs, address),
    }
}

/// A guest whose kernel is in ring 1, or a process of it, caused a page fault.
pub(crate) extern "C" fn page_fault_in_ring1(regs: &mut Registers) -> u32 {
    let (error, address) = (regs.entry as u32, control::fault_address());
    let mut guard = system::lock();
    let System { world, hardware } = guard.system();
    match world.page_fault_in_ring1(hardware, regs, error, address) {
        Short::Done => way_back_of_exception(guard, regs),
        Short::Begun => MORE,
        Short::No => odd_page_fault(guard, regs, address),
    }
}

#[cold]
#[inline(never)]
fn odd_page_fault(mut guard: Guard, regs: &mut Registers, address: u64) -> u32 {
    let exception = Exception { vector: PAGE_FAULT, error: regs.entry as u32, address };
    let System { world, hardware } = guard.system();
    if world.exception(hardware, regs, exception) { way_back(guard, regs) } else { MORE }
}

/// A guest whose kernel is in ring `RING` caused another exception.
pub(crate) extern "C" fn exception<const RING: u8>(regs: &mut Registers) -> u32 {
    let vector = entry::vector(regs) as u8;
    let exception = Exception { vector, error: regs.entry as u32, address: 0 };
    let mut guard = system::lock();
    let System { world, hardware } = guard.system();
    match world.current_mut() {
        Some(domain) if vector == DEVICE_NOT_AVAILABLE && !domain.vcpu.fpu.trap => {
            fpu::hand_over(&mut domain.vcpu.fpu);
        }
        _ => {
            // What is left to be done is looked for below anyway.
            let _ = world.exception(hardware, regs, exception);
        }
    }
    leave::<RING>(guard, regs)
}

/// A process whose kernel is in ring 1 executed `syscall`.
pub(crate) extern "C" fn system_call(regs: &mut Registers) -> u32 {
    let mut guard = system::lock();
    let System { world, hardware } = guard.system();
    world.system_call(hardware, regs);
    leave::<1>(guard, regs)
}

/// What is left to do before a guest can be returned to, with the whole frame. If that is one whose kernel is in
/// another ring than `RING`, it never comes back but takes that one's exit.
pub(crate) extern "C" fn resume<const RING: u8>(regs: &mut Registers) -> u32 {
    leave::<RING>(system::lock(), regs)
}

/// A device or the timer interrupted a guest whose kernel is in ring `RING`.
pub(crate) extern "C" fn interrupt<const RING: u8>(regs: &mut Registers) -> u32 {
    let vector = entry::vector(regs) as u8;
    let mut guard = system::lock();
    serve(guard.system(), vector);
    leave::<RING>(guard, regs)
}

/// Serves an interrupt. What is not a device's stands apart, so that a device's stays on few pages.
fn serve(system: &mut System, vector: u8) {
    let System { world, hardware } = &mut *system;
    match vector {
        SPURIOUS_VECTOR => return,
        TIMER_VECTOR => serve_timer(system),
        SERIAL_VECTOR => serve_serial(system),
        DEVICE_VECTORS..DEVICE_VECTORS_END => {
            world.device_interrupt(hardware, u32::from(vector - DEVICE_VECTORS))
        }
        _ => {}
    }
    system.hardware.apic.end_of_interrupt();
}

#[inline(never)]
fn serve_timer(system: &mut System) {
    let System { world, hardware } = system;
    hardware.timer = Time::NEVER;
    world.timer_interrupt(hardware);
    // It counts only once, and not for as long as a deadline may be away.
    world.effects.todo |= Todo::TIMER;
}

#[cold]
#[inline(never)]
fn serve_serial(system: &mut System) {
    let System { world, hardware } = system;
    while let Some(byte) = serial::received() {
        world.serial_input(hardware, byte);
    }
}

/// Serves the interrupts that came in while the processor was idle.
fn serve_pending(system: &mut System) {
    for (index, word) in PER_CPU.pending.iter().enumerate() {
        let mut bits = word.swap(0, Relaxed);
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            serve(system, (64 * index as u32 + bit) as u8);
        }
    }
}

/// Carries out what the core decided until a guest can be returned to; how.
fn leave<const RING: u8>(mut guard: Guard, regs: &mut Registers) -> u32 {
    loop {
        let System { world, hardware } = guard.system();
        let next = world.before_return(hardware, regs);
        if next == Next::Resume && world.effects.todo.is_empty() {
            if layout::is_guest(regs.rip) {
                return way_back(guard, regs);
            }
            refuse_return(guard.system(), regs);
            continue;
        }
        guard = carry_out(guard, next);
        match guard.system().hardware.ring {
            Ring::One if RING == 3 => {
                drop(guard);
                ring1::exit::start()
            }
            Ring::Three if RING == 1 => {
                drop(guard);
                exit::start()
            }
            _ => {}
        }
    }
}

/// Switches, carries out effects, idles; afterwards the core is asked again.
#[inline(never)]
fn carry_out(mut guard: Guard, next: Next) -> Guard {
    let system = guard.system();
    match next {
        Next::Resume => {}
        Next::Switched { from, to } => switch::to(system, from, to),
        Next::Idle { from } => switch::to_idle(system, from),
    }
    switch::effects(system);
    if let Next::Idle { .. } = next
        && system.world.current.is_none()
    {
        switch::program_timer(system);
        drop(guard);
        cpu::wait_for_interrupt();
        guard = system::lock();
        serve_pending(guard.system());
    }
    guard
}
