//! The audit record of each decision: appended in the decision's own transaction.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::RepositoryId;
use crate::store::values::{from_json, from_micros, to_json, to_micros};
use crate::store::{Store, StoreError};

/// Appends a record; for use inside other intents.
pub(in crate::store) async fn append(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    record: &Record,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit (at, repository, record) VALUES (?1, ?2, ?3)")
        .bind(to_micros(at))
        .bind(repository.as_str())
        .bind(to_json("audit record", record)?)
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// The records of a repository, oldest first, behind a sequence number (0 for the first page).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn audit(
        &self,
        repository: &RepositoryId,
        behind: i64,
        most: u32,
    ) -> Result<Vec<(i64, Timestamp, Record)>, StoreError> {
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(
            "SELECT sequence, at, record FROM audit WHERE repository = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
        )
        .bind(repository.as_str())
        .bind(behind)
        .bind(most)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(sequence, at, record)| {
                Ok((sequence, from_micros(at)?, from_json("audit record", &record)?))
            })
            .collect()
    }
}
