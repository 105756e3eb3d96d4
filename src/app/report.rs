//! `report/<repository>/<subject>`: the forge shows what is so. It converges: what is shown already is left alone, and
//! what was begun before a crash is looked up before it is made.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::change::Change;
use crate::domain::ids::{
    CommitId, Digest, EnvironmentName, IssueNumber, MergeRequestNumber, NoteId, RequestKey, RunId,
};
use crate::domain::key::Outcome;
use crate::domain::landing::{HeldBecause, Origin};
use crate::domain::merge_request::{MergeRequest, Thread};
use crate::domain::push::HeldPush;
use crate::domain::report::{Aftermath, Report, ReportedRun, Standing};
use crate::domain::review::{Evaluation, Judged, Review, Shown};
use crate::forge::{CommitState, CommitStatus, ForgeError, NewIssue, Note};
use crate::report::{self as text, Context, Limits, Marker, StatusState};
use crate::store::{AcceptedFiles, Lease, OwnNote, Store};

use super::{AppError, Repository, said};

mod issues;

/// How long a comment that shows progress stays as it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// How long a comment that was found as it was written is not read again: too short for somebody to change it and for
/// somebody else to read and approve it.
const SEEN_JUST_NOW: Duration = Duration::from_secs(2);

pub(super) struct Reporter {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// The plan that the comment shows.
struct Shows {
    /// Its digest; nothing if it shows none that could be signed.
    digest: Option<Digest>,
    /// Whether somebody may still sign it off.
    signable: bool,
}

/// Whether a note says what it should.
enum Written {
    /// It does.
    Now,
    /// It was begun before a crash and may still be on its way: look again then.
    Later(Timestamp),
}

/// Where a note of ours is.
enum Place {
    /// Nowhere.
    Nowhere,
    /// There, with other words.
    At(NoteId),
    /// There, with these words: left as it is, so that whoever has approved since has approved what it shows.
    Said(Note),
    /// It was begun before a crash and may still come: look again then.
    OnItsWay(Timestamp),
}

/// What everything that is written here needs.
struct Page<'a> {
    lease: &'a Lease,
    repository: &'a Repository,
    origin: Origin,
    /// What the notes stand on.
    on: Thread,
    /// Whether a note of ours may stand there that this database does not know.
    may_have_notes: bool,
    limits: Limits,
    admins: Vec<String>,
}

impl Reporter {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub(super) async fn reconcile(
        &self,
        lease: &Lease,
        repository: &Repository,
        origin: &Origin,
    ) -> Result<Outcome, AppError> {
        match origin {
            Origin::MergeRequest(number) => self.merge_request(lease, repository, *number).await,
            Origin::Push(commit) => self.push(lease, repository, commit).await,
        }
    }

    async fn merge_request(
        &self,
        lease: &Lease,
        repository: &Repository,
        number: MergeRequestNumber,
    ) -> Result<Outcome, AppError> {
        let Some(review) = self.store.review(&repository.id, number).await? else {
            return Ok(Outcome::Done);
        };
        let origin = Origin::MergeRequest(number);
        let aftermath = self
            .aftermath(repository, &origin, review.evaluation.as_ref())
            .await?;
        let state = self.store.repository(&repository.id).await?;
        let blocked = match (&state.examined, &state.suspended) {
            (None, _) => Some(HeldBecause::NotAdopted),
            (Some(_), Some(_)) => Some(HeldBecause::HistoryRewritten),
            (Some(_), None) => None,
        };
        let Some(mut report) = Report::of(&review, aftermath, &repository.target_branch, blocked.as_ref())
        else {
            return Ok(Outcome::Done);
        };
        let accepted = self.store.accepted(&repository.id).await?;
        let page = Page {
            lease,
            repository,
            origin,
            on: Thread::MergeRequest(number),
            may_have_notes: review.facts.notes_count > 0,
            limits: limits(repository),
            admins: admins(&accepted),
        };
        let again = self.show(&page, &accepted, &mut report).await?;
        self.status(&page, &report, &review).await?;
        Ok(again.map_or(Outcome::Done, Outcome::Again))
    }

    /// What follows from what something brought.
    async fn aftermath(
        &self,
        repository: &Repository,
        origin: &Origin,
        evaluation: Option<&Evaluation>,
    ) -> Result<Aftermath, AppError> {
        let id = &repository.id;
        let runs = self.store.runs_of(id, origin).await?;
        let changes = evaluation.into_iter().flat_map(|evaluation| &evaluation.requests);
        let keys: Vec<&RequestKey> = changes.map(Change::key).collect();
        Ok(Aftermath {
            runs: runs.iter().map(ReportedRun::from).collect(),
            held: self.store.held_requests(id, origin).await?,
            superseded: self.store.superseded_requests(id, origin, &keys).await?,
        })
    }

