//! The mirror: a local copy of a requests repository, kept by fetching, read without a checkout.

use crate::domain::ids::CommitId;

/// Why the mirror could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GitError {
    /// The forge could not be reached, or broke off.
    #[error("fetching from {url}: {reason}")]
    Unavailable {
        /// Where from, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// The forge refused our token.
    #[error("fetching from {url}: our token is refused; it needs to read the repository")]
    Forbidden {
        /// Where from, without credentials.
        url: String,
    },
    /// More than the mirror is ready to take.
    #[error("fetching from {url}: more than {limit} bytes in one fetch")]
    TooLarge {
        /// Where from, without credentials.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A commit, branch or blob that the mirror does not have.
    #[error("{what} is not in the mirror")]
    Missing {
        /// What was asked for.
        what: String,
    },
    /// The mirror on disk is damaged or cannot be written.
    #[error("{activity}: {reason}")]
    Local {
        /// What was being done.
        activity: String,
        /// Why it failed.
        reason: String,
    },
}

/// A commit of the first-parent history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Its parents, the first one first.
    pub parents: Vec<CommitId>,
    /// Its first line: text from outside.
    pub subject: String,
    /// E-mail addresses of author and committer: they only exclude people.
    pub emails: Vec<String>,
}
