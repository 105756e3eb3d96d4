//! Everything that Landfall remembers. The public surface is intents: methods that are one transaction each. No SQL
//! type leaves this module, and no transaction outlives a method.
//!
//! Each aggregate is a file with its own `impl Store`. An intent that is made under a lease checks the fence in its
//! transaction ([`keys::check_fence`]).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::clock::Clock;

mod deliveries;
mod error;
mod keys;
mod migrations;
mod time;
mod writer;

pub use deliveries::{DeliveryRecord, Recorded};
pub use error::StoreError;
pub use keys::{Cause, DeadKey, Finished, Lease, PendingKey, Touch};

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
    migrations::sqlite()
        .run(&mut *connection)
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
