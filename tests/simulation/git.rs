//! Git in memory: commits, trees and blobs, and the mirror's questions about them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use landfall::domain::ids::{BlobId, CommitId, Digest, MergeRequestNumber};
use landfall::domain::tree::{Entry, Mode, Tree};
use landfall::git::{Commit, Fetched, GitError, LocalCopies, LocalCopy};
use url::Url;

use super::forge::Project;
use super::weather::{Fate, Weather};

/// Every object there is, fetched or not.
#[derive(Default)]
pub(super) struct Git {
    pub(super) commits: BTreeMap<CommitId, Stored>,
    pub(super) blobs: BTreeMap<BlobId, Vec<u8>>,
}

/// A commit, and the files that it holds.
pub(super) struct Stored {
    pub(super) commit: Commit,
    pub(super) tree: Tree,
}

fn id_of(text: &str) -> String {
    Digest::of(text.as_bytes()).as_str()[..40].to_owned()
}

impl Git {
    pub(super) fn blob(&mut self, content: &str) -> BlobId {
        let id = BlobId::new(id_of(&format!("blob {content}"))).unwrap();
        self.blobs.insert(id.clone(), content.as_bytes().to_vec());
        id
    }

    /// A plain file with that content.
    pub(super) fn file(&mut self, content: &str) -> Entry {
        Entry {
            mode: Mode::File,
            blob: self.blob(content),
            size: content.len() as u64,
        }
    }

    /// The same commit each time for the same parents, files, subject and address.
    pub(super) fn commit(
        &mut self,
        parents: &[CommitId],
        tree: Tree,
        subject: &str,
        email: &str,
    ) -> CommitId {
        let id = CommitId::new(id_of(&format!("{parents:?} {tree:?} {subject} {email}"))).unwrap();
        let commit = Commit {
            id: id.clone(),
            parents: parents.to_vec(),
            subject: subject.to_owned(),
            emails: vec![email.to_owned()],
        };
        self.commits.insert(id.clone(), Stored { commit, tree });
        id
    }

    pub(super) fn tree(&self, commit: &CommitId) -> &Tree {
        &self.commits[commit].tree
    }

    /// Everything that a commit goes back to, itself included.
    pub(super) fn ancestors(&self, of: &CommitId) -> BTreeSet<CommitId> {
        let (mut found, mut next) = (BTreeSet::new(), VecDeque::from([of.clone()]));
        while let Some(commit) = next.pop_front() {
            if found.insert(commit.clone()) {
                next.extend(self.commits[&commit].commit.parents.iter().cloned());
            }
        }
        found
    }

    /// The best common ancestor.
    pub(super) fn merge_base(&self, a: &CommitId, b: &CommitId) -> Option<CommitId> {
        let (of_a, of_b) = (self.ancestors(a), self.ancestors(b));
        let common: BTreeSet<&CommitId> = of_a.intersection(&of_b).collect();
        let is_best = |one: &&&CommitId| {
            let behind = |other: &&&CommitId| other != one && self.ancestors(other).contains(**one);
            !common.iter().any(|other| behind(&other))
        };
        common.iter().find(is_best).map(|best| (*best).clone())
    }

    /// What a head has and a base has not, parents before children.
    pub(super) fn between(&self, base: &CommitId, head: &CommitId) -> Vec<CommitId> {
        fn visit(git: &Git, commit: &CommitId, seen: &mut BTreeSet<CommitId>, row: &mut Vec<CommitId>) {
            if seen.insert(commit.clone()) {
                for parent in &git.commits[commit].commit.parents {
                    visit(git, parent, seen, row);
                }
                row.push(commit.clone());
            }
        }
        let (mut seen, mut row) = (self.ancestors(base), Vec::new());
        visit(self, head, &mut seen, &mut row);
        row
    }

    fn first_parents(&self, after: &CommitId, until: &CommitId) -> Option<Vec<Commit>> {
        let (held, mut row) = (self.ancestors(after), Vec::new());
        if !self.ancestors(until).contains(after) {
            return None;
        }
        let mut at = Some(until.clone());
        while let Some(commit) = at.filter(|commit| !held.contains(commit)) {
            let commit = self.commits[&commit].commit.clone();
            at = commit.parents.first().cloned();
            row.push(commit);
        }
        row.reverse();
        Some(row)
    }
}