    /// Everything that is said in notes. Answers when to look again.
    async fn show(
        &self,
        page: &Page<'_>,
        accepted: &AcceptedFiles,
        report: &mut Report,
    ) -> Result<Option<Timestamp>, AppError> {
        if let Some(rules) = accepted.current_rules() {
            let is_paused = |name: &&EnvironmentName| rules.environments.get(*name).is_some_and(|e| e.paused);
            report.paused = report.environments.keys().filter(is_paused).cloned().collect();
        }
        report.given_up = self.store.given_up(&page.repository.id, &page.origin).await?;
        report.failing = self.store.failing(&page.repository.id, &page.origin).await?;
        let answered = self.answer_commands(page).await?;
        let again = self.comment(page, report).await?;
        let later = self.result(page, report).await?;
        Ok([answered, again, later].into_iter().flatten().min())
    }

    /// The one comment. Answers when to look again, if it was changed a moment ago.
    async fn comment(&self, page: &Page<'_>, report: &Report) -> Result<Option<Timestamp>, AppError> {
        let marker = Marker::report(&page.repository.id, &page.origin);
        let known = self
            .store
            .note(&page.repository.id, &page.origin, marker.as_str())
            .await?;
        // Who asks for nothing is told nothing.
        if known.is_none() && matches!(report.standing, Standing::Nothing | Standing::Closed) {
            return Ok(None);
        }
        let last = known.as_ref().and_then(|note| note.at);
        if report.standing == Standing::Provisioning
            && let Some(next) = last.and_then(|at| at.checked_add(PROGRESS_EVERY).ok())
            && self.clock.now() < next
        {
            return Ok(Some(next));
        }
        let body = page.words(report, |context| {
            text::comment(report, page.limits, &marker, context)
        });
        // Merged and not landed yet: it is about to be judged by what was shown.
        let at_work = report.standing == Standing::Provisioning && !report.runs.is_empty();
        let over = at_work
            || matches!(
                report.standing,
                Standing::Done | Standing::Failed | Standing::Cancelled | Standing::Superseded { .. }
            );
        let shows = Shows {
            digest: report.plan.as_ref().and(report.digest.clone()),
            signable: !over,
        };
        Ok(
            match self.write(page, &marker, &body, known, Some(shows)).await? {
                Written::Later(at) => Some(at),
                Written::Now => None,
            },
        )
    }

    /// The end of the runs, as a new note: an edit notifies nobody.
    async fn result(&self, page: &Page<'_>, report: &Report) -> Result<Option<Timestamp>, AppError> {
        let over = matches!(
            report.standing,
            Standing::Done
                | Standing::Failed
                | Standing::Held(_)
                | Standing::Cancelled
                | Standing::Superseded { .. }
        );
        let runs: Vec<RunId> = report.runs.iter().map(|run| run.id).collect();
        if !over || runs.is_empty() {
            return Ok(None);
        }
        let marker = Marker::result(&runs);
        let mut known = self
            .store
            .note(&page.repository.id, &page.origin, marker.as_str())
            .await?;
        // It is written once, and once more if somebody changed or deleted it.
        if known.as_ref().is_some_and(|note| note.digest.is_some())
            && let Some(before) = known.take()
        {
            known = self.look(page, &marker, before, false).await?;
            if known.as_ref().is_some_and(|note| note.digest.is_some()) {
                return Ok(None);
            }
        }
        // What this tells of was recorded before, so that its digest covers it, unless the sealer is far behind.
        let audit = self.store.seal_audit(page.lease).await?.head;
        let body = page.words(report, |context| {
            text::result(report, &runs, audit.as_ref(), page.limits, &marker, context)
        });
        Ok(match self.write(page, &marker, &body, known, None).await? {
            Written::Later(at) => Some(at),
            Written::Now => None,
        })
    }

    /// Answers commands that are not followed, in one note that is edited: whoever writes many gets one. Answers itself
    /// when to look again, if it is on its way.
    async fn answer_commands(&self, page: &Page<'_>) -> Result<Option<Timestamp>, AppError> {
        let (id, origin) = (&page.repository.id, &page.origin);
        let answers = self.store.answers(id, origin).await?;
        if answers.count == 0 {
            return Ok(None);
        }
        let marker = Marker::answers(id, origin);
        let known = self.store.note(id, origin, marker.as_str()).await?;
        let body = text::answers(&answers.newest, answers.count, &marker);
        Ok(match self.write(page, &marker, &body, known, None).await? {
            Written::Later(at) => Some(at),
            Written::Now => None,
        })
    }

