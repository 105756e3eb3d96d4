//! A project on a forge in memory, and what people can do there: what GitLab's documentation says of merge requests,
//! versions, approvals, notes, members, groups and events, as far as the gate asks after it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use landfall::clock::{Clock, ManualClock};
use landfall::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId, UserId};
use landfall::domain::merge_request::{MergeRequestState, Thread, User};
use landfall::domain::tree::Tree;
use landfall::forge::{AccessLevel, Event, ForgeApproval, PushEvent, Version};

use super::git::{Git, merged};

/// The branch that is the desired state.
pub(super) const MAIN: &str = "main";
/// Landfall's own account.
pub(super) const BOT: UserId = UserId(90);

/// Somebody with an account.
pub(super) struct Account {
    pub(super) user: User,
    pub(super) active: bool,
    /// Their role in the project, if they are a member.
    pub(super) level: Option<AccessLevel>,
}

/// A group, and its members.
pub(super) struct Group {
    pub(super) id: u64,
    pub(super) path: String,
    pub(super) members: BTreeMap<UserId, AccessLevel>,
}

/// A note, and what its author made it say.
#[derive(Clone)]
pub(super) struct Note {
    pub(super) id: NoteId,
    pub(super) author: UserId,
    pub(super) body: String,
    /// What its author wrote last: differs from `body` once somebody else has edited it.
    pub(super) own_words: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// A merge request.
pub(super) struct Mr {
    pub(super) number: MergeRequestNumber,
    pub(super) author: UserId,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) state: MergeRequestState,
    pub(super) head: CommitId,
    pub(super) merge_commit: Option<CommitId>,
    pub(super) squash_commit: Option<CommitId>,
    pub(super) merged_at: Option<Timestamp>,
    pub(super) updated_at: Timestamp,
    /// When it was last closed or reopened.
    pub(super) closed_or_reopened: Option<Timestamp>,
    pub(super) versions: Vec<Version>,
    pub(super) approvals: Vec<(UserId, Timestamp)>,
    pub(super) notes: Vec<Note>,
    /// What its newest version brings.
    pub(super) commits: BTreeSet<CommitId>,
}

/// An issue that Landfall opened.
pub(super) struct Issue {
    pub(super) number: IssueNumber,
    pub(super) body: String,
    pub(super) open: bool,
    pub(super) notes: Vec<Note>,
}

/// How a merge request is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Merge,
    Squash,
    FastForward,
}

/// The project.
pub(super) struct Project {
    pub(super) clock: ManualClock,
    pub(super) git: Git,
    pub(super) branches: BTreeMap<String, CommitId>,
    pub(super) merge_requests: Vec<Mr>,
    pub(super) issues: Vec<Issue>,
    pub(super) accounts: BTreeMap<UserId, Account>,
    pub(super) groups: Vec<Group>,
    pub(super) events: Vec<PushEvent>,
    /// What the webhooks will tell.
    pub(super) outbox: Vec<Event>,
    /// Merges that moved the branch already: the merge request is marked a moment later.
    marks: Vec<(Timestamp, MergeRequestNumber)>,
    last_id: u64,
}

