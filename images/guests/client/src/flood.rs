//! A neighbour that keeps its ring full with frames to nobody, and never sleeps over it.
//! It exists so that there is somebody whom a trace can be asked to name.

use core::future::poll_fn;
use core::task::Poll;

use guest_kernel::net::Network;

/// Bytes of a frame.
const BYTES: usize = 1514;

/// Sends for ever.
pub(crate) async fn run(network: &Network) {
    network.stack.wait_link_up().await;
    let mut frame = [0; BYTES];
    let (head, _) = frame.split_at_mut(14);
    // To an address of which there is none, of the type that is set aside for experiments.
    head[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xee]);
    head[6..12].copy_from_slice(&network.mac);
    head[12..].copy_from_slice(&[0x88, 0xb5]);
    loop {
        while network.send_frame(&frame) {}
        // The ring is full: gives the stack its turn, which shows the frames to the back end, and looks again.
        let mut given = false;
        poll_fn(|context| {
            if core::mem::replace(&mut given, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
