//! Interrupt controllers: the local APIC with the timer, and the I/O APIC for the serial port.
//! Devices of domains bypass the I/O APIC: they send messages ([`crate::pci`]).

pub(crate) mod io;
pub(crate) mod local;

use crate::cpu::port;

/// First vector of devices; interrupt `pirq` has vector `DEVICE_VECTORS + pirq`.
pub(crate) const DEVICE_VECTORS: u8 = 0x20;
/// First vector past those of devices: from here on guests in ring 1 have gates of their own.
pub(crate) const DEVICE_VECTORS_END: u8 = 0x80;
/// Vector of the timer.
pub(crate) const TIMER_VECTOR: u8 = 0xf0;
/// Vector of the serial port.
pub(crate) const SERIAL_VECTOR: u8 = 0xf1;
/// Vector of interrupts that were withdrawn.
pub(crate) const SPURIOUS_VECTOR: u8 = 0xff;

/// Masks every interrupt of the two old controllers.
pub(crate) fn silence_pics() {
    port::write_u8(0x21, 0xff);
    port::write_u8(0xa1, 0xff);
}
