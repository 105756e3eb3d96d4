//! Time and randomness, passed in: tests advance one and fix the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::domain::ids::RunId;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Returns at that time, or at once if it has passed.
    async fn sleep_until(&self, until: Timestamp);
}

/// Makes ids that nobody else makes.
pub trait Ids: Send + Sync {
    /// A new run's id; later ones sort behind earlier ones.
    fn run(&self) -> RunId;

    /// A key that nobody can guess.
    fn key(&self) -> [u8; 32];
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[allow(clippy::disallowed_methods)] // the one place that waits
    async fn sleep_until(&self, until: Timestamp) {
        if let Ok(wait) = Duration::try_from(until.duration_since(self.now())) {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Ids from the machine's clock and randomness (UUID version 7).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[allow(clippy::disallowed_methods)] // the one place that makes them
    fn run(&self) -> RunId {
        RunId(uuid::Uuid::now_v7())
    }

    #[allow(clippy::disallowed_methods)] // the one place that makes them
    fn key(&self) -> [u8; 32] {
        // Each has 122 bits of the system's randomness.
        let random: [uuid::Uuid; 4] = std::array::from_fn(|_| uuid::Uuid::new_v4());
        let mut hash = Sha256::new();
        random.iter().for_each(|part| hash.update(part.as_bytes()));
        hash.finalize().into()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<tokio::sync::watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at that time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Arc::new(tokio::sync::watch::Sender::new(now)),
        }
    }

    /// Moves it on, and wakes whoever waited for a time that has come.
    pub fn advance(&self, by: Duration) {
        self.now
            .send_modify(|now| *now = now.checked_add(by).unwrap_or(Timestamp::MAX));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, until: Timestamp) {
        // An error means that the sender is gone, and `self` holds it.
        let _ = self.now.subscribe().wait_for(|now| *now >= until).await;
    }
}

/// Ids that count up from one.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn run(&self) -> RunId {
        RunId(uuid::Uuid::from_u64_pair(
            0,
            self.0.fetch_add(1, Ordering::Relaxed) + 1,
        ))
    }

    fn key(&self) -> [u8; 32] {
        [7; 32]
    }
}
