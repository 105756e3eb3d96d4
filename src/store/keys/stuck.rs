//! Keys that cannot be worked on, and have not been for a while: whoever runs Landfall has to see to them.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use crate::domain::key::Key;
use crate::store::values::{from_micros, to_micros};
use crate::store::{Store, StoreError};

/// What has failed for so long does not pass by itself, as far as anybody can tell.
pub const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// When a key that this version does not know is looked at again: another version may run by then.
pub(super) const UNKNOWN_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// A key that is stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckKey {
    /// The key as the queue holds it: this version may not know it.
    pub key: String,
    /// Since when it fails.
    pub since: Timestamp,
    /// Why, at the last attempt.
    pub reason: String,
    /// Whether nobody tries it any more.
    pub dead: bool,
}

/// What began to fail before that is stuck.
pub(in crate::store) fn stuck_before(now: Timestamp) -> i64 {
    to_micros(now.checked_sub(STUCK_AFTER).unwrap_or(Timestamp::MIN))
}

/// Whether a key is stuck.
pub(in crate::store) async fn is_stuck(
    connection: &mut SqliteConnection,
    key: &Key,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let stuck: Option<i64> = sqlx::query_scalar("SELECT 1 FROM keys WHERE key = ?1 AND failing_since <= ?2")
        .bind(key.to_string())
        .bind(stuck_before(now))
        .fetch_optional(connection)
        .await?;
    Ok(stuck.is_some())
}

impl Store {
    /// The keys that are stuck, landings first, then those that have been for longest; up to that many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stuck_keys(&self, most: u32) -> Result<Vec<StuckKey>, StoreError> {
        let rows: Vec<(String, i64, Option<String>, bool)> = sqlx::query_as(
            "SELECT key, COALESCE(failing_since, dead_at), reason, dead_at IS NOT NULL FROM keys
             WHERE failing_since <= ?1 OR dead_at IS NOT NULL
             ORDER BY key LIKE 'landing/%' DESC, COALESCE(failing_since, dead_at), key LIMIT ?2",
        )
        .bind(stuck_before(self.now()))
        .bind(most)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter().map(stuck_key).collect()
    }

    /// A key, if it is stuck.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stuck_key(&self, key: &Key) -> Result<Option<StuckKey>, StoreError> {
        let row: Option<(String, i64, Option<String>, bool)> = sqlx::query_as(
            "SELECT key, COALESCE(failing_since, dead_at), reason, dead_at IS NOT NULL FROM keys
             WHERE key = ?1 AND (failing_since <= ?2 OR dead_at IS NOT NULL)",
        )
        .bind(key.to_string())
        .bind(stuck_before(self.now()))
        .fetch_optional(self.readers())
        .await?;
        row.map(stuck_key).transpose()
    }
}

fn stuck_key(
    (key, since, reason, dead): (String, i64, Option<String>, bool),
) -> Result<StuckKey, StoreError> {
    Ok(StuckKey {
        key,
        since: from_micros(since)?,
        reason: reason.unwrap_or_default(),
        dead,
    })
}
