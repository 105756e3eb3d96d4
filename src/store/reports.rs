//! What was last shown where: notes and statuses of ours on the forge.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::ids::{CommitId, Digest, IssueNumber, RepositoryId};
use crate::domain::key::Key;
use crate::domain::landing::Origin;
use crate::domain::review::{Review, Shown};
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, from_micros, parse, to_integer, to_micros};
use crate::store::{Lease, Store, StoreError, origins, pushes};

/// A note (or issue) of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNote {
    /// The forge's number for it; nothing if it was begun and nobody knows whether it was written.
    pub number: Option<u64>,
    /// Of the text that it shows.
    pub digest: Option<Digest>,
    /// When it was last written, by our clock.
    pub at: Option<Timestamp>,
}

impl Store {
    /// A note of ours, by its marker; nothing if it was never begun.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
        marker: &str,
    ) -> Result<Option<OwnNote>, StoreError> {
        let row: Option<(Option<i64>, Option<String>, Option<i64>)> = sqlx::query_as(
            "SELECT number, digest, at FROM notes WHERE repository = ?1 AND subject = ?2 AND marker = ?3",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .bind(marker)
        .fetch_optional(self.readers())
        .await?;
        let Some((number, digest, at)) = row else {
            return Ok(None);
        };
        Ok(Some(OwnNote {
            number: number.map(from_integer).transpose()?,
            digest: digest.map(|text| parse("digest", &text)).transpose()?,
            at: at.map(from_micros).transpose()?,
        }))
    }

    /// Records that a note is about to be written or changed: after a crash it may say the new or the old. `shows` is
    /// the digest that it will show, for the comment that holds the plan; what it showed before is then shown no more.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn begin_note(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        origin: &Origin,
        marker: &str,
        shows: Option<Option<Digest>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (origin, marker) = (origin.clone(), marker.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "INSERT INTO notes (repository, subject, marker, at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (repository, subject, marker) DO UPDATE SET
                       digest = NULL, at = excluded.at",
                )
                .bind(repository.as_str())
                .bind(origin.to_string())
                .bind(marker)
                .bind(to_micros(now))
                .execute(&mut *connection)
                .await?;
                if let Some(shows) = shows {
                    let row = origins::row(&origin);
                    sqlx::query(sqlx::AssertSqlSafe(format!(
                        "UPDATE {} SET shown_digest = NULL, shown_at = NULL WHERE {} AND shown_digest IS NOT ?3",
                        row.table, row.condition
                    )))
                    .bind(repository.as_str())
                    .bind(&row.id)
                    .bind(shows.as_ref().map(Digest::as_str))
                    .execute(connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Records what a note says, and with it the plan that it shows, if it is the one for that: the time of one that it
    /// showed already stays. Who approved while it was being written is looked at again.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_note(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        origin: &Origin,
        marker: &str,
        note: OwnNote,
        shown: Option<Shown>,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (origin, marker) = (origin.clone(), marker.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "INSERT INTO notes (repository, subject, marker, number, digest, at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (repository, subject, marker) DO UPDATE SET
                       number = excluded.number, digest = excluded.digest, at = excluded.at",
                )
                .bind(repository.as_str())
                .bind(origin.to_string())
                .bind(marker)
                .bind(note.number.map(to_integer).transpose()?)
                .bind(note.digest.as_ref().map(Digest::as_str))
                .bind(note.at.map(to_micros))
                .execute(&mut *connection)
                .await?;
                let Some(shown) = shown else {
                    return Ok(());
                };
                let row = origins::row(&origin);
                let is_new = sqlx::query(sqlx::AssertSqlSafe(format!(
                    "UPDATE {} SET shown_digest = ?3, shown_at = ?4 WHERE {} AND shown_digest IS NOT ?3",
                    row.table, row.condition
                )))
                .bind(repository.as_str())
                .bind(&row.id)
                .bind(shown.digest.as_str())
                .bind(to_micros(shown.at))
                .execute(&mut *connection)
                .await?
                .rows_affected()
                    > 0;
                // Where nobody has to approve, nobody's approval tells that it is time to look again.
                let again = is_new
                    && (keys::is_touched_since(connection, &lease).await?
                        || is_waived(connection, &repository, &origin).await?);
                if again {
                    let key = Key::look_at(&repository, &origin);
                    keys::touch(connection, &Touch::fact(key), shown.at).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Records the issue about a pushed commit: the push is tied to it, and its notes are to be read.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_issue(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        commit: &CommitId,
        marker: &str,
        issue: IssueNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (commit, marker) = (commit.clone(), marker.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "INSERT INTO notes (repository, subject, marker, number, at) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (repository, subject, marker) DO UPDATE SET
                       number = excluded.number, at = excluded.at",
                )
                .bind(repository.as_str())
                .bind(Origin::Push(commit.clone()).to_string())
                .bind(marker)
                .bind(to_integer(issue.0)?)
                .bind(to_micros(now))
                .execute(&mut *connection)
                .await?;
                pushes::put_issue(connection, &repository, &commit, issue, now).await
            })
        })
        .await
    }

    /// Names the commit status that was last shown for a merge request.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn status(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Option<Digest>, StoreError> {
        let digest: Option<String> =
            sqlx::query_scalar("SELECT digest FROM statuses WHERE repository = ?1 AND subject = ?2")
                .bind(repository.as_str())
                .bind(origin.to_string())
                .fetch_optional(self.readers())
                .await?;
        digest.map(|text| parse("digest", &text)).transpose()
    }

    /// Records the commit status that is shown now.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_status(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        origin: &Origin,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (subject, digest) = (origin.to_string(), digest.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "INSERT INTO statuses (repository, subject, digest) VALUES (?1, ?2, ?3)
                     ON CONFLICT (repository, subject) DO UPDATE SET digest = excluded.digest",
                )
                .bind(repository.as_str())
                .bind(subject)
                .bind(digest.as_str())
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

/// Whether a policy says that somebody need not approve a merge request. Of what was pushed without one, nobody's is
/// waived.
async fn is_waived(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    origin: &Origin,
) -> Result<bool, StoreError> {
    let Origin::MergeRequest(number) = origin else {
        return Ok(false);
    };
    let text: Option<String> =
        sqlx::query_scalar("SELECT review FROM reviews WHERE repository = ?1 AND number = ?2")
            .bind(repository.as_str())
            .bind(to_integer(number.0)?)
            .fetch_optional(connection)
            .await?;
    let review: Option<Review> = text.map(|text| from_json("review", &text)).transpose()?;
    let evaluation = review.and_then(|review| review.evaluation);
    Ok(evaluation.is_some_and(|evaluation| !evaluation.demands.waivers.is_empty()))
}
