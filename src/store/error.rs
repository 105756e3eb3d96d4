//! What can go wrong with the store, in words for whoever runs it.

use std::error::Error;
use std::path::PathBuf;

use crate::domain::ids::{Digest, RepositoryId};
use crate::domain::key::Key;
use crate::domain::step::IllegalEvent;
use crate::store::Mark;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The configured address is not one of a database that is supported.
    #[error(
        "`database.url`: {problem}; expected `sqlite://` and a path, as in `sqlite:///var/lib/landfall/landfall.db`"
    )]
    Url {
        /// What is wrong with it. Never the address itself: it may carry a password.
        problem: &'static str,
    },
    /// The database file cannot be opened.
    #[error("cannot open the database {}: its folder must exist and be writable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database belongs to the other world: a sandbox is never taken for production, nor the other way round.
    #[error(
        "the database {} is marked as {found}, and {wanted} was asked for: set `database.url` to another file",
        path.display()
    )]
    WrongMark {
        /// The file.
        path: PathBuf,
        /// The mark that it bears.
        found: String,
        /// The mark of who opened it.
        wanted: Mark,
    },
    /// The database holds tables, but bears no mark: it is not Landfall's.
    #[error(
        "the database {} is not empty and was not made by Landfall: set `database.url` to a file of its own",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There is no audit log in the database.
    #[error(
        "the database {} holds no audit log of this version's form: if it is Landfall's, start Landfall on it once",
        path.display()
    )]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// The tables could not be brought to the form that this version needs.
    #[error(
        "cannot bring the database {} to this version's form; if a newer Landfall has used it, run that version",
        path.display()
    )]
    Migration {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What is to be accepted is not what the sign-off names: a fault of Landfall's, and nothing was accepted.
    #[error(
        "what is to be accepted is not what was signed off under the digest {signed}: nothing was accepted"
    )]
    NotWhatWasSigned {
        /// What was signed off.
        signed: Digest,
    },
    /// The file that says whether anybody is at work on the database cannot be locked.
    #[error("cannot lock {}: its folder must be writable, and on a file system that knows locks", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else works on the key by now: what was done under the old lease is not recorded.
    #[error("the lease on {key} was lost to another worker; nothing was recorded")]
    LeaseLost {
        /// The key.
        key: Key,
    },
    /// A stored value cannot be read back.
    #[error("the database holds a {what} that cannot be read: {problem}")]
    Unreadable {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The database refused or failed a statement; nothing of the intent was recorded.
    #[error("the database failed")]
    Database(#[source] Box<dyn Error + Send + Sync>),
    /// The intent was carried out, but its transaction could not be committed.
    #[error("the database could not commit: {problem}; look at the disk's space and health")]
    Commit {
        /// What the database said.
        problem: String,
    },
    /// A repository's name is tied to another project.
    #[error(
        "repository {repository} was set up for project {found}: give the other project an id of its own in \
         [[repositories]], since what was accepted there was not accepted here"
    )]
    OtherProject {
        /// The repository.
        repository: RepositoryId,
        /// The project that it is tied to.
        found: i64,
    },
    /// Somebody adopted another commit meanwhile: what was looked at is looked at again from there.
    #[error("repository {repository}: the mark of what was looked at has moved; nothing was recorded")]
    Overtaken {
        /// The repository.
        repository: RepositoryId,
    },
    /// A state machine was asked for what cannot be.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The code of an intent panicked; nothing of it was recorded.
    #[error("an intent of the store panicked; this is a fault of Landfall's")]
    Panicked,
    /// The store was closed, or its writer died: whether the intent was recorded is not known.
    #[error("the store is closed; whether this was recorded is not known")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Box::new(error))
    }
}
