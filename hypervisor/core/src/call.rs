//! The context of one hypercall: who asks, and by whom it is answered.
//! Every handler takes it, so that a handler needs no other way to reach the world.

use hypercall_abi::{DomId, Errno};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::domain::Domain;
use crate::guest_access::View;
use crate::machine::Machine;
use crate::world::World;

/// One hypercall being answered.
#[derive(Debug)]
pub struct Call<'a, M: Machine> {
    /// The whole state.
    pub world: &'a mut World,
    /// Memory and clock.
    pub memory: &'a mut M,
    /// Who asks.
    pub caller: DomId,
}

impl<M: Machine> Call<'_, M> {
    /// The asking domain.
    ///
    /// # Errors
    /// [`Errno::Srch`] never in practice: the caller exists while it is served.
    pub fn domain(&self) -> Result<&Domain, Errno> {
        self.world.domain(self.caller)
    }

    /// The asking domain, to change.
    ///
    /// # Errors
    /// As [`Call::domain`].
    pub fn domain_mut(&mut self) -> Result<&mut Domain, Errno> {
        self.world.domain_mut(self.caller)
    }

    /// Reads a structure from the caller's memory, once.
    ///
    /// # Errors
    /// [`Errno::Fault`] if the address does not lead to memory that the caller may read.
    #[inline]
    pub fn read<T: FromBytes + IntoBytes>(&self, va: u64) -> Result<T, Errno> {
        View::of(self.domain()?, &self.world.frames).read(self.memory, va)
    }

    /// Writes a structure to the caller's memory.
    ///
    /// # Errors
    /// [`Errno::Fault`] if the address does not lead to memory that the caller may write; nothing was written.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&mut self, va: u64, value: &T) -> Result<(), Errno> {
        View::of(self.world.domain(self.caller)?, &self.world.frames).write(self.memory, va, value)
    }

    /// The domain that an argument names: [`DomId::SELF`] or the caller's own number, which are all that an
    /// unprivileged caller may name.
    ///
    /// # Errors
    /// [`Errno::Perm`] for another domain, [`Errno::Srch`] for a number that none has.
    pub fn own_domain(&self, named: u16) -> Result<DomId, Errno> {
        let named = DomId(named);
        if named == DomId::SELF || named == self.caller {
            Ok(self.caller)
        } else if self.world.domains.get(named).is_some() {
            Err(Errno::Perm)
        } else {
            Err(Errno::Srch)
        }
    }
}
