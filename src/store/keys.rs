//! The queue: the keys there are to reconcile. A key stands in it at most once, is never worked on by two at a time,
//! is worked on again if it was touched meanwhile, and is dead once its attempts are spent.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::key::{Key, Share};
use crate::store::values::{from_micros, later, read_count, to_integer, to_micros};
use crate::store::{Store, StoreError, given_up};

mod at_work;
pub(in crate::store) mod give_back;
#[cfg(test)]
mod model;
pub(in crate::store) mod stuck;
#[cfg(test)]
mod tests;
mod turn;

pub use at_work::AtWork;
pub(in crate::store) use at_work::lock_of;
pub use stuck::{STUCK_AFTER, StuckKey};

/// Where fresh work waits; sweeps wait in the other lane.
const FRESH: i64 = 0;
const SWEEPS: i64 = 1;

/// Why a key is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Something is new, or a person asks: goes before sweeps, starts the attempts anew, and revives the dead.
    Fact,
    /// It could be out of date: goes after fresh work, leaves a back-off alone, and the dead dead.
    Sweep,
}

/// A wish that a key be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Which key.
    pub key: Key,
    /// Why.
    pub cause: Cause,
    /// Not before this time; nothing for at once.
    pub due: Option<Timestamp>,
    /// Whose time it takes. Nothing leaves what the queue knows, or takes the key's repository.
    pub share: Option<Share>,
}

impl Touch {
    /// Something is new about that key, or a person asks for it.
    #[must_use]
    pub fn fact(key: Key) -> Self {
        Self {
            key,
            cause: Cause::Fact,
            due: None,
            share: None,
        }
    }

    /// That key could be out of date.
    #[must_use]
    pub fn sweep(key: Key) -> Self {
        Self {
            key,
            cause: Cause::Sweep,
            due: None,
            share: None,
        }
    }

    /// Not before that time.
    #[must_use]
    pub fn at(self, due: Timestamp) -> Self {
        Self {
            due: Some(due),
            ..self
        }
    }

    /// At the expense of that share.
    #[must_use]
    pub fn share(self, share: Share) -> Self {
        Self {
            share: Some(share),
            ..self
        }
    }
}

/// The right to work on a key, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub key: Key,
    /// How often it had been touched when it was claimed.
    pub generation: u64,
    /// Names this lease: no other ever bears the number, and later ones bear higher ones.
    pub fence: u64,
    /// Which attempt in a row this is, beginning with 1. Those that were postponed do not count.
    pub attempts: u32,
    /// How often in a row it was postponed.
    pub postponed: u32,
    /// Until when nobody else may claim the key.
    pub until: Timestamp,
}

/// How the work under a lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// Nothing is left to do.
    Done,
    /// Something is left to do at that time.
    Again(Timestamp),
    /// It failed, and is tried again at that time.
    Failed {
        /// When.
        at: Timestamp,
        /// Why it failed.
        reason: String,
    },
    /// Something that it needs is unavailable until that time: no fault of the key's, so the attempt does not count.
    Postponed {
        /// Until when.
        at: Timestamp,
        /// What was unavailable.
        reason: String,
    },
    /// Its attempts are spent, or further ones are of no use.
    Dead {
        /// Why.
        reason: String,
    },
    /// It was given back untouched, for another worker to claim at once.
    Released,
}

/// A key that nobody will work on until something is new about it, or a person revives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadKey {
    /// The key.
    pub key: Key,
    /// When it died.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// How many attempts it had.
    pub attempts: u32,
}

/// A key that is waiting, or being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKey {
    /// The key.
    pub key: Key,
    /// When it can be claimed: its due time, or the end of its lease.
    pub ready: Timestamp,
    /// Who works on it.
    pub leased_by: Option<String>,
    /// How many attempts in a row have failed, with the one under way.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: Option<String>,
}

