//! What becomes of a key when the work under its lease has ended.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{FRESH, Finished, Lease, SWEEPS};
use crate::domain::key::Key;
use crate::store::StoreError;
use crate::store::values::{to_integer, to_micros};

/// A key under a lease, as it stands when the work has ended.
#[derive(Debug)]
struct Held {
    fact: i64,
    lane: i64,
    due: Option<i64>,
    attempts: i64,
    postponed: i64,
}

/// Gives a key back as [`after`] says.
pub(in crate::store) async fn give_back(
    connection: &mut SqliteConnection,
    lease: &Lease,
    finished: Finished,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = lease.key.to_string();
    let row: Option<(i64, i64, Option<i64>, i64, i64)> = sqlx::query_as(
        "SELECT fact, lane, due, attempts, postponed FROM keys
         WHERE key = ?1 AND fence = ?2 AND lease_until IS NOT NULL",
    )
    .bind(&key)
    .bind(to_integer(lease.fence)?)
    .fetch_optional(&mut *connection)
    .await?;
    let (fact, lane, due, attempts, postponed) = row.ok_or_else(|| StoreError::LeaseLost {
        key: lease.key.clone(),
    })?;
    let held = Held {
        fact,
        lane,
        due,
        attempts,
        postponed,
    };

    let fails = match &finished {
        Finished::Done | Finished::Again(_) => Some(false),
        Finished::Released => None,
        Finished::Failed { .. } | Finished::Postponed { .. } | Finished::Dead { .. } => Some(true),
    };
    let Some(next) = after(&held, lease, finished, now)? else {
        sqlx::query("DELETE FROM keys WHERE key = ?1")
            .bind(key)
            .execute(connection)
            .await?;
        return Ok(());
    };
    sqlx::query(
        "UPDATE keys SET lane = ?2, due = ?3, attempts = ?4, postponed = ?5, reason = ?6, dead_at = ?7,
           lease_until = NULL, lease_by = NULL,
           failing_since = CASE ?8 WHEN 1 THEN COALESCE(failing_since, ?9) WHEN 0 THEN NULL ELSE failing_since END
         WHERE key = ?1",
    )
    .bind(key)
    .bind(next.lane)
    .bind(next.due)
    .bind(next.attempts)
    .bind(next.postponed)
    .bind(next.reason)
    .bind(next.dead_at)
    .bind(fails)
    .bind(to_micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// What a key becomes when it is given back.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    lane: i64,
    due: Option<i64>,
    attempts: i64,
    postponed: i64,
    reason: Option<String>,
    dead_at: Option<i64>,
}

/// Nothing if the key leaves the queue.
fn after(held: &Held, lease: &Lease, finished: Finished, now: Timestamp) -> Result<Option<Next>, StoreError> {
    // A fact that came meanwhile has started the attempts anew, and outlives any failure.
    let fact = held.fact > to_integer(lease.generation)?;
    let touched = held.due.filter(|_| fact);
    let earlier =
        |at: Timestamp, other: Option<i64>| Some(other.map_or(to_micros(at), |due| due.min(to_micros(at))));
    let Held {
        lane,
        due,
        attempts,
        postponed,
        ..
    } = *held;
    // What asks to be looked at again has work of its own, whoever touched it first.
    let own_lane = if matches!(lease.key, Key::Sweep { .. } | Key::Prune) {
        SWEEPS
    } else {
        FRESH
    };
    let idle = Next {
        lane,
        due,
        attempts: 0,
        postponed: 0,
        reason: None,
        dead_at: None,
    };

    Ok(Some(match finished {
        Finished::Done if due.is_none() => return Ok(None),
        Finished::Done => idle,
        Finished::Again(at) => Next {
            lane: own_lane,
            due: earlier(at, due),
            ..idle
        },
        Finished::Failed { at, reason } => Next {
            due: earlier(at, touched),
            attempts,
            reason: Some(reason),
            ..idle
        },
        Finished::Postponed { at, reason } => Next {
            due: earlier(at, touched),
            attempts: uncounted(attempts),
            postponed: if fact { 0 } else { postponed + 1 },
            reason: Some(reason),
            ..idle
        },
        Finished::Released => Next {
            due: earlier(now, due),
            attempts: uncounted(attempts),
            postponed,
            ..idle
        },
        Finished::Dead { reason } if touched.is_some() => Next {
            due: touched,
            reason: Some(reason),
            ..idle
        },
        Finished::Dead { reason } => Next {
            due: None,
            attempts,
            reason: Some(reason),
            dead_at: Some(to_micros(now)),
            ..idle
        },
    }))
}

/// The attempts without the one under way; a fact may have taken it off already.
fn uncounted(attempts: i64) -> i64 {
    (attempts - 1).max(0)
}
