//! The driver domain: owns the network device and switches between it and the guests.
//! It exists so that drivers crash outside the hypervisor, and so that guests need none.
//!
//! Command line: `buffers=PAGES` for packets on their way, two in each page.

#![no_std]
#![no_main]

extern crate alloc;

mod directory;
mod kernel;
mod nic;

use drivers_backend::{NetBack, Turn};
use embassy_time::{Instant, with_deadline};
use guest_kernel::ports::EventPort;
use guest_kernel::{Guest, clock};
use hypercall_abi::Port;
use hypercall_abi::event_channel::Virq;

use self::directory::Directory;
use self::kernel::{Kernel, PORTS};
use self::nic::Nic;

guest_kernel::main!(run);

/// Pages for packets on their way, unless the command line says otherwise.
const BUFFERS_DEFAULT: u16 = 1024;
/// Events taken between two turns.
const EVENTS_PER_TURN: usize = 256;

async fn run(guest: Guest) {
    let buffers =
        guest.command_line().parse("buffers", BUFFERS_DEFAULT).unwrap_or_else(|error| panic!("{error}"));
    let changes = EventPort::virq(Virq::Devices).expect("each domain may hear of its own devices");
    changes.join(&PORTS);
    let nic = match Nic::open() {
        Ok(nic) => {
            log::info!("virtio-net {} is up", drivers_backend::Uplink::mac(&nic));
            nic
        }
        Err(error) => {
            log::warn!("{error}; guests reach each other, but nobody outside");
            Nic::Absent
        }
    };
    let device = nic.port();
    let back = NetBack::new(Kernel, nic, buffers).expect("there is memory for packets");
    let mut work =
        Work { back, directory: Directory::default(), changes: changes.port(), device, warned: false };
    work.note(changes.port());
    loop {
        for _ in 0..EVENTS_PER_TURN {
            let Some(port) = PORTS.take() else { break };
            work.note(port);
        }
        let turn = work.back.turn(clock::now_ns());
        work.warn_once();
        if let Turn::Idle { until_ns } = turn {
            let until = Instant::from_micros(until_ns.div_ceil(1000));
            if let Ok(port) = with_deadline(until, PORTS.wait()).await {
                work.note(port);
            }
        }
    }
}

/// What the events of this domain are about.
struct Work {
    back: NetBack<Kernel, Nic>,
    directory: Directory,
    changes: Port,
    device: Option<Port>,
    warned: bool,
}

impl Work {
    /// Says that somebody uses a false address, the first time that it happens: guests could fill the log otherwise.
    fn warn_once(&mut self) {
        if !self.warned && self.back.counters().spoofed > 0 {
            self.warned = true;
            log::warn!(
                "a guest, or somebody outside, uses an address that is not its own; its frames are dropped"
            );
        }
    }

    /// Notes that a port has fired.
    fn note(&mut self, port: Port) {
        if Some(port) == self.device {
            self.back.uplink_event();
        } else if port == self.changes {
            self.directory.follow(&mut self.back);
        } else {
            self.back.event(port);
        }
    }
}
