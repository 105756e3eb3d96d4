//! The desired state: what last landed with a sign-off, and what landed without one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::change::Change;
use crate::domain::ids::{BlobId, CommitId, MergeRequestNumber, RepositoryId, RequestKey, TeamName, UserId};
use crate::domain::key::Key;
use crate::domain::landing::{HeldBecause, Landed, Origin};
use crate::domain::push::{HeldPush, PushEnd};
use crate::domain::request::Request;
use crate::domain::review::{self, Evaluation, Review};
use crate::domain::rules::Pins;
use crate::domain::rules::check::check_rules;
use crate::domain::signoff::SignedOff;
use crate::domain::transition::{Subject, Transition};
use crate::domain::tree::RULES_PATH;
use crate::store::keys::{self, Touch};
use crate::store::repositories::Examined;
use crate::store::values::{from_integer, from_json, parse, to_integer, to_json, to_micros};
use crate::store::{
    AcceptedFile, AcceptedFiles, Lease, Store, StoreError, audit, provenance, pushes, repositories, requests,
    reviews,
};

/// What a sign-off was judged by, with the approvals.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// A merge request.
    Review(Box<Review>),
    /// A push that was held.
    Push(Box<HeldPush>),
}

impl Evidence {
    fn origin(&self) -> Origin {
        match self {
            Self::Review(review) => Origin::MergeRequest(review.facts.number),
            Self::Push(push) => push.origin(),
        }
    }

    fn author(&self) -> Option<UserId> {
        match self {
            Self::Review(review) => Some(review.facts.author.id),
            Self::Push(push) => push.pusher.as_ref().map(|user| user.id),
        }
    }

    fn was_held(&self) -> bool {
        match self {
            Self::Review(review) => matches!(review.landed, Some(review::Landed::Held { .. })),
            Self::Push(_) => true,
        }
    }

    fn to_json(&self) -> Result<String, StoreError> {
        match self {
            Self::Review(review) => to_json("review", review),
            Self::Push(push) => to_json("push", push),
        }
    }
}

/// A landing to accept.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// What it was judged by.
    pub evidence: Evidence,
    /// What was signed.
    pub evaluation: Evaluation,
    /// The commit of the target branch that holds it.
    pub commit: CommitId,
    /// What was looked at for it; nothing where something that was held is released.
    pub examined: Option<Examined>,
    /// The bytes of every blob that a transition leads to.
    pub contents: BTreeMap<BlobId, Vec<u8>>,
}

/// A landing to hold.
#[derive(Debug, Clone)]
pub struct Holding {
    /// The merge request; nothing for a direct push.
    pub review: Option<Review>,
    /// What was looked at.
    pub examined: Examined,
    /// What landed.
    pub landed: Vec<Landed>,
    /// Why it is held.
    pub because: HeldBecause,
}

