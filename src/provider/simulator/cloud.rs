//! The simulator's file: resources, operations, the ledger, trouble and change sets.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use super::{
    Effect, Happening, Latency, LedgerEntry, Owner, SimulatedResource, SimulatorError, SimulatorOptions,
    Trouble, outputs,
};
use crate::clock::Clock;
use crate::domain::ids::ResourceName;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::Scope;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS resources (
        cloud_name TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        resource TEXT NOT NULL,
        kind TEXT NOT NULL,
        owner TEXT NOT NULL,
        external_id TEXT NOT NULL,
        properties TEXT NOT NULL,
        step TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS resources_of_scope ON resources (scope, resource);
    CREATE TABLE IF NOT EXISTS operations (
        step TEXT PRIMARY KEY,
        token TEXT NOT NULL UNIQUE,
        operation TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS ledger (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        happening TEXT NOT NULL,
        step TEXT,
        resource TEXT NOT NULL,
        external_id TEXT NOT NULL,
        owner TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER IF NOT EXISTS ledger_is_never_changed BEFORE UPDATE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
    CREATE TRIGGER IF NOT EXISTS ledger_is_never_cut BEFORE DELETE ON ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
    CREATE TABLE IF NOT EXISTS troubles (number INTEGER PRIMARY KEY, trouble TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS change_sets (
        token TEXT PRIMARY KEY,
        scope TEXT NOT NULL,
        ready_at INTEGER NOT NULL
    ) STRICT;
";

/// The planner's rights, given to each of its connections: it plans, and changes nothing that stands.
const LOOKING_ONLY: &str = "
    CREATE TEMP TRIGGER no_create BEFORE INSERT ON main.resources
        BEGIN SELECT RAISE(ABORT, 'a planner may not create'); END;
    CREATE TEMP TRIGGER no_update BEFORE UPDATE ON main.resources
        BEGIN SELECT RAISE(ABORT, 'a planner may not change'); END;
    CREATE TEMP TRIGGER no_delete BEFORE DELETE ON main.resources
        BEGIN SELECT RAISE(ABORT, 'a planner may not destroy'); END;
    CREATE TEMP TRIGGER no_start BEFORE INSERT ON main.operations
        BEGIN SELECT RAISE(ABORT, 'a planner may not start anything'); END;
    CREATE TEMP TRIGGER no_work BEFORE UPDATE ON main.operations
        BEGIN SELECT RAISE(ABORT, 'a planner may not work on anything'); END;
    CREATE TEMP TRIGGER no_happening BEFORE INSERT ON main.ledger
        BEGIN SELECT RAISE(ABORT, 'a planner makes nothing happen'); END;
";

/// SQLite says "busy" at once when two open a new file at the same time, whatever its time-out.
const OPEN_ATTEMPTS: usize = 20;

/// The file, with the rights of whoever holds this.
pub(super) struct Cloud {
    file: PathBuf,
    pool: SqlitePool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) latency: Latency,
}

impl Cloud {
    /// The cloud twice: with the right to act, and with the right to look.
    pub(super) async fn open(options: SimulatorOptions) -> Result<(Self, Self), SimulatorError> {
        let SimulatorOptions { file, clock, latency } = options;
        let connect = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(20));
        let pool = || SqlitePoolOptions::new().max_connections(4);
        let acting = pool().connect_lazy_with(connect.clone());
        let looking = pool()
            .after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(LOOKING_ONLY).execute(connection).await.map(drop) })
            })
            .connect_lazy_with(connect);
        let acting = Self {
            file: file.clone(),
            pool: acting,
            clock: Arc::clone(&clock),
            latency,
        };
        let mut attempt = 1;
        loop {
            match acting.make_tables().await {
                Err(Error::Busy(_)) if attempt < OPEN_ATTEMPTS => attempt += 1,
                made => break made.map_err(|error| acting.described(&error))?,
            }
        }
        Ok((
            acting,
            Self {
                file,
                pool: looking,
                clock,
                latency,
            },
        ))
    }

    async fn make_tables(&self) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// A transaction that may write from its first statement on.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A connection for reading.
    pub(super) async fn look(&self) -> Result<sqlx::pool::PoolConnection<Sqlite>, Error> {
        Ok(self.pool.acquire().await?)
    }

    fn described(&self, error: &Error) -> SimulatorError {
        SimulatorError::File {
            file: self.file.clone(),
            reason: error.to_string(),
        }
    }

    pub(super) async fn add_trouble(&self, trouble: &Trouble) -> Result<(), SimulatorError> {
        let add = async {
            let mut transaction = self.begin().await?;
            sqlx::query("INSERT INTO troubles (trouble) VALUES (?)")
                .bind(json(trouble)?)
                .execute(&mut *transaction)
                .await?;
            Ok(transaction.commit().await?)
        };
        add.await.map_err(|error| self.described(&error))
    }

    pub(super) async fn troubles(&self) -> Result<Vec<(i64, Trouble)>, SimulatorError> {
        let read = async { troubles(&mut *self.look().await?).await };
        read.await.map_err(|error| self.described(&error))
    }

    /// Lets what was ordered for a call happen, counted down in a transaction of its own: a failure before the
    /// call's work is the error, one after it is given back.
    pub(super) async fn trouble(&self, hits: impl Fn(&Trouble) -> bool) -> Result<Aftermath, Failure> {
        let mut aftermath = Aftermath::default();
        match self.take_trouble(hits).await? {
            None => {}
            Some(Effect::Fail(failure)) => return Err(failure),
            Some(Effect::FailAfter(failure)) => aftermath.failure = Some(failure),
            Some(Effect::Latency(latency)) => {
                let until = self.clock.now().checked_add(latency).unwrap_or(Timestamp::MAX);
                self.clock.sleep_until(until).await;
            }
            Some(Effect::NeverFinishes) => return std::future::pending().await,
            Some(Effect::PlanPending) => aftermath.plan_pending = true,
        }
        Ok(aftermath)
    }

    async fn take_trouble(&self, hits: impl Fn(&Trouble) -> bool) -> Result<Option<Effect>, Error> {
        // Looked at before anything is locked: there hardly ever is any.
        if !troubles(&mut *self.look().await?)
            .await?
            .iter()
            .any(|(_, trouble)| hits(trouble))
        {
            return Ok(None);
        }
        let mut transaction = self.begin().await?;
        let effect = take_trouble(&mut transaction, hits).await?;
        transaction.commit().await?;
        Ok(effect)
    }

    pub(super) async fn ledger(&self) -> Result<Vec<LedgerEntry>, SimulatorError> {
        let read = async {
            let rows = sqlx::query("SELECT * FROM ledger ORDER BY number")
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(ledger_entry).collect::<Result<_, Error>>()
        };
        read.await.map_err(|error: Error| self.described(&error))
    }

    pub(super) async fn resources(&self) -> Result<Vec<SimulatedResource>, SimulatorError> {
        let read = async {
            let rows = sqlx::query("SELECT * FROM resources ORDER BY scope, resource")
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(resource).collect::<Result<_, Error>>()
        };
        read.await.map_err(|error: Error| self.described(&error))
    }

    /// Somebody else's hand: it leaves its line in the ledger, under no step.
    pub(super) async fn tamper(
        &self,
        scope: &Scope,
        name: &ResourceName,
        change: impl FnOnce(&mut SimulatedResource) -> Happening,
    ) -> Result<(), SimulatorError> {
        let owner = Owner::from(scope);
        let tamper = async {
            let mut transaction = self.begin().await?;
            let Some(mut found) = find(&mut transaction, &owner, name).await? else {
                return Ok(false);
            };
            let happening = change(&mut found);
            match happening {
                Happening::Deleted => remove(&mut transaction, &found).await?,
                Happening::Snapshotted => {}
                Happening::Created | Happening::Updated => put(&mut transaction, &owner, &found).await?,
            }
            record(&mut transaction, self.clock.now(), happening, None, &found).await?;
            transaction.commit().await?;
            Ok(true)
        };
        match tamper.await.map_err(|error: Error| self.described(&error))? {
            true => Ok(()),
            false => Err(SimulatorError::NotThere {
                resource: name.clone(),
                request: scope.request.clone(),
            }),
        }
    }
}

