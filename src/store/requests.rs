//! Each request's newest generation, and what it rests on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};

use crate::domain::audit::Record;
use crate::domain::change::Goal;
use crate::domain::ids::{Digest, Generation, RepositoryId, RequestKey};
use crate::domain::key::{Key, Share};
use crate::domain::landing::{HeldBecause, Origin};
use crate::domain::plan::Plan;
use crate::domain::review::Evaluation;
use crate::domain::signoff::SignedOff;
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, parse, to_integer, to_json};
use crate::store::{Lease, Store, StoreError, audit, origins};

/// The newest generation of a request, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Which generation.
    pub generation: Generation,
    /// What shall become of the request.
    pub goal: Goal,
    /// The digest of the sign-off; nothing where it was adopted by hand.
    pub sign_off: Option<Digest>,
    /// What was signed for it.
    pub signed_plan: Plan,
    /// What brought it.
    pub origin: Option<Origin>,
    /// Tokens of plans that take their time.
    pub pending: BTreeMap<String, String>,
    /// Why its run is not made.
    pub held: Option<HeldBecause>,
    /// How many runs of this generation were made.
    pub runs: u64,
    /// Whether one of them is not over.
    pub running: bool,
    /// Whether a person asked for another run.
    pub retry: bool,
    /// Who stopped it, by their name on the forge.
    pub cancelled: Option<String>,
    /// [`Environment::place`](crate::domain::rules::Environment::place) as it was signed off; nothing where that is not
    /// known.
    pub place: Option<serde_json::Value>,
}

impl Desired {
    /// Whether a run is to be made: the first of a generation, or one more that a person asked for.
    #[must_use]
    pub fn wants_run(&self) -> bool {
        let first = self.runs == 0 && self.held.is_none();
        self.cancelled.is_none() && self.sign_off.is_some() && !self.running && (first || self.retry)
    }
}

struct DesiredRow {
    generation: i64,
    content: String,
    deleted: bool,
    removal: String,
    sign_off: Option<String>,
    signed_plan: String,
    origin: Option<String>,
    pending: String,
    held: Option<String>,
    retry: bool,
    runs: i64,
    running: i64,
    cancelled: Option<String>,
    place: Option<String>,
}

impl FromRow<'_, SqliteRow> for DesiredRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            generation: row.try_get("generation")?,
            content: row.try_get("content")?,
            deleted: row.try_get("deleted")?,
            removal: row.try_get("removal")?,
            sign_off: row.try_get("sign_off")?,
            signed_plan: row.try_get("signed_plan")?,
            origin: row.try_get("origin")?,
            pending: row.try_get("pending")?,
            held: row.try_get("held")?,
            retry: row.try_get("retry")?,
            runs: row.try_get("runs")?,
            running: row.try_get("running")?,
            cancelled: row.try_get("cancelled")?,
            place: row.try_get("place")?,
        })
    }
}

impl TryFrom<DesiredRow> for Desired {
    type Error = StoreError;
    fn try_from(row: DesiredRow) -> Result<Self, StoreError> {
        Ok(Self {
            generation: Generation(from_integer(row.generation)?),
            goal: Goal {
                request: from_json("request", &row.content)?,
                deleted: row.deleted,
                removal: from_json("deletion policy", &row.removal)?,
            },
            sign_off: row.sign_off.map(|text| parse("digest", &text)).transpose()?,
            signed_plan: from_json("plan", &row.signed_plan)?,
            origin: row.origin.map(|text| parse("origin", &text)).transpose()?,
            pending: from_json("plan tokens", &row.pending)?,
            held: row.held.map(|text| from_json("reason", &text)).transpose()?,
            runs: from_integer(row.runs)?,
            running: row.running > 0,
            retry: row.retry,
            cancelled: row.cancelled,
            place: row.place.map(|text| from_json("place", &text)).transpose()?,
        })
    }
}

