//! Records of rings: how far one has come, and what was said of it to the front end.
//! It is apart so that every device tells the same, once a turn for each ring.

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::{BackRing, Notify, Protocol, RingTold, SharedPage};

use crate::platform::Platform;

/// Records how far a ring has come, and whether the front end is told.
#[cold]
pub(crate) fn trace<P: Platform, G: SharedPage, Q: Protocol>(
    platform: &mut P,
    ring: &mut BackRing<G, Q>,
    side: RingSide,
    peer: DomId,
    notify: Notify,
) {
    platform.trace_ring(RingTold { side, peer, progress: ring.progress(), notify });
}
