//! Whose turn it is, and taking it.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::stuck::UNKNOWN_AGAIN;
use super::{FRESH, Lease, SWEEPS};
use crate::domain::key::Key;
use crate::store::StoreError;
use crate::store::values::{from_integer, read_count, to_micros};

/// The key whose turn it is. Looks at the first key of each share only, however many wait.
pub(super) async fn candidate(
    connection: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    for lane in [FRESH, SWEEPS] {
        let found: Option<String> = sqlx::query_scalar(
            "WITH RECURSIVE shares (share) AS (
               SELECT MIN(share) FROM keys WHERE lane = ?1 AND ready IS NOT NULL
               UNION ALL
               SELECT (SELECT MIN(keys.share) FROM keys
                       WHERE keys.lane = ?1 AND keys.ready IS NOT NULL AND keys.share > shares.share)
               FROM shares WHERE shares.share IS NOT NULL
             ),
             firsts (share, key) AS (
               SELECT shares.share, (SELECT keys.key FROM keys
                                     WHERE keys.lane = ?1 AND keys.share = shares.share AND keys.ready <= ?2
                                     ORDER BY keys.ready, keys.key LIMIT 1)
               FROM shares WHERE shares.share IS NOT NULL
             )
             SELECT keys.key FROM firsts JOIN keys ON keys.key = firsts.key
             ORDER BY (SELECT COUNT(*) FROM keys AS leased
                       WHERE leased.share = firsts.share AND leased.lease_until > ?2),
                      keys.ready, keys.key
             LIMIT 1",
        )
        .bind(lane)
        .bind(to_micros(now))
        .fetch_optional(&mut *connection)
        .await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Leases a key. One that this version does not know is left for one that does, and looked at again later.
pub(super) async fn take(
    connection: &mut SqliteConnection,
    text: String,
    now: Timestamp,
    until: Timestamp,
    worker: &str,
) -> Result<Option<Lease>, StoreError> {
    let key = match text.parse::<Key>() {
        Ok(key) => key,
        Err(error) => {
            let since: Option<i64> = sqlx::query_scalar("SELECT failing_since FROM keys WHERE key = ?1")
                .bind(&text)
                .fetch_one(&mut *connection)
                .await?;
            if since.is_none() {
                tracing::error!(
                    key = text,
                    "the queue holds a key that this version does not know: it is left there"
                );
            }
            let again = now.checked_add(UNKNOWN_AGAIN).unwrap_or(Timestamp::MAX);
            sqlx::query(
                "UPDATE keys SET due = ?2, reason = ?3, lease_until = NULL, lease_by = NULL,
                   failing_since = COALESCE(failing_since, ?4)
                 WHERE key = ?1",
            )
            .bind(text)
            .bind(to_micros(again))
            .bind(error.to_string())
            .bind(to_micros(now))
            .execute(connection)
            .await?;
            return Ok(None);
        }
    };
    let fence: i64 =
        sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'fence' RETURNING value")
            .fetch_one(&mut *connection)
            .await?;
    let (generation, attempts, postponed): (i64, i64, i64) = sqlx::query_as(
        "UPDATE keys SET fence = ?2, lease_until = ?3, lease_by = ?4, attempts = attempts + 1, due = NULL
         WHERE key = ?1 RETURNING generation, attempts, postponed",
    )
    .bind(text)
    .bind(fence)
    .bind(to_micros(until))
    .bind(worker)
    .fetch_one(connection)
    .await?;
    Ok(Some(Lease {
        key,
        generation: from_integer(generation)?,
        fence: from_integer(fence)?,
        attempts: read_count(attempts)?,
        postponed: read_count(postponed)?,
        until,
    }))
}
