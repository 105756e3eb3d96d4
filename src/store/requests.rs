//! Each request's newest generation, and what it rests on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::{Digest, Generation, MergeRequestNumber, RepositoryId, RequestKey};
use crate::domain::landing::HeldBecause;
use crate::domain::plan::Plan;
use crate::domain::request::Request;
use crate::domain::review::Evaluation;
use crate::domain::signoff::SignedOff;
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, parse, to_integer, to_json};
use crate::store::{Lease, Store, StoreError, audit, reviews};

/// The newest generation of a request, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Which generation.
    pub generation: Generation,
    /// The request, as it was last accepted.
    pub request: Request,
    /// Whether it is accepted no more.
    pub deleted: bool,
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
}

impl Desired {
    /// Whether a run is to be made: the first of a generation, or one more that a person asked for.
    #[must_use]
    pub fn wants_run(&self) -> bool {
        let first = self.runs == 0 && self.held.is_none();
        self.sign_off.is_some() && !self.running && (first || self.retry)
    }
}

type DesiredRow = (
    i64,
    String,
    bool,
    Option<String>,
    String,
    Option<i64>,
    String,
    Option<String>,
    bool,
    i64,
    i64,
);

impl Store {
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
            "SELECT generation, content, deleted, sign_off, signed_plan, merge_request, pending, held, retry,
               (SELECT COUNT(*) FROM runs WHERE runs.repository = requests.repository
                AND runs.request = requests.request AND runs.generation = requests.generation),
               (SELECT COUNT(*) FROM runs WHERE runs.repository = requests.repository
                AND runs.request = requests.request AND runs.finished_at IS NULL)
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
            sign_off,
            plan,
            merge_request,
            pending,
            held,
            retry,
            runs,
            running,
        )) = row
        else {
            return Ok(None);
        };
        Ok(Some(Desired {
            generation: Generation(from_integer(generation)?),
            request: from_json("request", &content)?,
            deleted,
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
        }))
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

/// Writes the next generation of a request; for use inside other intents.
pub(in crate::store) async fn put(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    key: &RequestKey,
    evaluation: &Evaluation,
    signed_off: &SignedOff,
    number: MergeRequestNumber,
) -> Result<(), StoreError> {
    let request = evaluation
        .requests
        .iter()
        .find(|request| request.key == *key)
        .map(|request| to_json("request", request))
        .transpose()?;
    let plan = evaluation
        .plan()
        .map(|plan| plan.of_request(key))
        .unwrap_or_default();
    sqlx::query(
        "INSERT INTO requests (repository, request, generation, content, sign_off, signed_plan, merge_request)
         VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6)
         ON CONFLICT (repository, request) DO UPDATE SET
           generation = requests.generation + 1, content = COALESCE(?3, requests.content), deleted = ?3 IS NULL, sign_off = excluded.sign_off,
           signed_plan = excluded.signed_plan, merge_request = excluded.merge_request,
           pending = '{}', held = NULL, retry = 0",
    )
    .bind(repository.as_str())
    .bind(key.to_string())
    .bind(request)
    .bind(signed_off.digest().as_str())
    .bind(to_json("plan", &plan)?)
    .bind(to_integer(number.0)?)
    .execute(connection)
    .await?;
    Ok(())
}
