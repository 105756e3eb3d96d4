//! The audit record of each decision: appended in the decision's own transaction, sealed afterwards.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::{BlobId, RepositoryId};
use crate::domain::key::Key;
use crate::domain::tree::RULES_PATH;
use crate::store::keys::{self, Touch};
use crate::store::values::{from_json, from_micros, later, parse, to_json, to_micros};
use crate::store::{Store, StoreError};

mod log;
mod seal;

pub use log::AuditLog;
pub use seal::Sealed;

/// How long the sealer waits for more: records that come close together are sealed together.
const TOGETHER: Duration = Duration::from_millis(250);

/// A decision as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Its place among all records of all repositories.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// The accepted `landfall.yaml` that was in force; nothing before the first.
    pub rules: Option<BlobId>,
    /// What was decided.
    pub record: Record,
}

/// Appends a record, with the rules that are in force in this transaction, and has it sealed; for use inside other
/// intents. One that changes what is accepted appends before it does.
pub(in crate::store) async fn append(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    record: &Record,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (at, repository, rules, record)
         VALUES (?1, ?2, (SELECT blob FROM accepted WHERE repository = ?2 AND path = ?3), ?4)",
    )
    .bind(to_micros(at))
    .bind(repository.as_str())
    .bind(RULES_PATH)
    .bind(to_json("audit record", record)?)
    .execute(&mut *connection)
    .await?;
    keys::touch(connection, &Touch::fact(Key::Seal).at(later(at, TOGETHER)), at).await
}

/// A page of a repository's records, by their index.
pub(in crate::store) const PAGE: &str = "SELECT sequence, at, rules, record FROM audit
     WHERE repository = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";

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
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows: Vec<(i64, i64, Option<String>, String)> = sqlx::query_as(PAGE)
            .bind(repository.as_str())
            .bind(behind)
            .bind(most)
            .fetch_all(self.readers())
            .await?;
        rows.into_iter()
            .map(|(sequence, at, rules, record)| {
                Ok(AuditRecord {
                    sequence,
                    at: from_micros(at)?,
                    rules: rules.map(|text| parse("blob id", &text)).transpose()?,
                    record: from_json("audit record", &record)?,
                })
            })
            .collect()
    }
}
