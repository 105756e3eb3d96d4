//! The mirror: a local copy of a requests repository, kept by fetching, read without a checkout.
//!
//! It is a bare repository of libgit2's and only a cache: damaged, it is made anew. Everything that is fetched is
//! hashed by libgit2 with its collision-detecting SHA-1 (its default), objects are verified against their ids
//! whenever they are read, and nothing is created that refers to what is not there (`strict object creation`).
//! The machine's and the user's git configuration has no say.

mod disk;
mod history;
mod lazy;
mod transport;
mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use crate::domain::ids::{BlobId, CommitId, MergeRequestNumber};
use crate::domain::tree::Tree;
use crate::http_client::Token;
use disk::Disk;

pub use lazy::{LazyMirror, MirrorDefaults};

/// Why the mirror could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The forge could not be reached, broke off, or took too long.
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
    /// The forge knows no such repository, or hides it from our token.
    #[error("fetching from {url}: there is no such repository, or our token may not see it")]
    NoRepository {
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
    /// A head that does not go back to the commit that it is compared with: history was rewritten.
    #[error("{} does not descend from {}: the history was rewritten", until.short(), after.short())]
    NotADescendant {
        /// The older commit.
        after: CommitId,
        /// The head.
        until: CommitId,
    },
    /// More commits or paths than are looked at: whoever brought them is refused, and nobody else.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many are looked at.
        limit: usize,
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

/// A commit, as far as Landfall cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Its parents, the first one first.
    pub parents: Vec<CommitId>,
    /// Its first line: text from outside.
    pub subject: String,
    /// E-mail addresses of its author, of those whom its trailers name as co-authors or signers, and of its committer,
    /// in this order; one alone if it is all of these. They only exclude people.
    pub emails: Vec<String>,
}

impl Commit {
    /// The addresses of those whose work it is.
    #[must_use]
    pub fn authors(&self) -> &[String] {
        match self.emails.split_last() {
            Some((_, [])) | None => &self.emails,
            Some((_, authors)) => authors,
        }
    }

    /// The address of who committed it.
    #[must_use]
    pub fn committer(&self) -> &str {
        self.emails.last().map_or("", String::as_str)
    }
}

/// What a mirror is of, and its limits.
#[derive(Clone)]
pub struct MirrorOptions {
    /// The mirror's folder: made if it is not there. Several processes may share it.
    pub directory: PathBuf,
    /// The repository's HTTP or HTTPS address, without credentials.
    pub url: Url,
    /// Who the token belongs to; forges take any name beside a token.
    pub username: String,
    /// A token that may read the repository.
    pub token: Token,
    /// For proxy, certificates and connection time-outs. Best made with `redirect::Policy::none()`: redirects
    /// within the forge are followed by the mirror, others never.
    pub client: reqwest::Client,
    /// How many bytes the answers of one fetch may have.
    pub fetch_limit: u64,
    /// How long the exchange of one fetch may take.
    pub fetch_time: Duration,
}

impl fmt::Debug for MirrorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorOptions")
            .field("directory", &self.directory)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// What a fetch found on the forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The head of the target branch.
    pub target: CommitId,
    /// The heads of the merge requests asked for. One that is not there has no head on the forge (any more).
    pub heads: BTreeMap<MergeRequestNumber, CommitId>,
    /// How many bytes it took.
    pub received: u64,
}

