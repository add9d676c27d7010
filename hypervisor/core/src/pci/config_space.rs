//! Configuration space as the driver domain of a function sees it.
//! Reads go through; writes reach the device only where they can harm nobody but its owner.

use hypercall_abi::Errno;

use super::{Function, command, offset};
use crate::machine::Machine;

/// A function with what its owner wrote to the registers that the hypervisor keeps.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    function: Function,
    /// BAR registers as the owner left them: sizing writes ones and reads the mask.
    bars: [u32; 6],
}

impl ConfigSpace {
    /// The function as the firmware left it.
    #[must_use]
    pub fn new(function: Function) -> Self {
        let mut bars = [0u32; 6];
        for (index, register) in bars.iter_mut().enumerate() {
            *register = placed(&function, index).0;
        }
        Self { function, bars }
    }

    /// The function beneath.
    #[must_use]
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Reads 1, 2 or 4 bytes at a multiple of `width`.
    ///
    /// # Errors
    /// [`Errno::Inval`] if width or offset are not such.
    pub fn read<M: Machine>(&self, m: &mut M, at: u16, width: u8) -> Result<u32, Errno> {
        check(at, width)?;
        let Some((index, shift)) = bar_of(at) else {
            return Ok(m.pci_read(self.function.address, at, width));
        };
        let register = self.bars.get(index).copied().unwrap_or(0) >> shift;
        Ok(match width {
            1 => register & 0xff,
            2 => register & 0xffff,
            _ => register,
        })
    }

    /// Writes 1, 2 or 4 bytes at a multiple of `width`: the command register (memory, bus master; line interrupts
    /// stay off) and, for sizing only, the BARs. The status register and other whole words of the header are ignored.
    ///
    /// # Errors
    /// [`Errno::Inval`] if width or offset are not such; [`Errno::Perm`] for a capability, which could write an
    /// interrupt message or reach memory behind the filter, and for a BAR in parts.
    pub fn write<M: Machine>(&mut self, m: &mut M, at: u16, width: u8, value: u32) -> Result<(), Errno> {
        check(at, width)?;
        if let Some((index, _)) = bar_of(at) {
            if width != 4 {
                return Err(Errno::Perm);
            }
            let (_, mask) = placed(&self.function, index);
            let flags = placed(&self.function, index).0 & flag_bits(&self.function, index);
            if let Some(register) = self.bars.get_mut(index) {
                *register = (value & mask) | flags;
            }
            return Ok(());
        }
        match at {
            offset::COMMAND => {
                let wanted = value & (command::MEMORY | command::BUS_MASTER);
                m.pci_write(self.function.address, offset::COMMAND, 2, wanted | command::NO_INTX);
                Ok(())
            }
            _ if at < 0x40 => Ok(()),
            _ => Err(Errno::Perm),
        }
    }
}

/// Refuses what hardware would not do in one access.
fn check(at: u16, width: u8) -> Result<(), Errno> {
    let width = match width {
        1 | 2 | 4 => u16::from(width),
        _ => return Err(Errno::Inval),
    };
    match at.checked_rem(width) {
        Some(0) if at < offset::END => Ok(()),
        _ => Err(Errno::Inval),
    }
}

/// Which BAR register an offset lies in, and how many bits into it.
fn bar_of(at: u16) -> Option<(usize, u32)> {
    let within = at.checked_sub(offset::BAR0).filter(|_| at < offset::BARS_END)?;
    Some((usize::from(within >> 2), u32::from(within & 3).saturating_mul(8)))
}

/// A BAR register as the firmware left it, and the bits of it that can be written.
fn placed(function: &Function, index: usize) -> (u32, u32) {
    let low = |word: u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
    let high = |word: u64| u32::try_from(word >> 32).unwrap_or(0);
    let own = function.bars.get(index).filter(|bar| bar.size != 0);
    let below = index.checked_sub(1).and_then(|index| function.bars.get(index));
    match (own, below.filter(|bar| bar.size != 0 && bar.flags & 4 != 0)) {
        (Some(bar), _) => (low(bar.base) | bar.flags, low(!bar.size.wrapping_sub(1)) & !0xf),
        (None, Some(bar)) => (high(bar.base), high(!bar.size.wrapping_sub(1))),
        (None, None) => (0, 0),
    }
}