impl Store {
    /// The desired state of a repository.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn accepted(&self, repository: &RepositoryId) -> Result<AcceptedFiles, StoreError> {
        // One snapshot: what is accepted between two of these reads would be half of it.
        let mut snapshot = self.readers().begin().await?;
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as("SELECT path, blob, request FROM accepted WHERE repository = ?1")
                .bind(repository.as_str())
                .fetch_all(&mut *snapshot)
                .await?;
        let mut accepted = AcceptedFiles::default();
        for (path, blob, request) in rows {
            let blob = parse("blob id", &blob)?;
            let request = request.map(|text| from_json("request", &text)).transpose()?;
            accepted.files.insert(path, AcceptedFile { blob, request });
        }
        accepted.existing = provenance::existing(&mut *snapshot, repository).await?;
        for one in &accepted.existing {
            let environments: &mut BTreeSet<_> = accepted.places.entry(one.request.clone()).or_default();
            environments.insert(one.environment.clone());
        }
        if let Some(file) = accepted.files.get(RULES_PATH) {
            let bytes: Vec<u8> = sqlx::query_scalar("SELECT bytes FROM blobs WHERE id = ?1")
                .bind(file.blob.as_str())
                .fetch_one(&mut *snapshot)
                .await?;
            let pins: Vec<(String, i64)> =
                sqlx::query_as("SELECT path, number FROM accepted_groups WHERE repository = ?1")
                    .bind(repository.as_str())
                    .fetch_all(self.readers())
                    .await?;
            let mut groups = Pins::new();
            for (path, number) in pins {
                groups.insert(path, from_integer(number)?);
            }
            accepted.rules = check_rules(&bytes).0.map(|mut rules| {
                rules.pin(&groups);
                (file.blob.clone(), rules)
            });
        }
        Ok(accepted)
    }

    /// The bytes of accepted files, in the same order.
    ///
    /// # Errors
    /// Those of the database: bytes that are not there, too.
    pub async fn contents(&self, blobs: &[BlobId]) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut contents = Vec::new();
        for blob in blobs {
            let bytes = sqlx::query_scalar("SELECT bytes FROM blobs WHERE id = ?1")
                .bind(blob.as_str())
                .fetch_one(self.readers())
                .await?;
            contents.push(bytes);
        }
        Ok(contents)
    }

    /// Accepts what landed: it is the desired state from here on, and work follows from it. The proof that it is
    /// signed off is asked for; the sign-off is used up.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn accept(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        acceptance: Acceptance,
        signed_off: &SignedOff,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, id, signed_off) = (lease.clone(), repository.clone(), signed_off.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let Acceptance {
                    evidence,
                    evaluation,
                    commit,
                    examined,
                    contents,
                } = acceptance;
                if evaluation.digest().as_ref() != Some(signed_off.digest()) {
                    return Err(StoreError::NotWhatWasSigned {
                        signed: signed_off.digest().clone(),
                    });
                }
                let origin = evidence.origin();
                let (number, merged_at) = match &evidence {
                    Evidence::Review(review) => (Some(review.facts.number), review.facts.merged_at),
                    Evidence::Push(_) => (None, None),
                };
                // Before anything is accepted: it was judged under the rules that stand there now.
                let record = Record::Accepted {
                    origin: origin.clone(),
                    author: evidence.author(),
                    released: evidence.was_held(),
                    commit: commit.clone(),
                    digest: signed_off.digest().clone(),
                    approvers: signed_off.approvers().to_vec(),
                    waivers: signed_off.waived().to_vec(),
                    transitions: evaluation.transitions.clone(),
                };
                audit::append(connection, &id, &record, now).await?;
                let sign_off = put_sign_off(connection, &id, &evidence, &commit, &signed_off, now).await?;
                for (blob, bytes) in &contents {
                    put_blob(connection, blob, bytes).await?;
                }
                for transition in &evaluation.transitions {
                    put_transition(connection, &id, transition, &evaluation, sign_off).await?;
                }
                for goal in evaluation.goals() {
                    requests::put(connection, &id, &goal, &evaluation, &signed_off, &origin, now).await?;
                }
                if let Some(examined) = &examined {
                    repositories::examine(connection, &id, examined, merged_at).await?;
                }
                match evidence {
                    Evidence::Review(review) => {
                        let landed = Some(review::Landed::Accepted { commit });
                        reviews::put(connection, &id, &Review { landed, ..*review }, now).await?;
                    }
                    Evidence::Push(push) => {
                        let end = Some(PushEnd::Accepted);
                        pushes::put(connection, &id, &HeldPush { end, ..*push }, now).await?;
                    }
                }
                let news = News {
                    rules: evaluation.transitions.iter().any(|t| t.subject == Subject::Rules),
                    paths: evaluation.transitions.iter().map(|t| t.path.clone()).collect(),
                    requests: evaluation
                        .requests
                        .iter()
                        .map(|change| change.key().clone())
                        .collect(),
                    teams: evaluation.teams(),
                };
                if evaluation.transitions.iter().any(|t| t.path == RULES_PATH) {
                    put_groups(connection, &id, &evaluation.groups).await?;
                }
                if news.rules {
                    requests::touch_waiting(connection, &id, now).await?;
                }
                pushes::touch_open(connection, &id, now).await?;
                touch_open_reviews(connection, &id, &news, number, now).await
            })
        })
        .await
    }

    /// Holds what landed: it is recorded with the reason, and nothing follows from it but a report.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn hold(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        holding: Holding,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, id) = (lease.clone(), repository.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let Holding { review, examined, landed, because } = holding;
                let commit = examined.to.clone();
                let merge_request = review.as_ref().map(|review| review.facts.number);
                for one in &landed {
                    sqlx::query(
                        "INSERT INTO held (repository, commit_id, merge_request, path, from_blob, to_blob, because, at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )
                    .bind(id.as_str())
                    .bind(commit.as_str())
                    .bind(merge_request.map(|number| to_integer(number.0)).transpose()?)
                    .bind(&one.path)
                    .bind(one.from.as_ref().map(BlobId::as_str))
                    .bind(one.to.as_ref().map(BlobId::as_str))
                    .bind(to_json("reason", &because)?)
                    .bind(to_micros(now))
                    .execute(&mut *connection)
                    .await?;
                }
                let paths: Vec<String> = landed.iter().map(|one| one.path.clone()).collect();
                let record =
                    Record::Held { merge_request, commit: commit.clone(), because: because.clone(), paths: paths.clone() };
                audit::append(connection, &id, &record, now).await?;
                let merged_at = review.as_ref().and_then(|review| review.facts.merged_at);
                repositories::examine(connection, &id, &examined, merged_at).await?;
                let news = News { paths: paths.into_iter().collect(), ..News::default() };
                touch_open_reviews(connection, &id, &news, merge_request, now).await?;
                pushes::touch_open(connection, &id, now).await?;
                match review {
                    Some(review) => {
                        let number = review.facts.number;
                        let is_open = because.can_be_released();
                        let before = Some(examined.from);
                        let landed = Some(review::Landed::Held { commit, because, before });
                        reviews::put(connection, &id, &Review { landed, ..review }, now).await?;
                        if is_open {
                            let key = Key::Review { repository: id, merge_request: number };
                            keys::touch(connection, &Touch::fact(key), now).await?;
                        }
                        Ok(())
                    }
                    None => {
                        let push = HeldPush::new(examined.from, commit.clone(), landed, now);
                        pushes::put_new(connection, &id, push, now).await?;
                        let key = Key::Push { repository: id, commit };
                        keys::touch(connection, &Touch::fact(key), now).await
                    }
                }
            })
        })
        .await
    }
}

