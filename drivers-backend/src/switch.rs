//! The layer 2 switch: who gets a frame.
//! It decides on plain bytes and tables, so that its rules can be tested without rings or devices.
//!
//! Guests' addresses come from the device directory and are fixed: a guest cannot speak for another, and the wire
//! cannot take a guest's place. Everything else is beyond the uplink, and learned there. ARP is answered here, and nothing
//! is ever copied to many guests.

use alloc::collections::BTreeMap;

use crate::MacAddress;
use crate::frame::{ARP_FRAME_BYTES, Arp, Header};
use crate::neighbours::Learned;

/// Stations beyond the uplink that are remembered.
const LEARNED_MAX: usize = 256;

/// A front end's number: its index in the device directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VifId(pub u16);

impl From<VifId> for usize {
    fn from(id: VifId) -> Self {
        Self::from(id.0)
    }
}

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// A guest, with its fixed address.
    Guest(VifId, MacAddress),
    /// The wire.
    Uplink,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To one guest.
    Guest(VifId),
    /// Onto the wire.
    Uplink,
    /// It was an ARP request: this frame goes back to whoever asked.
    Answer {
        /// The frame.
        frame: [u8; ARP_FRAME_BYTES],
        /// The guest that it is about, if it is about one.
        about: Option<VifId>,
        /// Who asked.
        asker: MacAddress,
    },
    /// Nowhere.
    Drop(DropReason),
}

/// Why a frame goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// No Ethernet frame, or a broken ARP packet.
    Malformed,
    /// Its source is not the sender's own address.
    Spoofed,
    /// It would go back where it came from.
    Hairpin,
    /// From the wire, for nobody here.
    Unknown,
    /// From the wire, for everybody: nothing is copied to all guests.
    Group,
    /// It has been read here and needs to go no further.
    Consumed,
}

/// An address is taken by another front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressTaken(pub VifId);

/// The switch's tables.
#[derive(Debug)]
pub struct Switch {
    uplink_mac: MacAddress,
    guests: BTreeMap<MacAddress, VifId>,
    addresses: BTreeMap<[u8; 4], (VifId, MacAddress)>,
    /// Stations that were heard on the uplink.
    stations: Learned<MacAddress, ()>,
    /// Who answers for an IPv4 address beyond the uplink.
    neighbours: Learned<[u8; 4], MacAddress>,
}

impl Switch {
    /// A switch without guests, whose uplink has this address.
    #[must_use]
    pub const fn new(uplink_mac: MacAddress) -> Self {
        Self {
            uplink_mac,
            guests: BTreeMap::new(),
            addresses: BTreeMap::new(),
            stations: Learned::new(LEARNED_MAX),
            neighbours: Learned::new(LEARNED_MAX),
        }
    }

    /// Enters a guest's fixed addresses; an IPv4 address of zeros means none.
    ///
    /// # Errors
    /// [`AddressTaken`] when another guest has one of them; nothing is entered.
    pub fn attach(&mut self, id: VifId, mac: MacAddress, ipv4: [u8; 4]) -> Result<(), AddressTaken> {
        if let Some(other) = self.guests.get(&mac) {
            return Err(AddressTaken(*other));
        }
        if ipv4 != [0; 4] {
            if let Some((other, _)) = self.addresses.get(&ipv4) {
                return Err(AddressTaken(*other));
            }
            self.addresses.insert(ipv4, (id, mac));
        }
        self.guests.insert(mac, id);
        Ok(())
    }

    /// Forgets a guest's addresses.
    pub fn detach(&mut self, id: VifId, mac: MacAddress, ipv4: [u8; 4]) {
        if self.guests.get(&mac) == Some(&id) {
            self.guests.remove(&mac);
        }
        if self.addresses.get(&ipv4).is_some_and(|(owner, _)| *owner == id) {
            self.addresses.remove(&ipv4);
        }
    }

    /// Who answers for an address beyond the uplink, as far as is known.
    #[must_use]
    pub fn neighbour(&self, ipv4: [u8; 4]) -> Option<MacAddress> {
        self.neighbours.get(&ipv4)
    }

