//! How fast an account is called: one token bucket for all who call it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

/// A token bucket: so many calls a second, as many at once after a pause.
pub(super) struct Pace {
    clock: Arc<dyn Clock>,
    calls_a_second: NonZeroU32,
    /// When the bucket will be full again.
    full_at: Mutex<Timestamp>,
}

impl Pace {
    pub(super) fn new(clock: Arc<dyn Clock>, calls_a_second: NonZeroU32) -> Self {
        Self {
            clock,
            calls_a_second,
            full_at: Mutex::new(Timestamp::MIN),
        }
    }

    /// Returns when the caller may make one call.
    pub(super) async fn turn(&self) {
        self.clock.sleep_until(self.reserve()).await;
    }

    fn reserve(&self) -> Timestamp {
        let one = Duration::from_secs(1) / self.calls_a_second.get();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = self.clock.now().max(*full_at);
        *full_at = begin.checked_add(one).unwrap_or(Timestamp::MAX);
        // Full a second after it was empty.
        full_at
            .checked_sub(Duration::from_secs(1))
            .unwrap_or(Timestamp::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn an_account_is_called_so_often_a_second_and_no_more() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let pace = Pace::new(Arc::new(clock.clone()), NonZeroU32::new(5).unwrap());
        let turns =
            |count: usize| -> Vec<i64> { (0..count).map(|_| pace.reserve().as_millisecond()).collect() };
        let at_once = turns(5);
        assert!(at_once.iter().all(|turn| *turn <= 0), "{at_once:?}");
        assert_eq!(turns(7), [200, 400, 600, 800, 1_000, 1_200, 1_400]);
        clock.advance(Duration::from_secs(2));
        assert!(
            turns(3).iter().all(|turn| *turn <= 2_000),
            "those who waited have gone"
        );
        clock.advance(Duration::from_secs(3_600));
        let later = clock.now().as_millisecond();
        let burst = turns(6);
        assert!(
            burst[4] <= later && burst[5] > later,
            "a pause saves up no more than a second's"
        );
    }
}
