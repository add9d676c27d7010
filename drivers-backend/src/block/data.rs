//! Memory that data of a disk travels in: a page of ours that is copied to and from, or the front end's own, mapped here.
//! It travels with the work, so that a device may use it until it gives it back and nobody unmaps or reuses it before.

use alloc::rc::Rc;
use core::fmt;

use hypercall_abi::GrantRef;
use hypercall_abi::ring::SharedPage;

use crate::platform::{Buffer, Platform};

/// A page as disks in memory use it: bytes are copied, since another domain may write them at any time.
pub trait Memory {
    /// Copies bytes out of the page.
    fn copy_out(&self, offset: usize, into: &mut [u8]);

    /// Copies bytes into the page.
    fn copy_in(&mut self, offset: usize, from: &[u8]);
}

/// A page of data.
pub enum Data<P: Platform> {
    /// A page of ours. What it stands for is copied by a hypercall.
    Ours {
        /// The page.
        page: P::Buffer,
        /// The front end's page that it stands for; `None` when the data is ours too.
        reference: Option<GrantRef>,
    },
    /// A page of the front end's, mapped for as long as the connection lasts or anybody uses it.
    Theirs(Rc<P::Page>),
}

impl<P: Platform> Memory for Data<P> {
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        match self {
            Self::Ours { page, .. } => page.read(|bytes| {
                if let Some(from) = bytes.get(offset..).and_then(|rest| rest.get(..into.len())) {
                    into.copy_from_slice(from);
                }
            }),
            Self::Theirs(page) => page.copy_out(offset, into),
        }
    }

    fn copy_in(&mut self, offset: usize, from: &[u8]) {
        match self {
            Self::Ours { page, .. } => page.write(|bytes| {
                if let Some(into) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..from.len())) {
                    into.copy_from_slice(from);
                }
            }),
            Self::Theirs(page) => page.copy_in(offset, from),
        }
    }
}

impl<P: Platform> fmt::Debug for Data<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours { reference, .. } => f.debug_struct("Ours").field("reference", reference).finish(),
            Self::Theirs(_) => f.write_str("Theirs"),
        }
    }
}
