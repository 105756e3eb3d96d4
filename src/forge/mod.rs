//! What Landfall needs of a forge: [`Forge`], and the facts that it answers with. Each adapter owns its wire types,
//! its webhook parsing and its client.

pub mod gitlab;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId, UserId};
pub use crate::domain::merge_request::{MergeRequest, MergeRequestState, Thread, User};
pub use crate::domain::rules::AccessLevel;

/// One version of a merge request: what a push made of it. Newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The forge's number for it, growing.
    pub id: u64,
    /// The head that was pushed.
    pub head: CommitId,
    /// When the forge saw it.
    pub created_at: Timestamp,
}

/// An approval as the forge lists it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgeApproval {
    /// Who approved.
    pub user: User,
    /// When.
    pub at: Timestamp,
    /// The commit it was given for, where the forge says so. GitLab does not.
    pub commit: Option<CommitId>,
}

/// A member with their rights now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: User,
    /// Whether the account is active (not blocked or deactivated), and so is the membership (not expired or awaited).
    pub active: bool,
    /// Their level: the highest, where several are looked at.
    pub level: AccessLevel,
}

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Whether it is no person's: the user of an access token, a service account.
    pub bot: bool,
    /// Whose it is, for a bot of which that is known.
    pub owner: Option<UserId>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The forge's number for it.
    pub id: u64,
    /// Its full path now.
    pub path: String,
    /// The number of the group that it lies in.
    pub parent: Option<u64>,
}

/// A note on a merge request or issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The forge's number for it.
    pub id: NoteId,
    /// Who wrote it.
    pub author: User,
    /// What it says: text from outside.
    pub body: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was last changed; equal to `created_at` for an unedited note.
    pub updated_at: Timestamp,
    /// Written by the forge itself.
    pub system: bool,
}

/// The states of a commit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// Something is awaited.
    Pending,
    /// Something goes on.
    Running,
    /// Fine.
    Success,
    /// Not fine.
    Failed,
}

/// A commit status to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// The commit.
    pub commit: CommitId,
    /// The branch that it is shown on, so that the forge finds the right pipeline.
    pub branch: String,
    /// The state.
    pub state: CommitState,
    /// One line; longer ones are cut to what the forge takes.
    pub description: String,
    /// Where its link leads.
    pub target_url: Option<String>,
}

/// What a commit status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownStatus {
    /// The state.
    pub state: CommitState,
    /// Its line.
    pub description: String,
}

/// A push, as the forge's events tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushEvent {
    /// Who pushed.
    pub user: User,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The branch's new head; nothing when it was deleted.
    pub after: Option<CommitId>,
    /// When.
    pub at: Timestamp,
}

/// An issue to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIssue {
    /// Its title.
    pub title: String,
    /// Its text, in the forge's markdown.
    pub body: String,
}

/// An issue on the forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Its number in its project.
    pub number: IssueNumber,
    /// Who opened it.
    pub author: User,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
    /// Whether it is open.
    pub open: bool,
    /// Its page.
    pub web_url: String,
}

/// A webhook to register.
#[derive(Debug, Clone)]
pub struct NewHook {
    /// Where deliveries go.
    pub url: url::Url,
    /// How deliveries prove where they come from.
    pub secret: crate::domain::secret::Secret,
    /// Whether `secret` is a signing token (`whsec_…`) rather than a plain one.
    pub signing: bool,
}

/// A webhook that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The forge's number for it.
    pub id: u64,
    /// Where deliveries go.
    pub url: String,
}

/// A project to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProject {
    /// Its path within the group.
    pub path: String,
    /// The full path of its group.
    pub group: String,
    /// Its default branch.
    pub default_branch: String,
    /// One line about it.
    pub description: String,
    /// Its topics: words that projects are found by.
    pub topics: Vec<String>,
}

/// A project on the forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The forge's number for it.
    pub id: u64,
    /// Its full path now.
    pub path: String,
    /// Where git finds it.
    pub git_url: String,
    /// Its page.
    pub web_url: String,
    /// Its default branch; nothing while it is empty.
    pub default_branch: Option<String>,
}

/// What happens to a file in a commit made through the forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAction {
    /// A new file.
    Create(Vec<u8>),
    /// Other content.
    Update(Vec<u8>),
    /// Removed.
    Delete,
}

/// A commit to make through the forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// The project's number.
    pub project: u64,
    /// The branch it goes on.
    pub branch: String,
    /// The message.
    pub message: String,
    /// Path → what happens there.
    pub files: Vec<(String, FileAction)>,
}

/// What texts the forge takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest note, in characters.
    pub note: usize,
    /// The longest description of a commit status, in characters.
    pub status_description: usize,
}

