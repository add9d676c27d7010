//! The way out of the machine: a real network device, or a fake.
//! It is a trait so that the switch works without one and tests can be the wire.

use crate::MacAddress;

/// Why a frame did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The device has no room at the moment.
    Busy,
    /// The device does not work.
    Broken,
}

/// A network device that the switch may use.
pub trait Uplink {
    /// Its own hardware address.
    fn mac(&self) -> MacAddress;

    /// Copies the next received frame into `into` and returns its bytes; `None` when none waits. A frame longer
    /// than `into` is dropped by the device.
    fn receive(&mut self, into: &mut [u8]) -> Option<usize>;

    /// Queues a frame; it has been copied when this returns.
    ///
    /// # Errors
    /// As [`SendError`] says; the frame is lost.
    fn send(&mut self, frame: &[u8]) -> Result<(), SendError>;

    /// Tells the device of all frames queued since the last call.
    fn flush(&mut self);

    /// Asks for an interrupt with the next received frame, then looks once more: true means that one waits already.
    fn arm(&mut self) -> bool;
}

/// No device: nothing comes and nothing leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unplugged;

impl Uplink for Unplugged {
    fn mac(&self) -> MacAddress {
        MacAddress([0; 6])
    }
    fn receive(&mut self, _into: &mut [u8]) -> Option<usize> {
        None
    }
    fn send(&mut self, _frame: &[u8]) -> Result<(), SendError> {
        Err(SendError::Broken)
    }
    fn flush(&mut self) {}
    fn arm(&mut self) -> bool {
        false
    }
}
