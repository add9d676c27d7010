//! A guest: a front end with a TCP stack on it.
//! The adapter between the two is the one thing here that a real guest has as well.

use drivers_frontend::{FrontConfig, NetFront, Platform};
use hypercall_abi::DomId;
use hypercall_abi::netif::FRAME_BYTES_MAX;
use hypercall_abi::ring::{FakePage, SharedPage};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address};

use crate::platforms::FrontPlatform;
use crate::{DRIVER, Device, World};

/// A TCP/IP stack with its sockets.
pub struct Stack {
    interface: Interface,
    /// Its sockets.
    pub sockets: SocketSet<'static>,
}

/// A front end with a stack on it.
pub struct Guest<P: Platform = FrontPlatform, M = FakePage> {
    /// Its domain.
    pub domain: DomId,
    /// Its network card.
    pub front: NetFront<P, M>,
    /// Its stack.
    pub stack: Stack,
    /// How many of a thousand frames that it sends are lost.
    pub loss: u32,
    random: fastrand::Rng,
}

impl Stack {
    /// A stack at an address of 10.16.0.0/16, with 10.16.0.2 as its gateway.
    pub fn new(device: &mut impl phy::Device, mac: [u8; 6], ipv4: [u8; 4], seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(Ipv4Address::from(ipv4).into(), 16))
                .expect("there is room for one address");
        });
        interface.routes_mut().add_default_ipv4_route(Ipv4Address::new(10, 16, 0, 2)).expect("there is room");
        Self { interface, sockets: SocketSet::new(Vec::new()) }
    }

    /// Works on what has come and what is due.
    pub fn poll(&mut self, now: Instant, device: &mut impl phy::Device) {
        self.interface.poll(now, device, &mut self.sockets);
    }

    fn socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    /// Waits for a connection on a TCP port.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.socket();
        self.tcp(handle).listen(port).expect("a new socket listens");
        handle
    }

    /// Opens a connection.
    pub fn connect(&mut self, to: [u8; 4], port: u16, from: u16) -> SocketHandle {
        let handle = self.socket();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket
            .connect(self.interface.context(), (Ipv4Address::from(to), port), from)
            .expect("a new socket connects");
        handle
    }

    /// One of its sockets.
    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

impl Guest {
    /// A guest in its own domain, whose front end has begun to connect.
    pub fn new(
        world: &World,
        domain: DomId,
        device: &Device,
        mac: [u8; 6],
        ipv4: [u8; 4],
        suppress: bool,
    ) -> Self {
        let platform = FrontPlatform { world: world.clone(), domain };
        let config = FrontConfig {
            peer: Some(DRIVER),
            state_port: device.front_port,
            suppress,
            receive_pages: 16,
            transmit_pages: 8,
        };
        Self::over(NetFront::new(platform, device.page.clone(), config), domain, mac, ipv4)
    }

    /// Lets the guest run until it has nothing more to do; true when it did something.
    pub fn run(&mut self, world: &World, now: Instant) -> bool {
        let fired = !world.fired(self.domain).is_empty();
        self.turn(fired, now);
        fired
    }
}

impl<P: Platform, M: SharedPage> Guest<P, M> {
    /// A stack on a front end.
    pub fn over(mut front: NetFront<P, M>, domain: DomId, mac: [u8; 6], ipv4: [u8; 4]) -> Self {
        let mut random = fastrand::Rng::with_seed(u64::from(domain.0));
        let mut card = Card { front: &mut front, loss: 0, random: &mut random };
        let stack = Stack::new(&mut card, mac, ipv4, u64::from(domain.0));
        Self { domain, front, stack, loss: 0, random }
    }

    /// Handles events, if any have `fired`, and whatever is due.
    pub fn turn(&mut self, fired: bool, now: Instant) {
        if fired {
            self.front.step();
        }
        let mut card = Card { front: &mut self.front, loss: self.loss, random: &mut self.random };
        self.stack.poll(now, &mut card);
        self.front.flush();
    }
}

/// The front end as smoltcp sees a network card.
struct Card<'a, P: Platform, M> {
    front: &'a mut NetFront<P, M>,
    loss: u32,
    random: &'a mut fastrand::Rng,
}

/// A received frame.
struct Arrived(Vec<u8>);

/// A place for a frame to send.
struct Leave<'a, P: Platform, M> {
    front: &'a mut NetFront<P, M>,
    lost: bool,
}

impl<P: Platform, M: SharedPage> phy::Device for Card<'_, P, M> {
    type RxToken<'a>
        = Arrived
    where
        Self: 'a;
    type TxToken<'a>
        = Leave<'a, P, M>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Leave<'_, P, M>)> {
        if !self.front.can_transmit() {
            return None;
        }
        let mut frame = vec![0; FRAME_BYTES_MAX];
        let bytes = self.front.receive(&mut frame)?;
        frame.truncate(bytes);
        let lost = self.random.u32(0..1000) < self.loss;
        Some((Arrived(frame), Leave { front: self.front, lost }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Leave<'_, P, M>> {
        let lost = self.random.u32(0..1000) < self.loss;
        self.front.can_transmit().then_some(Leave { front: self.front, lost })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES_MAX;
        capabilities
    }
}

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, consumer: F) -> R {
        consumer(&self.0)
    }
}

impl<P: Platform, M: SharedPage> phy::TxToken for Leave<'_, P, M> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, producer: F) -> R {
        let mut frame = vec![0; len];
        let result = producer(&mut frame);
        if !self.lost {
            self.front.transmit(&frame).expect("a token is given only when there is room");
        }
        result
    }
}
