//! The first serial port (COM1): text out by polling, bytes in by interrupt.
//! It is the hypervisor's only device of its own: log, console and commands need nothing else.

use core::fmt;

use spin::{Mutex, MutexGuard};

use crate::cpu::port;

const BASE: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = BASE + 1;
const FIFO_CONTROL: u16 = BASE + 2;
const LINE_CONTROL: u16 = BASE + 3;
const MODEM_CONTROL: u16 = BASE + 4;
const LINE_STATUS: u16 = BASE + 5;

const RECEIVED: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// What an absent port reads as.
const ABSENT: u8 = 0xff;
/// Bytes that the transmitter takes at once when it is empty.
const FIFO_BYTES: usize = 16;

static PORT: Mutex<Port> = Mutex::new(Port { room: 0 });

/// The port, held.
pub(crate) struct Port {
    /// Bytes that the transmitter takes without being asked again.
    room: usize,
}

/// Sets 115,200 baud, 8N1, FIFOs on, interrupt on received data.
pub(crate) fn initialise() {
    port::write_u8(INTERRUPT_ENABLE, 0);
    port::write_u8(LINE_CONTROL, 0x80);
    port::write_u8(BASE, 1);
    port::write_u8(INTERRUPT_ENABLE, 0);
    port::write_u8(LINE_CONTROL, 0x03);
    port::write_u8(FIFO_CONTROL, 0x07);
    port::write_u8(MODEM_CONTROL, 0x0b);
    port::write_u8(INTERRUPT_ENABLE, 0x01);
}

/// Waits for the port.
pub(crate) fn lock() -> MutexGuard<'static, Port> {
    PORT.lock()
}

/// Takes the port for the last words of a processor that may hold it already.
pub(crate) fn seize() -> Port {
    Port { room: 0 }
}

/// A byte that has come in, if any.
pub(crate) fn received() -> Option<u8> {
    let status = port::read_u8(LINE_STATUS);
    (status != ABSENT && status & RECEIVED != 0).then(|| port::read_u8(BASE))
}

impl Port {
    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while self.room == 0 {
                let status = port::read_u8(LINE_STATUS);
                if status == ABSENT {
                    return;
                }
                if status & TRANSMITTER_EMPTY != 0 {
                    self.room = FIFO_BYTES;
                }
            }
            port::write_u8(BASE, byte);
            self.room -= 1;
        }
    }
}

impl fmt::Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}