/// The groups that the accepted rules name, in place of those that the rules before named.
pub(in crate::store) async fn put_groups(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    groups: &Pins,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM accepted_groups WHERE repository = ?1")
        .bind(repository.as_str())
        .execute(&mut *connection)
        .await?;
    for (path, number) in groups {
        sqlx::query("INSERT INTO accepted_groups (repository, path, number) VALUES (?1, ?2, ?3)")
            .bind(repository.as_str())
            .bind(path)
            .bind(to_integer(*number)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(in crate::store) async fn put_blob(
    connection: &mut SqliteConnection,
    blob: &BlobId,
    bytes: &[u8],
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO blobs (id, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(blob.as_str())
        .bind(bytes)
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_sign_off(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    evidence: &Evidence,
    commit: &CommitId,
    signed_off: &SignedOff,
    now: Timestamp,
) -> Result<i64, StoreError> {
    // One landing uses its sign-off up: a second one breaks the constraint.
    Ok(sqlx::query_scalar(
        "INSERT INTO sign_offs (repository, origin, commit_id, digest, approvers, evidence, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id",
    )
    .bind(repository.as_str())
    .bind(evidence.origin().to_string())
    .bind(commit.as_str())
    .bind(signed_off.digest().as_str())
    .bind(to_json("approvers", &signed_off.approvers())?)
    .bind(evidence.to_json()?)
    .bind(to_micros(now))
    .fetch_one(connection)
    .await?)
}

pub(in crate::store) async fn put_file(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    path: &str,
    blob: &BlobId,
    request: Option<&Request>,
    sign_off: Option<i64>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO accepted (repository, path, blob, request, sign_off) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (repository, path) DO UPDATE SET
           blob = excluded.blob, request = excluded.request, sign_off = excluded.sign_off",
    )
    .bind(repository.as_str())
    .bind(path)
    .bind(blob.as_str())
    .bind(request.map(|request| to_json("request", request)).transpose()?)
    .bind(sign_off)
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_transition(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    transition: &Transition,
    evaluation: &Evaluation,
    sign_off: i64,
) -> Result<(), StoreError> {
    let Some(blob) = &transition.to else {
        sqlx::query("DELETE FROM accepted WHERE repository = ?1 AND path = ?2")
            .bind(repository.as_str())
            .bind(&transition.path)
            .execute(connection)
            .await?;
        return Ok(());
    };
    let request = match &transition.subject {
        Subject::Request(key) => evaluation
            .requests
            .iter()
            .filter(|change| change.key() == key)
            .find_map(Change::after),
        Subject::Rules | Subject::NoRequest => None,
    };
    put_file(
        connection,
        repository,
        &transition.path,
        blob,
        request,
        Some(sign_off),
    )
    .await
}

/// What is new for open merge requests.
#[derive(Debug, Default)]
pub(in crate::store) struct News {
    /// The rules changed: all of them are concerned.
    pub(in crate::store) rules: bool,
    /// Paths that changed.
    pub(in crate::store) paths: BTreeSet<String>,
    /// Requests that changed.
    pub(in crate::store) requests: BTreeSet<RequestKey>,
    /// Teams whose requests come to more or less than before: limits count them together.
    pub(in crate::store) teams: BTreeSet<TeamName>,
}

impl News {
    fn concerns(&self, evaluation: &Evaluation) -> bool {
        self.rules
            || evaluation
                .transitions
                .iter()
                .any(|theirs| self.paths.contains(&theirs.path))
            || evaluation.requests.iter().any(|theirs| {
                self.requests.contains(theirs.key()) || !self.teams.is_disjoint(&theirs.teams())
            })
    }
}

/// Looks again at the merge requests that some news concern: those that are open, and those that are held and may be
/// released.
pub(in crate::store) async fn touch_open_reviews(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    news: &News,
    brought_by: Option<MergeRequestNumber>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT review FROM reviews WHERE repository = ?1 AND (open = 1 OR held = 1)")
            .bind(repository.as_str())
            .fetch_all(&mut *connection)
            .await?;
    for text in rows {
        let review: Review = from_json("review", &text)?;
        let concerned = review
            .evaluation
            .as_ref()
            .is_none_or(|evaluation| news.concerns(evaluation));
        if Some(review.facts.number) != brought_by && concerned {
            let key = Key::Review {
                repository: repository.clone(),
                merge_request: review.facts.number,
            };
            keys::touch(connection, &Touch::fact(key), now).await?;
        }
    }
    Ok(())
}
