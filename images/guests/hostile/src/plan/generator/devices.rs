//! Devices, physical interrupts, and Denizen's own operations.

use hypercall_abi::extension::{
    Control, DeliveryPolicy, DeviceDirectoryInfo, DomainCounters, ExtensionOp as Op, PciConfig, WINDOW_NS_MAX,
};
use hypercall_abi::physdev::{Eoi, MapPirq, PhysdevOp, SetIopl, UnmapPirq};
use hypercall_abi::shared_info::{RECORD_WORDS, RECORDS, RECORDS_OFFSET};
use hypercall_abi::{DomId, Hypercall};

use super::Generator;
use crate::{Call, Deed, Expect};

impl Generator {
    /// Something with devices, or of Denizen's own.
    pub(super) fn device(&mut self) {
        match self.random.below(14) {
            0 => {
                let iopl = self.random.pick(&[0, 1, 3, 4, u32::MAX]);
                let call = self.operate(Hypercall::PhysdevOp, PhysdevOp::SetIopl.raw(), &SetIopl { iopl });
                self.push_call(call, "raise the I/O level");
            }
            1 => {
                let irq = self.random.any_size() as u32;
                let call = self.operate(Hypercall::PhysdevOp, PhysdevOp::Eoi.raw(), &Eoi { irq });
                self.push_call(call, "end an interrupt");
            }
            2 => self.map_interrupt(),
            3 => {
                let pirq = self.random.any_size() as u32;
                let argument = UnmapPirq { domid: DomId::SELF.0, pad: 0, pirq };
                let call = self.operate(Hypercall::PhysdevOp, PhysdevOp::UnmapPirq.raw(), &argument);
                self.push_call(Call { expect: Expect::Refusal, ..call }, "unmap another's interrupt");
            }
            4 => {
                let op = 34 + self.random.below(1 << 40);
                let args = [op, self.estate.argument, 0, 0, 0];
                self.push_call(Self::words(Hypercall::PhysdevOp, args), "no such operation");
            }
            5 => {
                let op = self.random.pick(&[Op::Version.raw(), 77, 99, u32::MAX]);
                self.push_call(Self::words(Hypercall::Extension, [op.into(), 0, 0, 0, 0]), "which version");
            }
            6 => {
                let window_ns = self.random.pick(&[0, 1, 1000, WINDOW_NS_MAX, WINDOW_NS_MAX + 1, u64::MAX]);
                let delivery = self.random.pick(&[0, 0, 1, 1, 1, 2, u32::MAX]);
                let window_events = self.random.any_size() as u32;
                let argument = DeliveryPolicy { delivery, window_events, window_ns };
                let call = self.operate(Hypercall::Extension, Op::SetDelivery.raw(), &argument);
                self.push_call(call, "choose the delivery");
            }
            7 => {
                let kind = self.random.pick(&[0, 1, 2, 3, 4, 5, 6, 99, u64::MAX]);
                let op = self.random.pick(&[Op::TraceEmit, Op::TraceRecord]);
                let args = [op.raw().into(), kind, self.random.bits(), self.random.bits(), 0];
                self.push_call(Self::words(Hypercall::Extension, args), "a record for the trace");
            }
            8 => {
                let call =
                    self.operate(Hypercall::Extension, Op::Devices.raw(), &DeviceDirectoryInfo::zeroed());
                self.push_call(call, "the directory");
            }
            9 => {
                let argument = PciConfig {
                    device: self.random.below(4) as u32,
                    offset: self.random.bits() as u16,
                    width: self.random.pick(&[0, 1, 2, 3, 4, 255]),
                    write: self.random.below(3) as u8,
                    value: self.random.bits() as u32,
                    pad: 0,
                };
                let call = self.operate(Hypercall::Extension, Op::PciConfig.raw(), &argument);
                self.push_call(Call { expect: Expect::Refusal, ..call }, "another's configuration space");
            }
            10 => {
                let argument = Control {
                    op: self.random.below(6) as u32,
                    domid: self.other_domain(),
                    pad: 0,
                    args: core::array::from_fn(|_| self.random.below(3)),
                };
                let call = self.operate(Hypercall::Extension, Op::Control.raw(), &argument);
                self.push_call(Call { expect: Expect::Refusal, ..call }, "rule the system");
            }
            11 => {
                let (part, of) = (self.random.any_size(), self.random.any_size());
                let args = [Op::Charge.raw().into(), self.other_domain().into(), part, of, 0];
                let call = Self::words(Hypercall::Extension, args);
                self.push_call(Call { expect: Expect::Refusal, ..call }, "charge another");
            }
            12 => self.records(),
            _ => {
                let call = self.operate(Hypercall::Extension, Op::Counters.raw(), &DomainCounters::zeroed());
                self.push_call(call, "our counters");
            }
        }
    }

    /// Records of our own in the shared page, few of them good, and the request to take them in.
    fn records(&mut self) {
        for _ in 0..=self.random.below(2 * RECORDS as u64) {
            let word = self.random.below((RECORDS * RECORD_WORDS) as u64);
            let value = self.random.any_size() << 8 | self.random.below(16);
            let va = self.estate.shared_info + RECORDS_OFFSET + 8 * word;
            self.push(Deed::Poke { va, value }, "odd records");
        }
        let args = [Op::TraceFlush.raw().into(), self.random.bits(), 0, 0, 0];
        self.push_call(Self::words(Hypercall::Extension, args), "take in our records");
    }

    fn map_interrupt(&mut self) {
        let argument = MapPirq {
            domid: self.random.pick(&[DomId::SELF.0, DomId::SELF.0, 0, 1]),
            pad: 0,
            kind: self.random.below(5) as u32,
            index: u32::MAX,
            pirq: self.random.pick(&[u32::MAX, 0, 1, 63]),
            bus: self.random.pick(&[0, 0, 1, 255, u32::MAX]),
            devfn: self.random.below(256) as u32,
            entry_nr: self.random.below(4) as u32,
            pad2: 0,
            table_base: 0,
        };
        let call = self.operate(Hypercall::PhysdevOp, PhysdevOp::MapPirq.raw(), &argument);
        self.push_call(Call { expect: Expect::Refusal, ..call }, "map another's interrupt");
    }
}
