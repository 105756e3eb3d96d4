//! What the commits of a merge request bring, read from git. It costs what it costs up to a bound; beyond that it is not
//! known, and everybody who had a hand in it counts.

use std::collections::BTreeSet;

use crate::domain::contribution::{Content, Facts, Hands, MOST_COMMITS, MOST_FACTS, differences};
use crate::domain::ids::CommitId;
use crate::domain::tree::{Entry, Mode, Tree};
use crate::domain::yaml::LARGEST_FILE;
use crate::git::Commit;

use super::evaluate::Trees;
use super::{AppError, Repository};

/// Files and folders that are looked at for it, and bytes that are read.
const MOST_ENTRIES: usize = 200_000;
const MOST_BYTES: usize = 4 << 20;

/// What the commits that a head has and its base has not make different; nothing where that is too much to know, or
/// cannot be read.
pub(super) async fn content(
    repository: &Repository,
    trees: &Trees,
    commits: &[Commit],
) -> Result<Option<Content>, AppError> {
    if commits.len() > MOST_COMMITS {
        return Ok(None);
    }
    let mut reader = Reader {
        repository,
        entries: 0,
        bytes: 0,
        facts: 0,
        last: None,
    };
    let mut content = Content::default();
    match reader.read(trees, commits, &mut content).await {
        Ok(()) => Ok(Some(content)),
        Err(Unknown::TooMuch) => Ok(None),
        Err(Unknown::Failed(AppError::Git(error))) => {
            tracing::debug!(repository = %repository.id, %error, "what a commit brought is not known");
            Ok(None)
        }
        Err(Unknown::Failed(error)) => Err(error),
    }
}

enum Unknown {
    TooMuch,
    Failed(AppError),
}

impl<E: Into<AppError>> From<E> for Unknown {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Reader<'a> {
    repository: &'a Repository,
    entries: usize,
    bytes: usize,
    facts: usize,
    /// The tree that was read last: the next commit's parent, mostly.
    last: Option<(CommitId, Tree)>,
}

impl Reader<'_> {
    async fn read(
        &mut self,
        trees: &Trees,
        commits: &[Commit],
        content: &mut Content,
    ) -> Result<(), Unknown> {
        content.facts = self.compared(&trees.head, &[&trees.base]).await?;
        for commit in commits {
            content.commits.insert(commit.id.clone());
            let mut parents = Vec::new();
            for parent in &commit.parents {
                parents.push(self.tree(parent).await?);
            }
            let tree = self.tree(&commit.id).await?;
            let parents: Vec<&Tree> = parents.iter().collect();
            let facts = self.compared(&tree, &parents).await?;
            self.last = Some((commit.id.clone(), tree));
            if facts.is_empty() {
                continue;
            }
            content.has.insert(commit.id.clone());
            let hands = Hands {
                authors: commit.authors().iter().cloned().collect(),
                committer: commit.committer().to_owned(),
                facts,
            };
            content.hands.insert(commit.id.clone(), hands);
        }
        Ok(())
    }

    async fn tree(&mut self, commit: &CommitId) -> Result<Tree, Unknown> {
        let tree = match self.last.take() {
            Some((id, tree)) if id == *commit => tree,
            _ => self.repository.mirror().await?.tree(commit).await?,
        };
        self.entries += tree.entries.len();
        if self.entries > MOST_ENTRIES {
            return Err(Unknown::TooMuch);
        }
        Ok(tree)
    }

    /// How a tree differs from each of some others; as text, from the first of them.
    async fn compared(&mut self, tree: &Tree, others: &[&Tree]) -> Result<Facts, Unknown> {
        let same = |path: &str, other: &Tree| {
            let of = |tree: &Tree| {
                tree.entries
                    .get(path)
                    .map(|entry| (entry.mode, entry.blob.clone()))
            };
            of(tree) == of(other)
        };
        let first = others.first().copied();
        let of_first = first.map(|first| first.entries.keys());
        let paths: BTreeSet<&String> = tree
            .entries
            .keys()
            .chain(of_first.into_iter().flatten())
            .collect();
        let mut facts = Facts::new();
        for path in paths {
            if others.iter().any(|other| same(path, other)) {
                continue;
            }
            let before = self.text(first.and_then(|first| first.entries.get(path))).await?;
            let after = self.text(tree.entries.get(path)).await?;
            let found = differences(path, before.as_deref(), after.as_deref());
            self.facts += found.len();
            if self.facts > MOST_FACTS {
                return Err(Unknown::TooMuch);
            }
            facts.extend(found);
        }
        Ok(facts)
    }

    /// What stands in a file; where that is no text of reasonable length, the name of its content.
    async fn text(&mut self, entry: Option<&Entry>) -> Result<Option<Vec<u8>>, Unknown> {
        let Some(entry) = entry else { return Ok(None) };
        let mut bytes = None;
        if !matches!(entry.mode, Mode::Submodule | Mode::Unreadable) {
            let mirror = self.repository.mirror().await?;
            bytes = mirror.blob(&entry.blob, LARGEST_FILE).await?;
        }
        let bytes = bytes.unwrap_or_else(|| entry.blob.as_str().as_bytes().to_vec());
        self.bytes += bytes.len();
        if self.bytes > MOST_BYTES {
            return Err(Unknown::TooMuch);
        }
        Ok(Some(bytes))
    }
}