/// What of an order for trouble comes after the call's own work.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    failure: Option<Failure>,
    pub(super) plan_pending: bool,
}

impl Aftermath {
    /// The call's answer, or the failure that loses it.
    pub(super) fn answer<T>(self, answer: T) -> Result<T, Failure> {
        self.failure.map_or(Ok(answer), Err)
    }
}

/// A fault of the file, or of what is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}; another process holds it")]
    Busy(sqlx::Error),
    #[error(transparent)]
    Database(sqlx::Error),
    #[error("it holds what this version cannot read: {0}")]
    Content(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_BUSY and its extended codes have 5 in their lowest byte.
        let code = error
            .as_database_error()
            .and_then(|e| e.code())
            .and_then(|code| code.parse::<u32>().ok());
        if code.is_some_and(|code| code & 0xff == 5) {
            Self::Busy(error)
        } else {
            Self::Database(error)
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Content(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let class = match error {
            Error::Busy(_) => FailureClass::Transient,
            Error::Database(_) | Error::Content(_) => FailureClass::Internal,
        };
        Self::new(class, format!("the simulator's file: {error}"))
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    Ok(serde_json::to_string(value)?)
}

pub(super) fn parsed<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, Error> {
    Ok(serde_json::from_str(&row.try_get::<String, _>(column)?)?)
}

/// What bounds a request's names in the cloud, whatever tags are found there.
pub(super) fn scope_text(owner: &Owner) -> String {
    format!("{}/{}/{}", owner.repository, owner.request, owner.environment)
}

async fn troubles(connection: &mut SqliteConnection) -> Result<Vec<(i64, Trouble)>, Error> {
    let rows = sqlx::query("SELECT * FROM troubles ORDER BY number")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("number")?, parsed(row, "trouble")?)))
        .collect()
}

