//! What network and disks have in common: a front end's platform, and the way to hear of its back end.

mod attached;
mod changes;
mod platform;

use core::cell::RefCell;
use core::ops::Deref;

use drivers_frontend::{NetFront, block::BlockFront};
use hypercall_abi::{DomId, Port};

pub(super) use self::attached::Attached;
pub use self::platform::Kernel;
use super::shared_page::Mapped;
use super::{Guest, devices};

/// What following a back end takes of a front end.
pub(super) trait FrontEnd {
    /// Looks at the back end's state.
    fn step(&mut self);
    /// Takes the directory's word on our port for changes of state.
    fn set_state_port(&mut self, port: Port);
    /// Takes the directory's word on who the back end is.
    fn set_peer(&mut self, peer: Option<DomId>);
    /// Begins to connect again, if it is closed.
    fn reconnect_if_closed(&mut self);
    /// Says so if there is no memory to connect.
    fn tell_of_want(&mut self);
}

macro_rules! front_end {
    ($kind:ident, $tell_of_want:expr) => {
        impl FrontEnd for $kind<Kernel, Mapped> {
            fn step(&mut self) {
                let _changed = $kind::step(self);
            }

            fn set_state_port(&mut self, port: Port) {
                $kind::set_state_port(self, port);
            }

            fn set_peer(&mut self, peer: Option<DomId>) {
                $kind::set_peer(self, peer);
            }

            fn reconnect_if_closed(&mut self) {
                if self.is_closed() {
                    self.reconnect();
                }
            }

            fn tell_of_want(&mut self) {
                $tell_of_want(self);
            }
        }
    };
}

front_end!(NetFront, tell_of_no_network);
// A disk gives up then, which whoever looks after it tells.
front_end!(BlockFront, |_: &mut Self| {});

fn tell_of_no_network(front: &mut NetFront<Kernel, Mapped>) {
    if front.take_starved() {
        log::error!("this domain has too little memory to connect to its network");
    }
}

/// Has a front end told when its back end, by entry `index` of the directory, comes or goes.
pub(super) fn follow_directory<F: FrontEnd + 'static>(
    guest: &Guest,
    index: u32,
    front: impl Deref<Target = RefCell<Attached<F>>> + 'static,
) {
    changes::watch(guest);
    guest.spawn(async move {
        loop {
            let seen = changes::count();
            if let Some(entry) = devices::entry(index) {
                front.borrow_mut().follow(&entry);
            }
            changes::after(seen).await;
        }
    });
}