    /// Reads a note of ours, unless one that was read a moment ago will do: what somebody changed or deleted is to be
    /// written anew.
    async fn look(
        &self,
        page: &Page<'_>,
        marker: &Marker,
        known: OwnNote,
        again: bool,
    ) -> Result<Option<OwnNote>, AppError> {
        let just_now = known
            .seen_at
            .and_then(|seen| seen.checked_add(SEEN_JUST_NOW).ok());
        let Some(number) = known
            .number
            .filter(|_| again || just_now.is_none_or(|until| until <= self.clock.now()))
        else {
            return Ok(Some(known));
        };
        let note = page.repository.forge.note(page.on, NoteId(number)).await?;
        let (store, origin) = (&self.store, &page.origin);
        said::record(store, page.repository, origin, marker, &known, note.as_ref()).await?;
        Ok(store.note(&page.repository.id, origin, marker.as_str()).await?)
    }

    /// Makes a note of ours say this; `shows` is the plan that it then shows, for the comment.
    async fn write(
        &self,
        page: &Page<'_>,
        marker: &Marker,
        body: &str,
        mut known: Option<OwnNote>,
        shows: Option<Shows>,
    ) -> Result<Written, AppError> {
        let digest = Digest::of(body.as_bytes());
        let (forge, on, now) = (&page.repository.forge, page.on, self.clock.now());
        let (id, origin) = (&page.repository.id, &page.origin);
        let says_it = |known: &Option<OwnNote>| {
            known
                .as_ref()
                .is_some_and(|note| note.digest.as_ref() == Some(&digest))
        };
        // What was shown until now stays shown only if it was there until now.
        let goes_on = match &shows {
            Some(Shows {
                digest: Some(digest),
                signable: true,
            }) => self
                .store
                .shown(id, origin)
                .await?
                .is_some_and(|shown| shown.digest == *digest),
            _ => false,
        };
        if (goes_on || says_it(&known))
            && let Some(before) = known.take()
        {
            let again = goes_on && before.digest.as_ref() == Some(&digest);
            known = self.look(page, marker, before, again).await?;
        }
        if says_it(&known) {
            return Ok(Written::Now);
        }
        let shows = shows.map(|shows| shows.digest);
        let note = match self.place(page, marker, body, known.as_ref()).await? {
            Place::OnItsWay(until) => return Ok(Written::Later(until)),
            Place::Said(note) => note,
            place => {
                self.store
                    .begin_note(
                        page.lease,
                        id,
                        origin,
                        marker.as_str(),
                        shows.clone(),
                        &said::text_of(body),
                        now,
                    )
                    .await?;
                let updated = match place {
                    Place::At(found) => match forge.update_note(on, found, body).await {
                        Ok(note) => Some(note),
                        // Somebody deleted it; before a crash it may have been written anew.
                        Err(ForgeError::NotFound { .. }) => {
                            self.is_gone(page, marker).await?;
                            match self.look_up(page, marker).await? {
                                Some(other) => Some(forge.update_note(on, other.id, body).await?),
                                None => None,
                            }
                        }
                        Err(error) => return Err(error.into()),
                    },
                    _ => None,
                };
                match updated {
                    Some(note) => note,
                    None => forge.create_note(on, body).await?,
                }
            }
        };
        page.repository.learn_own_user(&note.author);
        let now = self.clock.now();
        let own = OwnNote {
            number: Some(note.id.0),
            digest: Some(digest),
            at: Some(now),
            body: Some(said::text_of(&note.body)),
            writing: None,
            updated_at: Some(note.updated_at),
            seen_at: Some(now),
        };
        let shown = shows.flatten().map(|digest| Shown {
            digest,
            at: note.updated_at,
            anew: false,
        });
        self.store
            .record_note(page.lease, id, origin, marker.as_str(), own, shown)
            .await?;
        Ok(Written::Now)
    }

    /// Records that a note of ours was deleted, be it in the moment in which it is not read again: what it showed is shown
    /// no more.
    async fn is_gone(&self, page: &Page<'_>, marker: &Marker) -> Result<(), AppError> {
        let (id, origin) = (&page.repository.id, &page.origin);
        let shows_plan = *marker == Marker::report(id, origin);
        if let Some(gone) = self.store.note(id, origin, marker.as_str()).await? {
            self.store
                .note_lost(id, origin, marker.as_str(), &gone, shows_plan)
                .await?;
        }
        Ok(())
    }