/// The oldest trouble that hits, counted down.
pub(super) async fn take_trouble(
    connection: &mut SqliteConnection,
    hits: impl Fn(&Trouble) -> bool,
) -> Result<Option<Effect>, Error> {
    let found = troubles(connection)
        .await?
        .into_iter()
        .find(|(_, trouble)| hits(trouble));
    let Some((number, mut trouble)) = found else {
        return Ok(None);
    };
    trouble.times = trouble.times.saturating_sub(1);
    let count = if trouble.times == 0 {
        sqlx::query("DELETE FROM troubles WHERE number = ?").bind(number)
    } else {
        sqlx::query("UPDATE troubles SET trouble = ? WHERE number = ?")
            .bind(json(&trouble)?)
            .bind(number)
    };
    count.execute(connection).await?;
    Ok(Some(trouble.effect))
}

fn resource_name(row: &SqliteRow) -> Result<ResourceName, Error> {
    ResourceName::new(row.try_get::<String, _>("resource")?).map_err(|e| Error::Content(e.to_string()))
}

fn resource(row: &SqliteRow) -> Result<SimulatedResource, Error> {
    Ok(SimulatedResource {
        owner: parsed(row, "owner")?,
        resource: resource_name(row)?,
        kind: parsed(row, "kind")?,
        cloud_name: row.try_get("cloud_name")?,
        external_id: row.try_get("external_id")?,
        properties: parsed(row, "properties")?,
        step: row.try_get("step")?,
    })
}

fn ledger_entry(row: &SqliteRow) -> Result<LedgerEntry, Error> {
    Ok(LedgerEntry {
        number: row.try_get("number")?,
        at: Timestamp::from_millisecond(row.try_get("at")?).map_err(|e| Error::Content(e.to_string()))?,
        happening: parsed(row, "happening")?,
        step: row.try_get("step")?,
        resource: resource_name(row)?,
        external_id: row.try_get("external_id")?,
        owner: parsed(row, "owner")?,
    })
}

/// What stands under a request's names, whoever's tags it bears, in order of name.
pub(super) async fn standing(
    connection: &mut SqliteConnection,
    owner: &Owner,
) -> Result<Vec<SimulatedResource>, Error> {
    let rows = sqlx::query("SELECT * FROM resources WHERE scope = ? ORDER BY resource")
        .bind(scope_text(owner))
        .fetch_all(connection)
        .await?;
    rows.iter().map(resource).collect()
}

/// What stands under one name of a request, whoever's tags it bears.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    owner: &Owner,
    name: &ResourceName,
) -> Result<Option<SimulatedResource>, Error> {
    let row = sqlx::query("SELECT * FROM resources WHERE cloud_name = ?")
        .bind(outputs::cloud_name(owner, name))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(resource).transpose()
}

/// Makes something stand, or changes what does.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    owner: &Owner,
    resource: &SimulatedResource,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO resources
             (cloud_name, scope, resource, kind, owner, external_id, properties, step)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&resource.cloud_name)
    .bind(scope_text(owner))
    .bind(resource.resource.as_str())
    .bind(json(&resource.kind)?)
    .bind(json(&resource.owner)?)
    .bind(&resource.external_id)
    .bind(json(&resource.properties)?)
    .bind(&resource.step)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    resource: &SimulatedResource,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM resources WHERE cloud_name = ?")
        .bind(&resource.cloud_name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds a line to the ledger.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    at: Timestamp,
    happening: Happening,
    step: Option<&str>,
    resource: &SimulatedResource,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO ledger (at, happening, step, resource, external_id, owner) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(at.as_millisecond())
    .bind(json(&happening)?)
    .bind(step)
    .bind(resource.resource.as_str())
    .bind(&resource.external_id)
    .bind(json(&resource.owner)?)
    .execute(connection)
    .await?;
    Ok(())
}