/// What the use cases ask a local copy of a requests repository. [`Mirror`] answers from a folder; its methods of the
/// same names say what each may fail with.
#[async_trait]
pub trait LocalCopy: Send + Sync {
    /// Fetches the target branch and the heads of the merge requests asked for.
    async fn fetch(&self, branch: &str, merge_requests: &[MergeRequestNumber]) -> Result<Fetched, GitError>;
    /// The governed paths of a commit.
    async fn tree(&self, commit: &CommitId) -> Result<Tree, GitError>;
    /// The governed paths on which two commits differ, with what each of them holds there.
    async fn differences(&self, one: &CommitId, other: &CommitId) -> Result<(Tree, Tree), GitError> {
        let (mut one, mut other) = (self.tree(one).await?, self.tree(other).await?);
        let kept = one.clone();
        one.entries
            .retain(|path, entry| other.entries.get(path) != Some(entry));
        other
            .entries
            .retain(|path, entry| kept.entries.get(path) != Some(entry));
        Ok((one, other))
    }
    /// What a commit holds at some governed paths.
    async fn at(&self, commit: &CommitId, paths: &BTreeSet<String>) -> Result<Tree, GitError> {
        let mut tree = self.tree(commit).await?;
        tree.entries.retain(|path, _| paths.contains(path));
        Ok(tree)
    }
    /// What a commit holds below a governed folder, whose name ends in a slash.
    async fn below(&self, commit: &CommitId, folder: &str) -> Result<Tree, GitError> {
        let mut tree = self.tree(commit).await?;
        tree.entries.retain(|path, _| path.starts_with(folder));
        Ok(tree)
    }
    /// A blob's bytes, or nothing if it has more of them than the limit.
    async fn blob(&self, blob: &BlobId, limit: u64) -> Result<Option<Vec<u8>>, GitError>;
    /// The best common ancestor, or nothing if there is none.
    async fn merge_base(&self, a: &CommitId, b: &CommitId) -> Result<Option<CommitId>, GitError>;
    /// What happened on a branch since a commit, oldest first.
    async fn first_parent_history(&self, after: &CommitId, until: &CommitId)
    -> Result<Vec<Commit>, GitError>;
    /// The first parent of a commit, if it has one that can be told.
    async fn first_parent(&self, _commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        Ok(None)
    }
    /// The commits that a head has and a base has not, parents before children.
    async fn commits_between(&self, base: &CommitId, head: &CommitId) -> Result<Vec<Commit>, GitError>;
    /// Whether a commit goes back to another.
    async fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, GitError>;
}

/// Where the local copy of one requests repository is had from.
#[async_trait]
pub trait LocalCopies: Send + Sync {
    /// The copy, once it is open.
    async fn opened(&self) -> Option<Arc<dyn LocalCopy>>;
    /// The copy; opened at that address if none is open.
    ///
    /// # Errors
    /// Those of opening it. The next call tries again.
    async fn open_at(&self, url: Url) -> Result<Arc<dyn LocalCopy>, GitError>;
    /// Goes on at another address, if one is open at another: paths change hands, and whoever gets an old one must not
    /// be taken for this repository.
    ///
    /// # Errors
    /// Those of opening it.
    async fn follow(&self, url: Url) -> Result<(), GitError>;
}

