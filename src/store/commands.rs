//! Commands in notes: which notes are to be read, which were obeyed, and what was asked.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::{MergeRequestNumber, NoteId, RepositoryId, UserId};
use crate::domain::landing::Origin;
use crate::domain::report::CommandAnswer;
use crate::domain::signoff::Approval;
use crate::store::values::{from_integer, from_json, from_micros, to_integer, to_json, to_micros};
use crate::store::{Lease, Store, StoreError, audit, keys, origins, requests};

/// A note that asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObeyedNote {
    /// The note.
    pub note: NoteId,
    /// Who wrote it.
    pub user: UserId,
    /// When.
    pub at: Timestamp,
    /// The digest that it approves, if it does.
    pub approves: Option<String>,
    /// Whether it asks for another run of what failed.
    pub retries: bool,
    /// What to say to its author.
    pub answer: Option<CommandAnswer>,
}

/// What the notes of a merge request, or of the issue about a push, came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadNotes {
    /// How many deliveries had told of notes before they were read.
    pub due: u64,
    /// The notes that are obeyed now.
    pub obeyed: Vec<ObeyedNote>,
    /// Whether somebody asks for another run of what failed.
    pub retry: bool,
    /// Who wants it stopped, by their name on the forge.
    pub cancelled_by: Option<String>,
}

/// Says that a merge request has notes to read; for use inside other intents.
pub(in crate::store) async fn put_notes_due(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    number: MergeRequestNumber,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE reviews SET notes_due = notes_due + 1 WHERE repository = ?1 AND number = ?2")
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// How many deliveries told of notes that were not read yet; nothing for a merge request or push that was never
    /// recorded, of which they may have told before.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn notes_due(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Option<u64>, StoreError> {
        let row = origins::row(origin);
        let due: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT notes_due FROM {} WHERE {}",
            row.table, row.condition
        )))
        .bind(repository.as_str())
        .bind(&row.id)
        .fetch_optional(self.readers())
        .await?;
        due.map(from_integer).transpose()
    }

    /// Says of these merge requests and pushes that their notes are to be read.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn read_notes_of(
        &self,
        repository: &RepositoryId,
        origins: &BTreeSet<Origin>,
    ) -> Result<(), StoreError> {
        let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
        let (repository, origins) = (repository.clone(), to_json("origins", &origins)?);
        self.write(move |connection| {
            Box::pin(async move {
                for statement in [
                    "UPDATE reviews SET notes_due = 1 WHERE repository = ?1 AND notes_due = 0
                     AND CAST(number AS TEXT) IN (SELECT value FROM json_each(?2))",
                    "UPDATE held_pushes SET notes_due = 1 WHERE repository = ?1 AND notes_due = 0
                     AND 'commit-' || commit_id IN (SELECT value FROM json_each(?2))",
                ] {
                    sqlx::query(statement)
                        .bind(repository.as_str())
                        .bind(&origins)
                        .execute(&mut *connection)
                        .await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The notes that were obeyed already.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn obeyed(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<BTreeSet<NoteId>, StoreError> {
        let rows: Vec<i64> =
            sqlx::query_scalar("SELECT note FROM commands WHERE repository = ?1 AND origin = ?2")
                .bind(repository.as_str())
                .bind(origin.to_string())
                .fetch_all(self.readers())
                .await?;
        rows.into_iter()
            .map(|note| Ok(NoteId(from_integer(note)?)))
            .collect()
    }

    /// Records that notes were read and which of them are obeyed, each once.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn obey(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        origin: &Origin,
        read: ReadNotes,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository, origin) = (lease.clone(), repository.clone(), origin.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let ReadNotes {
                    due,
                    obeyed,
                    retry,
                    cancelled_by,
                } = read;
                for note in obeyed {
                    sqlx::query(
                        "INSERT INTO commands (repository, origin, note, user_id, at, approves, answer)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                    )
                    .bind(repository.as_str())
                    .bind(origin.to_string())
                    .bind(to_integer(note.note.0)?)
                    .bind(to_integer(note.user.0)?)
                    .bind(to_micros(note.at))
                    .bind(&note.approves)
                    .bind(
                        note.answer
                            .as_ref()
                            .map(|answer| to_json("answer", answer))
                            .transpose()?,
                    )
                    .execute(&mut *connection)
                    .await?;
                    if let Some(digest) = note.approves {
                        let record = Record::Commanded {
                            origin: origin.clone(),
                            note: note.note,
                            user: note.user,
                            digest,
                        };
                        audit::append(connection, &repository, &record, now).await?;
                    }
                    if note.retries {
                        let record = Record::RetryAsked {
                            origin: origin.clone(),
                            note: note.note,
                            user: note.user,
                        };
                        audit::append(connection, &repository, &record, now).await?;
                    }
                }
                // More may have come while these were read.
                let row = origins::row(&origin);
                sqlx::query(sqlx::AssertSqlSafe(format!(
                    "UPDATE {} SET notes_due = MAX(0, notes_due - ?3) WHERE {}",
                    row.table, row.condition
                )))
                .bind(repository.as_str())
                .bind(&row.id)
                .bind(to_integer(due)?)
                .execute(&mut *connection)
                .await?;
                if let Some(by) = &cancelled_by {
                    let record = Record::Cancelled {
                        origin: origin.clone(),
                        by: by.clone(),
                    };
                    audit::append(connection, &repository, &record, now).await?;
                    requests::steer(connection, &repository, &origin, Some(by), now).await?;
                }
                if retry {
                    requests::steer(connection, &repository, &origin, None, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What is to be said to people whose commands were not followed, by their note.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn answers(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Vec<(NoteId, CommandAnswer)>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT note, answer FROM commands
             WHERE repository = ?1 AND origin = ?2 AND answer IS NOT NULL ORDER BY note",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(note, answer)| Ok((NoteId(from_integer(note)?), from_json("answer", &answer)?)))
            .collect()
    }

    /// The sign-offs that were given by command on a merge request or push.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn command_approvals(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Vec<Approval>, StoreError> {
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(
            "SELECT user_id, at, approves FROM commands
             WHERE repository = ?1 AND origin = ?2 AND approves IS NOT NULL ORDER BY note",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(user, at, digest)| {
                Ok(Approval {
                    user: UserId(from_integer(user)?),
                    at: from_micros(at)?,
                    commit: None,
                    digest: Some(digest),
                })
            })
            .collect()
    }
}
