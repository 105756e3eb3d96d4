//! Sealing: one transaction takes up the chain where it ends. The database lets one such transaction go on at a time,
//! so there is one sealer, whoever asks, and what was not sealed before a crash is sealed after it.

use sqlx::SqliteConnection;

use crate::domain::audit::chain::Entry;
use crate::domain::ids::Digest;
use crate::store::values::{from_integer, parse};
use crate::store::{Lease, Store, StoreError, keys};

/// So many records are sealed in one transaction: the others wait for it.
const AT_ONCE: usize = 500;

/// How far the chain goes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The newest digest; nothing before the first record.
    pub head: Option<Digest>,
    /// Whether records are left to be sealed.
    pub more: bool,
}

impl Store {
    /// Seals the oldest records that are not sealed yet, a bounded number of them.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn seal_audit(&self, lease: &Lease) -> Result<Sealed, StoreError> {
        let lease = lease.clone();
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                seal(connection, AT_ONCE).await
            })
        })
        .await
    }
}

async fn seal(connection: &mut SqliteConnection, most: usize) -> Result<Sealed, StoreError> {
    let rows: Vec<(i64, i64, String, Option<String>, String)> = sqlx::query_as(
        "SELECT sequence, at, repository, rules, record FROM audit INDEXED BY audit_unsealed
         WHERE digest IS NULL ORDER BY sequence LIMIT ?1",
    )
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let more = rows.len() == most;
    let first = rows.first().map_or(i64::MAX, |row| row.0);
    let head: Option<Option<String>> =
        sqlx::query_scalar("SELECT digest FROM audit WHERE sequence < ?1 ORDER BY sequence DESC LIMIT 1")
            .bind(first)
            .fetch_optional(&mut *connection)
            .await?;
    let mut head: Option<Digest> = head
        .flatten()
        .map(|text| parse("digest of an audit record", &text))
        .transpose()?;
    for (sequence, at, repository, rules, record) in rows {
        let entry = Entry {
            sequence: from_integer(sequence)?,
            at,
            repository,
            rules,
            record,
        };
        let digest = entry.seal(head.as_ref());
        sqlx::query("UPDATE audit SET digest = ?2 WHERE sequence = ?1")
            .bind(sequence)
            .bind(digest.as_str())
            .execute(&mut *connection)
            .await?;
        head = Some(digest);
    }
    Ok(Sealed { head, more })
}
