//! Commands in notes: read by API, obeyed once by id, only from people whose role allows it. One that was changed before
//! it was read is answered and not obeyed: others can change it, and nobody can tell who did.

use jiff::Timestamp;

use crate::domain::command::{Command, parse};
use crate::domain::ids::Digest;
use crate::domain::landing::Origin;
use crate::domain::merge_request::Thread;
use crate::domain::report::CommandAnswer;
use crate::forge::AccessLevel;
use crate::store::{Lease, ObeyedNote, ReadNotes, Store};

use super::{AppError, Repository};

/// Where somebody may have written a command.
pub(super) struct Place<'a> {
    /// What it is about.
    pub(super) origin: &'a Origin,
    /// What the notes stand on.
    pub(super) on: Thread,
    /// Whether there is anything to read where no delivery told of it yet.
    pub(super) may_have_notes: bool,
}

/// Reads the notes of a place if a delivery or a sweep said so, and obeys what is new in them: sign-offs and
/// answers are recorded. Answers whether somebody wants the plan made anew.
pub(super) async fn obey(
    store: &Store,
    lease: &Lease,
    repository: &Repository,
    place: &Place<'_>,
    now: Timestamp,
) -> Result<bool, AppError> {
    let origin = place.origin;
    let due = store.notes_due(&repository.id, origin).await?;
    if due.map_or(!place.may_have_notes, |due| due == 0) {
        return Ok(false);
    }
    let obeyed = store.obeyed(&repository.id, origin).await?;
    let notes = repository.forge.notes(place.on).await?;
    let mut now_obeyed = Vec::new();
    let (mut plan, mut retry, mut cancelled_by) = (false, false, None);
    for note in notes
        .iter()
        .filter(|note| !obeyed.contains(&note.id) && !note.system)
    {
        let commands = parse(&note.body);
        if commands.is_empty() {
            continue;
        }
        let (mut approves, mut withdraws, mut retries, mut answer) = (None, false, false, None);
        let member = repository.forge.member(note.author.id).await?;
        let may_ask = member.is_some_and(|m| m.active && m.level >= AccessLevel::Developer);
        for command in commands {
            match command {
                _ if !may_ask => {
                    answer = Some(CommandAnswer::NotAllowed {
                        username: note.author.username.clone(),
                    });
                }
                _ if note.created_at != note.updated_at => answer = Some(CommandAnswer::Changed),
                Command::Plan => plan = true,
                Command::Retry if store.can_retry(&repository.id, origin).await? => {
                    (retry, retries, cancelled_by) = (true, true, None);
                }
                Command::Cancel if store.can_cancel(&repository.id, origin).await? => {
                    (retry, retries, cancelled_by) = (false, false, Some(note.author.username.clone()));
                }
                Command::Retry => answer = Some(nothing_to("retry")),
                Command::Cancel => answer = Some(nothing_to("cancel")),
                // Whether it counts is the gate's to say, each time it is asked.
                Command::Approve(digest) => (approves, withdraws) = (Some(digest), false),
                Command::Withdraw => (approves, withdraws) = (None, true),
                Command::Help => answer = Some(CommandAnswer::Help),
                Command::NotAlone => answer = Some(CommandAnswer::NotAlone),
                Command::Unknown(text) => answer = Some(CommandAnswer::Unknown { text }),
            }
        }
        let (user, at) = (note.author.id, note.created_at);
        now_obeyed.push(ObeyedNote {
            note: note.id,
            user,
            at,
            body: Digest::of(note.body.as_bytes()),
            approves,
            withdraws,
            retries,
            answer,
        });
    }
    store
        .obey(
            lease,
            &repository.id,
            origin,
            ReadNotes {
                due: due.unwrap_or_default(),
                obeyed: now_obeyed,
                retry,
                cancelled_by,
            },
            now,
        )
        .await?;
    Ok(plan)
}

fn nothing_to(command: &str) -> CommandAnswer {
    CommandAnswer::NothingTo {
        command: command.to_owned(),
    }
}