impl Store {
    /// The merge requests and pushes of which something is accepted and is not there, so that a retry may be asked for: a run failed,
    /// or died, or was stopped, or was not made.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn retryable(&self, repository: &RepositoryId) -> Result<Vec<Origin>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT origin FROM requests
             WHERE repository = ?1 AND origin IS NOT NULL AND sign_off IS NOT NULL
               AND (held IS NOT NULL OR cancelled IS NOT NULL OR EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository
                 AND runs.request = requests.request AND runs.generation = requests.generation))
               AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository
                 AND runs.request = requests.request AND runs.generation = requests.generation
                 AND (runs.state = '\"succeeded\"' OR runs.finished_at IS NULL AND NOT EXISTS
                   (SELECT 1 FROM keys WHERE keys.key = 'run/' || runs.id AND keys.dead_at IS NOT NULL)))",
        )
        .bind(repository.as_str())
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(|origin| parse("origin", origin)).collect()
    }

    /// The newest generation of a request; nothing if it was never accepted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn desired(
        &self,
        repository: &RepositoryId,
        request: &RequestKey,
    ) -> Result<Option<Desired>, StoreError> {
        let row: Option<DesiredRow> = sqlx::query_as(
            "SELECT generation, content, deleted, removal, sign_off, signed_plan, origin, pending, held, retry,
               (SELECT COUNT(*) FROM runs WHERE runs.repository = requests.repository
                AND runs.request = requests.request AND runs.generation = requests.generation) AS runs,
               (SELECT COUNT(*) FROM runs WHERE runs.repository = requests.repository
                AND runs.request = requests.request AND runs.finished_at IS NULL) AS running,
               cancelled, place
             FROM requests WHERE repository = ?1 AND request = ?2",
        )
        .bind(repository.as_str())
        .bind(request.to_string())
        .fetch_optional(self.readers())
        .await?;
        row.map(Desired::try_from).transpose()
    }

    /// Whether a run of what a merge request or push brought is to be made or is at work, so that it can be stopped.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn can_cancel(&self, repository: &RepositoryId, origin: &Origin) -> Result<bool, StoreError> {
        self.any_request(repository, origin, IN_FLIGHT).await
    }

    /// Whether what a merge request or push brought has something that can be tried again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn can_retry(&self, repository: &RepositoryId, origin: &Origin) -> Result<bool, StoreError> {
        self.any_request(repository, origin, RETRYABLE).await
    }

    async fn any_request(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
        condition: &'static str,
    ) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT COUNT(*) FROM requests WHERE repository = ?1 AND origin = ?2 AND {condition}"
        )))
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_one(self.readers())
        .await?;
        Ok(count > 0)
    }

    /// Why the requests that a merge request or push brought are held, if they are.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn held_requests(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Vec<(RequestKey, HeldBecause)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT request, held FROM requests
             WHERE repository = ?1 AND origin = ?2 AND held IS NOT NULL ORDER BY request",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(request, held)| Ok((parse("request key", &request)?, from_json("reason", &held)?)))
            .collect()
    }

    /// Which of these requests were changed again since, and by what; by nothing where the repository was adopted anew.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn superseded_requests(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
        requests: &[&RequestKey],
    ) -> Result<BTreeMap<RequestKey, Option<Origin>>, StoreError> {
        let keys: Vec<String> = requests.iter().map(ToString::to_string).collect();
        let rows: Vec<(String, Option<String>)> = sqlx::query_as(
            "SELECT request, origin FROM requests
             WHERE repository = ?1 AND request IN (SELECT value FROM json_each(?2)) AND origin IS NOT ?3",
        )
        .bind(repository.as_str())
        .bind(to_json("request keys", &keys)?)
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(request, by)| {
                let by = by.map(|text| parse("origin", &text)).transpose()?;
                Ok((parse("request key", &request)?, by))
            })
            .collect()
    }

    /// Remembers the tokens of plans that take their time.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn plan_pending(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        request: &RequestKey,
        generation: Generation,
        tokens: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let (lease, repository, request) = (lease.clone(), repository.clone(), request.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "UPDATE requests SET pending = ?4 WHERE repository = ?1 AND request = ?2 AND generation = ?3",
                )
                .bind(repository.as_str())
                .bind(request.to_string())
                .bind(to_integer(generation.0)?)
                .bind(to_json("plan tokens", &tokens)?)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Holds a request whose plan does more than was signed.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn hold_request(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        request: &RequestKey,
        generation: Generation,
        because: HeldBecause,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, id, request) = (lease.clone(), repository.clone(), request.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let origin: Option<Option<String>> = sqlx::query_scalar(
                    "UPDATE requests SET held = ?4, retry = 0, pending = '{}'
                     WHERE repository = ?1 AND request = ?2 AND generation = ?3 RETURNING origin",
                )
                .bind(id.as_str())
                .bind(request.to_string())
                .bind(to_integer(generation.0)?)
                .bind(to_json("reason", &because)?)
                .fetch_optional(&mut *connection)
                .await?;
                let Some(origin) = origin else {
                    return Ok(());
                };
                audit::append(
                    connection,
                    &id,
                    &Record::RunHeld {
                        request,
                        generation,
                        because,
                    },
                    now,
                )
                .await?;
                if let Some(origin) = origin {
                    origins::touch_report(connection, &id, &parse("origin", &origin)?, now).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// Of a row of `requests`: its run is to be made or is at work.
pub(in crate::store) const IN_FLIGHT: &str = "sign_off IS NOT NULL AND cancelled IS NULL AND (
    EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository AND runs.request = requests.request
            AND runs.finished_at IS NULL)
    OR (held IS NULL AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository
            AND runs.request = requests.request AND runs.generation = requests.generation)))";

