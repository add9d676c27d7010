//! Handing the processor from one domain to another, or to nobody, and carrying out the core's effects.
//! General registers were exchanged by the core; here go the root, segment bases and the FPU.

use core::sync::atomic::Ordering::Relaxed;

use hypercall_abi::{DomId, Mfn};
use hypervisor_core::effects::Todo;
use hypervisor_core::ring::Ring;
use hypervisor_core::time::Time;
use hypervisor_core::vcpu::{Mode, Vcpu};

use crate::cpu::{self, control, segments};
use crate::hardware::Hardware;
use crate::per_cpu::PER_CPU;
use crate::system::System;
use crate::{fpu, messages, power, ring1, serial};

/// Gives the processor to a domain.
pub(crate) fn to(system: &mut System, from: Option<DomId>, to: DomId) {
    put_away(system, from);
    let System { world, hardware } = system;
    let Ok(domain) = world.domain(to) else { return };
    let vcpu = &domain.vcpu;
    if vcpu.ring != hardware.ring {
        change_ring(hardware, vcpu.ring);
    }
    let root = vcpu.root().address();
    if hardware.root_ahead != Some(root) {
        load_guest_root(vcpu.ring, root);
    }
    if vcpu.ring == Ring::One {
        let user = (to, domain.past.incarnation, domain.shared_info);
        if hardware.area_user != Some(user) {
            ring1::area::clear();
            hardware.area_user = Some(user);
        }
        ring1::area::set_gates(vcpu);
    }
    segments::load(hardware.features, &vcpu.segments, vcpu.mode == Mode::User);
    hardware.user_gs = has_user_gs(vcpu);
}

/// Whether the base of GS in the processor is the one of processes alone.
fn has_user_gs(vcpu: &Vcpu) -> bool {
    vcpu.segments.gs_apart && vcpu.mode == Mode::User
}

/// Sets the processor up for kernels in another ring than so far.
#[cold]
fn change_ring(hardware: &mut Hardware, ring: Ring) {
    match ring {
        Ring::One => {
            // Their roots show the hypervisor nothing but the entry area, so it stands on its own.
            control::load_root(hardware.root);
            ring1::area::enter();
        }
        Ring::Three => ring1::area::leave(),
    }
    hardware.ring = ring;
}

/// Loads the root of who has the processor, whose kernel is in `ring`: in ring 1, the exit does so.
#[inline]
pub(crate) fn load_guest_root(ring: Ring, root: u64) {
    match ring {
        Ring::Three => control::load_root(root),
        Ring::One => PER_CPU.guest_root.store(root, Relaxed),
    }
}

/// Gives the processor to nobody. The root of who had it stays loaded if the core keeps it.
pub(crate) fn to_idle(system: &mut System, from: Option<DomId>) {
    if from.is_some() {
        put_away(system, from);
    }
    let System { world, hardware } = system;
    let ahead = hardware.root_ahead;
    hardware.root_ahead = world.kept_root().map(Mfn::address);
    // Whose root was loaded ahead may be gone.
    if hardware.root_ahead.is_none() && (from.is_some() || ahead.is_some()) {
        control::load_root(hardware.root);
    }
}

/// Saves what a domain has in the processor beside its general registers.
fn put_away(system: &mut System, from: Option<DomId>) {
    let System { world, hardware } = system;
    hardware.account.charge(from);
    let Some(Ok(domain)) = from.map(|from| world.domain_mut(from)) else {
        // Whoever had the FPU is gone, and what is in it is for nobody.
        control::trap_fpu();
        return;
    };
    let vcpu = &mut domain.vcpu;
    let (fs, gs) = segments::save(hardware.features);
    vcpu.segments.fs_base = fs;
    *vcpu.segments.gs_base_mut(vcpu.mode == Mode::User) = gs;
    fpu::take_away(&mut vcpu.fpu);
}

/// Carries out what the core has noted down: most often nothing, or what each change of the domain asks for.
#[inline]
pub(crate) fn effects(system: &mut System) {
    let todo = system.world.take_effects().todo;
    if todo == Todo::TIMER {
        program_timer(system);
    } else if !todo.is_empty() {
        all_effects(system, todo);
    }
}

#[inline(never)]
fn all_effects(system: &mut System, todo: Todo) {
    let System { world, hardware } = &mut *system;
    if let Some(domain) = world.current_mut() {
        let vcpu = &mut domain.vcpu;
        if todo.contains(Todo::LOAD_ROOT) {
            load_guest_root(vcpu.ring, vcpu.root().address());
        } else if todo.contains(Todo::FLUSH_TLB) {
            cpu::flush_tlb();
        }
        if todo.contains(Todo::GATES) && vcpu.ring == Ring::One {
            ring1::area::set_gates(vcpu);
        }
        if todo.intersects(Todo::SEGMENTS | Todo::FS | Todo::GS_KERNEL | Todo::GS_USER) {
            load_changed_bases(hardware, vcpu, todo);
        }
        if todo.contains(Todo::FPU) && vcpu.fpu.trap {
            fpu::take_away(&mut vcpu.fpu);
        }
    }
    if todo.contains(Todo::TIMER) {
        program_timer(system);
    }
    if todo.contains(Todo::DEVICES) {
        messages::carry_out(system);
    }
    if todo.contains(Todo::CONSOLE) {
        let mut port = serial::lock();
        system.world.take_output(&mut |text| port.send(text));
    }
    if todo.contains(Todo::POWEROFF) {
        power::exit(power::Code::Orderly);
    }
}

/// Loads the bases that the guest has set by a call, and exchanges those of GS if its mode has changed. The others are as
/// the guest itself left them.
fn load_changed_bases(hardware: &mut Hardware, vcpu: &mut Vcpu, todo: Todo) {
    let features = hardware.features;
    if todo.contains(Todo::FS) {
        segments::set_fs_base(features, vcpu.segments.fs_base);
    }
    let (loaded, wanted) = (hardware.user_gs, has_user_gs(vcpu));
    if let Some(base) = vcpu.segments.exchange_gs(todo, loaded, wanted, || segments::save(features).1) {
        segments::set_gs_base(features, base);
    }
    hardware.user_gs = wanted;
}

/// Sets the timer for the next deadline, unless it fires no later than that anyway.
pub(crate) fn program_timer(system: &mut System) {
    let System { world, hardware } = system;
    let deadline = world.next_deadline();
    if deadline >= hardware.timer {
        return;
    }
    let ns = deadline.since(hardware.clock.now());
    hardware.apic.set_timer(hardware.clock.apic_ticks(ns));
    hardware.timer = deadline;
    debug_assert!(hardware.timer != Time::NEVER);
}
