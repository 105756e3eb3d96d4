//! Requests repositories: which project they are, and how far their history was looked at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::{CommitId, IssueNumber, RepositoryId};
use crate::domain::landing::Origin;
use crate::domain::review::{Landed, Review};
use crate::store::accepted::{News, touch_open_reviews};
use crate::store::keys;
use crate::store::values::{from_integer, from_micros, parse, to_integer, to_json, to_micros};
use crate::store::{Lease, Store, StoreError, audit, origins, pushes, reviews};

/// How far a repository's history was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryState {
    /// The last commit of the target branch that was looked at; nothing before the first adoption.
    pub examined: Option<CommitId>,
    /// Why landings are not looked at any more.
    pub suspended: Option<String>,
    /// The newest merge that was seen, by the forge's clock.
    pub merged_until: Timestamp,
}

/// Commits of the target branch that were looked at together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// What had been looked at before. If the mark stands elsewhere by now, nothing is recorded.
    pub from: CommitId,
    /// The last of them.
    pub to: CommitId,
}

/// Moves the mark of what was looked at, under whoever's transaction.
pub(in crate::store) async fn examine(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    examined: &Examined,
    merged_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let moved = sqlx::query(
        "UPDATE repositories SET examined = ?3, merged_until = MAX(merged_until, COALESCE(?4, merged_until))
         WHERE id = ?1 AND examined = ?2",
    )
    .bind(repository.as_str())
    .bind(examined.from.as_str())
    .bind(examined.to.as_str())
    .bind(merged_at.map(to_micros))
    .execute(connection)
    .await?;
    if moved.rows_affected() == 1 {
        Ok(())
    } else {
        Err(StoreError::Overtaken {
            repository: repository.clone(),
        })
    }
}

impl Store {
    /// Ties a repository's name to a project, once. A name that is tied to another project is refused: what was
    /// accepted there was not accepted here.
    ///
    /// # Errors
    /// [`StoreError::OtherProject`], and those of the database.
    pub async fn register(
        &self,
        repository: &RepositoryId,
        forge: &str,
        project: u64,
    ) -> Result<(), StoreError> {
        let (id, forge, project) = (repository.clone(), forge.to_owned(), to_integer(project)?);
        let now = self.now();
        self.write(move |connection| {
            Box::pin(async move {
                let tied = sqlx::query(
                    "INSERT INTO repositories (id, forge, project) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )
                .bind(id.as_str())
                .bind(&forge)
                .bind(project)
                .execute(&mut *connection)
                .await?;
                if tied.rows_affected() == 1 {
                    let project = from_integer(project)?;
                    audit::append(connection, &id, &Record::Registered { forge, project }, now).await?;
                }
                let found: i64 = sqlx::query_scalar("SELECT project FROM repositories WHERE id = ?1")
                    .bind(id.as_str())
                    .fetch_one(connection)
                    .await?;
                if found == project {
                    Ok(())
                } else {
                    Err(StoreError::OtherProject { repository: id, found })
                }
            })
        })
        .await
    }

    /// How far a repository was looked at.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn repository(&self, repository: &RepositoryId) -> Result<RepositoryState, StoreError> {
        let row: Option<(Option<String>, Option<String>, i64)> =
            sqlx::query_as("SELECT examined, suspended, merged_until FROM repositories WHERE id = ?1")
                .bind(repository.as_str())
                .fetch_optional(self.readers())
                .await?;
        let (examined, suspended, merged_until) = row.unwrap_or_default();
        Ok(RepositoryState {
            examined: examined
                .as_deref()
                .map(|text| parse("commit id", text))
                .transpose()?,
            suspended,
            merged_until: from_micros(merged_until)?,
        })
    }

