//! Merge requests as seen: reviews, the evaluations that were shown, pushes and commands.

use jiff::Timestamp;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::domain::audit::Record;
use crate::domain::finding::Severity;
use std::collections::BTreeSet;

use crate::domain::ids::{CommitId, Digest, MergeRequestNumber, RepositoryId, RequestKey, UserId};
use crate::domain::key::Key;
use crate::domain::landing::{self, Origin};
use crate::domain::merge_request::{MergeRequestState, User};
use crate::domain::review::{Evaluation, Landed, Review, Shown};
use crate::store::accepted::{News, touch_open_reviews};
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, from_micros, parse, to_integer, to_json, to_micros};
use crate::store::{Lease, Store, StoreError, audit, commands, origins};

/// A push, as a push hook told of it. It can only exclude the pusher from signing off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Who.
    pub user: User,
    /// Onto which branch.
    pub branch: String,
    /// Its new head.
    pub after: CommitId,
}

/// Writes a review and touches its report; for use inside other intents.
pub(in crate::store) async fn put(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    review: &Review,
    now: Timestamp,
) -> Result<(), StoreError> {
    let number = review.facts.number;
    sqlx::query(
        "INSERT INTO reviews (repository, number, open, held, adrift, review) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (repository, number) DO UPDATE SET
           open = excluded.open, held = excluded.held, adrift = excluded.adrift, review = excluded.review",
    )
    .bind(repository.as_str())
    .bind(to_integer(number.0)?)
    .bind(review.is_open())
    .bind(matches!(review.landed, Some(Landed::Held { .. })))
    .bind(review.facts.state == MergeRequestState::Merged && review.landed.is_none())
    .bind(to_json("review", review)?)
    .execute(&mut *connection)
    .await?;
    origins::touch_report(connection, repository, &Origin::MergeRequest(number), now).await
}

/// Of a merge request that was looked at for the first time: a delivery that told of a note meanwhile found no row to say
/// so in. Whatever touched it since may have been one.
async fn put_notes_told_of(
    connection: &mut SqliteConnection,
    lease: &Lease,
    repository: &RepositoryId,
    number: MergeRequestNumber,
) -> Result<(), StoreError> {
    let is_touched: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM keys WHERE key = ?1 AND generation > ?2)")
            .bind(lease.key.to_string())
            .bind(to_integer(lease.generation)?)
            .fetch_one(&mut *connection)
            .await?;
    if is_touched {
        commands::put_notes_due(connection, repository, number).await?;
    }
    Ok(())
}

/// The requests that a merge request changes.
fn requests_of(review: Option<&Review>) -> BTreeSet<RequestKey> {
    let evaluation = review.and_then(|review| review.evaluation.as_ref());
    evaluation
        .iter()
        .flat_map(|evaluation| &evaluation.requests)
        .map(|change| change.key().clone())
        .collect()
}