/// A local copy of one requests repository, in a folder. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct Mirror {
    disk: Arc<Disk>,
    /// One fetch at a time, without a thread for each that waits.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Mirror {
    /// Opens a mirror, or makes it; one that is damaged beyond opening is made anew. Nothing is fetched.
    ///
    /// # Errors
    /// [`GitError::Local`] if the folder cannot be written or holds something else, or the address is no good.
    pub async fn open(options: MirrorOptions) -> Result<Self, GitError> {
        transport::prepare()?;
        let disk = blocking(move || Disk::open(options)).await?;
        Ok(Self {
            disk: Arc::new(disk),
            turn: Arc::default(),
        })
    }

    /// Fetches the target branch and the heads of the merge requests asked for, in one exchange. Names are whole
    /// refs (`refs/heads/<branch>`), so that no tag or oddly named branch is taken for another; tags are never
    /// fetched. A mirror that turns out to be damaged is made anew and fetched once more.
    ///
    /// # Errors
    /// [`GitError::Missing`] if the target branch is not there; the network's and the forge's own; and
    /// [`GitError::Local`].
    pub async fn fetch(
        &self,
        branch: &str,
        merge_requests: &[MergeRequestNumber],
    ) -> Result<Fetched, GitError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let disk = Arc::clone(&self.disk);
        let (branch, merge_requests) = (branch.to_owned(), merge_requests.to_vec());
        let runtime = tokio::runtime::Handle::current();
        blocking(move || {
            // Held here, so that a caller who gives up waiting does not let the next one in.
            let _turn = turn;
            disk.fetch(&branch, &merge_requests, &runtime)
        })
        .await
    }

    /// The governed paths of a commit (`landfall.yaml`, `requests/`, `policies/`, `catalog/`), with their sizes. What
    /// others brought may be in the way: whoever looks at a change asks for [`differences`](Self::differences).
    ///
    /// # Errors
    /// [`GitError::Missing`], [`GitError::TooMany`] past 100,000 paths.
    pub async fn tree(&self, commit: &CommitId) -> Result<Tree, GitError> {
        let commit = commit.clone();
        self.read(move |repository| trees::governed(repository, &commit))
            .await
    }

    /// The governed paths on which two commits differ, with what each of them holds there.
    ///
    /// # Errors
    /// [`GitError::Missing`], [`GitError::TooMany`] past 10,000 paths.
    pub async fn differences(&self, one: &CommitId, other: &CommitId) -> Result<(Tree, Tree), GitError> {
        let (one, other) = (one.clone(), other.clone());
        self.read(move |repository| trees::differences(repository, &one, &other))
            .await
    }

    /// What a commit holds at some governed paths.
    ///
    /// # Errors
    /// [`GitError::Missing`], [`GitError::TooMany`].
    pub async fn at(&self, commit: &CommitId, paths: &BTreeSet<String>) -> Result<Tree, GitError> {
        let (commit, paths) = (commit.clone(), paths.clone());
        self.read(move |repository| trees::at(repository, &commit, &paths))
            .await
    }

    /// What a commit holds below a governed folder, whose name ends in a slash.
    ///
    /// # Errors
    /// [`GitError::Missing`], [`GitError::TooMany`] past 10,000 paths.
    pub async fn below(&self, commit: &CommitId, folder: &str) -> Result<Tree, GitError> {
        let (commit, folder) = (commit.clone(), folder.to_owned());
        self.read(move |repository| trees::below(repository, &commit, &folder))
            .await
    }

    /// A blob's bytes, or nothing if it has more of them than the limit; those are never read into memory.
    ///
    /// # Errors
    /// [`GitError::Missing`] if there is no such blob.
    pub async fn blob(&self, blob: &BlobId, limit: u64) -> Result<Option<Vec<u8>>, GitError> {
        let blob = blob.clone();
        self.read(move |repository| trees::blob(repository, &blob, limit))
            .await
    }

    /// The best common ancestor, or nothing if there is none.
    ///
    /// # Errors
    /// [`GitError::Missing`] if the mirror lacks one of the commits.
    pub async fn merge_base(&self, a: &CommitId, b: &CommitId) -> Result<Option<CommitId>, GitError> {
        let (a, b) = (a.clone(), b.clone());
        self.read(move |repository| history::merge_base(repository, &a, &b))
            .await
    }

    /// What happened on a branch since a commit, oldest first: the commits on the first-parent line of `until`
    /// that `after` does not hold. Where `after` lies on that line, these are the ones behind it. Where it is
    /// reached by other parents only (somebody merged the branch into theirs and fast-forwarded it to that), the
    /// line goes back to where the two had parted: then commits are listed that never were the branch's head. Of a
    /// line of more than 10,000 commits, these are the oldest.
    ///
    /// # Errors
    /// [`GitError::NotADescendant`] if `until` does not go back to `after` by any parents; [`GitError::Missing`].
    pub async fn first_parent_history(
        &self,
        after: &CommitId,
        until: &CommitId,
    ) -> Result<Vec<Commit>, GitError> {
        let (after, until) = (after.clone(), until.clone());
        self.read(move |repository| history::first_parent(repository, &after, &until))
            .await
    }

    /// The first parent of a commit, if it has any.
    ///
    /// # Errors
    /// [`GitError::Missing`].
    pub async fn first_parent(&self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        let commit = commit.clone();
        self.read(move |repository| history::parent(repository, &commit))
            .await
    }

    /// The commits that a head has and a base has not, parents before children: what a merge request brings.
    ///
    /// # Errors
    /// [`GitError::TooMany`] past 10,000 commits; [`GitError::Missing`].
    pub async fn commits_between(&self, base: &CommitId, head: &CommitId) -> Result<Vec<Commit>, GitError> {
        let (base, head) = (base.clone(), head.clone());
        self.read(move |repository| history::between(repository, &base, &head))
            .await
    }

    /// Whether a commit goes back to another. Each goes back to itself.
    ///
    /// # Errors
    /// [`GitError::Missing`] if the mirror lacks one of them.
    pub async fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, GitError> {
        let (ancestor, descendant) = (ancestor.clone(), descendant.clone());
        self.read(move |repository| history::is_ancestor(repository, &ancestor, &descendant))
            .await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&git2::Repository) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let disk = Arc::clone(&self.disk);
        blocking(move || disk.read(work)).await
    }
}

