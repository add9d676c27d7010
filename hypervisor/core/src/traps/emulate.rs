//! Instructions that a guest's kernel cannot execute and the hypervisor carries out for it.
//! There are few: segment bases through MSRs, `hlt`, and interrupt flags, since guests use hypercalls for the rest.

use hypercall_abi::trap::SegmentBase;
use hypercall_abi::{DomId, Errno, layout};

use crate::guest_access;
use crate::machine::Machine;
use crate::memory::MachineAddress;
use crate::registers::Registers;
use crate::world::{Exception, World};

/// MSRs that are segment bases.
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// An instruction that is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Rdmsr,
    Wrmsr,
    Hlt,
    Cli,
    Sti,
}

impl Instruction {
    const fn decode(bytes: [u8; 2]) -> Option<(Self, u64)> {
        match bytes {
            [0x0f, 0x32] => Some((Self::Rdmsr, 2)),
            [0x0f, 0x30] => Some((Self::Wrmsr, 2)),
            [0xf4, _] => Some((Self::Hlt, 1)),
            [0xfa, _] => Some((Self::Cli, 1)),
            [0xfb, _] => Some((Self::Sti, 1)),
            _ => None,
        }
    }
}

/// Carries out the instruction at RIP if it is one of those. Returns whether it did.
pub(super) fn general_protection<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    exception: Exception,
) -> bool {
    if exception.error != 0 {
        return false;
    }
    let Some(domain) = world.domains.get(id) else { return false };
    if domain.vcpu.is_user(regs) {
        return false;
    }
    let root = domain.vcpu.root();
    let Some((instruction, length)) = fetch(world, m, root, regs.rip).ok().and_then(Instruction::decode)
    else {
        return false;
    };
    let after = regs.rip.wrapping_add(length);
    if !layout::is_guest(after) || carry_out(world, m, id, regs, instruction).is_err() {
        return false;
    }
    regs.rip = after;
    true
}

/// Two bytes at RIP; the second is 0 where nothing can be read.
fn fetch<M: Machine>(world: &World, m: &M, root: hypercall_abi::Mfn, rip: u64) -> Result<[u8; 2], Errno> {
    let first: u8 = guest_access::read(m, &world.frames, root, rip)?;
    let second = guest_access::read(m, &world.frames, root, rip.wrapping_add(1)).unwrap_or(0);
    Ok([first, second])
}

fn carry_out<M: Machine>(
    world: &mut World,
    m: &mut M,
    id: DomId,
    regs: &mut Registers,
    instruction: Instruction,
) -> Result<(), Errno> {
    let domain = world.domain_mut(id)?;
    let flags_at = MachineAddress::in_frame(domain.shared_info, 0);
    match instruction {
        Instruction::Rdmsr => {
            let segments = &domain.vcpu.segments;
            // The guest may have changed those in use without a trap since they were stored.
            let value = match (base_of_msr(regs.rcx)?, m.segment_bases()) {
                (SegmentBase::Fs, Some((fs, _))) => fs,
                (SegmentBase::Fs, None) => segments.fs_base,
                (SegmentBase::GsKernel, Some((_, gs))) => gs,
                (SegmentBase::GsKernel, None) => segments.gs_base_kernel,
                (SegmentBase::GsUser | SegmentBase::GsUserSelector, _) => segments.gs_base_user,
            };
            (regs.rax, regs.rdx) = (value & 0xffff_ffff, value >> 32);
        }
        Instruction::Wrmsr => {
            let value = (regs.rdx << 32) | (regs.rax & 0xffff_ffff);
            if !layout::is_guest(value) {
                return Err(Errno::Inval);
            }
            let todo = domain.vcpu.segments.set(base_of_msr(regs.rcx)?, value);
            world.effects.todo |= todo;
        }
        Instruction::Hlt => {
            let mut call = crate::call::Call { world, memory: m, caller: id };
            crate::sched::sched_op(&mut call, [1, 0, 0, 0, 0])?;
        }
        Instruction::Cli => {
            m.fetch_or(flags_at, 1 << 8);
        }
        Instruction::Sti => {
            m.fetch_and(flags_at, !0xff00);
        }
    }
    Ok(())
}

/// The segment base behind an MSR, in kernel mode.
fn base_of_msr(number: u64) -> Result<SegmentBase, Errno> {
    match u32::try_from(number & 0xffff_ffff) {
        Ok(FS_BASE) => Ok(SegmentBase::Fs),
        Ok(GS_BASE) => Ok(SegmentBase::GsKernel),
        Ok(KERNEL_GS_BASE) => Ok(SegmentBase::GsUser),
        _ => Err(Errno::Inval),
    }
}