/// Keeps an evaluation that could be signed, if it is another one than the last; for use inside other intents.
pub(in crate::store) async fn put_evaluation(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    origin: &Origin,
    evaluation: &Evaluation,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(digest) = evaluation.digest() else {
        return Ok(());
    };
    let last: Option<String> = sqlx::query_scalar(
        "SELECT digest FROM evaluations WHERE repository = ?1 AND origin = ?2 ORDER BY id DESC LIMIT 1",
    )
    .bind(repository.as_str())
    .bind(origin.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    if last.as_deref() == Some(digest.as_str()) {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO evaluations (repository, origin, digest, evaluation, at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(repository.as_str())
    .bind(origin.to_string())
    .bind(digest.as_str())
    .bind(to_json("evaluation", evaluation)?)
    .bind(to_micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores a push; for use inside other intents.
pub(in crate::store) async fn put_push(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    push: &Push,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO pushes (repository, branch, after, user_id, username, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
    )
    .bind(repository.as_str())
    .bind(&push.branch)
    .bind(push.after.as_str())
    .bind(to_integer(push.user.id.0)?)
    .bind(&push.user.username)
    .bind(to_micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

async fn read(
    executor: impl SqliteExecutor<'_>,
    repository: &RepositoryId,
    number: MergeRequestNumber,
) -> Result<Option<Review>, StoreError> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT review FROM reviews WHERE repository = ?1 AND number = ?2")
            .bind(repository.as_str())
            .bind(to_integer(number.0)?)
            .fetch_optional(executor)
            .await?;
    text.map(|text| from_json("review", &text)).transpose()
}

impl Store {
    /// What is known of a merge request.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn review(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Option<Review>, StoreError> {
        read(self.readers(), repository, number).await
    }

    /// Every merge request that was open when last seen.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open_reviews(&self, repository: &RepositoryId) -> Result<Vec<Review>, StoreError> {
        self.reviews(
            repository,
            "SELECT review FROM reviews WHERE repository = ?1 AND open = 1 ORDER BY number",
        )
        .await
    }

    async fn reviews(
        &self,
        repository: &RepositoryId,
        statement: &'static str,
    ) -> Result<Vec<Review>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(statement)
            .bind(repository.as_str())
            .fetch_all(self.readers())
            .await?;
        rows.iter().map(|text| from_json("review", text)).collect()
    }

    /// Every merge request that landed and is held.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn held_reviews(&self, repository: &RepositoryId) -> Result<Vec<Review>, StoreError> {
        self.reviews(
            repository,
            "SELECT review FROM reviews WHERE repository = ?1 AND held = 1 ORDER BY number",
        )
        .await
    }

    /// Every merge request that is merged and was not found on the target branch yet.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn adrift_reviews(&self, repository: &RepositoryId) -> Result<Vec<Review>, StoreError> {
        self.reviews(
            repository,
            "SELECT review FROM reviews WHERE repository = ?1 AND adrift = 1 ORDER BY number",
        )
        .await
    }

    /// What landed with a merge request and is held.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn held_paths(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Vec<landing::Landed>, StoreError> {
        let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT path, from_blob, to_blob FROM held WHERE repository = ?1 AND merge_request = ?2 ORDER BY id",
        )
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .fetch_all(self.readers())
        .await?;
        let blob = |text: Option<String>| text.map(|text| parse("blob id", &text)).transpose();
        rows.into_iter()
            .map(|(path, from, to)| {
                Ok(landing::Landed {
                    path,
                    from: blob(from)?,
                    to: blob(to)?,
                })
            })
            .collect()
    }

    /// Records what became of a merge request that was not recognised when it landed, or cannot be released any more.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_landed(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        review: Review,
        landed: Landed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                if let Landed::Held { commit, because, .. } = &landed {
                    let record = Record::Held {
                        merge_request: Some(review.facts.number),
                        commit: commit.clone(),
                        because: because.clone(),
                        paths: vec![],
                    };
                    audit::append(connection, &repository, &record, now).await?;
                    if because.can_be_released() {
                        let key = Key::Review {
                            repository: repository.clone(),
                            merge_request: review.facts.number,
                        };
                        keys::touch(connection, &Touch::fact(key), now).await?;
                    }
                }
                put(
                    connection,
                    &repository,
                    &Review {
                        landed: Some(landed),
                        ..review
                    },
                    now,
                )
                .await
            })
        })
        .await
    }

    /// Records what a review came to, and touches its report.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_review(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        review: &Review,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository, review) = (lease.clone(), repository.clone(), review.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let before = read(&mut *connection, &repository, review.facts.number).await?;
                let news = before
                    .as_ref()
                    .is_none_or(|before| !before.says_the_same_as(&review));
                // What has landed meanwhile was judged as it was.
                let landed = before.as_ref().and_then(|before| before.landed.as_ref());
                if landed.is_some() && landed != review.landed.as_ref() {
                    return Ok(());
                }
                // Those that change the same requests name each other.
                let (was, is) = (requests_of(before.as_ref()), requests_of(Some(&review)));
                let was_signed = before.as_ref().is_some_and(Review::is_signed_off);
                let teams = match &review.evaluation {
                    // Those that meet a limit together name each other once one of them is signed off.
                    Some(evaluation) if was_signed != review.is_signed_off() => evaluation.teams(),
                    _ => BTreeSet::new(),
                };
                let others = News {
                    requests: was.symmetric_difference(&is).cloned().collect(),
                    teams,
                    ..News::default()
                };
                if !others.requests.is_empty() || !others.teams.is_empty() {
                    touch_open_reviews(connection, &repository, &others, Some(review.facts.number), now)
                        .await?;
                }
                let digest = review.evaluation.as_ref().and_then(|e| e.digest());
                let origin = Origin::MergeRequest(review.facts.number);
                if let Some(evaluation) = &review.evaluation {
                    put_evaluation(connection, &repository, &origin, evaluation, now).await?;
                }
                if let Some(evaluation) = &review.evaluation
                    && news
                {
                    let record = Record::Reviewed {
                        origin,
                        head: evaluation.head.clone(),
                        digest,
                        errors: evaluation
                            .findings
                            .iter()
                            .filter(|f| f.severity == Severity::Error)
                            .count(),
                        judged: review.judged.clone(),
                    };
                    audit::append(connection, &repository, &record, now).await?;
                }
                put(connection, &repository, &review, now).await?;
                if before.is_none() {
                    put_notes_told_of(connection, &lease, &repository, review.facts.number).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Records that a merge request is merged, and touches the landing.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_merged(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        review: &Review,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository, review) = (lease.clone(), repository.clone(), review.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let number = review.facts.number;
                let before = read(&mut *connection, &repository, number).await?;
                let is_new = before.is_none();
                let review = match before {
                    Some(known) => Review {
                        facts: review.facts,
                        ..known
                    },
                    None => review,
                };
                put(connection, &repository, &review, now).await?;
                if is_new {
                    put_notes_told_of(connection, &lease, &repository, number).await?;
                }
                keys::touch(connection, &Touch::fact(Key::Landing { repository }), now).await
            })
        })
        .await
    }

    /// The plan that the comment of a merge request, or in the issue about a push, shows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn shown(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Option<Shown>, StoreError> {
        let row = origins::row(origin);
        let row: Option<(Option<String>, Option<i64>, Option<String>)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!(
                "SELECT shown_digest, shown_at, shown_anew FROM {} WHERE {}",
                row.table, row.condition
            )))
            .bind(repository.as_str())
            .bind(row.id)
            .fetch_optional(self.readers())
            .await?;
        match row {
            Some((Some(digest), Some(at), anew)) => Ok(Some(Shown {
                anew: anew.as_ref() == Some(&digest),
                digest: parse("digest", &digest)?,
                at: from_micros(at)?,
            })),
            _ => Ok(None),
        }
    }

    /// The plan whose comment was last found changed or deleted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn shown_anew(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Option<Digest>, StoreError> {
        let row = origins::row(origin);
        let digest: Option<Option<String>> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT shown_anew FROM {} WHERE {}",
            row.table, row.condition
        )))
        .bind(repository.as_str())
        .bind(row.id)
        .fetch_optional(self.readers())
        .await?;
        digest.flatten().map(|text| parse("digest", &text)).transpose()
    }

    /// The pushes that push hooks told of whose head is one of these commits, onto any branch.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pushes_of(
        &self,
        repository: &RepositoryId,
        commits: &BTreeSet<CommitId>,
    ) -> Result<Vec<Push>, StoreError> {
        let rows: Vec<(String, String, i64, String)> = sqlx::query_as(
            "SELECT branch, after, user_id, username FROM pushes
             WHERE repository = ?1 AND after IN (SELECT value FROM json_each(?2))",
        )
        .bind(repository.as_str())
        .bind(to_json("commits", commits)?)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(branch, after, user, username)| {
                let user = User {
                    id: UserId(from_integer(user)?),
                    username,
                };
                Ok(Push {
                    user,
                    branch,
                    after: parse("commit id", &after)?,
                })
            })
            .collect()
    }
}