#[async_trait]
impl LocalCopy for Mirror {
    async fn fetch(&self, branch: &str, merge_requests: &[MergeRequestNumber]) -> Result<Fetched, GitError> {
        Self::fetch(self, branch, merge_requests).await
    }

    async fn tree(&self, commit: &CommitId) -> Result<Tree, GitError> {
        Self::tree(self, commit).await
    }

    async fn differences(&self, one: &CommitId, other: &CommitId) -> Result<(Tree, Tree), GitError> {
        Self::differences(self, one, other).await
    }
    async fn at(&self, commit: &CommitId, paths: &BTreeSet<String>) -> Result<Tree, GitError> {
        Self::at(self, commit, paths).await
    }
    async fn below(&self, commit: &CommitId, folder: &str) -> Result<Tree, GitError> {
        Self::below(self, commit, folder).await
    }
    async fn first_parent(&self, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
        Self::first_parent(self, commit).await
    }
    async fn blob(&self, blob: &BlobId, limit: u64) -> Result<Option<Vec<u8>>, GitError> {
        Self::blob(self, blob, limit).await
    }

    async fn merge_base(&self, a: &CommitId, b: &CommitId) -> Result<Option<CommitId>, GitError> {
        Self::merge_base(self, a, b).await
    }

    async fn first_parent_history(
        &self,
        after: &CommitId,
        until: &CommitId,
    ) -> Result<Vec<Commit>, GitError> {
        Self::first_parent_history(self, after, until).await
    }

    async fn commits_between(&self, base: &CommitId, head: &CommitId) -> Result<Vec<Commit>, GitError> {
        Self::commits_between(self, base, head).await
    }

    async fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, GitError> {
        Self::is_ancestor(self, ancestor, descendant).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(GitError::Local {
            activity: "working on the mirror".into(),
            reason: error.to_string(),
        })
    })
}

/// For `map_err`: a fault of the mirror on disk.
fn local(activity: &str) -> impl Fn(git2::Error) -> GitError + '_ {
    move |error| GitError::Local {
        activity: activity.into(),
        reason: error.message().to_owned(),
    }
}

fn object_id(text: &str) -> Result<git2::Oid, GitError> {
    git2::Oid::from_str(text).map_err(|_| GitError::Missing {
        what: format!("object {text}"),
    })
}

fn commit_id(id: git2::Oid) -> Result<CommitId, GitError> {
    CommitId::new(id.to_string()).map_err(|error| GitError::Local {
        activity: "reading a commit".into(),
        reason: error.to_string(),
    })
}
