//! Each request's newest generation, and what it rests on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::change::Goal;
use crate::domain::ids::{Digest, Generation, MergeRequestNumber, RepositoryId, RequestKey};
use crate::domain::key::{Key, Share};
use crate::domain::landing::HeldBecause;
use crate::domain::plan::Plan;
use crate::domain::signoff::SignedOff;
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, parse, to_integer, to_json};
use crate::store::{Lease, Store, StoreError, audit, reviews};

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
    /// The merge request that brought it.
    pub merge_request: Option<MergeRequestNumber>,
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
}

impl Desired {
    /// Whether a run is to be made: the first of a generation, or one more that a person asked for.
    #[must_use]
    pub fn wants_run(&self) -> bool {
        let first = self.runs == 0 && self.held.is_none();
        self.cancelled.is_none() && self.sign_off.is_some() && !self.running && (first || self.retry)
    }
}

type DesiredRow = (
    i64,
    String,
    bool,
    String,
    Option<String>,
    String,
    Option<i64>,
    String,
    Option<String>,
    bool,
    i64,
    i64,
    Option<String>,
);

impl Store {
    /// The merge requests of which something landed and is not there, so that a retry may be asked for: a run failed,
    /// or died, or was stopped, or was not made.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn retryable(&self, repository: &RepositoryId) -> Result<Vec<MergeRequestNumber>, StoreError> {
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT DISTINCT merge_request FROM requests
             WHERE repository = ?1 AND merge_request IS NOT NULL AND sign_off IS NOT NULL
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
        rows.into_iter()
            .map(|number| Ok(MergeRequestNumber(from_integer(number)?)))
            .collect()
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
            "SELECT generation, content, deleted, removal, sign_off, signed_plan, merge_request, pending, held, retry,
               (SELECT COUNT(*) FROM runs WHERE runs.repository = requests.repository
                AND runs.request = requests.request AND runs.generation = requests.generation),
               (SELECT COUNT(*) FROM runs WHERE runs.repository = requests.repository
                AND runs.request = requests.request AND runs.finished_at IS NULL),
               cancelled
             FROM requests WHERE repository = ?1 AND request = ?2",
        )
        .bind(repository.as_str())
        .bind(request.to_string())
        .fetch_optional(self.readers())
        .await?;
        let Some((
            generation,
            content,
            deleted,
            removal,
            sign_off,
            plan,
            merge_request,
            pending,
            held,
            retry,
            runs,
            running,
            cancelled,
        )) = row
        else {
            return Ok(None);
        };
        Ok(Some(Desired {
            generation: Generation(from_integer(generation)?),
            goal: Goal {
                request: from_json("request", &content)?,
                deleted,
                removal: from_json("deletion policy", &removal)?,
            },
            sign_off: sign_off.map(|text| parse("digest", &text)).transpose()?,
            signed_plan: from_json("plan", &plan)?,
            merge_request: merge_request
                .map(|number| from_integer(number).map(MergeRequestNumber))
                .transpose()?,
            pending: from_json("plan tokens", &pending)?,
            held: held.map(|text| from_json("reason", &text)).transpose()?,
            runs: from_integer(runs)?,
            running: running > 0,
            retry,
            cancelled,
        }))
    }

    /// Whether a run of a merge request's requests is to be made or is at work, so that it can be stopped.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn can_cancel(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<bool, StoreError> {
        self.any_request(repository, number, IN_FLIGHT).await
    }

    /// Whether a merge request's requests have something that can be tried again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn can_retry(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<bool, StoreError> {
        self.any_request(repository, number, RETRYABLE).await
    }

    async fn any_request(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
        condition: &'static str,
    ) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT COUNT(*) FROM requests WHERE repository = ?1 AND merge_request = ?2 AND {condition}"
        )))
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .fetch_one(self.readers())
        .await?;
        Ok(count > 0)
    }

    /// Why the requests of a merge request that landed are held, if they are.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn held_requests(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Vec<(RequestKey, HeldBecause)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT request, held FROM requests
             WHERE repository = ?1 AND merge_request = ?2 AND held IS NOT NULL ORDER BY request",
        )
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(request, held)| Ok((parse("request key", &request)?, from_json("reason", &held)?)))
            .collect()
    }

    /// Which of these requests were changed again since, and by which merge request; by none where the repository was
    /// adopted anew.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn superseded_requests(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
        requests: &[&RequestKey],
    ) -> Result<BTreeMap<RequestKey, Option<MergeRequestNumber>>, StoreError> {
        let keys: Vec<String> = requests.iter().map(ToString::to_string).collect();
        let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
            "SELECT request, merge_request FROM requests
             WHERE repository = ?1 AND request IN (SELECT value FROM json_each(?2)) AND merge_request IS NOT ?3",
        )
        .bind(repository.as_str())
        .bind(to_json("request keys", &keys)?)
        .bind(to_integer(number.0)?)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(request, by)| {
                let by = by
                    .map(|number| from_integer(number).map(MergeRequestNumber))
                    .transpose()?;
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
                let merge_request: Option<Option<i64>> = sqlx::query_scalar(
                    "UPDATE requests SET held = ?4, retry = 0, pending = '{}'
                     WHERE repository = ?1 AND request = ?2 AND generation = ?3 RETURNING merge_request",
                )
                .bind(id.as_str())
                .bind(request.to_string())
                .bind(to_integer(generation.0)?)
                .bind(to_json("reason", &because)?)
                .fetch_optional(&mut *connection)
                .await?;
                let Some(merge_request) = merge_request else {
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
                if let Some(number) = merge_request {
                    let number = MergeRequestNumber(from_integer(number)?);
                    keys::touch(connection, &Touch::fact(reviews::report_key(&id, number)), now).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// Of a row of `requests`: its run is to be made or is at work.
const IN_FLIGHT: &str = "sign_off IS NOT NULL AND cancelled IS NULL AND (
    EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository AND runs.request = requests.request
            AND runs.finished_at IS NULL)
    OR (held IS NULL AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository
            AND runs.request = requests.request AND runs.generation = requests.generation)))";

