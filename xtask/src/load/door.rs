//! The way in to a guest: one connection after the other.
//! It exists because QEMU listens with room for two connections that it has not taken yet. The host's kernel drops what comes
//! beyond these and tries again after a second; or it says yes, and what is sent then is lost for up to six.

use std::pin::pin;

use tokio::sync::Mutex;
use tokio::time::{Duration, Instant, timeout, timeout_at};

/// How long one connection may keep the next ones out: by then QEMU has taken it, and it is the guest that does not answer.
const ENTRY: Duration = Duration::from_secs(1);

/// A guest's.
#[derive(Debug, Default)]
pub(super) struct Door(Mutex<()>);

impl Door {
    /// Does what shows that a connection is in, when nobody else is about to; `None` if it is not its turn before `until`.
    pub(super) async fn enter<T>(
        &self,
        until: std::time::Instant,
        arrive: impl Future<Output = T>,
    ) -> Option<T> {
        let turn = timeout_at(Instant::from_std(until), self.0.lock()).await.ok()?;
        let mut arrive = pin!(arrive);
        if let Ok(arrived) = timeout(ENTRY, &mut arrive).await {
            return Some(arrived);
        }
        drop(turn);
        Some(arrive.await)
    }
}