/// The bits of a BAR register that are flags: the lower four, but none in the upper half of a 64-bit BAR.
fn flag_bits(function: &Function, index: usize) -> u32 {
    match function.bars.get(index) {
        Some(bar) if bar.size != 0 => 0xf,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use super::super::MsiX;
    use super::*;
    use crate::machine::PciAddress;
    use crate::memory::{MachineAddress, MachineMemory};
    use crate::time::Time;
    use hypercall_abi::Mfn;

    /// A function with a 4 KiB BAR 1 for MSI-X and a 16 KiB 64-bit BAR 4, as QEMU's virtio-net has.
    #[derive(Debug)]
    struct Device(BTreeMap<u16, u8>);

    const TABLE: u64 = 0xfebd_1000;
    const REGISTERS: u64 = 0xe0_0000_4000;

    impl Device {
        fn new() -> Self {
            let mut device = Self(BTreeMap::new());
            device.put(offset::ID, 0x1041_1af4);
            device.put(offset::STATUS & !3, 0x0010_0007);
            device.put(0x14, 0xfebd_1000);
            device.put(0x20, 0x0000_400c);
            device.put(0x24, 0xe0);
            device.put(offset::CAPABILITIES, 0x98);
            device.put(0x98, 0x0003_4011);
            device.put(0x9c, 1);
            // A window to registers, then where the common configuration is: BAR 4, from its beginning.
            device.put(0x98, 0x0003_8411);
            device.put(0x84, 0x0514_4009);
            device.put(0x40, 0x0110_0009);
            device.put(0x44, 4);
            device
        }
        fn put(&mut self, at: u16, value: u32) {
            for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
                self.0.insert(at + i as u16, byte);
            }
        }
        fn word(&self, at: u16) -> u32 {
            u32::from_le_bytes(core::array::from_fn(|i| self.0.get(&(at + i as u16)).copied().unwrap_or(0)))
        }
    }

    impl MachineMemory for Device {
        fn load(&self, _: MachineAddress) -> u64 {
            unreachable!()
        }
        fn store(&mut self, _: MachineAddress, _: u64) {
            unreachable!()
        }
        fn fetch_or(&mut self, _: MachineAddress, _: u64) -> u64 {
            unreachable!()
        }
        fn fetch_and(&mut self, _: MachineAddress, _: u64) -> u64 {
            unreachable!()
        }
        fn compare_exchange(&mut self, _: MachineAddress, _: u64, _: u64) -> Result<(), u64> {
            unreachable!()
        }
        fn read(&self, _: MachineAddress, _: &mut [u8]) {
            unreachable!()
        }
        fn write(&mut self, _: MachineAddress, _: &[u8]) {
            unreachable!()
        }
        fn copy(&mut self, _: MachineAddress, _: MachineAddress, _: usize) {
            unreachable!()
        }
        fn zero_frame(&mut self, _: Mfn) {
            unreachable!()
        }
    }

    impl Machine for Device {
        fn now(&self) -> Time {
            Time(0)
        }
        fn flush_address(&mut self, _: u64) {}
        fn load_root(&mut self, _: crate::ring::Ring, _: Mfn) {}
        fn pci_read(&mut self, _: PciAddress, at: u16, width: u8) -> u32 {
            self.word(at) & (u32::MAX >> (32 - 8 * u32::from(width)))
        }
        fn pci_write(&mut self, _: PciAddress, at: u16, width: u8, value: u32) {
            let mask = match at {
                0x14 => 0xffff_f000,
                0x20 => 0xffff_c000,
                0x24 | offset::COMMAND | 0x88 | 0x8c | 0x90 | 0x94 => u32::MAX,
                _ => 0,
            };
            let old = self.word(at);
            for (i, byte) in ((value & mask) | (old & !mask)).to_le_bytes().into_iter().enumerate() {
                if i < usize::from(width) {
                    self.0.insert(at + i as u16, byte);
                }
            }
        }
    }

    impl crate::machine::Storage for Device {}

    const AT: PciAddress = PciAddress { segment: 0, bus: 0, devfn: 0x10 };

    fn assigned() -> (Device, ConfigSpace) {
        let mut device = Device::new();
        let function = Function::probe(&mut device, AT).expect("the device answers");
        (device, ConfigSpace::new(function))
    }

    #[test]
    fn probing_finds_the_bars_and_the_table_and_leaves_them_as_they_were() {
        let (device, space) = assigned();
        let function = space.function();
        assert_eq!(function.bars[1], super::super::Bar { base: TABLE, size: 4096, flags: 0 });
        assert_eq!(function.bars[4], super::super::Bar { base: REGISTERS, size: 16384, flags: 0xc });
        assert_eq!(function.msix.unwrap().table, TABLE);
        assert_eq!(function.msix.unwrap().entries, 4);
        assert_eq!((device.word(0x14), device.word(0x20), device.word(0x24)), (0xfebd_1000, 0x400c, 0xe0));
    }

    #[test]
    fn the_table_is_never_mappable() {
        let (_, space) = assigned();
        let ranges: Vec<_> = space.function().mappable().collect();
        assert_eq!(ranges, [(Mfn(REGISTERS >> 12), Mfn((REGISTERS >> 12) + 4))]);
    }

    #[test]
    fn a_table_in_the_middle_of_a_bar_splits_it() {
        let (_, space) = assigned();
        let mut function = *space.function();
        function.msix = function.msix.map(|msix| MsiX { table: REGISTERS + 0x1000, ..msix });
        let base = REGISTERS >> 12;
        let ranges: Vec<_> = function.mappable().collect();
        assert!(
            ranges.contains(&(Mfn(base), Mfn(base + 1))) && ranges.contains(&(Mfn(base + 2), Mfn(base + 4)))
        );
    }

    #[test]
    fn sizing_works_and_the_device_is_not_moved() {
        let (mut device, mut space) = assigned();
        space.write(&mut device, 0x20, 4, u32::MAX).unwrap();
        space.write(&mut device, 0x24, 4, u32::MAX).unwrap();
        assert_eq!(space.read(&mut device, 0x20, 4), Ok(0xffff_c00c));
        assert_eq!(space.read(&mut device, 0x24, 4), Ok(0xffff_ffff));
        assert_eq!((device.word(0x20), device.word(0x24)), (0x400c, 0xe0));
        space.write(&mut device, 0x20, 4, 0x400c).unwrap();
        assert_eq!(space.read(&mut device, 0x20, 4), Ok(0x400c));
    }

    #[test]
    fn line_interrupts_and_ports_stay_off() {
        let (mut device, mut space) = assigned();
        space.write(&mut device, offset::COMMAND, 2, 0xffff).unwrap();
        let wanted = command::MEMORY | command::BUS_MASTER | command::NO_INTX;
        assert_eq!(device.word(offset::COMMAND) & 0xffff, wanted);
    }

    #[test]
    fn capabilities_cannot_be_written() {
        let (mut device, mut space) = assigned();
        for at in (0x40..0x100).step_by(4) {
            assert_eq!(space.write(&mut device, at, 4, u32::MAX), Err(Errno::Perm));
        }
        assert_eq!(device.word(0x98), 0x0003_8411);
    }

    #[test]
    fn a_device_without_an_owner_is_reset_and_stopped() {
        let (mut device, mut space) = assigned();
        space.write(&mut device, offset::COMMAND, 2, command::MEMORY | command::BUS_MASTER).unwrap();
        device.put(0x94, u32::MAX);
        space.function().stop(&mut device);
        let window = [0x88, 0x8c, 0x90].map(|at| device.word(at));
        assert_eq!(window, [4, 20, 1], "one byte: the status in the common configuration of BAR 4");
        assert_eq!(device.word(0x94), 0xffff_ff00, "a zero was written there");
        assert_eq!(device.word(offset::COMMAND) & 0xffff, command::NO_INTX);
        // Another vendor's device is stopped alone.
        device.put(offset::ID, 0x1041_8086);
        device.put(0x90, 77);
        Function::probe(&mut device, AT).unwrap().stop(&mut device);
        assert_eq!(device.word(0x90), 77);
    }

    #[test]
    fn odd_accesses_are_refused() {
        let (mut device, mut space) = assigned();
        for (at, width) in [(1, 2), (2, 4), (0, 3), (0, 0), (0, 8), (0x100, 4), (0xffff, 1)] {
            assert_eq!(space.read(&mut device, at, width), Err(Errno::Inval));
            assert_eq!(space.write(&mut device, at, width, 0), Err(Errno::Inval));
        }
    }
}
