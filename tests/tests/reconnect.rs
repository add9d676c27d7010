//! Connections that end and begin again: in good order, by a dead front end, by a dead back end.
//! After each of them nothing may be left granted, mapped or bound.

use drivers_backend::VifId;
use hypercall_abi::device::{NetError, XenbusState};
use hypercall_abi::ring::SharedPage;
use smoltcp::time::Duration;
use tests::{DRIVER, Net};

/// Whether the guest at place `from` can open a TCP connection to the one at place `to` now.
fn reaches(net: &mut Net, from: usize, to: usize, port: u16) -> bool {
    let address = Net::ipv4(net.guests[to].domain.0 - Net::domain(0).0);
    let server = net.guests[to].stack.listen(port);
    let client = net.guests[from].stack.connect(address, port, 30_000 + port);
    net.run_until(Duration::from_secs(20), |net| {
        net.guests[from].stack.tcp(client).may_send() && net.guests[to].stack.tcp(server).may_send()
    })
}

fn shares(net: &Net, at: u16) -> (usize, usize, usize) {
    let state = net.world.state();
    (state.grants_of(Net::domain(at)), state.mapped_of(Net::domain(at)), state.ports_of(Net::domain(at)))
}

#[test]
fn a_front_end_closes_and_comes_back_many_times() {
    let mut net = Net::new(2, 1, 0, true);
    let connected = shares(&net, 0);
    let driver_ports = net.world.state().ports_of(DRIVER);
    assert_eq!(connected, (1 + 2 + 16 + 8, 3, 2));
    for round in 0..20 {
        net.guests[0].front.close();
        net.run(Duration::from_millis(2));
        assert!(net.guests[0].front.is_closed());
        assert!(!net.back.is_connected(VifId(0)));
        assert_eq!(shares(&net, 0), (1, 1, 1), "only the device page and its port are left");
        net.guests[0].front.reconnect();
        net.run(Duration::from_millis(2));
        assert!(net.guests[0].front.is_up(), "round {round}");
        assert_eq!(shares(&net, 0), connected);
        assert_eq!(net.world.state().ports_of(DRIVER), driver_ports);
        assert!(reaches(&mut net, 0, 1, 100 + round));
    }
    assert_eq!(net.guests[0].front.reason(), NetError::None.raw());
}

#[test]
fn closing_and_reconnecting_at_once_is_a_reconnection() {
    let mut net = Net::new(2, 1, 0, true);
    net.guests[0].front.close();
    net.run_back();
    net.guests[0].front.step();
    net.guests[0].front.reconnect();
    net.run(Duration::from_millis(2));
    assert!(net.guests[0].front.is_up());
    assert!(reaches(&mut net, 1, 0, 80));
}

#[test]
fn a_dead_front_end_leaves_nothing_behind_and_disturbs_nobody() {
    let mut net = Net::new(3, 1, 0, true);
    let driver_ports = net.world.state().ports_of(DRIVER);
    // It dies with packets on their way to it.
    let unheard = net.guests[1].stack.connect(Net::ipv4(0), 80, 30_000);
    let mut dead = net.guests.remove(0);
    net.settle();
    net.world.destroy(Net::domain(0));
    // The hypervisor writes its state, and the directory loses its entry.
    net.devices[0].page.store_release(0, XenbusState::Closed.raw());
    net.back.event(net.devices[0].back_port);
    net.run(Duration::from_millis(2));
    net.back.remove(VifId(0));
    net.run(Duration::from_millis(2));
    assert_eq!(
        net.world.state().ports_of(DRIVER),
        driver_ports - 1,
        "its two ports became the device's unbound one"
    );
    assert!(!net.guests[0].stack.tcp(unheard).may_send());
    assert!(reaches(&mut net, 0, 1, 81), "the other two notice nothing");
    // A domain of the same name and addresses is built anew.
    dead.loss = 0;
    let device = net.attach(0, true);
    let again = tests::Guest::new(&net.world, Net::domain(0), &device, Net::mac(0), Net::ipv4(0), true);
    net.guests.insert(0, again);
    net.run(Duration::from_millis(2));
    assert!(net.guests[0].front.is_up());
    assert!(reaches(&mut net, 1, 0, 82));
}

#[test]
fn a_front_end_waits_for_a_new_back_end() {
    let mut net = Net::new(2, 1, 0, true);
    net.guests[0].front.set_peer(None);
    assert!(!net.guests[0].front.is_up());
    net.run(Duration::from_millis(2));
    assert_eq!(shares(&net, 0), (1, 1, 1));
    net.guests[0].front.set_peer(Some(DRIVER));
    net.run(Duration::from_millis(2));
    assert!(net.guests[0].front.is_up());
    assert!(reaches(&mut net, 0, 1, 80));
}

#[test]
fn a_front_end_without_memory_stays_down_and_tries_again() {
    let mut net = Net::new(1, 1, 0, true);
    net.guests[0].front.close();
    net.run(Duration::from_millis(2));
    net.world.state().pages_left = 5;
    net.guests[0].front.reconnect();
    net.run(Duration::from_millis(2));
    assert!(!net.guests[0].front.is_up());
    assert_eq!(shares(&net, 0), (1, 1, 1), "a half-made connection is taken back");
    net.world.state().pages_left = 100;
    net.guests[0].front.step();
    net.run(Duration::from_millis(2));
    assert!(net.guests[0].front.is_up());
}
