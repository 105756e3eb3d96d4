//! What was said on a merge request, or in the issue about a push, about what an evaluation comes to. It is read from
//! the forge when it is judged: others can change what we wrote, and people take back what they wrote.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::command::{Command, parse};
use crate::domain::ids::{Digest, NoteId, UserId};
use crate::domain::landing::Origin;
use crate::domain::merge_request::Thread;
use crate::domain::review::Shown;
use crate::domain::signoff::{Approval, Given};
use crate::forge::{ForgeError, Note};
use crate::report::Marker;
use crate::store::{OwnNote, SpokenApproval, Store};

use super::{AppError, Repository};

/// How often a comment is read that is written at the same time.
const TRIES: usize = 5;

/// What is known to have been said, until [`Said::read_again`] is asked for what is so now.
pub(super) struct Said {
    /// What people were shown, if it is what is judged.
    pub(super) shown: Option<Shown>,
    /// Whether the comment that shows it had been changed or deleted.
    pub(super) anew: bool,
    /// Whether the comment was read, and has said the same since [`Shown::at`].
    intact: bool,
    spoken: Vec<SpokenApproval>,
    /// Who took back what they had approved, and when.
    withdrawn: BTreeMap<UserId, Timestamp>,
}

/// How a note of ours was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// As it was written.
    AsWritten,
    /// With its own words, and with another time: changed and changed back, or only reacted to.
    Moved(Timestamp),
    /// With other words, by another hand, or not at all.
    Lost,
}

impl Said {
    pub(super) async fn known(
        store: &Store,
        repository: &Repository,
        origin: &Origin,
        digest: Option<&Digest>,
    ) -> Result<Self, AppError> {
        let id = &repository.id;
        let shown = store.shown(id, origin).await?;
        let anew = store.shown_anew(id, origin).await?;
        Ok(Self {
            shown: shown.filter(|shown| digest == Some(&shown.digest)),
            anew: digest.is_some() && anew.as_ref() == digest,
            intact: false,
            spoken: store.command_approvals(id, origin).await?,
            withdrawn: store.withdrawals(id, origin).await?,
        })
    }

    /// Whether somebody approved by command.
    pub(super) fn has_commands(&self) -> bool {
        !self.spoken.is_empty()
    }

    /// Approvals by command, as far as they stand.
    pub(super) fn commands(&self) -> impl Iterator<Item = Approval> {
        self.spoken.iter().map(|spoken| spoken.approval.clone())
    }

    /// Reads the comment with the plan, and the notes that approve. To be asked once the approvals are known: a comment
    /// that is as it was written then showed the same when each of them was given.
    pub(super) async fn read_again(
        &mut self,
        store: &Store,
        repository: &Repository,
        origin: &Origin,
    ) -> Result<(), AppError> {
        let on = match origin {
            Origin::MergeRequest(number) => Some(Thread::MergeRequest(*number)),
            Origin::Push(commit) => {
                let issue = store.issue_of_push(&repository.id, commit).await?;
                issue.map(Thread::Issue)
            }
        };
        let Some(on) = on else {
            self.shown = None;
            return Ok(());
        };
        if self.has_commands() {
            self.read_commands(repository, on).await?;
        }
        if self.shown.is_none() {
            return Ok(());
        }
        match look_at_comment(store, repository, origin, on).await? {
            Some(Found::AsWritten) => self.intact = true,
            // Its words have been the same since then.
            Some(Found::Moved(at)) => {
                (self.intact, self.anew) = (true, true);
                if let Some(shown) = &mut self.shown {
                    shown.at = shown.at.max(at);
                }
            }
            Some(Found::Lost) => (self.anew, self.shown) = (true, None),
            None => self.shown = None,
        }
        Ok(())
    }

    /// Reads who still says that they approve, and who has taken it back since the notes were last read.
    async fn read_commands(&mut self, repository: &Repository, on: Thread) -> Result<(), AppError> {
        let notes = match repository.forge.notes(on).await {
            Ok(notes) => notes,
            Err(error @ (ForgeError::Unexpected { .. } | ForgeError::Refused { .. })) => {
                tracing::warn!(repository = %repository.id, %error, "approvals by command cannot be read");
                vec![]
            }
            Err(error) => return Err(error.into()),
        };
        for spoken in &mut self.spoken {
            let note = notes.iter().find(|note| note.id == spoken.note);
            if !note.is_some_and(|note| still_says(spoken, note)) {
                spoken.approval.given = Given::Unsaid;
            }
        }
        let takes_back = |note: &&Note| !note.system && parse(&note.body).contains(&Command::Withdraw);
        for note in notes.iter().filter(takes_back) {
            let at = self.withdrawn.entry(note.author.id).or_insert(note.created_at);
            *at = (*at).max(note.created_at);
        }
        Ok(())
    }

    /// Says of each approval what is known besides of how it was given; `before` is what was known when they were last
    /// looked at.
    pub(super) fn put_given(&self, approvals: &mut [Approval], before: &[Approval]) {
        for approval in approvals.iter_mut().filter(|a| a.given == Given::AsListed) {
            if self
                .withdrawn
                .get(&approval.user)
                .is_some_and(|at| approval.at <= *at)
            {
                approval.given = Given::Withdrawn;
                continue;
            }
            let Some(shown) = &self.shown else {
                continue;
            };
            let given = Given::WhileShown(shown.digest.clone());
            let is_same = |known: &&Approval| {
                (known.user, known.at, &known.digest) == (approval.user, approval.at, &approval.digest)
            };
            let known = before
                .iter()
                .find(is_same)
                .is_some_and(|known| known.given == given);
            if known || (self.intact && approval.at > shown.at) {
                approval.given = given;
            }
        }
    }
}

