//! Front ends, back end, switch and the hypervisor's core in one process: TCP over real grants and event channels.
//! Nothing of it knows that there is no processor; what differs from the real machine is the memory beneath.

use drivers_backend::{FrontEnd, MacAddress, NetBack, Turn, Unplugged, VifId};
use drivers_frontend::{FrontConfig, NetFront};
use hypercall_abi::device::{DeviceKind, net_options};
use hypercall_abi::sched::{SchedOp, Shutdown, ShutdownReason};
use hypercall_abi::{DomId, GrantRef, Hypercall, Pfn, Port};
use smoltcp::time::{Duration, Instant};
use tests::Guest;
use tests::joined::{BackKernel, CorePage, FrontKernel, Kernel, System};

/// A driver domain and its guests on the core.
struct Joined {
    system: System,
    driver: Kernel,
    back: NetBack<BackKernel, Unplugged>,
    guests: Vec<(Kernel, Guest<FrontKernel, CorePage>)>,
    now: Instant,
}

impl Joined {
    fn new(guests: u16, suppress: bool) -> Self {
        let system = System::new(guests, suppress);
        let driver = Kernel::start(&system, "driver");
        let back = NetBack::new(BackKernel(driver.clone()), Unplugged, 64).unwrap();
        let mut joined = Self { system, driver, back, guests: Vec::new(), now: Instant::from_millis(1) };
        joined.follow_directory();
        for at in 0..guests {
            let guest = joined.start(at);
            joined.guests.push(guest);
        }
        joined.settle();
        joined
    }

    fn start(&self, at: u16) -> (Kernel, Guest<FrontKernel, CorePage>) {
        let kernel = Kernel::start(&self.system, &format!("guest-{at}"));
        let [entry] = kernel.directory()[..] else { panic!("one device") };
        assert_eq!(entry.kind, DeviceKind::NetFront.raw());
        let config = FrontConfig {
            peer: Some(DomId(entry.peer)).filter(|peer| peer.is_ordinary()),
            state_port: Port(entry.state_port),
            suppress: entry.options & net_options::NO_SUPPRESSION == 0,
            receive_pages: 16,
            transmit_pages: 8,
        };
        let front = NetFront::new(FrontKernel(kernel.clone()), kernel.page(Pfn(entry.page)), config);
        let guest = Guest::over(front, kernel.domain, entry.mac, entry.ipv4);
        (kernel, guest)
    }

    fn follow_directory(&mut self) {
        for (index, entry) in (0..).zip(self.driver.directory()) {
            self.back.remove(VifId(index));
            if entry.kind != DeviceKind::NetBack.raw() || !DomId(entry.peer).is_ordinary() {
                continue;
            }
            let front = FrontEnd {
                peer: DomId(entry.peer),
                state_port: Port(entry.state_port),
                mac: MacAddress(entry.mac),
                ipv4: entry.ipv4,
                gateway: [0; 4],
                suppress: entry.options & net_options::NO_SUPPRESSION == 0,
            };
            self.back.add(VifId(index), front, GrantRef(entry.page as u32)).unwrap();
        }
    }

    fn settle(&mut self) {
        for _ in 0..64 {
            let mut busy = false;
            for (kernel, guest) in &mut self.guests {
                let fired = !kernel.fired().is_empty();
                guest.turn(fired, self.now);
                busy |= fired;
            }
            for port in self.driver.fired() {
                self.back.event(port);
                busy = true;
            }
            while self.back.turn(self.now.total_micros() as u64 * 1000) == Turn::More {}
            if !busy {
                return;
            }
        }
    }

    /// Sends `bytes` from one guest to another; says whether they arrived within `span`.
    fn transfer(&mut self, from: usize, to: u16, port: u16, bytes: usize, span: Duration) -> bool {
        let server = self.guests[usize::from(to)].1.stack.listen(port);
        let client = self.guests[from].1.stack.connect(tests::Net::ipv4(to), port, 40_000 + port);
        let end = self.now + span;
        let (mut sent, mut received) = (0_usize, 0_usize);
        while self.now < end && received < bytes {
            self.settle();
            let socket = self.guests[from].1.stack.tcp(client);
            while sent < bytes && socket.can_send() {
                let chunk: Vec<u8> = (sent..bytes.min(sent + 1000)).map(|at| at as u8).collect();
                sent += socket.send_slice(&chunk).unwrap();
            }
            let socket = self.guests[usize::from(to)].1.stack.tcp(server);
            while socket.can_recv() {
                let mut chunk = [0; 1000];
                let count = socket.recv_slice(&mut chunk).unwrap();
                for byte in &chunk[..count] {
                    assert_eq!(*byte, received as u8, "byte {received} arrives as it was sent");
                    received += 1;
                }
            }
            self.now += Duration::from_millis(1);
        }
        received == bytes
    }
}