/// Why a call to the forge brought nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForgeError {
    /// Too many calls; none should be made before that time.
    #[error("{activity}: the forge asks us to slow down until {until}")]
    RateLimited {
        /// What was being done, such as "reading merge request !7".
        activity: String,
        /// When the next call may be made.
        until: Timestamp,
    },
    /// The forge could not be reached, or answered with a fault of its own.
    #[error("{activity}: the forge is not available: {reason}")]
    Unavailable {
        /// What was being done.
        activity: String,
        /// Why, without secrets.
        reason: String,
    },
    /// The token is unknown, expired, or lacks the right.
    #[error(
        "{activity}: the forge refused our token ({status}: {reason}); it needs the scope `api` and the role Maintainer"
    )]
    Forbidden {
        /// What was being done.
        activity: String,
        /// HTTP status.
        status: u16,
        /// The forge's own words.
        reason: String,
    },
    /// It is not there.
    #[error("{activity}: not found")]
    NotFound {
        /// What was being done.
        activity: String,
    },
    /// Somebody else was quicker, or it stands otherwise than we thought.
    #[error("{activity}: conflict: {reason}")]
    Conflict {
        /// What was being done.
        activity: String,
        /// The forge's own words.
        reason: String,
    },
    /// The forge does not take what we sent.
    #[error("{activity}: refused ({status}): {reason}")]
    Refused {
        /// What was being done.
        activity: String,
        /// HTTP status.
        status: u16,
        /// The forge's own words.
        reason: String,
    },
    /// The forge's answer is not one that we understand.
    #[error("{activity}: the forge's answer makes no sense: {reason}")]
    Unexpected {
        /// What was being done.
        activity: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether the pushes that were read, the newest first, are all that is asked for.
pub type Enough<'a> = dyn Fn(&[PushEvent]) -> bool + Sync + 'a;

/// One requests repository's project on its forge. Every answer is a fact of now; nothing is cached.
#[async_trait]
pub trait Forge: Send + Sync {
    /// Who we are there.
    async fn own_user(&self) -> Result<User, ForgeError>;
    /// One merge request.
    async fn merge_request(&self, number: MergeRequestNumber) -> Result<MergeRequest, ForgeError>;
    /// All open merge requests that go to that branch.
    async fn open_merge_requests(&self, target_branch: &str) -> Result<Vec<MergeRequest>, ForgeError>;
    /// Merged merge requests of that target branch that changed since then (their merge included), oldest merge first.
    async fn merged_since(
        &self,
        target_branch: &str,
        since: Timestamp,
    ) -> Result<Vec<MergeRequest>, ForgeError>;
    /// The merge requests that a commit belongs to.
    async fn merge_requests_of_commit(&self, commit: &CommitId) -> Result<Vec<MergeRequest>, ForgeError>;
    /// Every version of a merge request, oldest first.
    async fn versions(&self, number: MergeRequestNumber) -> Result<Vec<Version>, ForgeError>;
    /// The approvals that stand now.
    async fn approvals(&self, number: MergeRequestNumber) -> Result<Vec<ForgeApproval>, ForgeError>;
    /// A member of the project with effective rights, inherited ones included; nothing if not a member.
    async fn member(&self, user: UserId) -> Result<Option<Member>, ForgeError>;
    /// What kind of account it is; nothing if there is none. That an account is a person's never changes, and may be
    /// remembered.
    async fn account(&self, user: UserId) -> Result<Option<Account>, ForgeError>;
    /// Those whose an e-mail address is, as far as we may know.
    async fn users_with_email(&self, address: &str) -> Result<Vec<User>, ForgeError>;
    /// The group that a full path leads to now; nothing if there is none, or none that we may see.
    async fn group_at(&self, path: &str) -> Result<Option<Group>, ForgeError>;
    /// The group of that number; nothing if there is none, or none that we may see.
    async fn group(&self, id: u64) -> Result<Option<Group>, ForgeError>;
    /// A member of that very group: nothing for who came into it by a group above it, or by one that was invited.
    async fn direct_member(&self, group: u64, user: UserId) -> Result<Option<Member>, ForgeError>;
    /// When a merge request was last closed or reopened, whatever it is now; nothing if it never was.
    async fn last_closed_or_reopened(
        &self,
        number: MergeRequestNumber,
    ) -> Result<Option<Timestamp>, ForgeError>;
    /// One note as it is now; nothing if it is gone.
    async fn note(&self, on: Thread, note: NoteId) -> Result<Option<Note>, ForgeError>;
    /// All notes of a merge request or issue, oldest first.
    async fn notes(&self, on: Thread) -> Result<Vec<Note>, ForgeError>;
    /// Writes a note.
    async fn create_note(&self, on: Thread, body: &str) -> Result<Note, ForgeError>;
    /// Changes a note of ours.
    async fn update_note(&self, on: Thread, note: NoteId, body: &str) -> Result<Note, ForgeError>;
    /// Shows a status on a commit. Showing the same one again is fine.
    async fn set_status(&self, status: &CommitStatus) -> Result<(), ForgeError>;
    /// The status that a commit shows under our name on a branch, if there is one that we know the state of.
    async fn shown_status(&self, commit: &CommitId, branch: &str) -> Result<Option<ShownStatus>, ForgeError>;
    /// The pushes since then, oldest first.
    async fn pushes_since(&self, since: Timestamp) -> Result<Vec<PushEvent>, ForgeError>;
    /// The same, from the newest back to where there are `enough`, or to that time.
    async fn pushes_until(
        &self,
        since: Timestamp,
        enough: &Enough<'_>,
    ) -> Result<Vec<PushEvent>, ForgeError> {
        let _ = enough;
        self.pushes_since(since).await
    }
    /// Opens an issue.
    async fn create_issue(&self, issue: &NewIssue) -> Result<Issue, ForgeError>;
    /// One issue as it is now; nothing if it is gone.
    async fn issue(&self, issue: IssueNumber) -> Result<Option<Issue>, ForgeError>;
    /// Gives an issue of ours this title and text, and opens it if it is closed.
    async fn restore_issue(&self, issue: IssueNumber, words: &NewIssue) -> Result<(), ForgeError>;
    /// Closes an issue. Closing a closed one is fine.
    async fn close_issue(&self, issue: IssueNumber) -> Result<(), ForgeError>;
    /// Issues that we opened ourselves, newest first, whose text holds a marker.
    async fn own_issues_with(&self, marker: &str) -> Result<Vec<Issue>, ForgeError>;
    /// The webhooks of the project.
    async fn hooks(&self) -> Result<Vec<Hook>, ForgeError>;
    /// Registers a webhook for every kind of delivery that Landfall reads.
    async fn create_hook(&self, hook: &NewHook) -> Result<Hook, ForgeError>;
    /// The project of the requests repository.
    async fn project(&self) -> Result<Project, ForgeError>;
    /// What texts the forge takes.
    fn limits(&self) -> Limits;
    /// The page of a file at a commit, at a line.
    fn file_url(&self, commit: &CommitId, path: &str, line: u32) -> String;
}

/// What a verified delivery says happened: hints on what to look at, never facts to act on. The pusher is the one
/// exception: it can only exclude that person from signing off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something about a merge request: opened, pushed to, approved, closed, edited.
    MergeRequest {
        /// Which.
        number: MergeRequestNumber,
    },
    /// A merge request was merged.
    Merged {
        /// Which.
        number: MergeRequestNumber,
    },
    /// Somebody wrote or changed a note on a merge request.
    Note {
        /// Which.
        number: MergeRequestNumber,
        /// Whose note it is, as the body says.
        author: UserId,
    },
    /// Somebody wrote or changed a note on an issue.
    IssueNote {
        /// Which.
        issue: IssueNumber,
        /// Whose note it is, as the body says.
        author: UserId,
    },
    /// A branch was pushed.
    Push(PushEvent),
    /// A delivery that we have no use for.
    Ignored {
        /// The forge's name for it.
        kind: String,
    },
    /// A verified body that does not parse, or of a kind that is not known.
    Unknown,
}