impl Project {
    pub(super) fn new(clock: ManualClock) -> Self {
        Self {
            clock,
            git: Git::default(),
            branches: BTreeMap::new(),
            merge_requests: Vec::new(),
            issues: Vec::new(),
            accounts: BTreeMap::new(),
            groups: Vec::new(),
            events: Vec::new(),
            outbox: Vec::new(),
            marks: Vec::new(),
            last_id: 1000,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn user(&self, id: UserId) -> User {
        self.accounts[&id].user.clone()
    }

    /// Whether they may do what takes that role.
    pub(super) fn may(&self, user: UserId, level: AccessLevel) -> bool {
        let account = self.accounts.get(&user);
        account.is_some_and(|account| account.active && account.level.is_some_and(|has| has >= level))
    }

    pub(super) fn merge_request(&self, number: MergeRequestNumber) -> Option<&Mr> {
        self.merge_requests.iter().find(|one| one.number == number)
    }

    pub(super) fn merge_request_mut(&mut self, number: MergeRequestNumber) -> Option<&mut Mr> {
        self.merge_requests.iter_mut().find(|one| one.number == number)
    }

    pub(super) fn main(&self) -> &CommitId {
        &self.branches[MAIN]
    }

    /// The files of the head of a branch.
    pub(super) fn tree_of(&self, branch: &str) -> &Tree {
        self.git.tree(&self.branches[branch])
    }

    /// Moves a branch, or makes it.
    pub(super) fn push(&mut self, user: UserId, branch: &str, head: &CommitId) {
        let before = self.branches.insert(branch.to_owned(), head.clone());
        if before.as_ref() == Some(head) {
            return;
        }
        let event = PushEvent {
            user: self.user(user),
            branch: branch.to_owned(),
            after: Some(head.clone()),
            at: self.now(),
        };
        self.events.push(event.clone());
        self.outbox.push(Event::Push(event));
        self.new_versions(branch, head);
        if branch == MAIN {
            self.find_merged(before.as_ref(), head);
        }
    }

    fn new_versions(&mut self, branch: &str, head: &CommitId) {
        let (now, id) = (self.now(), self.next_id());
        let main = self.branches.get(MAIN).cloned();
        let brought = main.map_or_else(BTreeSet::new, |main| {
            self.git.between(&main, head).into_iter().collect()
        });
        for one in &mut self.merge_requests {
            if one.source == branch && one.state == MergeRequestState::Open {
                one.head = head.clone();
                one.commits = brought.clone();
                one.versions.push(Version {
                    id,
                    head: head.clone(),
                    created_at: now,
                });
                one.updated_at = now;
                self.outbox.push(Event::MergeRequest { number: one.number });
            }
        }
    }

    /// Open merge requests whose head the target branch has just come to hold are merged.
    fn find_merged(&mut self, before: Option<&CommitId>, head: &CommitId) {
        let had = before
            .map(|before| self.git.ancestors(before))
            .unwrap_or_default();
        let has = self.git.ancestors(head);
        let now = self.now();
        for one in &mut self.merge_requests {
            let is_open = one.state == MergeRequestState::Open && one.target == MAIN;
            if is_open && has.contains(&one.head) && !had.contains(&one.head) && one.merged_at.is_none() {
                one.state = MergeRequestState::Merged;
                one.merged_at = Some(now);
                one.updated_at = now;
                one.merge_commit = Some(head.clone());
                self.outbox.push(Event::Merged { number: one.number });
            }
        }
    }

    /// Opens a merge request of a branch to `main`.
    pub(super) fn open(&mut self, author: UserId, source: &str) -> MergeRequestNumber {
        let number = MergeRequestNumber(self.merge_requests.len() as u64 + 1);
        let (now, head, id) = (self.now(), self.branches[source].clone(), self.next_id());
        let version = Version {
            id,
            head: head.clone(),
            created_at: now,
        };
        let commits = self.git.between(self.main(), &head).into_iter().collect();
        self.merge_requests.push(Mr {
            number,
            author,
            source: source.to_owned(),
            target: MAIN.to_owned(),
            state: MergeRequestState::Open,
            head,
            merge_commit: None,
            squash_commit: None,
            merged_at: None,
            updated_at: now,
            closed_or_reopened: None,
            versions: vec![version],
            approvals: Vec::new(),
            notes: Vec::new(),
            commits,
        });
        self.outbox.push(Event::MergeRequest { number });
        number
    }

    /// What merging it now would make of `main`; nothing if it conflicts or cannot be merged.
    pub(super) fn would_merge(&self, number: MergeRequestNumber) -> Option<Tree> {
        let one = self.merge_request(number)?;
        if one.state != MergeRequestState::Open || one.target != MAIN || one.merged_at.is_some() {
            return None;
        }
        let base = self.git.merge_base(self.main(), &one.head)?;
        if base == one.head {
            return None;
        }
        merged(self.git.tree(&base), self.tree_of(MAIN), self.git.tree(&one.head))
    }

    /// Merges it, if that can be done. The branch moves at once, the merge request is marked after `lag`.
    pub(super) fn merge(
        &mut self,
        user: UserId,
        number: MergeRequestNumber,
        method: Method,
        lag: std::time::Duration,
    ) -> bool {
        let Some(tree) = self.would_merge(number) else {
            return false;
        };
        let (main, now) = (self.main().clone(), self.now());
        let head = self.merge_request(number).map(|one| one.head.clone()).unwrap();
        let subject = format!("Merge !{number} at {now}");
        let (lands, merge, squash) = match method {
            Method::FastForward if self.git.merge_base(&main, &head) == Some(main.clone()) => {
                (head, None, None)
            }
            Method::Squash => {
                let squashed =
                    self.git
                        .commit(std::slice::from_ref(&main), tree.clone(), "squashed", "noreply");
                let merge = self
                    .git
                    .commit(&[main, squashed.clone()], tree, &subject, "noreply");
                (merge.clone(), Some(merge), Some(squashed))
            }
            _ => {
                let merge = self.git.commit(&[main, head], tree, &subject, "noreply");
                (merge.clone(), Some(merge), None)
            }
        };
        let one = self.merge_request_mut(number).unwrap();
        // Claimed, so that nothing takes it for merged by hand.
        one.merged_at = Some(now);
        one.merge_commit = merge;
        one.squash_commit = squash;
        self.marks.push((now.checked_add(lag).unwrap(), number));
        self.push(user, MAIN, &lands);
        self.tick();
        true
    }

    /// Marks what is due.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        let due: Vec<MergeRequestNumber> = self
            .marks
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, number)| *number)
            .collect();
        self.marks.retain(|(at, _)| *at > now);
        for number in due {
            let one = self.merge_request_mut(number).unwrap();
            one.state = MergeRequestState::Merged;
            one.updated_at = now;
            self.outbox.push(Event::Merged { number });
        }
    }

    /// When the next mark is due.
    pub(super) fn next_mark(&self) -> Option<Timestamp> {
        self.marks.iter().map(|(at, _)| *at).min()
    }

    /// Something about a merge request changed.
    fn touched(&mut self, number: MergeRequestNumber, change: impl FnOnce(&mut Mr)) {
        let now = self.now();
        if let Some(one) = self.merge_request_mut(number) {
            change(one);
            one.updated_at = now;
            self.outbox.push(Event::MergeRequest { number });
        }
    }

    /// Presses *Approve*, if the forge lets them; answers whether it did.
    pub(super) fn approve(&mut self, user: UserId, number: MergeRequestNumber) -> bool {
        let now = self.now();
        let may = self.may(user, AccessLevel::Developer);
        let takes = self.merge_request(number).is_some_and(|one| {
            one.state == MergeRequestState::Open && one.approvals.iter().all(|(by, _)| *by != user)
        });
        if may && takes {
            self.touched(number, |one| one.approvals.push((user, now)));
        }
        may && takes
    }

    /// Takes an approval back.
    pub(super) fn revoke(&mut self, user: UserId, number: MergeRequestNumber) {
        self.touched(number, |one| one.approvals.retain(|(by, _)| *by != user));
    }

    pub(super) fn approvals(&self, number: MergeRequestNumber) -> Vec<ForgeApproval> {
        let given = self
            .merge_request(number)
            .map(|one| one.approvals.as_slice())
            .unwrap_or_default();
        given
            .iter()
            .map(|(user, at)| ForgeApproval {
                user: self.user(*user),
                at: *at,
                commit: None,
            })
            .collect()
    }

    pub(super) fn close(&mut self, number: MergeRequestNumber) {
        let now = self.now();
        self.touched(number, |one| {
            if one.state == MergeRequestState::Open && one.merged_at.is_none() {
                one.state = MergeRequestState::Closed;
                one.closed_or_reopened = Some(now);
            }
        });
    }

    /// Opens it again; its head is what its branch is by then.
    pub(super) fn reopen(&mut self, number: MergeRequestNumber) {
        let (now, id) = (self.now(), self.next_id());
        let Some(one) = self
            .merge_request(number)
            .filter(|one| one.state == MergeRequestState::Closed)
        else {
            return;
        };
        let head = self.branches[&one.source].clone();
        let brought: BTreeSet<CommitId> = self.git.between(self.main(), &head).into_iter().collect();
        self.touched(number, |one| {
            one.state = MergeRequestState::Open;
            one.closed_or_reopened = Some(now);
            if one.head != head {
                one.versions.push(Version {
                    id,
                    head: head.clone(),
                    created_at: now,
                });
                one.head = head;
                one.commits = brought;
            }
        });
    }

    /// Sends it to another branch. GitLab makes a version of that.
    pub(super) fn retarget(&mut self, number: MergeRequestNumber, target: &str) {
        let (now, id) = (self.now(), self.next_id());
        self.touched(number, |one| {
            if one.target != target {
                one.target = target.to_owned();
                one.versions.push(Version {
                    id,
                    head: one.head.clone(),
                    created_at: now,
                });
            }
        });
    }

    fn notes_mut(&mut self, on: Thread) -> Option<&mut Vec<Note>> {
        match on {
            Thread::MergeRequest(number) => Some(&mut self.merge_request_mut(number)?.notes),
            Thread::Issue(number) => {
                let issue = self.issues.iter_mut().find(|issue| issue.number == number)?;
                Some(&mut issue.notes)
            }
        }
    }

    pub(super) fn notes(&self, on: Thread) -> Option<&[Note]> {
        match on {
            Thread::MergeRequest(number) => Some(&self.merge_request(number)?.notes),
            Thread::Issue(number) => Some(&self.issues.iter().find(|issue| issue.number == number)?.notes),
        }
    }

    fn told_of_note(&mut self, on: Thread, author: UserId) {
        let now = self.now();
        match on {
            Thread::MergeRequest(number) => {
                if let Some(one) = self.merge_request_mut(number) {
                    one.updated_at = now;
                }
                self.outbox.push(Event::Note { number, author });
            }
            Thread::Issue(issue) => self.outbox.push(Event::IssueNote { issue, author }),
        }
    }

    pub(super) fn note(&mut self, author: UserId, on: Thread, body: &str) -> Option<Note> {
        let (now, id) = (self.now(), NoteId(self.next_id()));
        let note = Note {
            id,
            author,
            body: body.to_owned(),
            own_words: body.to_owned(),
            created_at: now,
            updated_at: now,
        };
        self.notes_mut(on)?.push(note.clone());
        self.told_of_note(on, author);
        Some(note)
    }

    /// Edits a note: its author's own, or anybody's for who is a maintainer.
    pub(super) fn edit(&mut self, by: UserId, on: Thread, id: NoteId, body: &str) -> Option<Note> {
        let now = self.now();
        let note = self.notes_mut(on)?.iter_mut().find(|note| note.id == id)?;
        if note.body != body {
            note.updated_at = now;
        }
        body.clone_into(&mut note.body);
        if note.author == by {
            body.clone_into(&mut note.own_words);
        }
        let note = note.clone();
        self.told_of_note(on, note.author);
        Some(note)
    }

    pub(super) fn delete_note(&mut self, on: Thread, id: NoteId) {
        if let Some(notes) = self.notes_mut(on) {
            notes.retain(|note| note.id != id);
        }
    }
}
