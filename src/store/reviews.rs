//! Merge requests as seen: reviews, the evaluations that were shown, pushes and commands.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::finding::Severity;
use std::collections::BTreeSet;

use crate::domain::ids::{CommitId, MergeRequestNumber, NoteId, RepositoryId, UserId};
use crate::domain::key::{Key, ReportSubject};
use crate::domain::merge_request::{MergeRequestState, User};
use crate::domain::report::CommandAnswer;
use crate::domain::review::{Landed, Review, Shown};
use crate::domain::signoff::Approval;
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, from_json, from_micros, parse, to_integer, to_json, to_micros};
use crate::store::{Lease, Store, StoreError, audit};

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
    /// What to say to its author.
    pub answer: Option<CommandAnswer>,
}

/// What the notes of a merge request came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadNotes {
    /// How many deliveries had told of notes before they were read.
    pub due: u64,
    /// The notes that are obeyed now.
    pub obeyed: Vec<ObeyedNote>,
    /// Whether somebody asks for another run of what failed.
    pub retry: bool,
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
    keys::touch(connection, &Touch::fact(report_key(repository, number)), now).await
}

/// The key of a merge request's report.
pub(in crate::store) fn report_key(repository: &RepositoryId, number: MergeRequestNumber) -> Key {
    Key::Report {
        repository: repository.clone(),
        subject: ReportSubject::MergeRequest(number),
    }
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

async fn read(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    number: MergeRequestNumber,
) -> Result<Option<Review>, StoreError> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT review FROM reviews WHERE repository = ?1 AND number = ?2")
            .bind(repository.as_str())
            .bind(to_integer(number.0)?)
            .fetch_optional(connection)
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
        let text: Option<String> =
            sqlx::query_scalar("SELECT review FROM reviews WHERE repository = ?1 AND number = ?2")
                .bind(repository.as_str())
                .bind(to_integer(number.0)?)
                .fetch_optional(self.readers())
                .await?;
        text.map(|text| from_json("review", &text)).transpose()
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

    /// Records what became of a merge request that was not recognised when it landed.
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
                if let Landed::Held { commit, because } = &landed {
                    let record = Record::Held {
                        merge_request: Some(review.facts.number),
                        commit: commit.clone(),
                        because: because.clone(),
                        paths: vec![],
                    };
                    audit::append(connection, &repository, &record, now).await?;
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
                let before = read(connection, &repository, review.facts.number).await?;
                let news = before.as_ref().is_none_or(|before| !before.says_the_same_as(&review));
                // What has landed meanwhile was judged as it was.
                if before.is_some_and(|before| before.landed.is_some()) {
                    return Ok(());
                }
                let digest = review.evaluation.as_ref().and_then(|e| e.digest());
                let last: Option<String> = sqlx::query_scalar(
                    "SELECT digest FROM evaluations WHERE repository = ?1 AND number = ?2 ORDER BY id DESC LIMIT 1",
                )
                .bind(repository.as_str())
                .bind(to_integer(review.facts.number.0)?)
                .fetch_optional(&mut *connection)
                .await?;
                if let (Some(evaluation), Some(digest)) = (&review.evaluation, &digest)
                    && last.as_deref() != Some(digest.as_str())
                {
                    sqlx::query(
                        "INSERT INTO evaluations (repository, number, digest, evaluation, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )
                    .bind(repository.as_str())
                    .bind(to_integer(review.facts.number.0)?)
                    .bind(digest.as_str())
                    .bind(to_json("evaluation", evaluation)?)
                    .bind(to_micros(now))
                    .execute(&mut *connection)
                    .await?;
                }
                if let Some(evaluation) = &review.evaluation
                    && news
                {
                    let record = Record::Reviewed {
                        merge_request: review.facts.number,
                        head: evaluation.head.clone(),
                        digest,
                        errors: evaluation.findings.iter().filter(|f| f.severity == Severity::Error).count(),
                        judged: review.judged.clone(),
                    };
                    audit::append(connection, &repository, &record, now).await?;
                }
                put(connection, &repository, &review, now).await
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
                let review = match read(connection, &repository, review.facts.number).await? {
                    Some(known) => Review {
                        facts: review.facts,
                        ..known
                    },
                    None => review,
                };
                put(connection, &repository, &review, now).await?;
                keys::touch(connection, &Touch::fact(Key::Landing { repository }), now).await
            })
        })
        .await
    }

    /// The plan that a merge request's comment shows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn shown(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Option<Shown>, StoreError> {
        let row: Option<(Option<String>, Option<i64>)> = sqlx::query_as(
            "SELECT shown_digest, shown_at FROM reviews WHERE repository = ?1 AND number = ?2",
        )
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .fetch_optional(self.readers())
        .await?;
        match row {
            Some((Some(digest), Some(at))) => Ok(Some(Shown {
                digest: parse("digest", &digest)?,
                at: from_micros(at)?,
            })),
            _ => Ok(None),
        }
    }

    /// The pushes onto a branch that push hooks told of.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn pushes(&self, repository: &RepositoryId, branch: &str) -> Result<Vec<Push>, StoreError> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "SELECT after, user_id, username FROM pushes WHERE repository = ?1 AND branch = ?2",
        )
        .bind(repository.as_str())
        .bind(branch)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(after, user, username)| {
                Ok(Push {
                    user: User {
                        id: UserId(from_integer(user)?),
                        username,
                    },
                    branch: branch.to_owned(),
                    after: parse("commit id", &after)?,
                })
            })
            .collect()
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

    /// How many deliveries told of notes that were not read yet; nothing for a merge request that was never recorded,
    /// of which they may have told before.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn notes_due(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Option<u64>, StoreError> {
        let due: Option<i64> =
            sqlx::query_scalar("SELECT notes_due FROM reviews WHERE repository = ?1 AND number = ?2")
                .bind(repository.as_str())
                .bind(to_integer(number.0)?)
                .fetch_optional(self.readers())
                .await?;
        due.map(from_integer).transpose()
    }

    /// Says of every merge request that is open or held that its notes are to be read.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn read_all_notes(&self, repository: &RepositoryId) -> Result<(), StoreError> {
        let repository = repository.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE reviews SET notes_due = 1 WHERE repository = ?1 AND (open = 1 OR held = 1) AND notes_due = 0",
                )
                .bind(repository.as_str())
                .execute(connection)
                .await?;
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
        number: MergeRequestNumber,
    ) -> Result<BTreeSet<NoteId>, StoreError> {
        let rows: Vec<i64> =
            sqlx::query_scalar("SELECT note FROM commands WHERE repository = ?1 AND number = ?2")
                .bind(repository.as_str())
                .bind(to_integer(number.0)?)
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
        number: MergeRequestNumber,
        read: ReadNotes,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, repository) = (lease.clone(), repository.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let ReadNotes { due, obeyed, retry } = read;
                let merge_request = to_integer(number.0)?;
                for note in obeyed {
                    sqlx::query(
                        "INSERT INTO commands (repository, number, note, user_id, at, approves, answer)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                    )
                    .bind(repository.as_str())
                    .bind(merge_request)
                    .bind(to_integer(note.note.0)?)
                    .bind(to_integer(note.user.0)?)
                    .bind(to_micros(note.at))
                    .bind(&note.approves)
                    .bind(note.answer.as_ref().map(|answer| to_json("answer", answer)).transpose()?)
                    .execute(&mut *connection)
                    .await?;
                    if let Some(digest) = note.approves {
                        let record = Record::Commanded { merge_request: number, note: note.note, user: note.user, digest };
                        audit::append(connection, &repository, &record, now).await?;
                    }
                }
                // More may have come while these were read.
                sqlx::query(
                    "UPDATE reviews SET notes_due = MAX(0, notes_due - ?3) WHERE repository = ?1 AND number = ?2",
                )
                .bind(repository.as_str())
                .bind(merge_request)
                .bind(to_integer(due)?)
                .execute(&mut *connection)
                .await?;
                if retry {
                    let requests: Vec<String> = sqlx::query_scalar(
                        "UPDATE requests SET retry = 1
                         WHERE repository = ?1 AND merge_request = ?2 AND sign_off IS NOT NULL
                           AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository
                             AND runs.request = requests.request AND runs.generation = requests.generation
                             AND (runs.finished_at IS NULL OR runs.state = '\"succeeded\"'))
                         RETURNING request",
                    )
                    .bind(repository.as_str())
                    .bind(merge_request)
                    .fetch_all(&mut *connection)
                    .await?;
                    for request in requests {
                        let request = parse("request key", &request)?;
                        let key = Key::Request { repository: repository.clone(), request };
                        keys::touch(connection, &Touch::fact(key), now).await?;
                    }
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
        number: MergeRequestNumber,
    ) -> Result<Vec<(NoteId, CommandAnswer)>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT note, answer FROM commands
             WHERE repository = ?1 AND number = ?2 AND answer IS NOT NULL ORDER BY note",
        )
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(note, answer)| Ok((NoteId(from_integer(note)?), from_json("answer", &answer)?)))
            .collect()
    }

    /// The sign-offs that were given by command on a merge request.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn command_approvals(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Vec<Approval>, StoreError> {
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(
            "SELECT user_id, at, approves FROM commands
             WHERE repository = ?1 AND number = ?2 AND approves IS NOT NULL ORDER BY note",
        )
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
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
