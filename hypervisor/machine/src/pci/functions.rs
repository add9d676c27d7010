//! Which functions are there.
//! Firmware has assigned buses and addresses; they are taken as they are.

use alloc::vec::Vec;

use hypervisor_core::machine::PciAddress;

use super::Config;

const CLASS: u16 = 0x08;
const HEADER: u16 = 0x0c;
const BUSES: u16 = 0x18;
const BRIDGE: u32 = 0x0604;
const SEVERAL: u32 = 0x80;

/// All functions that can be reached from bus 0.
pub(crate) fn scan(config: &Config) -> Vec<PciAddress> {
    let mut found = Vec::new();
    let mut buses = Vec::from([0]);
    let mut next = 0;
    while let Some(&bus) = buses.get(next) {
        next += 1;
        for device in 0..32 {
            scan_device(config, bus, device, &mut found, &mut buses);
        }
    }
    found
}

fn scan_device(config: &Config, bus: u8, device: u8, found: &mut Vec<PciAddress>, buses: &mut Vec<u8>) {
    for function in 0..8 {
        let address = PciAddress { segment: 0, bus, devfn: device << 3 | function };
        let there = config.read_word(address, 0) & 0xffff != 0xffff;
        if there {
            found.push(address);
            if config.read_word(address, CLASS) >> 16 == BRIDGE {
                let behind = (config.read_word(address, BUSES) >> 8) as u8;
                if behind > bus && !buses.contains(&behind) {
                    buses.push(behind);
                }
            }
        }
        if function == 0 && !(there && config.read_word(address, HEADER) >> 16 & SEVERAL != 0) {
            return;
        }
    }
}
