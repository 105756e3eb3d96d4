//! The machine's clock, which can be set forward: nobody sleeps through a back-off.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use landfall::clock::{Clock, SystemClock};
use tokio::sync::watch;

/// Time as everybody in a world has it. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Time {
    ahead: Arc<watch::Sender<Duration>>,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            ahead: Arc::new(watch::Sender::new(Duration::ZERO)),
        }
    }
}

impl Time {
    /// So much time passes at once; who waited for a time in it wakes up.
    pub(crate) fn passes(&self, time: Duration) {
        self.ahead.send_modify(|ahead| *ahead += time);
    }
}

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Timestamp {
        SystemClock.now().checked_add(*self.ahead.borrow()).unwrap()
    }

    async fn sleep_until(&self, until: Timestamp) {
        let mut ahead = self.ahead.subscribe();
        loop {
            let by_the_machine = until.checked_sub(*ahead.borrow_and_update()).unwrap();
            tokio::select! {
                () = SystemClock.sleep_until(by_the_machine) => return,
                // An error means that the sender is gone, and `self` holds it.
                _ = ahead.changed() => {}
            }
        }
    }
}
