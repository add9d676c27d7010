//! A number that stands for all that the core knows: two states with one digest are taken to be the same.
//! It is made of the debug form of each part, and the parts are taken apart by name, so that nothing that is added
//! later can be forgotten. What the core does not decide by is left out: the trace, waiting text, and what the machine keeps
//! of a vCPU, which is the FPU's registers and segment bases.

use core::fmt::{Debug, Write};

use super::form::{SUM_FACTOR, SUM_START};
use crate::domain::Domain;
use crate::segments::Segments;
use crate::vcpu::{Fpu, Vcpu};
use crate::world::World;

/// Takes text in and keeps a sum.
struct Sum(u64);

impl Write for Sum {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
        Ok(())
    }
}

impl Sum {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(SUM_FACTOR).rotate_left(23);
    }

    fn take(&mut self, part: &dyn Debug) {
        // It never fails.
        let _ = write!(self, "{part:?}");
    }
}

/// The digest of a world.
#[must_use]
pub fn digest(world: &World) -> u64 {
    let World {
        constants: _,
        frames,
        domains,
        current,
        effects,
        scheduler,
        timers,
        trace: _,
        devices,
        output: _,
        switches,
        life,
        input,
        images,
        slice_ns,
        attention,
        shared_page,
        last,
        kept,
        idle_ns,
        idle_since,
    } = world;
    let mut sum = Sum(SUM_START);
    frames.fold(&mut |word| sum.word(word));
    let parts: [&dyn Debug; 15] = [
        current,
        effects,
        scheduler,
        timers,
        devices,
        switches,
        life,
        input,
        slice_ns,
        attention,
        shared_page,
        last,
        kept,
        idle_ns,
        idle_since,
    ];
    for part in parts {
        sum.take(part);
    }
    for share in images.shares() {
        sum.take(share);
    }
    for domain in domains.iter() {
        take_domain(&mut sum, domain);
    }
    sum.0
}

fn take_domain(sum: &mut Sum, domain: &Domain) {
    let Domain {
        id,
        name,
        config,
        past,
        state,
        vcpu,
        address_space,
        frames_given,
        grants,
        shared_info,
        events,
        delivery,
        left_out,
        directory,
        console,
        ended,
        counters,
        charged_ns,
        next_record,
    } = domain;
    let parts: [&dyn Debug; 18] = [
        id,
        name,
        config,
        past,
        state,
        address_space,
        frames_given,
        grants,
        shared_info,
        events,
        delivery,
        left_out,
        directory,
        console,
        ended,
        counters,
        charged_ns,
        next_record,
    ];
    for part in parts {
        sum.take(part);
    }
    let Vcpu {
        registers,
        segments: Segments { fs_base: _, gs_base_kernel: _, gs_base_user: _, gs_apart },
        kernel_root,
        user_root,
        ring,
        mode,
        kernel_stack,
        traps,
        callbacks,
        fpu: Fpu { state: _, live: _, trap },
        times,
        sleep,
    } = vcpu;
    let parts: [&dyn Debug; 12] = [
        registers,
        gs_apart,
        kernel_root,
        user_root,
        ring,
        mode,
        kernel_stack,
        traps,
        callbacks,
        trap,
        times,
        sleep,
    ];
    for part in parts {
        sum.take(part);
    }
}
