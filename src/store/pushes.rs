//! Pushes straight onto the target branch that were held.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::domain::audit::Record;
use crate::domain::finding::Severity;
use crate::domain::ids::{CommitId, IssueNumber, RepositoryId};
use crate::domain::key::Key;
use crate::domain::landing::Origin;
use crate::domain::push::{HeldPush, PushEnd, Superseded};
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, parse, to_integer, to_json};
use crate::store::{Lease, Store, StoreError, audit, origins, reviews};

/// Writes a push and touches its report; for use inside other intents.
pub(in crate::store) async fn put(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    push: &HeldPush,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO held_pushes (repository, commit_id, open, push) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repository, commit_id) DO UPDATE SET open = excluded.open, push = excluded.push",
    )
    .bind(repository.as_str())
    .bind(push.commit.as_str())
    .bind(push.end.is_none())
    .bind(to_json("push", push)?)
    .execute(&mut *connection)
    .await?;
    origins::touch_report(connection, repository, &push.origin(), now).await
}

/// Writes a push that was just held. One that was released before, and came again since the repository was adopted anew,
/// has used its sign-off up.
pub(in crate::store) async fn put_new(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    mut push: HeldPush,
    now: Timestamp,
) -> Result<(), StoreError> {
    let known = read(&mut *connection, repository, &push.commit).await?;
    if known.is_some_and(|known| known.end == Some(PushEnd::Accepted)) {
        let paths = push.landed.iter().map(|landed| landed.path.clone()).collect();
        push.end = Some(PushEnd::Superseded(Superseded::Accepted { paths }));
    }
    put(connection, repository, &push, now).await
}

/// Looks again at the pushes that may still be released: something landed, or was accepted.
pub(in crate::store) async fn touch_open(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let commits: Vec<String> =
        sqlx::query_scalar("SELECT commit_id FROM held_pushes WHERE repository = ?1 AND open = 1")
            .bind(repository.as_str())
            .fetch_all(&mut *connection)
            .await?;
    touch(connection, repository, &commits, now).await
}

/// Has these pushes looked at.
async fn touch(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    commits: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    for commit in commits {
        let key = Key::Push {
            repository: repository.clone(),
            commit: parse("commit id", commit)?,
        };
        keys::touch(connection, &Touch::fact(key), now).await?;
    }
    Ok(())
}

/// Says that the notes of an issue are to be read, if it is about a push; for use inside other intents.
pub(in crate::store) async fn put_notes_due(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    issue: IssueNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    let commits: Vec<String> = sqlx::query_scalar(
        "UPDATE held_pushes SET notes_due = notes_due + 1 WHERE repository = ?1 AND issue = ?2 RETURNING commit_id",
    )
    .bind(repository.as_str())
    .bind(to_integer(issue.0)?)
    .fetch_all(&mut *connection)
    .await?;
    touch(connection, repository, &commits, now).await
}

async fn read(
    executor: impl SqliteExecutor<'_>,
    repository: &RepositoryId,
    commit: &CommitId,
) -> Result<Option<HeldPush>, StoreError> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT push FROM held_pushes WHERE repository = ?1 AND commit_id = ?2")
            .bind(repository.as_str())
            .bind(commit.as_str())
            .fetch_optional(executor)
            .await?;
    text.map(|text| from_json("push", &text)).transpose()
}

impl Store {
    /// What is known of a push that was held.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn held_push(
        &self,
        repository: &RepositoryId,
        commit: &CommitId,
    ) -> Result<Option<HeldPush>, StoreError> {
        read(self.readers(), repository, commit).await
    }

    /// Every push that may still be released.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open_pushes(&self, repository: &RepositoryId) -> Result<Vec<HeldPush>, StoreError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT push FROM held_pushes WHERE repository = ?1 AND open = 1")
                .bind(repository.as_str())
                .fetch_all(self.readers())
                .await?;
        rows.iter().map(|text| from_json("push", text)).collect()
    }

    /// The paths of everything that was held after a push was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn held_after(
        &self,
        repository: &RepositoryId,
        commit: &CommitId,
    ) -> Result<BTreeSet<String>, StoreError> {
        let paths: Vec<String> = sqlx::query_scalar(
            "SELECT path FROM held WHERE repository = ?1
             AND id > (SELECT MAX(id) FROM held WHERE repository = ?1 AND commit_id = ?2)",
        )
        .bind(repository.as_str())
        .bind(commit.as_str())
        .fetch_all(self.readers())
        .await?;
        Ok(paths.into_iter().collect())
    }

    /// Records what a look at a push came to, and touches its report; once it is signed off, the landing too. What was
    /// released or superseded meanwhile stays so.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_push(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        push: &HeldPush,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository, push) = (lease.clone(), repository.clone(), push.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let before = read(&mut *connection, &repository, &push.commit).await?;
                if before.as_ref().is_none_or(|before| before.end.is_some()) {
                    return Ok(());
                }
                if before.is_some_and(|before| !before.says_the_same_as(&push)) {
                    let digest = push
                        .evaluation
                        .as_ref()
                        .and_then(|evaluation| evaluation.digest());
                    if let Some(evaluation) = &push.evaluation {
                        reviews::put_evaluation(connection, &repository, &push.origin(), evaluation, now)
                            .await?;
                    }
                    let findings = push.evaluation.iter().flat_map(|evaluation| &evaluation.findings);
                    let record = match &push.end {
                        Some(PushEnd::Superseded(why)) => Record::PushSuperseded {
                            commit: push.commit.clone(),
                            why: why.clone(),
                        },
                        _ => Record::Reviewed {
                            origin: push.origin(),
                            head: push.commit.clone(),
                            digest,
                            errors: findings.filter(|f| f.severity == Severity::Error).count(),
                            judged: push.judged.clone(),
                        },
                    };
                    audit::append(connection, &repository, &record, now).await?;
                }
                if push.is_signed_off() {
                    let key = Key::Landing {
                        repository: repository.clone(),
                    };
                    keys::touch(connection, &Touch::fact(key), now).await?;
                }
                put(connection, &repository, &push, now).await
            })
        })
        .await
    }

    /// The issue that tells of a push; nothing before it is opened.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn issue_of_push(
        &self,
        repository: &RepositoryId,
        commit: &CommitId,
    ) -> Result<Option<IssueNumber>, StoreError> {
        let issue: Option<Option<i64>> =
            sqlx::query_scalar("SELECT issue FROM held_pushes WHERE repository = ?1 AND commit_id = ?2")
                .bind(repository.as_str())
                .bind(commit.as_str())
                .fetch_optional(self.readers())
                .await?;
        issue
            .flatten()
            .map(|number| from_integer(number).map(IssueNumber))
            .transpose()
    }
}

/// Ties a push to its issue: notes there are about it. Some may have been written already.
pub(in crate::store) async fn put_issue(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    commit: &CommitId,
    issue: IssueNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_new = sqlx::query(
        "UPDATE held_pushes SET issue = ?3, notes_due = notes_due + 1
         WHERE repository = ?1 AND commit_id = ?2 AND issue IS NOT ?3",
    )
    .bind(repository.as_str())
    .bind(commit.as_str())
    .bind(to_integer(issue.0)?)
    .execute(&mut *connection)
    .await?
    .rows_affected()
        > 0;
    if is_new {
        let key = Key::look_at(repository, &Origin::Push(commit.clone()));
        keys::touch(connection, &Touch::fact(key), now).await?;
    }
    Ok(())
}
