//! Everything that Landfall remembers. The public surface is intents: methods that are one transaction each. No SQL
//! type leaves this module, and no transaction outlives a method.
//!
//! Each aggregate is a file with its own `impl Store`. An intent that is made under a lease checks the fence in its
//! transaction (`keys::check_fence`).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::clock::Clock;

mod accepted;
mod accepted_files;
mod adoption;
mod audit;
mod commands;
mod deliveries;
mod error;
mod given_up;
mod history;
mod keys;
mod migrations;
mod origins;
mod provenance;
mod pushes;
mod reports;
mod repositories;
mod requests;
mod reviews;
mod runs;
mod values;
mod writer;

pub use accepted::{Acceptance, Evidence, Holding};
pub use accepted_files::{AcceptedFile, AcceptedFiles};
pub use adoption::Adoption;
pub use audit::{AuditLog, AuditRecord, Sealed};
pub use commands::{Answers, ObeyedNote, ReadNotes, SpokenApproval};
pub use deliveries::{DeliveryRecord, Recorded};
pub use error::StoreError;
pub use history::{DeliveryPlace, Keep, PastDelivery, PastRun, Pruned, StepLogLine};
pub use keys::{AtWork, Cause, DeadKey, Finished, Lease, PendingKey, STUCK_AFTER, StuckKey, Touch};
pub use reports::OwnNote;
pub use repositories::{Examined, RepositoryState};
pub use requests::Desired;
pub use reviews::Push;
pub use runs::WaitingStep;

use writer::{Work, Writer};

/// How long a process waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
/// Readers do not wait for each other, and few are busy at a time.
const READERS: u32 = 4;
/// Somebody else can be in the way of the change to a write-ahead log so often, each time for a moment.
const LOG_TRIES: u32 = 50;

/// Whether what happens in a database is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is: `serve` and `worker` use no other.
    Production,
    /// It is make-believe: `demo` and `sandbox` use no other.
    Sandbox,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        })
    }
}

/// How to open the store.
pub struct StoreOptions {
    /// The database file; made if there is none. Its folder must exist. See [`StoreOptions::path_of`].
    pub path: PathBuf,
    /// Tells leases and due times.
    pub clock: Arc<dyn Clock>,
    /// What a fresh database becomes, and an older one must be.
    pub mark: Mark,
}

impl StoreOptions {
    /// The file that `database.url` names: what follows `sqlite://`.
    ///
    /// # Errors
    /// [`StoreError::Url`] on any other address.
    pub fn path_of(url: &str) -> Result<PathBuf, StoreError> {
        match url.strip_prefix("sqlite://") {
            None => Err(StoreError::Url {
                problem: "this kind of database is not supported",
            }),
            Some(path) if path.contains(['?', '#']) => Err(StoreError::Url {
                problem: "parameters are not supported",
            }),
            Some("" | ":memory:") => Err(StoreError::Url {
                problem: "it names no file",
            }),
            Some(path) => Ok(PathBuf::from(path)),
        }
    }
}

/// The store. Cheap to clone: all clones share one writer and a few readers.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: SqlitePool,
    clock: Arc<dyn Clock>,
    /// The file whose lock says that somebody is at work.
    lock: PathBuf,
}

impl Store {
    /// Opens the database, makes it if there is none, and brings it to this version's form. Any number of processes
    /// may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Migration`]; [`StoreError::WrongMark`] if the mark is the other one;
    /// [`StoreError::Foreign`] if there are tables and no mark.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let StoreOptions { path, clock, mark } = options;
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let open = |source: sqlx::Error| StoreError::Open {
            path: path.clone(),
            source: Box::new(source),
        };

        let mut connection = SqliteConnection::connect_with(&connect).await.map_err(open)?;
        let mut preparation = connection.begin_with("BEGIN IMMEDIATE").await.map_err(open)?;
        prepare(&mut preparation, &path, mark).await?;
        preparation.commit().await.map_err(open)?;
        use_write_ahead_log(&mut connection).await.map_err(open)?;

        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(
                connect
                    .clone()
                    .create_if_missing(false)
                    .pragma("query_only", "ON"),
            )
            .await
            .map_err(open)?;
        let writer = Writer::start(connection, connect.create_if_missing(false));
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                readers,
                clock,
                lock: keys::lock_of(&path),
            }),
        })
    }

    /// Carries out what was handed over, then closes the database. Whoever still uses a clone gets
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.writer.close().await;
        self.inner.readers.close().await;
    }

    /// How many transactions this process has committed: many intents share one.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.writer.commits()
    }

    /// The time now, by the store's clock.
    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Carries out an intent in a transaction that it shares with others, but fails alone.
    async fn write<T, F>(&self, intent: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        self.inner.writer.write(intent).await
    }

    /// Where to read: never waits for the writer, and sees all that was answered.
    fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }
}

