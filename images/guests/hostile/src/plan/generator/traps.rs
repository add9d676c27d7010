//! Trap tables, callbacks and stacks: good ones, ones that lead nowhere, and a table without an end.

use alloc::vec;
use alloc::vec::Vec;

use hypercall_abi::Hypercall;
use hypercall_abi::layout::{GUEST_CODE, GUEST_DATA};
use hypercall_abi::trap::{CallbackOp, CallbackRegister, TrapInfo};
use zerocopy::IntoBytes;

use super::Generator;
use crate::{Call, Deed};

impl Generator {
    /// Something with traps; afterwards the working handlers are set again.
    pub(super) fn trap(&mut self) {
        match self.random.below(6) {
            0 => self.trap_table(),
            1 => {
                let [event, failsafe, _] = self.estate.handlers;
                let mut args = [event, failsafe, 0, 0, 0];
                if self.random.once_in(2) {
                    args[self.random.below(3) as usize] = self.bad_pointer();
                }
                self.push_call(Self::words(Hypercall::SetCallbacks, args), "callbacks");
            }
            2 | 3 => {
                let kind = self.random.pick(&[0, 1, 2, 4, 5, 7, 3, 6, 8, 0xffff]);
                let address =
                    if self.random.once_in(2) { self.estate.handlers[0] } else { self.bad_pointer() };
                let flags = self.random.below(4) as u16;
                let argument = CallbackRegister { kind, flags, pad: 0, address };
                let op = self.random.pick(&[CallbackOp::Register, CallbackOp::Unregister]).raw();
                let call = self.operate(Hypercall::CallbackOp, op, &argument);
                self.push_call(call, "a callback");
            }
            4 => {
                let selector = self.random.pick(&[GUEST_DATA.into(), 0, 3, 0xe008, 0xe010, 0xffff, u64::MAX]);
                let stack = if self.random.once_in(2) { self.estate.stack } else { self.bad_pointer() };
                self.push_call(Self::words(Hypercall::StackSwitch, [selector, stack, 0, 0, 0]), "a stack");
            }
            _ => {
                let set = self.random.below(3);
                self.push_call(Self::words(Hypercall::FpuTaskswitch, [set, 0, 0, 0, 0]), "trap on FPU use");
                self.push_steady(Self::words(Hypercall::FpuTaskswitch, [0, 0, 0, 0, 0]), "and no more");
            }
        }
        self.push(Deed::Rearm, "after traps");
    }

    fn trap_table(&mut self) {
        let count = self.random.pick(&[0, 1, 3, 20, 64, 255, 256, 257, 300]);
        let handler = self.estate.handlers[2];
        let mut entries: Vec<TrapInfo> = (0..count)
            .map(|index| TrapInfo {
                vector: index as u8,
                flags: self.random.below(8) as u8,
                cs: GUEST_CODE,
                pad: 0,
                address: handler,
            })
            .collect();
        if count > 0 && self.random.once_in(2) {
            let which = self.random.below(count) as usize;
            let address = self.bad_pointer();
            let cs = self.random.pick(&[GUEST_CODE, 0, 0xe008, 0xe010, 0xffff, 0x33]);
            entries[which] = TrapInfo { cs, address, ..entries[which] };
        }
        if !self.random.once_in(6) {
            entries.push(TrapInfo::zeroed());
        }
        let bytes = entries.as_bytes().to_vec();
        let at = self.place(bytes.len());
        let args = [if self.random.once_in(8) { 0 } else { at }, 0, 0, 0, 0];
        let number = Hypercall::SetTrapTable.raw().into();
        self.push_call(Call { number, args, writes: vec![(at, bytes)], ..Call::default() }, "a trap table");
    }
}
