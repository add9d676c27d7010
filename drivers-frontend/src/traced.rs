//! Records of rings: how far one has come, and what was said of it to the back end.
//! It is apart so that every device tells the same, once a look at its ring.

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::{FrontRing, Notify, Protocol, RingTold, SharedPage};

use crate::platform::Platform;

/// Records how far a ring has come, and whether the back end is told.
#[cold]
pub(crate) fn trace<P: Platform, M: SharedPage, Q: Protocol>(
    platform: &mut P,
    ring: &mut FrontRing<M, Q>,
    side: RingSide,
    peer: Option<DomId>,
    notify: Notify,
) {
    let peer = peer.unwrap_or(DomId::INVALID);
    platform.trace_ring(RingTold { side, peer, progress: ring.progress(), notify });
}
