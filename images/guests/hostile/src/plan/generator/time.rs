//! Timers and the processor: past, near and far deadlines, and every way of giving the processor away.

use alloc::vec::Vec;

use hypercall_abi::extension::ExtensionOp;
use hypercall_abi::sched::{Poll, SchedOp, Shutdown};
use hypercall_abi::shared_info::VcpuInfo;
use hypercall_abi::vcpu::{RunstateInfo, SetSingleshotTimer, VcpuOp};
use hypercall_abi::{Hypercall, PAGE_SIZE};
use zerocopy::IntoBytes;

use super::Generator;
use crate::{Call, Deed, Expect};

impl Generator {
    /// Something with time.
    pub(super) fn time(&mut self) {
        match self.random.below(12) {
            0 => {
                for _ in 0..self.random.below(100) {
                    let deadline = self.some_time();
                    self.push_call(
                        Self::words(Hypercall::SetTimerOp, [deadline, 0, 0, 0, 0]),
                        "set and stop",
                    );
                }
            }
            1 => {
                let deadline = self.some_time();
                self.push_call(Self::words(Hypercall::SetTimerOp, [deadline, 0, 0, 0, 0]), "a timer");
            }
            2 | 3 => {
                let (timeout_abs_ns, flags) = (self.some_time(), self.random.below(2) as u32);
                let argument = SetSingleshotTimer { timeout_abs_ns, flags, pad: 0 };
                let call = self.vcpu_call(VcpuOp::SetSingleshotTimer, argument.as_bytes());
                self.push_call(call, "a single-shot timer");
            }
            4 => {
                let op =
                    self.random.pick(&[VcpuOp::StopSingleshotTimer, VcpuOp::StopPeriodicTimer, VcpuOp::IsUp]);
                self.push_call(
                    Self::words(Hypercall::VcpuOp, [op.raw().into(), 0, 0, 0, 0]),
                    "stop a timer, or ask",
                );
            }
            5 => {
                let call = self.vcpu_call(VcpuOp::GetRunstateInfo, RunstateInfo::zeroed().as_bytes());
                self.push_call(call, "run states");
            }
            6 => {
                let op = self.random.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 77]);
                let vcpu = 1 + self.random.below(1 << 31);
                let expect = Expect::Refusal;
                let call = Self::words(Hypercall::VcpuOp, [op, vcpu, self.estate.argument, 0, 0]);
                self.push_call(Call { expect, ..call }, "a vCPU that is not there");
            }
            7 => self.push_call(
                Self::words(Hypercall::SchedOp, [SchedOp::Yield.raw().into(), 0, 0, 0, 0]),
                "yield",
            ),
            8 => self.poll(),
            10 => self.end_that_is_none(),
            9 => {
                let deadline = self.estate.now_ns + self.random.below(300_000);
                let deadline = if self.random.once_in(4) { self.random.below(1000) } else { deadline };
                let op = ExtensionOp::IdleUntil.raw().into();
                self.push_steady(
                    Self::words(Hypercall::Extension, [op, deadline, 0, 0, 0]),
                    "sleep a little",
                );
            }
            _ => {
                self.make_upcall_due();
                self.push_steady(
                    Self::words(Hypercall::SchedOp, [SchedOp::Block.raw().into(), 0, 0, 0, 0]),
                    "block",
                );
                self.push(Deed::Rearm, "after blocking");
            }
        }
    }

    /// Something with time that may be a part of a multicall, whatever the others are: no sleep without an end.
    pub(super) fn time_in_batch(&mut self) {
        match self.random.below(6) {
            0 => {
                let deadline = self.some_time();
                self.push_call(Self::words(Hypercall::SetTimerOp, [deadline, 0, 0, 0, 0]), "a timer");
            }
            1 => {
                let argument = SetSingleshotTimer { timeout_abs_ns: self.some_time(), flags: 0, pad: 0 };
                let call = self.vcpu_call(VcpuOp::SetSingleshotTimer, argument.as_bytes());
                self.push_call(call, "a single-shot timer");
            }
            2 => self.push_call(
                Self::words(Hypercall::SchedOp, [SchedOp::Yield.raw().into(), 0, 0, 0, 0]),
                "yield",
            ),
            3 => self.end_that_is_none(),
            4 => {
                // Refused in a batch, so it may be for ever.
                let deadline = self.some_time();
                let op = ExtensionOp::IdleUntil.raw().into();
                self.push_steady(
                    Self::words(Hypercall::Extension, [op, deadline, 0, 0, 0]),
                    "sleep within a batch",
                );
            }
            _ => self.poll(),
        }
    }

    /// Has a batch block somewhere, once: an upcall is due, and stays so until it does.
    pub(super) fn block_in_batch(&mut self, parts: &mut Vec<Call>) {
        self.make_upcall_due();
        let at = self.random.below(parts.len() as u64 + 1) as usize;
        parts.insert(at, Self::words(Hypercall::SchedOp, [SchedOp::Block.raw().into(), 0, 0, 0, 0]));
    }

    /// A sleep that unmasks upcalls ends at once.
    fn make_upcall_due(&mut self) {
        let at = self.estate.shared_info + core::mem::offset_of!(VcpuInfo, evtchn_upcall_pending) as u64;
        self.push(Deed::Poke { va: at, value: 0x0101 }, "an upcall is due");
    }

    fn end_that_is_none(&mut self) {
        let (op, reason) = match self.random.below(2) {
            0 => (4 + self.random.below(1 << 40), 0),
            _ => (SchedOp::Shutdown.raw().into(), 5 + self.random.bits() as u32 % 1000),
        };
        let mut call = self.operate(Hypercall::SchedOp, 0, &Shutdown { reason });
        call.args[0] = op;
        call.expect = Expect::Refusal;
        self.push_steady(call, "an end that is none");
    }

    fn poll(&mut self) {
        let count = self.random.pick(&[0, 1, 2, 5, 64, 128, 129, 4096, u32::MAX]);
        let list = self.place(4 * 128);
        let ports: Vec<u32> = (0..count.min(128)).map(|_| self.some_port()).collect();
        // Never 0, which would be for ever.
        let timeout_ns = 1 + self.estate.now_ns + self.random.below(100_000);
        let ports_at = if self.random.once_in(4) { self.bad_pointer() } else { list };
        let argument = Poll { ports: ports_at, count, pad: 0, timeout_ns };
        let mut call = self.operate(Hypercall::SchedOp, SchedOp::Poll.raw(), &argument);
        call.writes.push((list, ports.as_bytes().to_vec()));
        self.push_steady(call, "poll");
    }

    fn some_time(&mut self) -> u64 {
        let now = self.estate.now_ns;
        match self.random.below(8) {
            0 => 0,
            1 => 1,
            2 => now,
            3 => now.wrapping_sub(self.random.below(1_000_000)),
            4 => now + self.random.below(1_000_000),
            5 => u64::MAX - self.random.below(3),
            6 => (1 << 63) - self.random.below(2),
            _ => self.random.any_size(),
        }
    }

    fn vcpu_call(&mut self, op: VcpuOp, bytes: &[u8]) -> Call {
        debug_assert!(bytes.len() < PAGE_SIZE);
        let mut call = self.operate_bytes(Hypercall::VcpuOp, op.raw(), bytes);
        let at = call.args[1];
        call.args = [op.raw().into(), 0, at, 0, 0];
        call
    }
}