/// Of a row of `requests`: no run of it is at work or has succeeded.
const RETRYABLE: &str = "sign_off IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM runs WHERE runs.repository = requests.repository AND runs.request = requests.request
    AND runs.generation = requests.generation AND (runs.finished_at IS NULL OR runs.state = '\"succeeded\"'))";

/// Stops the requests that something brought, or tries them again, and touches what follows; for use inside other intents.
pub(in crate::store) async fn steer(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    origin: &Origin,
    cancelled_by: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (change, condition) = match cancelled_by {
        Some(_) => ("cancelled = ?3, retry = 0", IN_FLIGHT),
        None => ("cancelled = ?3, retry = 1", RETRYABLE),
    };
    let requests: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "UPDATE requests SET {change} WHERE repository = ?1 AND origin = ?2 AND {condition} RETURNING request"
    )))
    .bind(repository.as_str())
    .bind(origin.to_string())
    .bind(cancelled_by)
    .fetch_all(&mut *connection)
    .await?;
    for request in requests {
        let request: RequestKey = parse("request key", &request)?;
        touch_runs(connection, repository, &request, now).await?;
        let key = Key::Request {
            repository: repository.clone(),
            request,
        };
        keys::touch(connection, &Touch::fact(key), now).await?;
    }
    // What is not over goes on, should its key be dead.
    let unfinished: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT request FROM runs WHERE repository = ?1 AND origin = ?2 AND finished_at IS NULL",
    )
    .bind(repository.as_str())
    .bind(origin.to_string())
    .fetch_all(&mut *connection)
    .await?;
    for request in unfinished {
        touch_runs(connection, repository, &parse("request key", &request)?, now).await?;
    }
    Ok(())
}

/// Looks again at the requests whose runs are not made yet: other rules may let them go on.
pub(in crate::store) async fn touch_waiting(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let requests: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT request FROM requests WHERE repository = ?1 AND {IN_FLIGHT}"
    )))
    .bind(repository.as_str())
    .fetch_all(&mut *connection)
    .await?;
    for request in requests {
        let key = Key::Request {
            repository: repository.clone(),
            request: parse("request key", &request)?,
        };
        keys::touch(connection, &Touch::fact(key), now).await?;
    }
    Ok(())
}

/// Looks again at the runs of a request that are not over.
async fn touch_runs(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    request: &RequestKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    let runs: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM runs WHERE repository = ?1 AND request = ?2 AND finished_at IS NULL",
    )
    .bind(repository.as_str())
    .bind(request.to_string())
    .fetch_all(&mut *connection)
    .await?;
    for run in runs {
        keys::touch(connection, &Touch::fact(Key::Run(parse("run id", &run)?)), now).await?;
    }
    Ok(())
}

/// Writes the next generation of a request, which supersedes the one before; for use inside other intents.
pub(in crate::store) async fn put(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    goal: &Goal,
    evaluation: &Evaluation,
    signed_off: &SignedOff,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = &goal.request.key;
    let signed_plan = evaluation
        .plan()
        .map(|plan| plan.of_request(key))
        .unwrap_or_default();
    let place = evaluation.environments.get(&goal.request.environment);
    let superseded: Option<Option<String>> =
        sqlx::query_scalar("SELECT origin FROM requests WHERE repository = ?1 AND request = ?2")
            .bind(repository.as_str())
            .bind(key.to_string())
            .fetch_optional(&mut *connection)
            .await?;
    sqlx::query(
        "INSERT INTO requests (repository, request, generation, content, deleted, removal, sign_off, signed_plan, origin, place)
         VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (repository, request) DO UPDATE SET
           generation = requests.generation + 1, content = excluded.content, deleted = excluded.deleted,
           removal = excluded.removal, sign_off = excluded.sign_off, signed_plan = excluded.signed_plan,
           origin = excluded.origin, place = excluded.place, pending = '{}', held = NULL, retry = 0,
           cancelled = NULL",
    )
    .bind(repository.as_str())
    .bind(key.to_string())
    .bind(to_json("request", &goal.request)?)
    .bind(goal.deleted)
    .bind(to_json("deletion policy", &goal.removal)?)
    .bind(signed_off.digest().as_str())
    .bind(to_json("plan", &signed_plan)?)
    .bind(origin.to_string())
    .bind(place.map(|place| to_json("place", &place.place())).transpose()?)
    .execute(&mut *connection)
    .await?;
    let touch = Touch::fact(Key::Request {
        repository: repository.clone(),
        request: key.clone(),
    });
    let touch = touch.share(Share::of_team(repository, &goal.request.team));
    keys::touch(connection, &touch, now).await?;
    // A run of the older generation stops at its next safe point, and its report says so.
    touch_runs(connection, repository, key, now).await?;
    if let Some(Some(before)) = superseded {
        origins::touch_report(connection, repository, &parse("origin", &before)?, now).await?;
    }
    Ok(())
}
