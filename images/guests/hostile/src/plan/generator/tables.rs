//! Questions about versions and memory, descriptor tables, debug registers, segment bases and assists.

use alloc::vec;

use hypercall_abi::memory::{MachphysMapping, MemoryOp};
use hypercall_abi::trap::SegmentBase;
use hypercall_abi::version::{FeatureInfo, VersionOp};
use hypercall_abi::{DomId, Hypercall};
use zerocopy::IntoBytes;

use super::Generator;
use crate::{Call, Expect};

impl Generator {
    /// A question, or a descriptor, register or base.
    pub(super) fn table(&mut self) {
        match self.random.below(12) {
            0 => {
                let op = self.random.pick(&[VersionOp::Version, VersionOp::PageSize]).raw();
                self.push_call(Self::words(Hypercall::XenVersion, [op.into(), 0, 0, 0, 0]), "version");
            }
            1 => {
                let (op, bytes) = self.random.pick(&[
                    (VersionOp::ExtraVersion, 16),
                    (VersionOp::Capabilities, 1024),
                    (VersionOp::PlatformParameters, 8),
                ]);
                let call = self.operate_bytes(Hypercall::XenVersion, op.raw(), &vec![0; bytes]);
                self.push_call(call, "version text");
            }
            2 => {
                let submap_index = self.random.pick(&[0, 0, 1, 2, u32::MAX]);
                let argument = FeatureInfo { submap_index, submap: 0 };
                let call = self.operate(Hypercall::XenVersion, VersionOp::GetFeatures.raw(), &argument);
                self.push_call(call, "features");
            }
            3 => {
                let op = 11 + self.random.below(1 << 40);
                self.push_call(Self::words(Hypercall::XenVersion, [op, 0, 0, 0, 0]), "no such question");
            }
            4 => {
                let op = self.random.pick(&[MemoryOp::CurrentReservation, MemoryOp::MaximumReservation]);
                let dom = if self.random.once_in(3) { self.other_domain() } else { DomId::SELF.0 };
                let call = self.operate(Hypercall::MemoryOp, op.raw(), &dom);
                self.push_call(call, "how much memory");
            }
            5 => {
                let op = self.random.pick(&[MemoryOp::MaximumRamPage.raw(), 0, 1, 6, 7, 9, 11, 77]);
                self.push_call(Self::words(Hypercall::MemoryOp, [op.into(), 0, 0, 0, 0]), "memory");
            }
            6 => {
                let op = MemoryOp::MachphysMapping.raw();
                let call = self.operate(Hypercall::MemoryOp, op, &MachphysMapping::zeroed());
                self.push_call(call, "where the table is");
            }
            7 => self.segment_base(),
            8 => {
                let register = self.random.pick(&[0, 3, 4, 5, 6, 7, 8, 63, u64::MAX]);
                let value = self.random.pick(&[
                    0,
                    self.estate.argument,
                    0xffff_8000_0000_0000,
                    0xffff_8080_0000_0000,
                    1 << 47,
                    0x2000,
                    0xf_ffff,
                ]);
                let set = Self::words(Hypercall::SetDebugreg, [register, value, 0, 0, 0]);
                self.push_call(set, "a debug register");
                self.push_call(Self::words(Hypercall::GetDebugreg, [register, 0, 0, 0, 0]), "read it");
                self.push_steady(Self::words(Hypercall::SetDebugreg, [7, 0, 0, 0, 0]), "off again");
            }
            9 => self.descriptor_table(),
            10 => {
                let descriptor =
                    self.random.pick(&[0, 0x00af_9b00_0000_ffff, 0x0000_e900_0000_0000, u64::MAX]);
                let table = self.random.pick(&self.estate.playground.frames.clone());
                let address = match self.random.below(3) {
                    0 => table.address(),
                    1 => self.foreign_frame().address(),
                    _ => self.rubbish(),
                };
                let args = [address, descriptor, 0, 0, 0];
                self.push_call(Self::words(Hypercall::UpdateDescriptor, args), "a descriptor");
            }
            _ => {
                let cmd = self.random.pick(&[0, 0, 1, 1, 2, u64::MAX]);
                let kind = self.random.pick(&[0, 1, 2, 3, 4, 5, 6, 32, 63, 64, u64::MAX]);
                self.push_call(Self::words(Hypercall::VmAssist, [cmd, kind, 0, 0, 0]), "an assist");
                self.push_steady(Self::words(Hypercall::VmAssist, [1, kind, 0, 0, 0]), "off again");
            }
        }
    }

    fn segment_base(&mut self) {
        let which = self.random.below(6);
        let bad = self.random.once_in(2);
        let base = if bad {
            self.random.pick(&[1 << 47, 0x0000_8000_0000_0000, 0x1234_0000_0000_0000, 1 << 63])
        } else {
            self.random.pick(&[0, 0, self.estate.argument])
        };
        let refused = which > 3 || (bad && which <= u64::from(SegmentBase::GsKernel.raw()));
        let expect = if refused { Expect::Refusal } else { Expect::Any };
        let call = Self::words(Hypercall::SetSegmentBase, [which, base, 0, 0, 0]);
        self.push_call(Call { expect, ..call }, "a segment base");
    }

    fn descriptor_table(&mut self) {
        let frame = match self.random.below(3) {
            0 => self.estate.playground.frames.first().map_or(0, |frame| frame.0),
            1 => self.estate.root.0,
            _ => self.foreign_frame().0,
        };
        let entries = self.random.pick(&[0, 1, 512, 7168, 7169, 8192, u64::MAX]);
        let at = self.place(14 * 8);
        let call = Call {
            number: Hypercall::SetGdt.raw().into(),
            args: [at, entries, 0, 0, 0],
            writes: vec![(at, [frame; 14].as_bytes().to_vec())],
            ..Call::default()
        };
        self.push_call(call, "a descriptor table");
        self.push_steady(Self::words(Hypercall::SetGdt, [0, 0, 0, 0, 0]), "without one again");
    }
}