    /// Where a note of ours is. What was begun and not recorded is looked up before anything is made.
    async fn place(
        &self,
        page: &Page<'_>,
        marker: &Marker,
        body: &str,
        known: Option<&OwnNote>,
    ) -> Result<Place, AppError> {
        match known {
            // Written, or lost since.
            Some(known @ OwnNote { number: Some(id), .. })
                if known.digest.is_some() || known.writing.is_none() =>
            {
                return Ok(Place::At(NoteId(*id)));
            }
            // Never begun by this database; an older one may have been lost, but not one that made the same runs.
            None if !page.may_have_notes || marker.is_of_runs() => return Ok(Place::Nowhere),
            _ => {}
        }
        let begun = known.filter(|known| known.number.is_none());
        let arrived = begun
            .and_then(|begun| begun.at?.checked_add(page.repository.forge_lag).ok())
            .filter(|arrived| self.clock.now() < *arrived);
        Ok(match (self.look_up(page, marker).await?, arrived) {
            (Some(note), _) if note.body.trim_end() == body.trim_end() => Place::Said(note),
            (Some(note), _) => Place::At(note.id),
            (None, Some(until)) => Place::OnItsWay(until),
            (None, None) => Place::Nowhere,
        })
    }

    async fn look_up(&self, page: &Page<'_>, marker: &Marker) -> Result<Option<Note>, AppError> {
        let own = page.repository.own_user().await?;
        let notes = page.repository.forge.notes(page.on).await?;
        Ok(notes
            .into_iter()
            .find(|note| note.author.id == own.id && marker.marks(&note.body)))
    }

    /// The commit status: a courtesy that blocks the button. What it said before the merge stays if it was that it may be
    /// merged, and nothing went wrong since.
    async fn status(&self, page: &Page<'_>, report: &Report, review: &Review) -> Result<(), AppError> {
        let facts = &review.facts;
        let says_nothing = matches!(
            report.standing,
            Standing::Provisioning | Standing::Superseded { .. } | Standing::Closed
        );
        if facts.from_fork || says_nothing {
            return Ok(());
        }
        let (status, digest) = page.status(facts, report);
        let (id, origin) = (&page.repository.id, &page.origin);
        let shown = self.store.status(id, origin).await?;
        if shown.as_ref() == Some(&digest) && (!review.is_open() || is_shown(page, &status).await?) {
            return Ok(());
        }
        if let (Standing::Done, Some(Judged::SignedOff { approvers })) = (&report.standing, &review.judged) {
            let approvers = approvers.clone();
            let ready = Report {
                standing: Standing::Ready { approvers },
                ..report.clone()
            };
            if shown == Some(page.status(facts, &ready).1) {
                return Ok(());
            }
        }
        match page.repository.forge.set_status(&status).await {
            // After the merge the branch may be gone, and the status with it.
            Err(ForgeError::NotFound { .. } | ForgeError::Refused { .. }) if !review.is_open() => {}
            set => set?,
        }
        Ok(self.store.record_status(page.lease, id, origin, &digest).await?)
    }
}

impl Page<'_> {
    /// The status of the head, and what names it.
    fn status(&self, facts: &MergeRequest, report: &Report) -> (CommitStatus, Digest) {
        let text::Status { state, description } = text::status(report, self.limits);
        let status = CommitStatus {
            commit: report.head.clone(),
            branch: facts.source_branch.clone(),
            state: match state {
                StatusState::Pending => CommitState::Pending,
                StatusState::Running => CommitState::Running,
                StatusState::Success => CommitState::Success,
                StatusState::Failed => CommitState::Failed,
            },
            description,
            target_url: Some(facts.web_url.clone()),
        };
        let digest = Digest::of(serde_json::json!(status).to_string().as_bytes());
        (status, digest)
    }

    fn words(&self, report: &Report, write: impl Fn(&Context<'_>) -> String) -> String {
        let file_url = |path: &str, line: u32| self.repository.forge.file_url(&report.head, path, line);
        write(&Context {
            file_url: &file_url,
            admins: &self.admins,
        })
    }
}

/// Whether a status of ours is there: anybody who may push can show another one under its name. The forge keeps the
/// words of one that only waits, so its state is what counts.
async fn is_shown(page: &Page<'_>, status: &CommitStatus) -> Result<bool, AppError> {
    let forge = &page.repository.forge;
    let shown = forge.shown_status(&status.commit, &status.branch).await?;
    Ok(shown.is_some_and(|shown| shown.state == status.state))
}

pub(super) fn admins(accepted: &AcceptedFiles) -> Vec<String> {
    accepted
        .rules
        .as_ref()
        .map(|(_, rules)| rules.admins.names())
        .unwrap_or_default()
}

fn limits(repository: &Repository) -> Limits {
    let limits = repository.forge.limits();
    Limits {
        note: limits.note,
        status: limits.status_description,
    }
}
