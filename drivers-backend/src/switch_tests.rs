//! The switch's rules as tests: who may say what, and who hears it.
//! Frames are bytes here, as they come from guests that nobody trusts.

use alloc::vec::Vec;

use proptest::prelude::*;

use crate::frame::{Arp, Header};
use crate::{DropReason, Ingress, MacAddress, Switch, Verdict, VifId};

const UPLINK: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OUTSIDE: MacAddress = MacAddress([0x52, 0, 0, 0, 0, 2]);
const GATEWAY: [u8; 4] = [10, 16, 0, 2];

fn mac(at: u8) -> MacAddress {
    MacAddress([2, 0xde, 0, 0, 0, at])
}

fn ip(at: u8) -> [u8; 4] {
    [10, 16, 1, at]
}

fn guest(at: u8) -> Ingress {
    Ingress::Guest(VifId(at.into()), mac(at))
}

fn switch() -> Switch {
    let mut switch = Switch::new(UPLINK);
    for at in 1..=3 {
        switch.attach(VifId(at.into()), mac(at), ip(at)).unwrap();
    }
    switch
}

fn frame(from: MacAddress, to: MacAddress) -> Vec<u8> {
    [&to.0[..], &from.0, &[8, 0], &[0; 46]].concat()
}

fn request(from: MacAddress, own: [u8; 4], wanted: [u8; 4]) -> [u8; 42] {
    Switch::question(from, own, wanted)
}

#[test]
fn a_frame_for_a_guest_goes_to_that_guest_alone() {
    let mut switch = switch();
    assert_eq!(switch.decide(guest(1), &frame(mac(1), mac(2))), Verdict::Guest(VifId(2)));
    assert_eq!(switch.decide(Ingress::Uplink, &frame(OUTSIDE, mac(3))), Verdict::Guest(VifId(3)));
    assert_eq!(switch.decide(guest(1), &frame(mac(1), OUTSIDE)), Verdict::Uplink);
    assert_eq!(switch.decide(guest(1), &frame(mac(1), mac(1))), Verdict::Drop(DropReason::Hairpin));
}

#[test]
fn a_guest_cannot_use_anothers_address() {
    let mut switch = switch();
    let spoofed = Verdict::Drop(DropReason::Spoofed);
    assert_eq!(switch.decide(guest(1), &frame(mac(2), mac(3))), spoofed);
    assert_eq!(switch.decide(guest(1), &frame(OUTSIDE, mac(3))), spoofed);
    assert_eq!(switch.decide(guest(1), &request(mac(1), ip(2), ip(3))), spoofed);
    let mut lie = request(mac(2), ip(1), ip(3));
    lie[6..12].copy_from_slice(&mac(1).0);
    assert_eq!(switch.decide(guest(1), &lie), spoofed, "the packet's sender differs from the frame's");
}

#[test]
fn the_wire_cannot_take_a_guests_place() {
    let mut switch = switch();
    let spoofed = Verdict::Drop(DropReason::Spoofed);
    assert_eq!(switch.decide(Ingress::Uplink, &frame(mac(1), mac(2))), spoofed);
    assert_eq!(switch.decide(Ingress::Uplink, &request(OUTSIDE, ip(1), ip(2))), spoofed);
    assert_eq!(switch.neighbour(ip(1)), None);
    assert_eq!(switch.decide(guest(2), &frame(mac(2), mac(1))), Verdict::Guest(VifId(1)));
}

#[test]
fn arp_for_guests_is_answered_from_the_directory() {
    let mut switch = switch();
    for (from, asker, own) in [(guest(1), mac(1), ip(1)), (Ingress::Uplink, OUTSIDE, GATEWAY)] {
        let Verdict::Answer { frame: answer, about, .. } = switch.decide(from, &request(asker, own, ip(2)))
        else {
            panic!("an answer for {asker}");
        };
        let expected = Arp {
            is_request: false,
            source_mac: mac(2),
            source_ip: ip(2),
            target_mac: asker,
            target_ip: own,
        };
        assert_eq!(about, Some(VifId(2)));
        assert_eq!(Arp::parse(&answer), Some(expected));
        assert_eq!(Header::parse(&answer).unwrap().destination, asker);
    }
}

#[test]
fn the_gateways_address_is_learned_from_the_wire() {
    let mut switch = switch();
    let asks = request(mac(1), ip(1), GATEWAY);
    assert_eq!(switch.decide(guest(1), &asks), Verdict::Uplink, "nobody knows yet");
    let answer = Arp::parse(&asks).unwrap().answer(OUTSIDE).to_frame();
    assert_eq!(switch.decide(Ingress::Uplink, &answer), Verdict::Guest(VifId(1)));
    assert_eq!(switch.neighbour(GATEWAY), Some(OUTSIDE));
    assert!(matches!(
        switch.decide(guest(2), &request(mac(2), ip(2), GATEWAY)),
        Verdict::Answer { about: None, .. }
    ));
    let lie = request(mac(2), GATEWAY, ip(1));
    assert_eq!(switch.decide(guest(2), &lie), Verdict::Drop(DropReason::Spoofed), "no guest is the gateway");
}

#[test]
fn nothing_is_copied_to_all_guests() {
    let mut switch = switch();
    let everybody = MacAddress::BROADCAST;
    assert_eq!(switch.decide(Ingress::Uplink, &frame(OUTSIDE, everybody)), Verdict::Drop(DropReason::Group));
    assert_eq!(switch.decide(guest(1), &frame(mac(1), everybody)), Verdict::Uplink);
    assert_eq!(switch.decide(Ingress::Uplink, &frame(OUTSIDE, mac(9))), Verdict::Drop(DropReason::Unknown));
}

#[test]
fn two_front_ends_cannot_have_one_address() {
    let mut switch = switch();
    assert_eq!(switch.attach(VifId(9), mac(1), ip(9)).unwrap_err().0, VifId(1));
    assert_eq!(switch.attach(VifId(9), mac(9), ip(2)).unwrap_err().0, VifId(2));
    switch.detach(VifId(1), mac(1), ip(1));
    switch.attach(VifId(9), mac(1), ip(1)).unwrap();
    assert_eq!(switch.decide(guest(2), &frame(mac(2), mac(1))), Verdict::Guest(VifId(9)));
}

proptest! {
    #[test]
    fn no_bytes_make_a_guest_speak_for_another(bytes in proptest::collection::vec(any::<u8>(), 0..80), arp: bool) {
        let mut switch = switch();
        let mut bytes = bytes;
        if arp && bytes.len() >= 14 {
            bytes[12..14].copy_from_slice(&[8, 6]);
        }
        let verdict = switch.decide(guest(1), &bytes);
        let spoke = !matches!(verdict, Verdict::Drop(_));
        prop_assert!(!spoke || Header::parse(&bytes).unwrap().source == mac(1));
        prop_assert_ne!(verdict, Verdict::Guest(VifId(1)));
        let before = switch.neighbour(GATEWAY);
        switch.decide(Ingress::Uplink, &bytes);
        prop_assert_eq!(before, None);
        prop_assert!(matches!(switch.decide(guest(2), &frame(mac(2), mac(1))), Verdict::Guest(VifId(1))));
    }
}