    /// When commits that nothing explains were first seen.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn first_seen(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        commits: &[CommitId],
        now: Timestamp,
    ) -> Result<BTreeMap<CommitId, Timestamp>, StoreError> {
        let (lease, repository, commits) = (lease.clone(), repository.clone(), to_json("commits", &commits)?);
        let rows: Vec<(String, i64)> = self
            .write(move |connection| {
                Box::pin(async move {
                    keys::check_fence(connection, &lease).await?;
                    sqlx::query(
                        "INSERT INTO unexplained (repository, commit_id, at)
                         SELECT ?1, value, ?3 FROM json_each(?2) WHERE true ON CONFLICT DO NOTHING",
                    )
                    .bind(repository.as_str())
                    .bind(&commits)
                    .bind(to_micros(now))
                    .execute(&mut *connection)
                    .await?;
                    Ok(sqlx::query_as(
                        "SELECT commit_id, at FROM unexplained
                         WHERE repository = ?1 AND commit_id IN (SELECT value FROM json_each(?2))",
                    )
                    .bind(repository.as_str())
                    .bind(&commits)
                    .fetch_all(connection)
                    .await?)
                })
            })
            .await?;
        rows.into_iter()
            .map(|(commit, at)| Ok((parse("commit id", &commit)?, from_micros(at)?)))
            .collect()
    }

    /// Stops looking at landings: history was rewritten below what was examined. A person has to adopt a commit.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn suspend(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        examined: &CommitId,
        head: &CommitId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, id) = (lease.clone(), repository.clone());
        let (examined, head) = (examined.clone(), head.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query("UPDATE repositories SET suspended = ?2 WHERE id = ?1")
                    .bind(id.as_str())
                    .bind(format!(
                        "the target branch's head {head} does not descend from {examined}"
                    ))
                    .execute(&mut *connection)
                    .await?;
                audit::append(
                    connection,
                    &id,
                    &Record::Suspended {
                        examined,
                        head: head.clone(),
                    },
                    now,
                )
                .await?;
                origins::touch_report(connection, &id, &Origin::Push(head), now).await
            })
        })
        .await
    }

    /// The issue that says that landings do not go on, if there is one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stuck_issue(&self, repository: &RepositoryId) -> Result<Option<IssueNumber>, StoreError> {
        let number: Option<Option<i64>> =
            sqlx::query_scalar("SELECT stuck_issue FROM repositories WHERE id = ?1")
                .bind(repository.as_str())
                .fetch_optional(self.readers())
                .await?;
        number
            .flatten()
            .map(|number| Ok(IssueNumber(from_integer(number)?)))
            .transpose()
    }

    /// Records which issue says that landings do not go on; nothing once they do.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_stuck_issue(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        issue: Option<IssueNumber>,
    ) -> Result<(), StoreError> {
        let (lease, id) = (lease.clone(), repository.clone());
        let issue = issue.map(|issue| to_integer(issue.0)).transpose()?;
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query("UPDATE repositories SET stuck_issue = ?2 WHERE id = ?1")
                    .bind(id.as_str())
                    .bind(issue)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Looks at landings again: the target branch holds its old history again.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn resume(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        head: &CommitId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, id, head) = (lease.clone(), repository.clone(), head.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query("UPDATE repositories SET suspended = NULL WHERE id = ?1")
                    .bind(id.as_str())
                    .execute(&mut *connection)
                    .await?;
                audit::append(connection, &id, &Record::Resumed { head }, now).await
            })
        })
        .await
    }

    /// Goes past commits after which nothing stands there that is not accepted. Merge requests that share a path that
    /// changed are looked at again: what they saw there may be gone.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn pass(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        examined: &Examined,
        paths: &[String],
        review: Option<Review>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, id, examined) = (lease.clone(), repository.clone(), examined.clone());
        let news = News {
            paths: paths.iter().cloned().collect(),
            ..News::default()
        };
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let merged_at = review.as_ref().and_then(|review| review.facts.merged_at);
                examine(connection, &id, &examined, merged_at).await?;
                let number = review.as_ref().map(|review| review.facts.number);
                touch_open_reviews(connection, &id, &news, number, now).await?;
                if let Some(review) = review {
                    // What became of it once stays: a later, identical landing is no news.
                    let landed = review
                        .landed
                        .clone()
                        .or(Some(Landed::Nothing { commit: examined.to }));
                    reviews::put(connection, &id, &Review { landed, ..review }, now).await?;
                }
                // What was put back supersedes whoever pushed it.
                pushes::touch_open(connection, &id, now).await
            })
        })
        .await
    }
}
