//! Handing the processor from one domain to another, or to nobody, and carrying out the core's effects.
//! General registers were exchanged by the core; here go the root, segment bases and the FPU.

use hypercall_abi::DomId;
use hypervisor_core::effects::Todo;
use hypervisor_core::time::Time;

use crate::cpu::{self, control, segments};
use crate::system::System;
use crate::{fpu, messages, power, serial};

/// Gives the processor to a domain.
pub(crate) fn to(system: &mut System, from: Option<DomId>, to: DomId) {
    put_away(system, from);
    let System { world, hardware } = system;
    let Ok(domain) = world.domain(to) else { return };
    let vcpu = &domain.vcpu;
    control::load_root(vcpu.root().address());
    segments::load(hardware.features, &vcpu.segments, vcpu.user_mode);
    hardware.segments = vcpu.segments;
}

/// Gives the processor to nobody.
pub(crate) fn to_idle(system: &mut System, from: Option<DomId>) {
    if from.is_some() {
        put_away(system, from);
        control::load_root(system.hardware.root);
    }
}

/// Saves what a domain has in the processor beside its general registers.
fn put_away(system: &mut System, from: Option<DomId>) {
    let System { world, hardware } = system;
    let Some(Ok(domain)) = from.map(|from| world.domain_mut(from)) else {
        // Whoever had the FPU is gone, and what is in it is for nobody.
        control::trap_fpu();
        return;
    };
    let vcpu = &mut domain.vcpu;
    let (fs, gs) = segments::save(hardware.features);
    vcpu.segments.fs_base = fs;
    if vcpu.user_mode {
        vcpu.segments.gs_base_user = gs;
    } else {
        vcpu.segments.gs_base_kernel = gs;
    }
    fpu::take_away(&mut vcpu.fpu);
}

/// Carries out what the core has noted down.
pub(crate) fn effects(system: &mut System) {
    let todo = system.world.take_effects().todo;
    if todo == Todo::TIMER {
        return program_timer(system);
    }
    let System { world, hardware } = &mut *system;
    if let Some(domain) = world.current_mut() {
        let vcpu = &mut domain.vcpu;
        if todo.contains(Todo::LOAD_ROOT) {
            control::load_root(vcpu.root().address());
        } else if todo.contains(Todo::FLUSH_TLB) {
            cpu::flush_tlb();
        }
        if todo.contains(Todo::SEGMENTS) {
            load_changed_bases(hardware, vcpu);
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

/// Loads the bases that the core has set since they were loaded; the others are as the guest itself left them.
fn load_changed_bases(hardware: &mut crate::hardware::Hardware, vcpu: &hypervisor_core::vcpu::Vcpu) {
    let (loaded, wanted) = (hardware.segments, vcpu.segments);
    if wanted.fs_base != loaded.fs_base {
        segments::set_fs_base(hardware.features, wanted.fs_base);
    }
    let gs = |bases: &hypervisor_core::registers::Segments| {
        if vcpu.user_mode { bases.gs_base_user } else { bases.gs_base_kernel }
    };
    if gs(&wanted) != gs(&loaded) {
        segments::set_gs_base(hardware.features, gs(&wanted));
    }
    hardware.segments = wanted;
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