/// A webhook call, verified and parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The same for every repetition of the same delivery.
    pub id: String,
    /// The forge's name for its kind.
    pub kind: String,
    /// The project's number, as the body says.
    pub project: Option<u64>,
    /// What it says happened.
    pub event: Event,
}

/// Why a webhook call was refused. The answer to the caller never says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No signature and no token where one is needed.
    #[error("neither signed nor carrying a token")]
    Unsigned,
    /// A signature or token that is not right.
    #[error("wrong signature or token")]
    WrongSignature,
    /// A signed time that is too far from now.
    #[error("signed too long ago, or in the future")]
    Stale,
    /// A header that must be there is missing or malformed.
    #[error("a header is missing or malformed")]
    MalformedHeader,
    /// A project that the secret is not for.
    #[error("the delivery is about another project")]
    WrongProject,
}

/// Verifies and parses the webhook calls of one requests repository.
pub trait Webhook: Send + Sync {
    /// Refuses what cannot be right whatever its body says: asked before the body is read.
    ///
    /// # Errors
    /// Why it is refused.
    fn check_headers(&self, headers: &http::HeaderMap, now: Timestamp) -> Result<(), WebhookError>;

    /// Verifies a call and says what it tells of. What is right but cannot be read is [`Event::Unknown`].
    ///
    /// # Errors
    /// Why it is refused.
    fn receive(
        &self,
        headers: &http::HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Delivery, WebhookError>;
}
