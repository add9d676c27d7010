//! What ACPI says about this machine: interrupt controllers, the timer, configuration space, how to end.
//! It is read once at boot into plain data; no byte code is run.

mod pm_timer;
pub(crate) mod sleep;

use core::ptr::NonNull;

use acpi_tables::fadt::Fadt;
use acpi_tables::madt::{Madt, MadtEntry};
use acpi_tables::mcfg::Mcfg;
use acpi_tables::{AcpiHandler, AcpiTables, PhysicalMapping, address::AddressSpace};

use crate::apic::io::Input;
use crate::paging::direct;
pub(crate) use pm_timer::PmTimer;
use sleep::{PowerOff, soft_off_type};

/// Memory-mapped configuration space of a range of buses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigSpace {
    /// Machine address of bus 0's part, even if the range begins later.
    pub(crate) address: u64,
    /// Last bus.
    pub(crate) last_bus: u8,
}

/// What ACPI says. What it does not say is absent or as on any PC.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    /// Machine address and first input of the I/O APIC.
    pub(crate) io_apic: Option<(u64, u32)>,
    /// The serial port's interrupt.
    pub(crate) serial: Input,
    /// The timer of known frequency.
    pub(crate) timer: Option<PmTimer>,
    /// Configuration space of segment 0.
    pub(crate) config_space: Option<ConfigSpace>,
    /// How the machine is switched off.
    pub(crate) power_off: Option<PowerOff>,
}

/// The old interrupt number of the first serial port.
const SERIAL_IRQ: u8 = 4;

/// ACPI's tables lie in memory below 4 GiB or in RAM: the direct map covers them.
#[derive(Clone, Copy, Debug)]
struct DirectMap;

impl AcpiHandler for DirectMap {
    unsafe fn map_physical_region<T>(&self, address: usize, bytes: usize) -> PhysicalMapping<Self, T> {
        let pointer =
            NonNull::new(direct::pointer(address as u64).cast()).expect("the direct map is not at 0");
        // SAFETY: the direct map shows the region for ever; unmapping does nothing.
        unsafe { PhysicalMapping::new(address, pointer, bytes, bytes, *self) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

impl Platform {
    /// Reads the tables from the root pointer at `rsdp`, or from where a BIOS leaves it.
    pub(crate) fn discover(rsdp: Option<u64>) -> Self {
        let mut platform = Self {
            io_apic: None,
            serial: Input { number: u32::from(SERIAL_IRQ), active_low: false, level: false },
            timer: None,
            config_space: None,
            power_off: None,
        };
        let tables = match rsdp {
            // SAFETY: the boot loader names the address.
            Some(address) => unsafe { AcpiTables::from_rsdp(DirectMap, address as usize) },
            // SAFETY: only a boot loader on a BIOS names none.
            None => unsafe { AcpiTables::search_for_rsdp_bios(DirectMap) },
        };
        if let Ok(tables) = tables {
            platform.read_interrupts(&tables);
            platform.read_power(&tables);
            platform.read_config_space(&tables);
        }
        platform
    }

    fn read_interrupts(&mut self, tables: &AcpiTables<DirectMap>) {
        let Ok(madt) = tables.find_table::<Madt>() else { return };
        for entry in madt.get().entries() {
            match entry {
                MadtEntry::IoApic(io) => {
                    let first = io.global_system_interrupt_base;
                    if self.io_apic.is_none_or(|(_, least)| first < least) {
                        self.io_apic = Some((u64::from(io.io_apic_address), first));
                    }
                }
                MadtEntry::InterruptSourceOverride(entry) if entry.irq == SERIAL_IRQ => {
                    let flags = entry.flags;
                    self.serial = Input {
                        number: entry.global_system_interrupt,
                        active_low: flags & 3 == 3,
                        level: flags >> 2 & 3 == 3,
                    };
                }
                _ => {}
            }
        }
    }

    fn read_power(&mut self, tables: &AcpiTables<DirectMap>) {
        let Ok(fadt) = tables.find_table::<Fadt>() else { return };
        if let Ok(Some(block)) = fadt.pm_timer_block()
            && block.address_space == AddressSpace::SystemIo
            && let Ok(port) = u16::try_from(block.address)
        {
            self.timer = Some(PmTimer { port });
        }
        let control = |block: Option<acpi_tables::address::GenericAddress>| {
            block
                .filter(|block| block.address_space == AddressSpace::SystemIo)
                .and_then(|block| u16::try_from(block.address).ok())
                .filter(|port| *port != 0)
        };
        let (Some(first), Ok(dsdt)) = (control(fadt.pm1a_control_block().ok()), tables.dsdt()) else {
            return;
        };
        let second = control(fadt.pm1b_control_block().ok().flatten());
        // SAFETY: the table says that its byte code lies there, and nobody writes it.
        let code = unsafe { direct::bytes(dsdt.address as u64, dsdt.length as usize) };
        self.power_off = soft_off_type(code).map(|types| PowerOff { ports: [Some(first), second], types });
    }

    fn read_config_space(&mut self, tables: &AcpiTables<DirectMap>) {
        let Ok(mcfg) = tables.find_table::<Mcfg>() else { return };
        self.config_space = mcfg
            .entries()
            .iter()
            .find(|entry| entry.pci_segment_group == 0 && entry.bus_number_start == 0)
            .map(|entry| ConfigSpace { address: entry.base_address, last_bus: entry.bus_number_end });
    }
}
