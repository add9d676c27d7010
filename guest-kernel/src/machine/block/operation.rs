//! One operation from its beginning to its result, or until nobody waits for it.

use core::future::poll_fn;
use core::task::Poll;

use drivers_frontend::block::{BeginError, Ticket};

use super::{Disk, DiskError, Front, Shared};

/// An operation that was begun. Dropping it gives up waiting.
struct Begun {
    shared: Shared,
    ticket: Option<Ticket>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.borrow_mut().front.abandon(ticket);
        }
    }
}

/// Begins an operation as soon as there is room, and waits for its result.
pub(super) async fn run(
    disk: &Disk,
    bytes: usize,
    mut begin: impl FnMut(&mut Front) -> Result<Ticket, BeginError>,
    into: &mut [u8],
) -> Result<(), DiskError> {
    let shared = disk.front;
    let ticket = poll_fn(|context| {
        let attached = &mut *shared.borrow_mut();
        let front = &mut attached.front;
        Poll::Ready(match begin(front) {
            Ok(ticket) => {
                if disk.gather {
                    // Whoever looks after the front end comes after those that are ready now, and pushes.
                    attached.look();
                } else {
                    front.push();
                }
                Ok(ticket)
            }
            Err(BeginError::Full | BeginError::Unknown) => {
                front.wake_for_room(bytes, context.waker());
                return Poll::Pending;
            }
            Err(BeginError::Gone) => Err(DiskError::Gone),
            Err(BeginError::Length(bytes)) => Err(DiskError::Length(bytes)),
            Err(BeginError::Range) => Err(DiskError::Range),
            Err(BeginError::ReadOnly) => Err(DiskError::ReadOnly),
        })
    })
    .await?;
    let mut begun = Begun { shared, ticket: Some(ticket) };
    let result = poll_fn(|context| shared.borrow_mut().front.poll_finish(ticket, into, context)).await;
    begun.ticket = None;
    Ok(result?)
}