/// Checks the mark before anything is changed, then migrates, then marks what is fresh.
async fn prepare(
    connection: &mut SqliteConnection,
    path: &std::path::Path,
    wanted: Mark,
) -> Result<(), StoreError> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(|source| StoreError::Open {
            path: path.into(),
            source: Box::new(source),
        })?;
    let found: Option<String> = if tables.iter().any(|table| table == "meta") {
        sqlx::query_scalar("SELECT value FROM meta WHERE name = 'mark'")
            .fetch_optional(&mut *connection)
            .await?
    } else {
        None
    };
    match found {
        Some(found) if found != wanted.to_string() => {
            return Err(StoreError::WrongMark {
                path: path.into(),
                found,
                wanted,
            });
        }
        None if !tables.is_empty() => return Err(StoreError::Foreign { path: path.into() }),
        _ => {}
    }
    // Not `run`: its future cannot be sent to another thread.
    migrations::sqlite()
        .run_direct(None, &mut *connection, false)
        .await
        .map_err(|source| StoreError::Migration {
            path: path.into(),
            source: Box::new(source),
        })?;
    sqlx::query("INSERT INTO meta (name, value) VALUES ('mark', ?1) ON CONFLICT DO NOTHING")
        .bind(wanted.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// The change needs the file for itself, and does not wait for it as other statements do.
async fn use_write_ahead_log(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for _ in 0..LOG_TRIES {
        match sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL")
            .fetch_one(&mut *connection)
            .await
        {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => {}
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(error),
        }
        // This does wait, until whoever was in the way is done.
        connection.begin_with("BEGIN EXCLUSIVE").await?.rollback().await?;
    }
    Err(sqlx::Error::Protocol(
        "another process keeps the file from using a write-ahead log".into(),
    ))
}

fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY is 5; its extended codes keep it in the low byte.
    error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;
    use crate::clock::ManualClock;

    fn options(folder: &TempDir, mark: Mark) -> StoreOptions {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        StoreOptions {
            path: folder.path().join("landfall.db"),
            clock,
            mark,
        }
    }

    #[rstest]
    #[case("sqlite:///var/lib/landfall.db", Some("/var/lib/landfall.db"))]
    #[case("sqlite://landfall.db", Some("landfall.db"))]
    #[case("sqlite://", None)]
    #[case("sqlite://:memory:", None)]
    #[case("sqlite://landfall.db?mode=ro", None)]
    #[case("postgres://landfall:hunter2@db/landfall", None)]
    #[case("", None)]
    fn a_database_is_named_by_its_path(#[case] url: &str, #[case] path: Option<&str>) {
        let found = StoreOptions::path_of(url);
        assert_eq!(found.as_ref().ok(), path.map(PathBuf::from).as_ref());
        assert!(
            found
                .err()
                .is_none_or(|error| !error.to_string().contains("hunter2"))
        );
    }

    #[tokio::test]
    async fn the_store_survives_the_machine() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(options(&folder, Mark::Production)).await.unwrap();
        let settings = store
            .write(|connection| {
                Box::pin(async move {
                    let mut settings = Vec::new();
                    for name in ["PRAGMA synchronous", "PRAGMA foreign_keys"] {
                        settings.push(
                            sqlx::query_scalar::<_, i64>(name)
                                .fetch_one(&mut *connection)
                                .await?,
                        );
                    }
                    let log: String = sqlx::query_scalar("PRAGMA journal_mode")
                        .fetch_one(connection)
                        .await?;
                    Ok((settings, log))
                })
            })
            .await
            .unwrap();
        assert_eq!(
            settings,
            (vec![2, 1], "wal".to_owned()),
            "synchronous = FULL, foreign keys, write-ahead log"
        );
        assert!(
            sqlx::query("DELETE FROM keys")
                .execute(store.readers())
                .await
                .is_err(),
            "readers only read"
        );
    }

    #[rstest]
    #[case(Mark::Production, Mark::Sandbox)]
    #[case(Mark::Sandbox, Mark::Production)]
    #[tokio::test]
    async fn a_sandbox_is_never_taken_for_production(#[case] first: Mark, #[case] second: Mark) {
        let folder = TempDir::new().unwrap();
        Store::open(options(&folder, first)).await.unwrap().close().await;
        let refused = Store::open(options(&folder, second)).await.err().unwrap();
        assert!(
            matches!(&refused, StoreError::WrongMark { wanted, .. } if *wanted == second),
            "{refused}"
        );
        assert!(refused.to_string().contains("set `database.url`"));
        Store::open(options(&folder, first)).await.unwrap();
    }

    #[rstest]
    #[case(Mark::Production)]
    #[case(Mark::Sandbox)]
    #[tokio::test]
    async fn the_database_of_somebody_else_is_left_as_it_was(#[case] mark: Mark) {
        let folder = TempDir::new().unwrap();
        let options = options(&folder, mark);
        let theirs = SqliteConnectOptions::new()
            .filename(&options.path)
            .create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&theirs).await.unwrap();
        sqlx::query("CREATE TABLE invoices (number INTEGER)")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();

        let before = std::fs::read(&options.path).unwrap();
        let path = options.path.clone();
        assert!(matches!(
            Store::open(options).await,
            Err(StoreError::Foreign { .. })
        ));
        assert!(std::fs::read(path).unwrap() == before);
    }

    #[tokio::test]
    async fn a_database_from_a_newer_version_is_refused() {
        let folder = TempDir::new().unwrap();
        let store = Store::open(options(&folder, Mark::Sandbox)).await.unwrap();
        store
            .write(|connection| {
                Box::pin(async move {
                    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                                 VALUES (9999, 'from the future', TRUE, x'00', 0)";
                    sqlx::query(newer).execute(connection).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        store.close().await;
        let refused = Store::open(options(&folder, Mark::Sandbox)).await.err().unwrap();
        assert!(matches!(refused, StoreError::Migration { .. }));
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let folder = TempDir::new().unwrap();
        let mut options = options(&folder, Mark::Sandbox);
        options.path = folder.path().join("missing").join("landfall.db");
        let refused = Store::open(options).await.err().unwrap().to_string();
        assert!(
            refused.contains("missing/landfall.db") && refused.contains("folder must exist"),
            "{refused}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_may_open_a_fresh_database_at_once() {
        for _ in 0..5 {
            let folder = TempDir::new().unwrap();
            let opening: Vec<_> = (0..8)
                .map(|_| tokio::spawn(Store::open(options(&folder, Mark::Sandbox))))
                .collect();
            for opened in opening {
                opened.await.unwrap().unwrap();
            }
        }
    }
}
