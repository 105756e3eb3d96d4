//! Commands in notes: which notes are to be read, which were obeyed, and what was asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::{Digest, MergeRequestNumber, NoteId, RepositoryId, UserId};
use crate::domain::landing::Origin;
use crate::domain::report::CommandAnswer;
use crate::domain::signoff::{Approval, Given};
use crate::store::values::{from_integer, from_json, from_micros, parse, to_integer, to_json, to_micros};
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
    /// Names its text.
    pub body: Digest,
    /// The digest that it approves, if it does.
    pub approves: Option<String>,
    /// Whether it takes back what its author approved before.
    pub withdraws: bool,
    /// Whether it asks for another run of what failed.
    pub retries: bool,
    /// What to say to its author.
    pub answer: Option<CommandAnswer>,
}

/// A sign-off by command, and the note that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpokenApproval {
    /// The note.
    pub note: NoteId,
    /// Names its text, as it was obeyed; nothing of those that were obeyed before this was kept.
    pub body: Option<Digest>,
    /// The sign-off.
    pub approval: Approval,
}

/// What was answered to those whose commands were not followed: the newest, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// The newest, newest first: when the command was written, and what there is to say about it.
    pub newest: Vec<(Timestamp, CommandAnswer)>,
    /// How many there are in all.
    pub count: usize,
}

/// How many answers are told.
const ANSWERS_TOLD: i64 = 5;

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
                        "INSERT INTO commands (repository, origin, note, user_id, at, approves, answer, body, withdraws)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
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
                    .bind(note.body.as_str())
                    .bind(note.withdraws)
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

    /// What is to be said to people whose commands were not followed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn answers(&self, repository: &RepositoryId, origin: &Origin) -> Result<Answers, StoreError> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT at, answer, COUNT(*) OVER () FROM commands
             WHERE repository = ?1 AND origin = ?2 AND answer IS NOT NULL ORDER BY note DESC LIMIT ?3",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .bind(ANSWERS_TOLD)
        .fetch_all(self.readers())
        .await?;
        let mut answers = Answers::default();
        for (at, answer, count) in rows {
            let answer: CommandAnswer = from_json("answer", &answer)?;
            answers.newest.push((from_micros(at)?, answer));
            answers.count =
                from_integer(count).map(|count: u64| usize::try_from(count).unwrap_or(usize::MAX))?;
        }
        Ok(answers)
    }

    /// Who took back in words what they had approved, and when last.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn withdrawals(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<BTreeMap<UserId, Timestamp>, StoreError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT user_id, MAX(at) FROM commands
             WHERE repository = ?1 AND origin = ?2 AND withdraws = 1 GROUP BY user_id",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(user, at)| Ok((UserId(from_integer(user)?), from_micros(at)?)))
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
    ) -> Result<Vec<SpokenApproval>, StoreError> {
        let rows: Vec<(i64, Option<String>, i64, i64, String)> = sqlx::query_as(
            "SELECT note, body, user_id, at, approves FROM commands
             WHERE repository = ?1 AND origin = ?2 AND approves IS NOT NULL ORDER BY note",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(note, body, user, at, digest)| {
                Ok(SpokenApproval {
                    note: NoteId(from_integer(note)?),
                    body: body.map(|text| parse("digest", &text)).transpose()?,
                    approval: Approval {
                        user: UserId(from_integer(user)?),
                        at: from_micros(at)?,
                        commit: None,
                        digest: Some(digest),
                        given: Given::AsListed,
                    },
                })
            })
            .collect()
    }
}
