//! A driver domain with its guests and the wire, run turn by turn in virtual time.
//! Nothing polls: the back end runs only when an event or a frame is there, so a lost notification stops the test.

use drivers_backend::{FrontEnd, MacAddress, NetBack, Turn, VifId};
use hypercall_abi::DomId;
use smoltcp::time::{Duration, Instant};

use crate::platforms::BackPlatform;
use crate::{DRIVER, Device, Guest, Host, Wire, World};

/// All of it.
pub struct Net {
    /// The hypervisor.
    pub world: World,
    /// The driver domain's back end.
    pub back: NetBack<BackPlatform, Wire>,
    /// The guests; number i has front end i and domain 10 + i.
    pub guests: Vec<Guest>,
    /// The devices, in the guests' order.
    pub devices: Vec<Device>,
    /// The wire.
    pub wire: Wire,
    /// The host outside.
    pub host: Host,
    /// Virtual time.
    pub now: Instant,
    /// When the back end wants to be called without an event, in ns.
    until_ns: u64,
}

impl Net {
    /// So many guests behind a wire that loses `loss` of a thousand frames.
    ///
    /// # Panics
    /// When a part refuses what it must accept.
    #[must_use]
    pub fn new(guests: u16, seed: u64, loss: u32, suppress: bool) -> Self {
        let world = World::default();
        let wire = Wire::new(seed, loss);
        let platform = BackPlatform { world: world.clone(), domain: DRIVER, fickle: None };
        let back = NetBack::new(platform, wire.clone(), 128).expect("128 pages are enough");
        let host = Host::new(&wire);
        let mut net = Self {
            world,
            back,
            guests: Vec::new(),
            devices: Vec::new(),
            wire,
            host,
            now: Instant::from_millis(1),
            until_ns: u64::MAX,
        };
        for at in 0..guests {
            let device = net.attach(at, suppress);
            net.guests.push(net.guest(at, &device, suppress));
            net.devices.push(device);
        }
        net.run(Duration::from_millis(2));
        net
    }

    /// Enters a device for guest `at` into the directory, without starting the guest.
    ///
    /// # Panics
    /// When the back end refuses it.
    pub fn attach(&mut self, at: u16, suppress: bool) -> Device {
        let device = self.world.device(Self::domain(at), DRIVER);
        let front = FrontEnd {
            peer: Self::domain(at),
            state_port: device.back_port,
            mac: MacAddress(Self::mac(at)),
            ipv4: Self::ipv4(at),
            gateway: crate::wire::HOST_IP,
            suppress,
        };
        self.back.add(VifId(at), front, device.reference).expect("a new front end is taken up");
        device
    }

    fn guest(&self, at: u16, device: &Device, suppress: bool) -> Guest {
        Guest::new(&self.world, Self::domain(at), device, Self::mac(at), Self::ipv4(at), suppress)
    }

    /// Guest `at`'s domain.
    #[must_use]
    pub const fn domain(at: u16) -> DomId {
        DomId(10 + at)
    }

    /// Guest `at`'s hardware address.
    #[must_use]
    pub const fn mac(at: u16) -> [u8; 6] {
        let [high, low] = at.to_be_bytes();
        [0x02, 0xde, 0, 0, high, low]
    }

    /// Guest `at`'s IPv4 address.
    #[must_use]
    pub fn ipv4(at: u16) -> [u8; 4] {
        [10, 16, 1 + (at / 250) as u8, 1 + (at % 250) as u8]
    }

    /// Runs everything for a span of virtual time.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.settle();
            self.now += Duration::from_millis(1);
        }
    }

    /// Runs everything until `done` or the time is over; says whether it was done.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + span;
        while self.now < end {
            self.settle();
            if done(self) {
                return true;
            }
            self.now += Duration::from_millis(1);
        }
        false
    }

    /// One moment: each domain runs until no event is left.
    pub fn settle(&mut self) {
        for _ in 0..64 {
            self.host.run(self.now);
            let mut busy = self.run_back();
            for guest in &mut self.guests {
                busy |= guest.run(&self.world, self.now);
            }
            if !busy {
                return;
            }
        }
    }

    /// The driver domain: events, then turns until nothing is left to do.
    pub fn run_back(&mut self) -> bool {
        let fired = self.world.fired(DRIVER);
        let now_ns = self.now.total_micros() as u64 * 1000;
        if fired.is_empty() && !self.wire.waits() && now_ns < self.until_ns {
            return false;
        }
        for port in fired {
            self.back.event(port);
        }
        if self.wire.waits() {
            self.back.uplink_event();
        }
        for _ in 0..10_000 {
            if let Turn::Idle { until_ns } = self.back.turn(now_ns) {
                self.until_ns = until_ns;
                return true;
            }
        }
        panic!("the back end never comes to rest");
    }
}
