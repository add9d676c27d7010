//! Records of rings: how far one has come, and what was said of it to the back end.
//! It is apart so that every device tells the same, once a look at its ring.

use hypercall_abi::DomId;
use hypercall_abi::extension::RingSide;
use hypercall_abi::ring::{Notify, Progress, RingTold};

use crate::platform::Platform;

/// Records how far a ring has come, and whether the back end is told; without `suppress` it always is.
#[cold]
pub(crate) fn trace<P: Platform>(
    platform: &mut P,
    (side, peer, suppress): (RingSide, Option<DomId>, bool),
    progress: Progress,
    notify: Notify,
) {
    let peer = peer.unwrap_or(DomId::INVALID);
    let told = if suppress || notify == Notify::Nothing { notify } else { Notify::Needed };
    platform.trace_ring(RingTold { side, peer, progress, notify: told });
}
