//! A domain's ports.
//! The table grows by small chunks as ports are taken, so that a guest with three ports pays for one chunk.

use alloc::vec::Vec;

use hypercall_abi::event_channel::{PORTS_MAX, Virq};
use hypercall_abi::{DomId, Errno, Port};

/// What a port is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Nothing.
    #[default]
    Free,
    /// Nothing yet: another domain may connect.
    Unbound {
        /// That domain.
        remote: DomId,
        /// Whether something was sent meanwhile, which the connecting domain then gets.
        missed: bool,
    },
    /// Another domain's port.
    Interdomain {
        /// That domain.
        remote: DomId,
        /// Its port.
        port: Port,
    },
    /// A device's interrupt.
    Pirq(u16),
    /// A virtual interrupt.
    Virq(Virq),
    /// The domain itself.
    Ipi,
}

/// Ports in a chunk.
const CHUNK: usize = 32;
/// Virtual interrupts that there are.
pub const VIRQS: usize = Virq::ALL.len();

/// A domain's port table. Port 0 is never used.
#[derive(Clone, Debug)]
pub struct Ports {
    chunks: Vec<[Channel; CHUNK]>,
    limit: u32,
    /// No port below this is free.
    free_from: u32,
    virqs: [Option<Port>; VIRQS],
}

impl Ports {
    /// An empty table for ports below `limit`, which is at most [`PORTS_MAX`].
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { chunks: Vec::new(), limit: limit.min(PORTS_MAX), free_from: 1, virqs: [None; VIRQS] }
    }

    /// What a port is; `None` for a number that cannot be a port.
    #[must_use]
    #[inline]
    pub fn get(&self, port: Port) -> Option<Channel> {
        let (chunk, slot) = place(port)?;
        match self.chunks.get(chunk) {
            Some(chunk) => chunk.get(slot).copied(),
            None if port.0 < self.limit => Some(Channel::Free),
            None => None,
        }
    }

    /// Takes the lowest free port for a channel.
    ///
    /// # Errors
    /// [`Errno::NoSpc`] if all are taken, [`Errno::NoMem`] if the table cannot grow.
    pub fn take(&mut self, channel: Channel) -> Result<Port, Errno> {
        let mut port = Port(self.free_from);
        while self.get(port).is_some_and(|channel| channel != Channel::Free) {
            port = Port(port.0.saturating_add(1));
        }
        if port.0 >= self.limit {
            self.free_from = self.limit;
            return Err(Errno::NoSpc);
        }
        self.grow_to(port)?;
        self.free_from = port.0.saturating_add(1);
        self.put(port, channel);
        Ok(port)
    }

    /// Makes a port what is given.
    pub fn put(&mut self, port: Port, channel: Channel) {
        let slot = place(port).and_then(|(chunk, slot)| self.chunks.get_mut(chunk)?.get_mut(slot));
        let Some(slot) = slot else { return };
        if let Channel::Virq(virq) = *slot {
            set_virq(&mut self.virqs, virq, None);
        }
        *slot = channel;
        match channel {
            Channel::Virq(virq) => set_virq(&mut self.virqs, virq, Some(port)),
            Channel::Free => self.free_from = self.free_from.min(port.0),
            _ => {}
        }
    }

    /// The port that a virtual interrupt is bound to.
    #[must_use]
    pub fn of_virq(&self, virq: Virq) -> Option<Port> {
        self.virqs.get(virq_index(virq)).copied().flatten()
    }

    /// Each port in use.
    pub fn iter(&self) -> impl Iterator<Item = (Port, Channel)> {
        let channels = self.chunks.iter().flat_map(|chunk| chunk.iter());
        (0..).map(Port).zip(channels.copied()).filter(|(_, channel)| *channel != Channel::Free)
    }

    /// Ports at or above any that was ever used.
    #[must_use]
    pub fn end(&self) -> u32 {
        u32::try_from(self.chunks.len().saturating_mul(CHUNK)).unwrap_or(PORTS_MAX)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.chunks.capacity().saturating_mul(size_of::<[Channel; CHUNK]>())
    }

    /// Whether the table agrees with itself.
    #[must_use]
    pub fn holds(&self) -> bool {
        let virqs = self.iter().all(|(port, channel)| match channel {
            Channel::Virq(virq) => self.of_virq(virq) == Some(port),
            _ => port.0 != 0,
        });
        let bound = Virq::ALL.iter().filter_map(|virq| Some((*virq, self.of_virq(*virq)?)));
        let mut ports = bound.map(|(virq, port)| self.get(port) == Some(Channel::Virq(virq)));
        let taken = (1..self.free_from).all(|port| self.get(Port(port)) != Some(Channel::Free));
        virqs && ports.all(|is| is) && taken
    }

    fn grow_to(&mut self, port: Port) -> Result<(), Errno> {
        let (chunk, _) = place(port).ok_or(Errno::NoSpc)?;
        while self.chunks.len() <= chunk {
            self.chunks.try_reserve_exact(1).map_err(|_| Errno::NoMem)?;
            self.chunks.push([Channel::Free; CHUNK]);
        }
        Ok(())
    }
}

/// Chunk and slot of a port; `None` for port 0 and numbers past the bitmap.
#[inline]
fn place(port: Port) -> Option<(usize, usize)> {
    if port.0 == 0 || port.0 >= PORTS_MAX {
        return None;
    }
    let index = usize::try_from(port.0).ok()?;
    Some((index / CHUNK, index % CHUNK))
}

const fn virq_index(virq: Virq) -> usize {
    match virq {
        Virq::Timer => 0,
        Virq::Debug => 1,
        Virq::Console => 2,
        Virq::Devices => 3,
    }
}

fn set_virq(virqs: &mut [Option<Port>; VIRQS], virq: Virq, port: Option<Port>) {
    if let Some(slot) = virqs.get_mut(virq_index(virq)) {
        *slot = port;
    }
}

const _: () = assert!(size_of::<Channel>() == 8, "a port takes eight bytes");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_port_is_taken_and_port_0_never() {
        let mut ports = Ports::new(100);
        let taken: Vec<_> = (0..40).map(|_| ports.take(Channel::Ipi).unwrap().0).collect();
        assert_eq!(taken, (1..41).collect::<Vec<_>>());
        ports.put(Port(7), Channel::Free);
        ports.put(Port(3), Channel::Free);
        assert_eq!(ports.take(Channel::Ipi), Ok(Port(3)));
        assert_eq!(ports.take(Channel::Ipi), Ok(Port(7)));
        assert_eq!(ports.take(Channel::Ipi), Ok(Port(41)));
        assert_eq!(ports.get(Port(0)), None);
        assert!(ports.holds());
    }

    #[test]
    fn a_domain_cannot_take_more_ports_than_its_limit() {
        let mut ports = Ports::new(10);
        for _ in 1..10 {
            ports.take(Channel::Ipi).unwrap();
        }
        assert_eq!(ports.take(Channel::Ipi), Err(Errno::NoSpc));
        ports.put(Port(9), Channel::Free);
        assert_eq!(ports.take(Channel::Ipi), Ok(Port(9)));
    }

    #[test]
    fn a_small_guest_pays_for_one_chunk() {
        let mut ports = Ports::new(PORTS_MAX);
        ports.take(Channel::Ipi).unwrap();
        assert!(ports.heap_bytes() <= 32 * 8, "{}", ports.heap_bytes());
    }
}
