//! The audit log, read as it stands: nothing is written, and nothing that stands there is believed. Works beside a
//! running Landfall, on the database of one that is stopped, and on a copy.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::domain::audit::chain::{Entry, Found};
use crate::store::{BUSY_TIMEOUT, StoreError};

/// A page of the whole log, in its order.
const PAGE: &str = "SELECT sequence, at, CAST(repository AS BLOB), CAST(rules AS BLOB), CAST(record AS BLOB),
       CAST(digest AS BLOB)
     FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";

type Row = (i64, i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>, Option<Vec<u8>>);

/// The audit log of a database, for reading alone.
pub struct AuditLog {
    connection: SqliteConnection,
}

impl AuditLog {
    /// Opens the log of a database, of production or of the sandbox.
    ///
    /// # Errors
    /// [`StoreError::NoLog`] if there is none in it; [`StoreError::Open`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let failed = |source: sqlx::Error| StoreError::Open {
            path: path.into(),
            source: Box::new(source),
        };
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        let sealed: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM pragma_table_info('audit') WHERE name = 'digest'")
                .fetch_optional(&mut connection)
                .await
                .map_err(failed)?;
        match sealed {
            Some(_) => Ok(Self { connection }),
            None => Err(StoreError::NoLog { path: path.into() }),
        }
    }

    /// Reads everything as it stands at this moment, whatever is recorded meanwhile. Short work only: a database that
    /// is in use grows until it ends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn at_one_moment(&mut self) -> Result<(), StoreError> {
        sqlx::query("BEGIN").execute(&mut self.connection).await?;
        Ok(())
    }

    /// What stands behind a sequence number, or from the beginning: a bounded number of records.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn page(&mut self, behind: Option<u64>, most: u32) -> Result<Vec<Found>, StoreError> {
        // From far below 1, so that what was smuggled in before the first record is seen, too.
        let behind = behind.map_or(i64::MIN, |behind| i64::try_from(behind).unwrap_or(i64::MAX));
        let rows: Vec<Row> = sqlx::query_as(PAGE)
            .bind(behind)
            .bind(most)
            .fetch_all(&mut self.connection)
            .await?;
        Ok(rows.into_iter().map(found).collect())
    }

    /// The number of the last record that was ever made, as far as the database remembers.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn made(&mut self) -> Result<Option<u64>, StoreError> {
        let made: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'audit'")
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(made.and_then(|made| made.try_into().ok()))
    }

    /// Closes the database.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

fn found((sequence, at, repository, rules, record, digest): Row) -> Found {
    // A number below 1 was never given: it is found as one that is out of order.
    let sequence = u64::try_from(sequence).unwrap_or_default();
    let entry = || {
        Some(Entry {
            sequence,
            at,
            repository: String::from_utf8(repository).ok()?,
            rules: match rules {
                Some(rules) => Some(String::from_utf8(rules).ok()?),
                None => None,
            },
            record: String::from_utf8(record).ok()?,
        })
    };
    Found {
        sequence,
        entry: entry(),
        seal: digest.map(|digest| String::from_utf8_lossy(&digest).into_owned()),
    }
}