/// Of a row of `requests`: no run of it is at work or has succeeded.
const RETRYABLE: &str = "sign_off IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM runs WHERE runs.repository = requests.repository AND runs.request = requests.request
    AND runs.generation = requests.generation AND (runs.finished_at IS NULL OR runs.state = '\"succeeded\"'))";

/// Stops the requests of a merge request, or tries them again, and touches what follows; for use inside other intents.
pub(in crate::store) async fn steer(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    number: MergeRequestNumber,
    cancelled_by: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (change, condition) = match cancelled_by {
        Some(_) => ("cancelled = ?3, retry = 0", IN_FLIGHT),
        None => ("cancelled = ?3, retry = 1", RETRYABLE),
    };
    let requests: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "UPDATE requests SET {change} WHERE repository = ?1 AND merge_request = ?2 AND {condition} RETURNING request"
    )))
    .bind(repository.as_str())
    .bind(to_integer(number.0)?)
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
        "SELECT DISTINCT request FROM runs WHERE repository = ?1 AND merge_request = ?2 AND finished_at IS NULL",
    )
    .bind(repository.as_str())
    .bind(to_integer(number.0)?)
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
    signed_plan: &Plan,
    signed_off: &SignedOff,
    number: MergeRequestNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = &goal.request.key;
    let superseded: Option<Option<i64>> =
        sqlx::query_scalar("SELECT merge_request FROM requests WHERE repository = ?1 AND request = ?2")
            .bind(repository.as_str())
            .bind(key.to_string())
            .fetch_optional(&mut *connection)
            .await?;
    sqlx::query(
        "INSERT INTO requests (repository, request, generation, content, deleted, removal, sign_off, signed_plan, merge_request)
         VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (repository, request) DO UPDATE SET
           generation = requests.generation + 1, content = excluded.content, deleted = excluded.deleted,
           removal = excluded.removal, sign_off = excluded.sign_off, signed_plan = excluded.signed_plan,
           merge_request = excluded.merge_request, pending = '{}', held = NULL, retry = 0,
           cancelled = NULL",
    )
    .bind(repository.as_str())
    .bind(key.to_string())
    .bind(to_json("request", &goal.request)?)
    .bind(goal.deleted)
    .bind(to_json("deletion policy", &goal.removal)?)
    .bind(signed_off.digest().as_str())
    .bind(to_json("plan", &signed_plan.of_request(key))?)
    .bind(to_integer(number.0)?)
    .execute(&mut *connection)
    .await?;
    let touch = Touch::fact(Key::Request {
        repository: repository.clone(),
        request: key.clone(),
    });
    let touch = touch.share(Share::of_team(repository, &goal.request.team));
    keys::touch(connection, &touch, now).await?;
    // A run of the older generation stops at its next safe point, and its merge request says so.
    touch_runs(connection, repository, key, now).await?;
    if let Some(Some(before)) = superseded {
        let before = MergeRequestNumber(from_integer(before)?);
        keys::touch(
            connection,
            &Touch::fact(reviews::report_key(repository, before)),
            now,
        )
        .await?;
    }
    Ok(())
}
