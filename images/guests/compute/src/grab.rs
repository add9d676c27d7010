//! A memory grab: takes what the hypervisor keeps for a domain until it is refused, gives it back, and takes it again.
//! A domain's own memory is fixed when it is built; what grows are its event ports.

use alloc::vec::Vec;

use guest_kernel::hypercall::event;
use hypercall_abi::{DomId, Port};

/// Ports taken or given back in one unit.
const PORTS: usize = 8;

/// What has been taken.
#[derive(Default)]
pub(crate) struct Grab {
    ports: Vec<Port>,
    is_giving: bool,
}

impl Grab {
    /// Takes some more, or gives some back.
    pub(crate) fn step(&mut self) {
        for _ in 0..PORTS {
            if self.is_giving {
                match self.ports.pop() {
                    Some(port) => event::close(port).expect("a port of ours can be closed"),
                    None => self.is_giving = false,
                }
            } else {
                match event::alloc_unbound(DomId::SELF) {
                    Ok(port) => self.ports.push(port),
                    Err(_) => self.is_giving = true,
                }
            }
        }
    }
}