/// What a merge of `theirs` into `ours` holds; nothing where both changed a file, and differently.
pub(super) fn merged(base: &Tree, ours: &Tree, theirs: &Tree) -> Option<Tree> {
    let paths: BTreeSet<&String> = [base, ours, theirs]
        .into_iter()
        .flat_map(|tree| tree.entries.keys())
        .collect();
    let mut merged = Tree::default();
    for path in paths {
        let (was, our, their) = (
            base.entries.get(path),
            ours.entries.get(path),
            theirs.entries.get(path),
        );
        let kept = match () {
            () if our == was => their,
            () if their == was || their == our => our,
            () => return None,
        };
        merged
            .entries
            .extend(kept.map(|entry| (path.clone(), entry.clone())));
    }
    Some(merged)
}

/// The mirror of a project: what was fetched of it.
pub(super) struct Mirror {
    project: Arc<Mutex<Project>>,
    weather: Arc<Weather>,
    fetched: Mutex<BTreeSet<CommitId>>,
}

/// One process's access to it.
pub(super) struct Mirrors(pub(super) Arc<Mirror>);

impl Mirror {
    pub(super) fn new(project: Arc<Mutex<Project>>, weather: Arc<Weather>) -> Self {
        Self {
            project,
            weather,
            fetched: Mutex::default(),
        }
    }

    fn read<T>(&self, commits: &[&CommitId], answer: impl FnOnce(&Git) -> T) -> Result<T, GitError> {
        let fetched = self.fetched.lock().unwrap();
        if let Some(missing) = commits.iter().find(|commit| !fetched.contains(**commit)) {
            return Err(GitError::Missing {
                what: format!("commit {}", missing.short()),
            });
        }
        Ok(answer(&self.project.lock().unwrap().git))
    }
}

#[async_trait]
impl LocalCopies for Mirrors {
    async fn opened(&self) -> Option<Arc<dyn LocalCopy>> {
        Some(self.0.clone())
    }

    async fn open_at(&self, _: Url) -> Result<Arc<dyn LocalCopy>, GitError> {
        Ok(self.0.clone())
    }

    async fn follow(&self, _: Url) -> Result<(), GitError> {
        Ok(())
    }
}

#[async_trait]
impl LocalCopy for Mirror {
    async fn fetch(&self, branch: &str, merge_requests: &[MergeRequestNumber]) -> Result<Fetched, GitError> {
        let lost = || GitError::Unavailable {
            url: "memory".into(),
            reason: "the weather".into(),
        };
        match self.weather.meet("fetch").await {
            Fate::Refused(_) | Fate::Lost | Fate::AnswerLost => return Err(lost()),
            Fate::Fine => {}
        }
        let project = self.project.lock().unwrap();
        let target = project
            .branches
            .get(branch)
            .cloned()
            .ok_or_else(|| GitError::Missing {
                what: format!("branch {branch}"),
            })?;
        let heads: BTreeMap<MergeRequestNumber, CommitId> = merge_requests
            .iter()
            .filter_map(|number| Some((*number, project.merge_request(*number)?.head.clone())))
            .collect();
        let mut fetched = self.fetched.lock().unwrap();
        for commit in heads.values().chain([&target]) {
            fetched.extend(project.git.ancestors(commit));
        }
        Ok(Fetched {
            target,
            heads,
            received: 0,
        })
    }

    async fn tree(&self, commit: &CommitId) -> Result<Tree, GitError> {
        self.read(&[commit], |git| git.tree(commit).clone())
    }

    async fn blob(&self, blob: &BlobId, limit: u64) -> Result<Option<Vec<u8>>, GitError> {
        let content = self.read(&[], |git| git.blobs.get(blob).cloned())?;
        let content = content.ok_or_else(|| GitError::Missing {
            what: format!("blob {blob}"),
        })?;
        Ok(Some(content).filter(|content| content.len() as u64 <= limit))
    }

    async fn merge_base(&self, a: &CommitId, b: &CommitId) -> Result<Option<CommitId>, GitError> {
        self.read(&[a, b], |git| git.merge_base(a, b))
    }

    async fn first_parent_history(
        &self,
        after: &CommitId,
        until: &CommitId,
    ) -> Result<Vec<Commit>, GitError> {
        let history = self.read(&[after, until], |git| git.first_parents(after, until))?;
        history.ok_or_else(|| GitError::NotADescendant {
            after: after.clone(),
            until: until.clone(),
        })
    }

    async fn commits_between(&self, base: &CommitId, head: &CommitId) -> Result<Vec<Commit>, GitError> {
        self.read(&[base, head], |git| {
            let row = git.between(base, head);
            row.iter()
                .map(|commit| git.commits[commit].commit.clone())
                .collect()
        })
    }

    async fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, GitError> {
        self.read(&[ancestor, descendant], |git| {
            git.ancestors(descendant).contains(ancestor)
        })
    }
}
