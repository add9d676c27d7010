//! The parts of a frame that a switch looks at: the Ethernet header, and ARP.
//! Parsing is smoltcp's; what stands here is the narrow view that the switch needs.

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Ipv4Address,
};

use crate::MacAddress;

/// Bytes of an Ethernet header and an ARP packet behind it.
pub const ARP_FRAME_BYTES: usize = 42;

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) destination: MacAddress,
    pub(crate) source: MacAddress,
    pub(crate) is_arp: bool,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) is_request: bool,
    pub(crate) source_mac: MacAddress,
    pub(crate) source_ip: [u8; 4],
    pub(crate) target_mac: MacAddress,
    pub(crate) target_ip: [u8; 4],
}

impl Header {
    /// Reads a header; `None` when the frame is too short for one.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        Some(Self {
            destination: MacAddress(frame.dst_addr().0),
            source: MacAddress(frame.src_addr().0),
            is_arp: frame.ethertype() == EthernetProtocol::Arp,
        })
    }
}

impl Arp {
    /// Reads the ARP packet of a frame; `None` for anything that is not one of IPv4 over Ethernet.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let packet = ArpPacket::new_checked(frame.payload()).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        Some(Self {
            is_request: operation == ArpOperation::Request,
            source_mac: MacAddress(source_hardware_addr.0),
            source_ip: source_protocol_addr.octets(),
            target_mac: MacAddress(target_hardware_addr.0),
            target_ip: target_protocol_addr.octets(),
        })
    }

    /// The answer that whoever has `mac` would give to this request.
    pub(crate) fn answer(&self, mac: MacAddress) -> Self {
        Self {
            is_request: false,
            source_mac: mac,
            source_ip: self.target_ip,
            target_mac: self.source_mac,
            target_ip: self.source_ip,
        }
    }

    /// The frame that carries this packet; a request goes to everybody.
    pub(crate) fn to_frame(self) -> [u8; ARP_FRAME_BYTES] {
        let destination = if self.is_request { MacAddress::BROADCAST } else { self.target_mac };
        let operation = if self.is_request { ArpOperation::Request } else { ArpOperation::Reply };
        let mut bytes = [0; ARP_FRAME_BYTES];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        EthernetRepr {
            src_addr: EthernetAddress(self.source_mac.0),
            dst_addr: EthernetAddress(destination.0),
            ethertype: EthernetProtocol::Arp,
        }
        .emit(&mut frame);
        ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(self.source_mac.0),
            source_protocol_addr: Ipv4Address::from(self.source_ip),
            target_hardware_addr: EthernetAddress(self.target_mac.0),
            target_protocol_addr: Ipv4Address::from(self.target_ip),
        }
        .emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        bytes
    }
}