/// Touches a key inside another intent's transaction.
pub(in crate::store) async fn touch(
    connection: &mut SqliteConnection,
    touch: &Touch,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lane = match (touch.cause, &touch.key) {
        (Cause::Sweep, _) | (_, Key::Sweep { .. } | Key::Prune) => SWEEPS,
        (Cause::Fact, _) => FRESH,
    };
    let unknown = || {
        touch
            .key
            .repository()
            .map_or_else(String::new, |repository| repository.to_string())
    };
    let statement = match touch.cause {
        Cause::Fact => {
            "INSERT INTO keys (key, share, lane, generation, fact, due) VALUES (?1, COALESCE(?2, ?3), ?4, 1, 1, ?5)
             ON CONFLICT (key) DO UPDATE SET
               share = COALESCE(?2, keys.share),
               lane = MIN(keys.lane, excluded.lane),
               generation = keys.generation + 1,
               fact = keys.generation + 1,
               due = MIN(COALESCE(keys.due, excluded.due), excluded.due),
               attempts = 0, postponed = 0, dead_at = NULL"
        }
        // A key that is free and has failed is backing off: a sweep waits for that.
        Cause::Sweep => {
            "INSERT INTO keys (key, share, lane, generation, fact, due) VALUES (?1, COALESCE(?2, ?3), ?4, 1, 0, ?5)
             ON CONFLICT (key) DO UPDATE SET
               share = COALESCE(?2, keys.share),
               generation = keys.generation + 1,
               due = CASE
                 WHEN keys.lease_until IS NULL AND keys.attempts + keys.postponed > 0 THEN keys.due
                 ELSE MIN(COALESCE(keys.due, excluded.due), excluded.due)
               END
             WHERE keys.dead_at IS NULL"
        }
    };
    sqlx::query(statement)
        .bind(touch.key.to_string())
        .bind(touch.share.as_ref().map(Share::as_str))
        .bind(unknown())
        .bind(lane)
        .bind(to_micros(touch.due.unwrap_or(now)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a key was touched since it was claimed; for use inside other intents.
pub(in crate::store) async fn is_touched_since(
    connection: &mut SqliteConnection,
    lease: &Lease,
) -> Result<bool, StoreError> {
    let touched: Option<i64> = sqlx::query_scalar("SELECT 1 FROM keys WHERE key = ?1 AND generation > ?2")
        .bind(lease.key.to_string())
        .bind(to_integer(lease.generation)?)
        .fetch_optional(connection)
        .await?;
    Ok(touched.is_some())
}

/// Fails if the key was claimed by another since: the intent that asks rolls back with it.
pub(in crate::store) async fn check_fence(
    connection: &mut SqliteConnection,
    lease: &Lease,
) -> Result<(), StoreError> {
    let held: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM keys WHERE key = ?1 AND fence = ?2 AND lease_until IS NOT NULL")
            .bind(lease.key.to_string())
            .bind(to_integer(lease.fence)?)
            .fetch_optional(connection)
            .await?;
    held.map(|_| ()).ok_or_else(|| StoreError::LeaseLost {
        key: lease.key.clone(),
    })
}

impl Store {
    /// Touches keys, all or none of them. Hint afterwards.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn touch(&self, touches: &[Touch]) -> Result<(), StoreError> {
        let (touches, now) = (touches.to_vec(), self.now());
        self.write(move |connection| {
            Box::pin(async move {
                for one in &touches {
                    touch(connection, one, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Claims the key whose turn it is, if any is due. See [`Store::claim_up_to`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim(&self, lease: Duration, worker: &str) -> Result<Option<Lease>, StoreError> {
        Ok(self.claim_up_to(1, lease, worker).await?.pop())
    }

    /// Claims up to that many keys that are due and nobody works on, for that long. Fresh work goes before sweeps;
    /// among each, the share on which the fewest are working, then what has waited longest. A lease that has run
    /// out is claimed anew.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim_up_to(
        &self,
        most: usize,
        lease: Duration,
        worker: &str,
    ) -> Result<Vec<Lease>, StoreError> {
        let now = self.now();
        // Mostly nothing is due, and that is found out without a transaction.
        if self.next_due().await?.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        let worker = worker.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let mut leases = Vec::new();
                while leases.len() < most {
                    match turn::candidate(connection, now).await? {
                        None => break,
                        Some(text) => leases
                            .extend(turn::take(connection, text, now, later(now, lease), &worker).await?),
                    }
                }
                Ok(leases)
            })
        })
        .await
    }

    /// Keeps a lease for that long from now; answers with the new end.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another claimed the key meanwhile.
    pub async fn renew(&self, lease: &Lease, by: Duration) -> Result<Timestamp, StoreError> {
        let (lease, until) = (lease.clone(), later(self.now(), by));
        self.write(move |connection| {
            Box::pin(async move {
                check_fence(connection, &lease).await?;
                sqlx::query("UPDATE keys SET lease_until = ?2 WHERE key = ?1")
                    .bind(lease.key.to_string())
                    .bind(to_micros(until))
                    .execute(connection)
                    .await?;
                Ok(until)
            })
        })
        .await
    }

    /// Gives a key back. If it was touched meanwhile it is due again, whatever came out; a sweep's touch alone does
    /// not shorten a back-off, nor revive.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if another claimed the key meanwhile: then nothing is recorded.
    pub async fn finish(&self, lease: &Lease, finished: Finished) -> Result<(), StoreError> {
        let (lease, now) = (lease.clone(), self.now());
        self.write(move |connection| {
            Box::pin(async move {
                let failed = matches!(finished, Finished::Failed { .. } | Finished::Postponed { .. });
                give_back::give_back(connection, &lease, finished, now).await?;
                if failed && stuck::is_stuck(connection, &lease.key, now).await? {
                    given_up::tell(connection, &lease.key, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Revives a dead key because a person asks; answers whether it was dead.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn revive(&self, key: &Key) -> Result<bool, StoreError> {
        let (key, now) = (key.clone(), self.now());
        self.write(move |connection| {
            Box::pin(async move {
                let dead: Option<i64> =
                    sqlx::query_scalar("SELECT 1 FROM keys WHERE key = ?1 AND dead_at IS NOT NULL")
                        .bind(key.to_string())
                        .fetch_optional(&mut *connection)
                        .await?;
                if dead.is_some() {
                    touch(connection, &Touch::fact(key), now).await?;
                }
                Ok(dead.is_some())
            })
        })
        .await
    }

    /// When the next key can be claimed: its due time, or the end of a lease that nobody renews.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar("SELECT MIN(ready) FROM keys WHERE ready IS NOT NULL")
            .fetch_one(self.readers())
            .await?;
        next.map(from_micros).transpose()
    }

    /// The dead keys, the latest first, up to that many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn dead_keys(&self, most: u32) -> Result<Vec<DeadKey>, StoreError> {
        let rows: Vec<(String, i64, Option<String>, i64)> = sqlx::query_as(
            "SELECT key, dead_at, reason, attempts FROM keys WHERE dead_at IS NOT NULL
             ORDER BY dead_at DESC, key LIMIT ?1",
        )
        .bind(most)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .filter_map(|(key, at, reason, attempts)| Some((known(&key)?, at, reason, attempts)))
            .map(|(key, at, reason, attempts)| {
                Ok(DeadKey {
                    key,
                    at: from_micros(at)?,
                    reason: reason.unwrap_or_default(),
                    attempts: read_count(attempts)?,
                })
            })
            .collect()
    }

    /// The keys that wait or are worked on, the next one first, up to that many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pending_keys(&self, most: u32) -> Result<Vec<PendingKey>, StoreError> {
        let rows: Vec<PendingRow> = sqlx::query_as(
            "SELECT key, ready, lease_by, attempts, reason FROM keys WHERE ready IS NOT NULL
             ORDER BY ready, key LIMIT ?1",
        )
        .bind(most)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .filter_map(|(key, ready, by, attempts, reason)| {
                Some((known(&key)?, ready, by, attempts, reason))
            })
            .map(|(key, ready, leased_by, attempts, reason)| {
                Ok(PendingKey {
                    key,
                    ready: from_micros(ready)?,
                    leased_by,
                    attempts: read_count(attempts)?,
                    reason,
                })
            })
            .collect()
    }
}

/// Key, ready, leased by, attempts, reason.
type PendingRow = (String, i64, Option<String>, i64, Option<String>);

/// Nothing for one that this version does not know.
fn known(text: &str) -> Option<Key> {
    text.parse().ok()
}
