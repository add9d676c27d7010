//! The virtio network device: queues kept full of empty buffers, and sent buffers taken back.
//! Frames are copied once between the device's buffers and the switch's, so that neither side holds the other's.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use drivers_backend::{MacAddress, SendError};
use guest_kernel::memory::Page;
use guest_kernel::ports::EventPort;
use hypercall_abi::{PAGE_SIZE, Port};
use virtio_drivers::device::net::VirtIONetRaw;

use super::NicError;
use crate::virtio::{self, DomainMemory, Doorbells, MsixTransport, NO_VECTOR};

/// Entries of each queue.
const QUEUE: usize = 256;
/// Bytes of one buffer: a header and a frame, two buffers a page.
const BUFFER_BYTES: usize = PAGE_SIZE / 2;
/// Buffers for each direction.
const BUFFERS: usize = QUEUE;
/// Receiving interrupts by entry 0 of the MSI-X table; sending never does.
const VECTORS: &[u16] = &[0, NO_VECTOR];

/// Buffers by number, two in each page.
struct Buffers(Vec<Page>);

impl Buffers {
    fn new() -> Option<Self> {
        (0..BUFFERS / 2).map(|_| Page::new()).collect::<Option<_>>().map(Self)
    }

    /// The bytes of one buffer.
    ///
    /// # Safety
    /// Neither the device nor another reference uses the buffer while the slice lives, but for what the device was
    /// given the slice for.
    unsafe fn slice(&self, buffer: usize) -> &'static mut [u8] {
        let start = self.0[buffer / 2].as_ptr().wrapping_add(buffer % 2 * BUFFER_BYTES);
        // SAFETY: half of a page that lives as long as the device does; the caller keeps everybody else away.
        unsafe { core::slice::from_raw_parts_mut(start, BUFFER_BYTES) }
    }
}

/// A running device.
pub(crate) struct Virtio {
    raw: VirtIONetRaw<DomainMemory, MsixTransport, QUEUE>,
    doorbells: Rc<Doorbells>,
    interrupt: EventPort,
    receiving: Buffers,
    /// Which receive buffer each token stands for.
    received_by: [u16; QUEUE],
    sending: Buffers,
    /// Which send buffer each token stands for, and the bytes in it.
    sent_by: [(u16, u16); QUEUE],
    free: Vec<u16>,
}

impl Virtio {
    /// Brings up the device with this index in the directory, at this PCI address.
    pub(super) fn open(index: u32, pci_address: u32) -> Result<Self, NicError> {
        let (transport, interrupt) = virtio::open(index, pci_address, VECTORS).map_err(NicError::Open)?;
        let doorbells = transport.doorbells();
        let raw = VirtIONetRaw::new(transport).map_err(NicError::Device)?;
        let buffers = || Buffers::new().ok_or(NicError::Device(virtio_drivers::Error::DmaError));
        let mut device = Self {
            raw,
            doorbells,
            interrupt,
            receiving: buffers()?,
            received_by: [0; QUEUE],
            sending: buffers()?,
            sent_by: [(0, 0); QUEUE],
            free: (0..BUFFERS as u16).collect(),
        };
        for buffer in 0..BUFFERS as u16 {
            device.post(buffer).map_err(NicError::Device)?;
        }
        device.flush();
        Ok(device)
    }

    /// The port of its interrupt.
    pub(super) const fn port(&self) -> Port {
        self.interrupt.port()
    }

    /// Its hardware address.
    pub(super) fn mac(&self) -> MacAddress {
        MacAddress(self.raw.mac_address())
    }

    /// Gives a buffer to the device to receive into.
    fn post(&mut self, buffer: u16) -> virtio_drivers::Result {
        // SAFETY: the buffer is not with the device, and it is left alone until the device gives it back.
        let slice = unsafe { self.receiving.slice(buffer.into()) };
        // SAFETY: as above.
        let token = unsafe { self.raw.receive_begin(slice) }?;
        if let Some(by) = self.received_by.get_mut(usize::from(token)) {
            *by = buffer;
        }
        Ok(())
    }

    /// Tells the device of all buffers that it was given since the last time.
    pub(super) fn flush(&self) {
        self.doorbells.ring();
    }

    /// Whether a received frame waits. If not, the device interrupts with the next one: taking the last frame asked for
    /// that, and the fence keeps our look from being earlier than the device's.
    pub(super) fn waits(&self) -> bool {
        fence(Ordering::SeqCst);
        self.raw.poll_receive().is_some()
    }

    /// Copies the next received frame out.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        loop {
            let token = self.raw.poll_receive()?;
            let buffer = self.received_by.get(usize::from(token)).copied()?;
            // SAFETY: the device has given the buffer back, and nobody else uses it.
            let slice = unsafe { self.receiving.slice(buffer.into()) };
            // SAFETY: the same buffer was given when the device returned this token.
            let completed = unsafe { self.raw.receive_complete(token, slice) };
            let copied = completed.ok().and_then(|(header, bytes)| {
                into.get_mut(..bytes)?.copy_from_slice(slice.get(header..header + bytes)?);
                Some(bytes)
            });
            if let Err(error) = self.post(buffer) {
                log::warn!("a receive buffer is lost: {error}");
            }
            // A frame that is too long, or a broken one, is passed over.
            if copied.is_some() {
                return copied;
            }
        }
    }

    /// Takes back the buffers that the device has sent.
    fn reap(&mut self) {
        while let Some(token) = self.raw.poll_transmit() {
            let Some((buffer, bytes)) = self.sent_by.get(usize::from(token)).copied() else { return };
            // SAFETY: the device has sent it and no longer uses it.
            let slice = unsafe { self.sending.slice(buffer.into()) };
            let Some(sent) = slice.get(..bytes.into()) else { return };
            // SAFETY: the same bytes were given when the device returned this token.
            if unsafe { self.raw.transmit_complete(token, sent) }.is_err() {
                return;
            }
            self.free.push(buffer);
        }
    }

    /// Queues a copy of a frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        self.reap();
        let buffer = self.free.pop().ok_or(SendError::Busy)?;
        let sent = self.begin(buffer, frame);
        if sent.is_err() {
            self.free.push(buffer);
        }
        sent.map_err(|error| match error {
            virtio_drivers::Error::QueueFull => SendError::Busy,
            _ => SendError::Broken,
        })
    }

    fn begin(&mut self, buffer: u16, frame: &[u8]) -> virtio_drivers::Result {
        // SAFETY: a free buffer is used by nobody.
        let slice = unsafe { self.sending.slice(buffer.into()) };
        let header = self.raw.fill_buffer_header(slice)?;
        let bytes = header + frame.len();
        slice.get_mut(header..bytes).ok_or(virtio_drivers::Error::InvalidParam)?.copy_from_slice(frame);
        let whole = slice.get(..bytes).ok_or(virtio_drivers::Error::InvalidParam)?;
        // SAFETY: the buffer leaves the list of free ones until the device has sent it.
        let token = unsafe { self.raw.transmit_begin(whole) }?;
        if let Some(by) = self.sent_by.get_mut(usize::from(token)) {
            *by = (buffer, bytes as u16);
        }
        Ok(())
    }
}