    /// The frame that asks the wire for an address in a guest's name. (Asking in nobody's name, as the driver domain without
    /// an address would have to, is a probe, which not every host answers.)
    #[must_use]
    pub fn question(mac: MacAddress, own: [u8; 4], ipv4: [u8; 4]) -> [u8; ARP_FRAME_BYTES] {
        let request = Arp {
            is_request: true,
            source_mac: mac,
            source_ip: own,
            target_mac: MacAddress([0; 6]),
            target_ip: ipv4,
        };
        request.to_frame()
    }

    /// Decides about one frame, and learns from it.
    pub fn decide(&mut self, from: Ingress, frame: &[u8]) -> Verdict {
        let Some(header) = Header::parse(frame) else { return Verdict::Drop(DropReason::Malformed) };
        match from {
            Ingress::Guest(id, mac) => self.judge_guest(id, mac, &header, frame),
            Ingress::Uplink => self.judge_uplink(&header, frame),
        }
    }

    fn judge_guest(&self, id: VifId, mac: MacAddress, header: &Header, frame: &[u8]) -> Verdict {
        if header.source != mac {
            return Verdict::Drop(DropReason::Spoofed);
        }
        if header.is_arp {
            return self.arp_judge_guest(id, mac, header, frame);
        }
        match self.guests.get(&header.destination) {
            Some(to) if *to == id => Verdict::Drop(DropReason::Hairpin),
            Some(to) => Verdict::Guest(*to),
            None => Verdict::Uplink,
        }
    }

    fn arp_judge_guest(&self, id: VifId, mac: MacAddress, header: &Header, frame: &[u8]) -> Verdict {
        let Some(arp) = Arp::parse(frame) else { return Verdict::Drop(DropReason::Malformed) };
        let of_guest = self.addresses.get(&arp.source_ip).is_some_and(|(owner, _)| *owner != id);
        if arp.source_mac != mac || of_guest || self.neighbours.get(&arp.source_ip).is_some() {
            return Verdict::Drop(DropReason::Spoofed);
        }
        if !arp.is_request {
            return match self.guests.get(&header.destination) {
                None if !header.destination.is_group() => Verdict::Uplink,
                _ => Verdict::Drop(DropReason::Consumed),
            };
        }
        if arp.target_ip == arp.source_ip {
            return Verdict::Drop(DropReason::Consumed);
        }
        match self.addresses.get(&arp.target_ip) {
            // Asking for itself is how a guest detects that its address is taken: silence is the right answer.
            Some((owner, _)) if *owner == id => Verdict::Drop(DropReason::Consumed),
            Some((about, mac)) => answer(&arp, *mac, Some(*about)),
            None => match self.neighbours.get(&arp.target_ip) {
                Some(mac) => answer(&arp, mac, None),
                None => Verdict::Uplink,
            },
        }
    }

    fn judge_uplink(&mut self, header: &Header, frame: &[u8]) -> Verdict {
        if header.source.is_group()
            || header.source == self.uplink_mac
            || self.guests.contains_key(&header.source)
        {
            return Verdict::Drop(DropReason::Spoofed);
        }
        self.stations.learn(header.source, ());
        if header.is_arp {
            let Some(arp) = Arp::parse(frame) else { return Verdict::Drop(DropReason::Malformed) };
            if self.addresses.contains_key(&arp.source_ip) || self.guests.contains_key(&arp.source_mac) {
                return Verdict::Drop(DropReason::Spoofed);
            }
            if arp.source_ip != [0; 4] && !arp.source_mac.is_group() {
                self.neighbours.learn(arp.source_ip, arp.source_mac);
            }
            if arp.is_request {
                return match self.addresses.get(&arp.target_ip) {
                    Some((about, mac)) => answer(&arp, *mac, Some(*about)),
                    None => Verdict::Drop(DropReason::Consumed),
                };
            }
        }
        match self.guests.get(&header.destination) {
            Some(id) => Verdict::Guest(*id),
            None if header.destination == self.uplink_mac => Verdict::Drop(DropReason::Consumed),
            None if header.destination.is_group() => Verdict::Drop(DropReason::Group),
            None if self.stations.get(&header.destination).is_some() => Verdict::Drop(DropReason::Hairpin),
            None => Verdict::Drop(DropReason::Unknown),
        }
    }
}

/// The verdict on a request that `mac` would answer.
fn answer(request: &Arp, mac: MacAddress, about: Option<VifId>) -> Verdict {
    Verdict::Answer { frame: request.answer(mac).to_frame(), about, asker: request.source_mac }
}
