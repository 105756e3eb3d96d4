//! A merge request as the forge shows it: facts, read anew each time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{CommitId, IssueNumber, MergeRequestNumber, UserId};

/// A person or bot on the forge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The forge's number for them.
    pub id: UserId,
    /// Their name there, as in `@username`. Can change hands: for showing only.
    pub username: String,
}

/// What notes are written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// A merge request.
    MergeRequest(MergeRequestNumber),
    /// An issue.
    Issue(IssueNumber),
}

/// Where a merge request stands on the forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeRequestState {
    /// Open, or being merged right now.
    Open,
    /// Closed without a merge.
    Closed,
    /// Merged, by whichever way.
    Merged,
}

/// A merge request as the forge shows it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRequest {
    /// Its number in its project.
    pub number: MergeRequestNumber,
    /// Where it stands.
    pub state: MergeRequestState,
    /// Marked as not ready.
    pub draft: bool,
    /// Title, as the author wrote it: text from outside.
    pub title: String,
    /// Who opened it.
    pub author: User,
    /// The branch that it brings.
    pub source_branch: String,
    /// Whether that branch is in another project.
    pub from_fork: bool,
    /// The branch that it goes to.
    pub target_branch: String,
    /// The head of the source branch, as last seen by the forge. Nothing while the branch is empty.
    pub head: Option<CommitId>,
    /// The merge commit, if the merge made one.
    pub merge_commit: Option<CommitId>,
    /// The squash commit, if the merge made one.
    pub squash_commit: Option<CommitId>,
    /// When it was merged.
    pub merged_at: Option<Timestamp>,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
    /// How many notes people and bots wrote.
    pub notes_count: u64,
    /// Its page.
    pub web_url: String,
}