/// Whether a note says what it said when it was obeyed, by the same author.
fn still_says(spoken: &SpokenApproval, note: &Note) -> bool {
    let same_words = match &spoken.body {
        Some(body) => *body == Digest::of(note.body.as_bytes()),
        None => parse(&note.body)
            .iter()
            .any(|command| matches!(command, Command::Approve(digest) if spoken.approval.digest.as_ref() == Some(digest))),
    };
    same_words && note.author.id == spoken.approval.user && !note.system
}

/// Reads the comment with the plan, and records what was found; nothing while it is not there yet.
async fn look_at_comment(
    store: &Store,
    repository: &Repository,
    origin: &Origin,
    on: Thread,
) -> Result<Option<Found>, AppError> {
    let marker = Marker::report(&repository.id, origin);
    for _ in 0..TRIES {
        let before = store.note(&repository.id, origin, marker.as_str()).await?;
        let Some(number) = before.as_ref().and_then(|known| known.number) else {
            return Ok(None);
        };
        let note = repository.forge.note(on, NoteId(number)).await?;
        let known = store.note(&repository.id, origin, marker.as_str()).await?;
        let Some(known) = known.filter(|known| before.is_some_and(|before| is_same_writing(&before, known)))
        else {
            continue;
        };
        if let Some(found) = record(store, repository, origin, &marker, &known, note.as_ref()).await? {
            return Ok(Some(found));
        }
    }
    Err(AppError::Inconsistent(format!(
        "the comment about {origin} is written again and again while it is read"
    )))
}

/// Whether nothing was written between two looks.
fn is_same_writing(one: &OwnNote, other: &OwnNote) -> bool {
    (one.number, one.at, &one.writing) == (other.number, other.at, &other.writing)
}

/// Compares a note of ours with what was written, and records what it was found to be; nothing if it is being written
/// just now.
pub(super) async fn record(
    store: &Store,
    repository: &Repository,
    origin: &Origin,
    marker: &Marker,
    known: &OwnNote,
    note: Option<&Note>,
) -> Result<Option<Found>, AppError> {
    let own = repository.own_user().await?.id;
    let (id, found) = (&repository.id, compare(known, note, own));
    let shows_plan = *marker == Marker::report(id, origin);
    match found {
        Found::AsWritten => store.note_found(id, origin, marker.as_str(), None).await?,
        Found::Moved(at) => store.note_found(id, origin, marker.as_str(), Some(at)).await?,
        Found::Lost => {
            if !store
                .note_lost(id, origin, marker.as_str(), known, shows_plan)
                .await?
            {
                return Ok(None);
            }
            tracing::warn!(repository = %id, %origin, marker = marker.as_str(), "a comment of ours was changed or deleted");
        }
    }
    Ok(Some(found))
}

fn compare(known: &OwnNote, note: Option<&Note>, own: UserId) -> Found {
    let Some(note) = note.filter(|note| note.author.id == own && !note.system) else {
        return Found::Lost;
    };
    let text = text_of(&note.body);
    if known.writing.as_ref() == Some(&text) {
        return Found::AsWritten;
    }
    match known.body.as_ref() {
        Some(body) if *body != text => Found::Lost,
        None => Found::Lost,
        Some(_) if known.updated_at == Some(note.updated_at) => Found::AsWritten,
        Some(_) => Found::Moved(note.updated_at),
    }
}

/// Names the text of a note of ours, however the forge ends its lines.
pub(super) fn text_of(body: &str) -> Digest {
    Digest::of(body.replace("\r\n", "\n").trim_end().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::merge_request::User;

    const OWN: UserId = UserId(9);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn note(author: UserId, body: &str, updated: i64) -> Note {
        Note {
            id: NoteId(1),
            author: User {
                id: author,
                username: "landfall".into(),
            },
            body: body.into(),
            created_at: at(1),
            updated_at: at(updated),
            system: false,
        }
    }

    #[test]
    fn a_note_of_ours_is_what_was_written() {
        let known = OwnNote {
            number: Some(1),
            digest: Some(Digest::of(b"plan\n")),
            at: Some(at(100)),
            body: Some(text_of("plan\n")),
            writing: None,
            updated_at: Some(at(5)),
            seen_at: None,
        };
        let being_written = OwnNote {
            writing: Some(text_of("another plan\n")),
            ..known.clone()
        };
        let before_this_was_kept = OwnNote {
            body: None,
            updated_at: None,
            ..known.clone()
        };
        let (mine, same) = (note(OWN, "plan\n", 5), note(OWN, "plan\r\n\r\n", 5));
        let (other, next) = (note(OWN, "no plan", 5), note(OWN, "another plan", 7));
        let cases = [
            ("as it was", &known, Some(&mine), Found::AsWritten),
            ("other ends of lines", &known, Some(&same), Found::AsWritten),
            ("gone", &known, None, Found::Lost),
            ("other words at the same time", &known, Some(&other), Found::Lost),
            (
                "another time",
                &known,
                Some(&note(OWN, "plan", 6)),
                Found::Moved(at(6)),
            ),
            (
                "another hand",
                &known,
                Some(&note(UserId(8), "plan", 5)),
                Found::Lost,
            ),
            ("what nobody writes", &known, Some(&next), Found::Lost),
            (
                "what is being written",
                &being_written,
                Some(&next),
                Found::AsWritten,
            ),
            ("not written yet", &being_written, Some(&mine), Found::AsWritten),
            (
                "something else meanwhile",
                &being_written,
                Some(&other),
                Found::Lost,
            ),
            ("nothing known", &before_this_was_kept, Some(&mine), Found::Lost),
        ];
        for (name, known, note, expected) in cases {
            assert_eq!(compare(known, note, OWN), expected, "{name}");
        }
    }
}