#[test]
fn two_guests_exchange_data_over_the_cores_grants_and_events() {
    for suppress in [true, false] {
        let mut joined = Joined::new(2, suppress);
        assert!(joined.guests.iter().all(|(_, guest)| guest.front.is_up()));
        assert!(joined.transfer(0, 1, 80, 20_000, Duration::from_secs(5)), "suppress {suppress}");
        assert!(joined.back.counters().copies > 0);
    }
}

#[test]
fn a_connection_ends_and_begins_again_on_the_core() {
    let mut joined = Joined::new(2, true);
    for round in 0..3 {
        joined.guests[0].1.front.close();
        joined.settle();
        assert!(joined.guests[0].1.front.is_closed(), "round {round}");
        joined.guests[0].1.front.reconnect();
        joined.settle();
        assert!(joined.guests[0].1.front.is_up(), "round {round}");
        assert!(joined.transfer(0, 1, 80 + round, 3_000, Duration::from_secs(5)), "round {round}");
    }
}

#[test]
fn a_guest_that_crashes_in_mid_transfer_leaves_nothing_and_disturbs_nobody() {
    let mut joined = Joined::new(3, true);
    let unheard = joined.guests[1].1.stack.connect(tests::Net::ipv4(0), 80, 30_000);
    joined.settle();
    let (kernel, guest) = joined.guests.remove(0);
    let reason = Shutdown { reason: ShutdownReason::Crash.raw() };
    let _ = kernel.call(Hypercall::SchedOp, SchedOp::Shutdown.raw(), &mut [reason]);
    // What Rust would free is gone with the domain.
    core::mem::forget(guest);
    joined.system.bury();
    assert!(
        joined.system.frames_of(kernel.domain) > 0,
        "the back end still has its rings and its device page mapped"
    );
    joined.system.check();
    joined.follow_directory();
    joined.system.bury();
    assert_eq!(joined.system.frames_of(kernel.domain), 0, "the back end has let go of the last page");
    joined.settle();
    joined.system.check();
    assert!(joined.guests.iter().all(|(_, guest)| guest.front.is_up()));
    // A stack that still asks for the dead one would ask for nobody else meanwhile.
    joined.guests[0].1.stack.tcp(unheard).abort();
    let server = joined.guests[0].1.stack.listen(81);
    let client = joined.guests[1].1.stack.connect(tests::Net::ipv4(1), 81, 30_001);
    for _ in 0..2000 {
        joined.settle();
        joined.now += Duration::from_millis(1);
    }
    assert!(joined.guests[1].1.stack.tcp(client).may_send());
    assert!(joined.guests[0].1.stack.tcp(server).may_send());
    joined.system.check();
}

#[test]
fn every_invariant_holds_after_each_step_of_a_connections_life() {
    let mut joined = Joined::new(2, true);
    joined.system.check();
    assert!(joined.transfer(0, 1, 80, 5_000, Duration::from_secs(5)));
    joined.system.check();
    joined.guests[0].1.front.close();
    joined.settle();
    joined.system.check();
    joined.guests[0].1.front.reconnect();
    joined.settle();
    joined.system.check();
}

#[test]
fn a_driver_domain_that_crashes_is_built_again_and_finds_its_front_ends() {
    let mut joined = Joined::new(2, true);
    assert!(joined.transfer(0, 1, 80, 3_000, Duration::from_secs(5)));
    let old = joined.driver.domain;
    joined.system.crash("driver");
    joined.system.bury();
    joined.system.check();
    joined.driver = Kernel::start(&joined.system, "driver");
    assert_ne!(joined.driver.domain, old);
    let back = NetBack::new(BackKernel(joined.driver.clone()), Unplugged, 64).unwrap();
    // What Rust would free is gone with the domain.
    core::mem::forget(core::mem::replace(&mut joined.back, back));
    joined.follow_directory();
    for (kernel, guest) in &mut joined.guests {
        let [entry] = kernel.directory()[..] else { panic!("one device") };
        assert_eq!(DomId(entry.peer), joined.driver.domain);
        guest.front.set_state_port(Port(entry.state_port));
        guest.front.set_peer(Some(DomId(entry.peer)));
    }
    joined.settle();
    assert!(joined.guests.iter().all(|(_, guest)| guest.front.is_up()));
    assert!(joined.transfer(0, 1, 81, 3_000, Duration::from_secs(5)));
    joined.system.check();
}
