//! What travels in the rings of a network device, with the layouts of Xen's netif.
//! Packets stay in granted pages; a ring entry only names the page and the bytes.

use crate::ring::Protocol;

abi_struct! {
    /// Front end: a packet to send (`netif_tx_request`).
    pub struct TxRequest(12) {
        /// Grant of the page that holds it.
        0 => gref: u32,
        /// Its first byte in the page.
        4 => offset: u16,
        /// [`tx_flags`].
        6 => flags: u16,
        /// Echoed in the response.
        8 => id: u16,
        /// Bytes of the packet.
        10 => size: u16,
    }
}

abi_struct! {
    /// Back end: a packet was taken (`netif_tx_response`).
    pub struct TxResponse(4) {
        /// From the request.
        0 => id: u16,
        /// A [`PacketStatus`].
        2 => status: i16,
    }
}

abi_struct! {
    /// Front end: an empty page to receive into (`netif_rx_request`).
    pub struct RxRequest(8) {
        /// Echoed in the response.
        0 => id: u16,
        /// Unused.
        2 => pad: u16,
        /// Grant of the page.
        4 => gref: u32,
    }
}

abi_struct! {
    /// Back end: a packet has arrived (`netif_rx_response`).
    pub struct RxResponse(8) {
        /// From the request.
        0 => id: u16,
        /// Its first byte in the page.
        2 => offset: u16,
        /// [`rx_flags`].
        4 => flags: u16,
        /// Bytes of the packet, or a [`PacketStatus`] below zero.
        6 => status: i16,
    }
}

abi_enum! {
    /// What became of a packet (`NETIF_RSP_*`).
    pub enum PacketStatus: i16 {
        /// Dropped.
        Dropped = -2,
        /// Refused: the request is wrong.
        Error = -1,
        /// Done.
        Okay = 0,
        /// The slot carried no packet of its own.
        Null = 1,
    }
}

/// Bits of [`TxRequest::flags`] (`NETTXF_*`).
pub mod tx_flags {
    /// The checksum is left to others.
    pub const CSUM_BLANK: u16 = 1 << 0;
    /// The data is known to be right.
    pub const DATA_VALIDATED: u16 = 1 << 1;
    /// The packet goes on in the next request.
    pub const MORE_DATA: u16 = 1 << 2;
    /// The next slot holds extra information.
    pub const EXTRA_INFO: u16 = 1 << 3;
}

/// Bits of [`RxResponse::flags`] (`NETRXF_*`).
pub mod rx_flags {
    /// The data is known to be right.
    pub const DATA_VALIDATED: u16 = 1 << 0;
    /// The checksum is left to others.
    pub const CSUM_BLANK: u16 = 1 << 1;
    /// The packet goes on in the next response.
    pub const MORE_DATA: u16 = 1 << 2;
    /// The next slot holds extra information.
    pub const EXTRA_INFO: u16 = 1 << 3;
}

/// The ring on which a front end sends.
#[derive(Clone, Copy, Debug)]
pub enum Transmit {}

impl Protocol for Transmit {
    type Request = TxRequest;
    type Response = TxResponse;
}

/// The ring on which a front end receives.
#[derive(Clone, Copy, Debug)]
pub enum Receive {}

impl Protocol for Receive {
    type Request = RxRequest;
    type Response = RxResponse;
}

const _: () = assert!(Transmit::SLOTS == 256 && Receive::SLOTS == 256, "slots of Xen's netif rings");

/// Bytes of an Ethernet header.
pub const ETHERNET_HEADER_BYTES: usize = 14;
/// The longest frame that is carried: header and 1,500 bytes.
pub const FRAME_BYTES_MAX: usize = 1514;
