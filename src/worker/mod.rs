//! Claims keys, has them reconciled, gives them back. Knows nothing of what a key means.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::key::Outcome;
use crate::queue::Wake;
use crate::store::{Finished, Lease, Store, StoreError};

mod attempt;
#[cfg(test)]
mod tests;

/// Other processes' touches bring no hint here, so the queue is looked at so often in any case.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Does one bounded piece of the work that a key stands for.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Reads state and facts, does one piece of work, records it under the lease. May run again for the same work:
    /// a worker can die after it and before it is known to have ended. May be stopped at any await.
    ///
    /// # Errors
    /// See [`ReconcileError`].
    async fn reconcile(&self, lease: &Lease) -> Result<Outcome, ReconcileError>;
}

/// Why a reconcile function did not get to an outcome: decides whether, and when, the key is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It failed: tried again after a back-off, until its attempts are spent.
    #[error("{reason}")]
    Fault {
        /// What happened, where, what to do.
        reason: String,
    },
    /// It failed, and will fail again: not tried until something is new.
    #[error("{reason}")]
    Hopeless {
        /// What happened, where, what to do.
        reason: String,
    },
    /// Something that it needs is down, or has had too many calls: tried again without end.
    #[error("{reason}")]
    Unavailable {
        /// What was unavailable.
        reason: String,
        /// Until when, if it said so; otherwise after a back-off.
        until: Option<Timestamp>,
    },
    /// Another worker has the key by now: what was being done is dropped.
    #[error("the lease was lost to another worker")]
    LeaseLost,
}

impl From<StoreError> for ReconcileError {
    fn from(error: StoreError) -> Self {
        let reason = with_sources(&error);
        match error {
            StoreError::LeaseLost { .. } => Self::LeaseLost,
            // What cannot be read, another version may have written.
            StoreError::Database(_)
            | StoreError::Commit { .. }
            | StoreError::Closed
            | StoreError::Unreadable { .. } => Self::Unavailable { reason, until: None },
            _ => Self::Fault { reason },
        }
    }
}

/// An error with all that is behind it, in one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// What it is called in the queue and in logs; each process has its own.
    pub name: String,
    /// How many keys it works on at a time; at least one.
    pub concurrency: usize,
    /// After how long without a sign of life others take its keys over. Renewed at a third of it.
    pub lease: Duration,
    /// After how many attempts in a row a key that fails is dead.
    pub most_attempts: u32,
    /// How long running work may go on after a shutdown was asked for.
    pub grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: "worker".into(),
            concurrency: 8,
            lease: Duration::from_secs(60),
            most_attempts: 10,
            grace: Duration::from_secs(20),
        }
    }
}

/// A worker over the queue in the store. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    store: Store,
    wake: Wake,
    clock: Arc<dyn Clock>,
    handler: Arc<dyn Reconcile>,
    options: Arc<WorkerOptions>,
}

impl Worker {
    /// A worker that does nothing yet. The clock is the store's.
    #[must_use]
    pub fn new(
        store: Store,
        wake: Wake,
        clock: Arc<dyn Clock>,
        handler: Arc<dyn Reconcile>,
        options: WorkerOptions,
    ) -> Self {
        Self {
            store,
            wake,
            clock,
            handler,
            options: Arc::new(options),
        }
    }

    /// Works until a shutdown is asked for; then claims nothing more, lets what runs come to an end for the time of
    /// grace, gives the rest back, and returns. A store that fails is tried again without end.
    pub async fn run(&self, shutdown: CancellationToken) {
        let hurry = CancellationToken::new();
        let mut running = JoinSet::new();
        while !shutdown.is_cancelled() {
            let free = self.options.concurrency.max(1).saturating_sub(running.len());
            let claimed = self.claim(free).await;
            if shutdown.is_cancelled() {
                // Asked for while the claim was under way: what it brought is given back unbegun.
                self.give_back(claimed.leases).await;
                break;
            }
            for lease in claimed.leases {
                running.spawn(self.clone().attempt(lease, hurry.clone()));
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = running.join_next() => report(ended),
                () = self.wake.wait_until(claimed.look_again, &*self.clock), if free > 0 => {}
            }
        }

        let give_up = self.after(self.options.grace);
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => report(ended),
                    None => break,
                },
                () = self.clock.sleep_until(give_up), if !hurry.is_cancelled() => hurry.cancel(),
            }
        }
    }

    /// What can be had for that many free hands, and when to look again.
    async fn claim(&self, free: usize) -> Claimed {
        let look_again = self.after(LOOK_EVERY);
        let nothing = Claimed {
            leases: Vec::new(),
            look_again,
        };
        if free == 0 {
            return nothing;
        }
        let leases = self
            .store
            .claim_up_to(free, self.options.lease, &self.options.name)
            .await;
        match leases {
            Ok(leases) => match self.store.next_due().await {
                Ok(due) => Claimed {
                    leases,
                    look_again: due.map_or(look_again, |due| due.min(look_again)),
                },
                Err(_) => Claimed { leases, look_again },
            },
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot claim keys; trying again"
                );
                nothing
            }
        }
    }

    async fn give_back(&self, leases: Vec<Lease>) {
        for lease in leases {
            if let Err(error) = self.store.finish(&lease, Finished::Released).await {
                tracing::warn!(key = %lease.key, error = &error as &dyn std::error::Error, "cannot give a key back");
            }
        }
    }

    fn after(&self, time: Duration) -> Timestamp {
        self.clock.now().checked_add(time).unwrap_or(Timestamp::MAX)
    }
}

struct Claimed {
    leases: Vec<Lease>,
    look_again: Timestamp,
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an attempt ended without a word; its lease will run out");
    }
}
