//! Hints that there is work: they carry none of it. The store owns the keys; a lost, doubled or late hint changes
//! nothing but latency.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;

/// Wakes the worker of this process. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Wake {
    notify: Arc<Notify>,
}

impl Wake {
    /// Says that a key was touched. Hint after the touch is committed: who wakes earlier sees nothing.
    pub fn hint(&self) {
        self.notify.notify_one();
    }

    /// Returns at the next hint, at once if one came since the last call, and at that time in any case.
    pub async fn wait_until(&self, deadline: Timestamp, clock: &dyn Clock) {
        tokio::select! {
            () = self.notify.notified() => {}
            () = clock.sleep_until(deadline) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn a_hint_is_kept_for_who_comes_later_and_doubled_ones_are_one() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let deadline = Timestamp::UNIX_EPOCH + Duration::from_secs(1);
        let wake = Wake::default();
        wake.hint();
        wake.hint();
        wake.wait_until(deadline, &clock).await;
        assert!(wake.wait_until(deadline, &clock).now_or_never().is_none());
    }

    #[tokio::test]
    async fn without_any_hint_the_deadline_wakes() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let wake = Wake::default();
        let waiting = wake.wait_until(Timestamp::UNIX_EPOCH + Duration::from_secs(1), &clock);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        waiting.await;
    }
}
