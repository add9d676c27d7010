//! The network: a front end as an `embassy-net` device, and the stack over it.
//!
//! ```ignore
//! let network = guest_kernel::net::start::<4>(&guest).expect("a network device");
//! network.stack.wait_config_up().await;
//! ```

mod device;

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use embassy_net::tcp::{AcceptError, TcpSocket};
use embassy_net::{IpAddress, IpEndpoint, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use hypercall_abi::device::{DeviceKind, DirectoryEntry, net_options};
use hypercall_abi::{Pfn, Port};

use drivers_frontend::{FrontConfig, NetFront};

use self::device::{Device, Pace, Shared, SharedBacklog};
use super::front::{self, Attached, FrontEnd as _, Kernel};
use super::ports::EventPort;
use super::shared_page::Mapped;
use super::{Guest, clock, devices};
use crate::backlog::Backlog;
use crate::link::Link;

/// A front end in this kernel.
type Front = NetFront<Kernel, Mapped>;

/// Pages for sending, two frames each.
const TRANSMIT_PAGES: u16 = 16;

/// A running network.
#[derive(Clone)]
pub struct Network {
    /// The stack: make sockets with it.
    pub stack: Stack<'static>,
    /// Our address.
    pub address: Ipv4Address,
    /// Our hardware address.
    pub mac: [u8; 6],
    backlog: SharedBacklog,
    front: Shared,
    pace: Pace,
}

impl Network {
    /// From now on the stack looks only so often at what has come, however much does; at once again with 0 us.
    pub fn look_every(&self, us: u64) {
        self.pace.every_us.set(us);
    }

    /// Sends an Ethernet frame past the stack; `false` if the ring is full or there is no back end. The back end sees
    /// it after this turn.
    pub fn send_frame(&self, frame: &[u8]) -> bool {
        let front = &mut self.front.borrow_mut().front;
        front.can_transmit() && front.transmit(frame).is_ok()
    }

    /// Has connections to `port` wait while no socket listens, instead of being refused. There is one such port.
    #[must_use]
    pub fn listen(&self, port: u16) -> Listener {
        *self.backlog.borrow_mut() = Some(Backlog::new(port));
        Listener { port, backlog: self.backlog.clone() }
    }
}

/// Accepts connections to one port.
#[derive(Clone)]
pub struct Listener {
    port: u16,
    backlog: SharedBacklog,
}

impl Listener {
    /// Waits until a connection waits for a socket: time to make another one, if there is room.
    pub async fn wanted(&self) {
        poll_fn(|context| match self.backlog.borrow_mut().as_mut() {
            Some(backlog) => backlog.poll_wanted(context),
            None => Poll::Pending,
        })
        .await;
    }

    /// For a connection that can be spared: whether it should end, because another waits for which none does so yet.
    /// What it gets it keeps until its socket is closed, and then its task accepts again.
    #[must_use]
    pub fn room(&self) -> Option<Room> {
        let mut backlog = self.backlog.borrow_mut();
        backlog.as_mut()?.makes_room().then(|| Room { backlog: self.backlog.clone() })
    }

    /// Has a socket listen until a client connects to it.
    ///
    /// # Errors
    /// As [`TcpSocket::accept`].
    pub async fn accept(&self, socket: &mut TcpSocket<'_>) -> Result<(), AcceptError> {
        let with = |work: &mut dyn FnMut(&mut Backlog)| {
            if let Some(backlog) = self.backlog.borrow_mut().as_mut() {
                work(backlog);
            }
        };
        with(&mut Backlog::listen);
        let accepted = socket.accept(self.port).await;
        let peer = socket
            .remote_endpoint()
            .map(|IpEndpoint { addr: IpAddress::Ipv4(address), port }| (address.octets(), port));
        with(&mut |backlog| backlog.take(peer, clock::now_ns() / 1_000));
        accepted
    }
}

/// A connection's promise that its socket is free soon.
pub struct Room {
    backlog: SharedBacklog,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(backlog) = self.backlog.borrow_mut().as_mut() {
            backlog.has_left();
        }
    }
}

/// Why there is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDevice;

impl core::fmt::Display for NoDevice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the domain has no network device")
    }
}

/// Brings the domain's first network device up, with the address that the scenario gave it and room for
/// `SOCKETS` sockets.
///
/// # Errors
/// [`NoDevice`] when the directory names none.
pub fn start<const SOCKETS: usize>(guest: &Guest) -> Result<Network, NoDevice> {
    let (index, entry) = devices::of_kind(DeviceKind::NetFront).next().ok_or(NoDevice)?;
    let state_port = EventPort::adopt(Port(entry.state_port));
    // SAFETY: the hypervisor set this frame aside for the device; the heap leaves it out.
    let page = unsafe { Mapped::frame(Pfn(entry.page)) };
    let front = NetFront::new(
        Kernel,
        page,
        FrontConfig {
            peer: devices::peer(&entry),
            state_port: state_port.port(),
            suppress: entry.options & net_options::NO_SUPPRESSION == 0,
            receive_pages: drivers_frontend::RECEIVE_PAGES_MAX,
            transmit_pages: TRANSMIT_PAGES,
        },
    );
    let mut attached = Attached::new(front, state_port, &entry);
    // A back end that is ready was answered already.
    attached.front.tell_of_want();
    let shared: Shared = Rc::new(RefCell::new(attached));
    let backlog = SharedBacklog::default();
    let link = Link::new(entry.mac, entry.ipv4, entry.prefix, gateway(&entry));
    let pace = Pace::default();
    let device = Device::new(shared.clone(), link, backlog.clone(), pace.clone());
    let resources = Box::leak(Box::new(StackResources::<SOCKETS>::new()));
    let seed = u64::from_be_bytes([
        0,
        0,
        entry.mac[0],
        entry.mac[1],
        entry.mac[2],
        entry.mac[3],
        entry.mac[4],
        entry.mac[5],
    ]);
    let (stack, runner) = embassy_net::new(device, config(&entry), resources, seed);
    guest.spawn(run(runner, shared.clone()));
    front::follow_directory(guest, index, shared.clone());
    Ok(Network {
        stack,
        address: Ipv4Address::from(entry.ipv4),
        mac: entry.mac,
        backlog,
        front: shared,
        pace,
    })
}

/// The gateway's address, if there is one.
fn gateway(entry: &DirectoryEntry) -> Option<[u8; 4]> {
    Some(entry.gateway).filter(|&gateway| gateway != [0; 4])
}

/// The address that the directory gives.
fn config(entry: &DirectoryEntry) -> embassy_net::Config {
    embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(Ipv4Address::from(entry.ipv4), entry.prefix),
        gateway: gateway(entry).map(Ipv4Address::from),
        dns_servers: Default::default(),
    })
}

/// Runs the stack, and shows the back end once a turn what the turn sent.
async fn run(mut runner: embassy_net::Runner<'static, Device>, front: Shared) {
    let mut stack = pin!(runner.run());
    poll_fn(|context| {
        let _: Poll<_> = stack.as_mut().poll(context);
        front.borrow_mut().front.flush();
        Poll::Pending
    })
    .await
}
