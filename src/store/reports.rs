//! What was last shown where: notes and statuses of ours on the forge.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::ids::{Digest, MergeRequestNumber, RepositoryId};
use crate::domain::key::{Key, ReportSubject};
use crate::domain::review::{Review, Shown};
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, from_micros, parse, to_integer, to_micros};
use crate::store::{Lease, Store, StoreError};

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
        subject: &ReportSubject,
        marker: &str,
    ) -> Result<Option<OwnNote>, StoreError> {
        let row: Option<(Option<i64>, Option<String>, Option<i64>)> = sqlx::query_as(
            "SELECT number, digest, at FROM notes WHERE repository = ?1 AND subject = ?2 AND marker = ?3",
        )
        .bind(repository.as_str())
        .bind(subject_text(subject))
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
    /// the digest that it will show, for the comment of a merge request; what it showed before is then shown no more.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn begin_note(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        subject: &ReportSubject,
        marker: &str,
        shows: Option<Option<Digest>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (subject, marker) = (subject.clone(), marker.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                sqlx::query(
                    "INSERT INTO notes (repository, subject, marker, at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (repository, subject, marker) DO UPDATE SET
                       digest = NULL, at = excluded.at",
                )
                .bind(repository.as_str())
                .bind(subject_text(&subject))
                .bind(marker)
                .bind(to_micros(now))
                .execute(&mut *connection)
                .await?;
                if let (Some(shows), ReportSubject::MergeRequest(number)) = (shows, &subject) {
                    sqlx::query(
                        "UPDATE reviews SET shown_digest = NULL, shown_at = NULL
                         WHERE repository = ?1 AND number = ?2 AND shown_digest IS NOT ?3",
                    )
                    .bind(repository.as_str())
                    .bind(to_integer(number.0)?)
                    .bind(shows.as_ref().map(Digest::as_str))
                    .execute(connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Records what a note says, and with it the plan that a merge request's comment shows: the time of one that it
    /// showed already stays. Who approved while it was being written is looked at again.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn record_note(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        subject: &ReportSubject,
        marker: &str,
        note: OwnNote,
        shown: Option<Shown>,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (subject, marker) = (subject.clone(), marker.to_owned());
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
                .bind(subject_text(&subject))
                .bind(marker)
                .bind(note.number.map(to_integer).transpose()?)
                .bind(note.digest.as_ref().map(Digest::as_str))
                .bind(note.at.map(to_micros))
                .execute(&mut *connection)
                .await?;
                let (Some(shown), ReportSubject::MergeRequest(number)) = (shown, &subject) else {
                    return Ok(());
                };
                let is_new = sqlx::query(
                    "UPDATE reviews SET shown_digest = ?3, shown_at = ?4
                     WHERE repository = ?1 AND number = ?2 AND shown_digest IS NOT ?3",
                )
                .bind(repository.as_str())
                .bind(to_integer(number.0)?)
                .bind(shown.digest.as_str())
                .bind(to_micros(shown.at))
                .execute(&mut *connection)
                .await?
                .rows_affected()
                    > 0;
                // Where nobody has to approve, nobody's approval tells that it is time to look again.
                let again = is_new
                    && (keys::is_touched_since(connection, &lease).await?
                        || is_waived(connection, &repository, *number).await?);
                if again {
                    let key = Key::Review {
                        repository,
                        merge_request: *number,
                    };
                    keys::touch(connection, &Touch::fact(key), shown.at).await?;
                }
                Ok(())
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
        subject: &ReportSubject,
    ) -> Result<Option<Digest>, StoreError> {
        let digest: Option<String> =
            sqlx::query_scalar("SELECT digest FROM statuses WHERE repository = ?1 AND subject = ?2")
                .bind(repository.as_str())
                .bind(subject_text(subject))
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
        subject: &ReportSubject,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        let (subject, digest) = (subject_text(subject), digest.clone());
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

fn subject_text(subject: &ReportSubject) -> String {
    match subject {
        ReportSubject::MergeRequest(number) => number.to_string(),
        ReportSubject::Push(commit) => format!("commit-{commit}"),
    }
}

/// Whether a policy says that somebody need not approve.
async fn is_waived(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    number: MergeRequestNumber,
) -> Result<bool, StoreError> {
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
