//! One PCI function as it is found: its BARs and its MSI-X table.
//! Read once, before a guest has the device, so that nothing later depends on what a guest made of it.

use hypercall_abi::{Mfn, PAGE_SHIFT};

use super::reset::Reset;
use super::{command, offset};
use crate::machine::{Machine, PciAddress};

/// A memory BAR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Machine address; 0 if the firmware placed none.
    pub base: u64,
    /// Bytes, a power of two; 0 if there is no such BAR.
    pub size: u64,
    /// The flag bits of the lower register.
    pub flags: u32,
}

/// Where a function's MSI-X table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiX {
    /// Offset of the capability in configuration space.
    pub capability: u16,
    /// Machine address of the table.
    pub table: u64,
    /// Entries of 16 bytes.
    pub entries: u16,
}

/// A function that can be assigned to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Device in the upper half, vendor in the lower, as in configuration space.
    pub id: u32,
    /// Its BARs by register; a 64-bit BAR leaves the next one empty.
    pub bars: [Bar; 6],
    /// Its MSI-X table, if it has one in a placed BAR.
    pub msix: Option<MsiX>,
    /// How it is reset, if it is known.
    reset: Option<Reset>,
}

/// Identification of the MSI-X capability.
const MSIX: u32 = 0x11;
/// In a BAR: it decodes ports.
const BAR_IO: u32 = 1;
/// In a memory BAR: bits 1 and 2 give its width.
const BAR_TYPE: u32 = 6;
/// In a memory BAR: it takes two registers.
const BAR_64: u32 = 4;

impl Function {
    /// Reads a function's header, sizing its BARs with decoding turned off. `None` if there is none, or not with a
    /// header of type 0.
    #[must_use]
    pub fn probe<M: Machine>(m: &mut M, address: PciAddress) -> Option<Self> {
        let id = m.pci_read(address, offset::ID, 4);
        if id == u32::MAX || m.pci_read(address, offset::HEADER_TYPE, 1) & 0x7f != 0 {
            return None;
        }
        let before = m.pci_read(address, offset::COMMAND, 2);
        let quiet = before & !(command::IO | command::MEMORY | command::BUS_MASTER) | command::NO_INTX;
        m.pci_write(address, offset::COMMAND, 2, quiet);
        let bars = probe_bars(m, address);
        m.pci_write(address, offset::COMMAND, 2, before | command::NO_INTX);
        let msix = probe_msix(m, address, &bars);
        let reset = Reset::find(m, address, id, &bars);
        Some(Self { address, id, bars, msix, reset })
    }

    /// Stops it: what it has begun is over, and it begins nothing more.
    pub fn stop<M: Machine>(&self, m: &mut M) {
        if let Some(reset) = self.reset {
            reset.reset(m, self.address);
        }
        m.pci_write(self.address, offset::COMMAND, 2, command::NO_INTX);
    }

    /// The frames of its BARs that a domain may map, as ranges `first..end`: all but those that hold the MSI-X table,
    /// through which any interrupt vector could be raised.
    pub fn mappable(&self) -> impl Iterator<Item = (Mfn, Mfn)> + '_ {
        self.bars.iter().filter(|bar| bar.base != 0 && bar.size != 0).flat_map(|bar| {
            let first = Mfn::containing(bar.base);
            let last = bar.base.saturating_add(bar.size.saturating_sub(1));
            let end = Mfn((last >> PAGE_SHIFT).saturating_add(1));
            let (table, table_end) = self.table_frames().unwrap_or((end, end));
            let lower = (first, Mfn(end.0.min(table.0)));
            let upper = (Mfn(first.0.max(table_end.0)), end);
            [lower, upper].into_iter().filter(|(from, to)| from < to)
        })
    }

    /// The frames of the MSI-X table.
    fn table_frames(&self) -> Option<(Mfn, Mfn)> {
        let msix = self.msix?;
        let last = msix.table.saturating_add(u64::from(msix.entries).saturating_mul(16)).saturating_sub(1);
        Some((Mfn::containing(msix.table), Mfn((last >> PAGE_SHIFT).saturating_add(1))))
    }
}

/// The configuration offset of BAR `index`.
fn bar_offset(index: u16) -> u16 {
    offset::BAR0.saturating_add(index.saturating_mul(4))
}

/// Writes ones to a BAR and back what it was; the value and what the ones became.
fn size_register<M: Machine>(m: &mut M, address: PciAddress, index: u16) -> (u32, u32) {
    let at = bar_offset(index);
    let value = m.pci_read(address, at, 4);
    m.pci_write(address, at, 4, u32::MAX);
    let mask = m.pci_read(address, at, 4);
    m.pci_write(address, at, 4, value);
    (value, mask)
}

fn probe_bars<M: Machine>(m: &mut M, address: PciAddress) -> [Bar; 6] {
    let mut bars = [Bar::default(); 6];
    let mut upper_half = false;
    for (bar, index) in bars.iter_mut().zip(0u16..) {
        if core::mem::take(&mut upper_half) {
            continue;
        }
        let (value, mask) = size_register(m, address, index);
        if mask == 0 || value & BAR_IO != 0 {
            continue;
        }
        let (mut base, mut ones) = (u64::from(value & !0xf), u64::from(mask & !0xf) | 0xffff_ffff_0000_0000);
        if value & BAR_TYPE == BAR_64 && index < 5 {
            let (high, high_mask) = size_register(m, address, index.saturating_add(1));
            base |= u64::from(high) << 32;
            ones = u64::from(mask & !0xf) | (u64::from(high_mask) << 32);
            upper_half = true;
        }
        *bar = Bar { base, size: (!ones).wrapping_add(1), flags: value & 0xf };
    }
    bars
}

/// Shows `each` the offset and the first word of each capability, until it finds something.
pub(super) fn find_capability<M: Machine, T>(
    m: &mut M,
    address: PciAddress,
    mut each: impl FnMut(&mut M, u16, u32) -> Option<T>,
) -> Option<T> {
    let has_list = m.pci_read(address, offset::STATUS, 2) & (1 << 4) != 0;
    let mut at = if has_list { m.pci_read(address, offset::CAPABILITIES, 1) & 0xfc } else { 0 };
    // A list in 256 bytes has at most 48 members; a loop in it ends here too.
    for _ in 0..48 {
        let capability = u16::try_from(at).ok().filter(|at| *at >= 0x40)?;
        let header = m.pci_read(address, capability, 4);
        if let Some(found) = each(m, capability, header) {
            return Some(found);
        }
        at = (header >> 8) & 0xfc;
    }
    None
}

fn probe_msix<M: Machine>(m: &mut M, address: PciAddress, bars: &[Bar; 6]) -> Option<MsiX> {
    find_capability(m, address, |m, capability, header| {
        if header & 0xff != MSIX {
            return None;
        }
        let entries = u16::try_from((header >> 16) & 0x7ff).ok()?.saturating_add(1);
        let place = m.pci_read(address, capability.saturating_add(4), 4);
        let bar = bars.get(usize::try_from(place & 7).ok()?).filter(|bar| bar.base != 0)?;
        let within = u64::from(place & !7);
        let bytes = u64::from(entries).saturating_mul(16);
        let fits = within.saturating_add(bytes) <= bar.size;
        fits.then(|| MsiX { capability, table: bar.base.saturating_add(within), entries })
    })
}
