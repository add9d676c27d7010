//! Random courses of closings, deaths, births and traffic: whatever happened, in the end everybody is connected.
//! And nothing is left granted, mapped or bound beyond what the living use.

use drivers_backend::VifId;
use hypercall_abi::device::XenbusState;
use hypercall_abi::ring::SharedPage;
use smoltcp::time::Duration;
use tests::{DRIVER, Guest, Net};

const GUESTS: u16 = 4;

/// One guest dies, as the hypervisor would end it.
fn kill(net: &mut Net, at: u16) {
    net.world.destroy(Net::domain(at));
    net.devices[usize::from(at)].page.store_release(0, XenbusState::Closed.raw());
    let placeholder = dead(net, at);
    // What Rust would free is gone with the domain.
    core::mem::forget(core::mem::replace(&mut net.guests[usize::from(at)], placeholder));
}

/// The directory changes and a guest is built anew.
fn revive(net: &mut Net, at: u16) {
    net.back.remove(VifId(at));
    let device = net.attach(at, true);
    let guest = Guest::new(&net.world, Net::domain(at), &device, Net::mac(at), Net::ipv4(at), true);
    core::mem::forget(core::mem::replace(&mut net.guests[usize::from(at)], guest));
    net.devices[usize::from(at)] = device;
}

/// A guest that is there in name only: its front end has no back end.
fn dead(net: &Net, at: u16) -> Guest {
    let mut device = net.devices[usize::from(at)].clone();
    device.page = hypercall_abi::ring::FakePage::default();
    Guest::new(&net.world, Net::domain(at), &device, Net::mac(at), Net::ipv4(at), true)
}

#[test]
fn whatever_the_course_everybody_is_connected_in_the_end() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut net = Net::new(GUESTS, seed, 20, true);
        let mut alive = [true; GUESTS as usize];
        let mut port = 0;
        for _ in 0..60 {
            let at = random.u16(0..GUESTS);
            let place = usize::from(at);
            match random.u32(0..8) {
                0 if alive[place] => net.guests[place].front.close(),
                1 if alive[place] => net.guests[place].front.reconnect(),
                2 if alive[place] => net.guests[place].front.set_peer(None),
                3 if alive[place] => net.guests[place].front.set_peer(Some(DRIVER)),
                4 if alive[place] => {
                    kill(&mut net, at);
                    alive[place] = false;
                }
                4 | 5 if !alive[place] => {
                    revive(&mut net, at);
                    alive[place] = true;
                }
                6 => {
                    port += 1;
                    net.guests[place].stack.connect(Net::ipv4(random.u16(0..GUESTS)), 80, 20_000 + port);
                }
                _ => {}
            }
            if random.bool() {
                net.run_back();
            } else {
                net.run(Duration::from_millis(random.u64(0..3)));
            }
        }
        for at in 0..GUESTS {
            if !alive[usize::from(at)] {
                revive(&mut net, at);
            }
            net.guests[usize::from(at)].front.set_peer(Some(DRIVER));
        }
        net.run(Duration::from_millis(3));
        for guest in &mut net.guests {
            guest.front.reconnect();
        }
        net.run(Duration::from_millis(3));
        for (at, guest) in (0..).zip(&net.guests) {
            assert!(guest.front.is_up(), "seed {seed}, guest {at}");
            let state = net.world.state();
            let shares =
                (state.grants_of(guest.domain), state.mapped_of(guest.domain), state.ports_of(guest.domain));
            assert_eq!(shares, (1 + 2 + 16 + 8, 3, 2), "seed {seed}, guest {at}");
        }
    }
}
