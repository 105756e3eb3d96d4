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
    /// Names the text as the forge answered it when it was last written.
    pub body: Option<Digest>,
    /// Names the text that is being written, or was when a crash came.
    pub writing: Option<Digest>,
    /// Its time then, by the forge's clock.
    pub updated_at: Option<Timestamp>,
    /// When it was last found as it was written, by our clock.
    pub seen_at: Option<Timestamp>,
}

/// The columns of [`OwnNote`], in its order.
type NoteRow = (
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
);

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
        let row: Option<NoteRow> = sqlx::query_as(
            "SELECT number, digest, at, body, writing, updated_at, seen_at FROM notes
             WHERE repository = ?1 AND subject = ?2 AND marker = ?3",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .bind(marker)
        .fetch_optional(self.readers())
        .await?;
        let Some((number, text, at, body, writing, updated_at, seen_at)) = row else {
            return Ok(None);
        };
        let digest = |text: Option<String>| text.map(|text| parse("digest", &text)).transpose();
        let time = |at: Option<i64>| at.map(from_micros).transpose();
        Ok(Some(OwnNote {
            number: number.map(from_integer).transpose()?,
            digest: digest(text)?,
            at: time(at)?,
            body: digest(body)?,
            writing: digest(writing)?,
            updated_at: time(updated_at)?,
            seen_at: time(seen_at)?,
        }))
    }

    /// Records that the comment with the plan was found as it was written, or, with `moved_to`, that its words are
    /// the same and its time is another since: who changed it in between and back, nobody knows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_found(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
        marker: &str,
        moved_to: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (repository, origin, marker) = (repository.clone(), origin.clone(), marker.to_owned());
        let now = self.now();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE notes SET seen_at = ?4, updated_at = COALESCE(?5, updated_at)
                     WHERE repository = ?1 AND subject = ?2 AND marker = ?3",
                )
                .bind(repository.as_str())
                .bind(origin.to_string())
                .bind(marker)
                .bind(to_micros(now))
                .bind(moved_to.map(to_micros))
                .execute(&mut *connection)
                .await?;
                let Some(moved_to) = moved_to else {
                    return Ok(());
                };
                let row = origins::row(&origin);
                sqlx::query(sqlx::AssertSqlSafe(format!(
                    "UPDATE {} SET shown_at = MAX(shown_at, ?3), shown_anew = shown_digest
                     WHERE {} AND shown_digest IS NOT NULL",
                    row.table, row.condition
                )))
                .bind(repository.as_str())
                .bind(&row.id)
                .bind(to_micros(moved_to))
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Records that a note of ours says something else than was written, or is gone: it is to be written anew, and what
    /// it showed is shown no more. Nothing is done if it was written meanwhile, by [`OwnNote::at`]. Answers whether
    /// something was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_lost(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
        marker: &str,
        known: &OwnNote,
        shows_plan: bool,
    ) -> Result<bool, StoreError> {
        let (repository, origin, marker) = (repository.clone(), origin.clone(), marker.to_owned());
        let (at, now) = (known.at, self.now());
        self.write(move |connection| {
            Box::pin(async move {
                let lost = sqlx::query(
                    "UPDATE notes SET digest = NULL, writing = NULL, seen_at = NULL
                     WHERE repository = ?1 AND subject = ?2 AND marker = ?3 AND at IS ?4",
                )
                .bind(repository.as_str())
                .bind(origin.to_string())
                .bind(marker)
                .bind(at.map(to_micros))
                .execute(&mut *connection)
                .await?
                .rows_affected()
                    > 0;
                if lost {
                    origins::touch_report(connection, &repository, &origin, now).await?;
                }
                if lost && shows_plan {
                    let row = origins::row(&origin);
                    sqlx::query(sqlx::AssertSqlSafe(format!(
                        "UPDATE {} SET shown_anew = shown_digest, shown_digest = NULL, shown_at = NULL
                         WHERE {} AND shown_digest IS NOT NULL",
                        row.table, row.condition
                    )))
                    .bind(repository.as_str())
                    .bind(&row.id)
                    .execute(connection)
                    .await?;
                }
                Ok(lost)
            })
        })
        .await
    }

    /// Records that a note is about to be written or changed: after a crash it may say the new or the old. `shows` is
    /// the digest that it will show, for the comment that holds the plan; what it showed before is then shown no more.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    #[allow(clippy::too_many_arguments)] // each is another fact
    pub async fn begin_note(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        origin: &Origin,
        marker: &str,
        shows: Option<Option<Digest>>,
        writing: &Digest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (origin, marker, writing) = (origin.clone(), marker.to_owned(), writing.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "INSERT INTO notes (repository, subject, marker, at, writing) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (repository, subject, marker) DO UPDATE SET
                       digest = NULL, at = excluded.at, writing = excluded.writing",
                )
                .bind(repository.as_str())
                .bind(origin.to_string())
                .bind(marker)
                .bind(to_micros(now))
                .bind(writing.as_str())
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
                    "INSERT INTO notes (repository, subject, marker, number, digest, at, body, updated_at, seen_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (repository, subject, marker) DO UPDATE SET
                       number = excluded.number, digest = excluded.digest, at = excluded.at, body = excluded.body,
                       updated_at = excluded.updated_at, seen_at = excluded.seen_at, writing = NULL",
                )
                .bind(repository.as_str())
                .bind(origin.to_string())
                .bind(marker)
                .bind(note.number.map(to_integer).transpose()?)
                .bind(note.digest.as_ref().map(Digest::as_str))
                .bind(note.at.map(to_micros))
                .bind(note.body.as_ref().map(Digest::as_str))
                .bind(note.updated_at.map(to_micros))
                .bind(note.seen_at.map(to_micros))
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
