//! Who descends from whom, and by which commits.

use std::collections::BTreeMap;

use git2::{ErrorCode, Oid, Repository, Sort};

use super::{Commit, GitError, commit_id, find_commit, local};
use crate::domain::ids::CommitId;

/// More commits than that between two heads are not a history that a landing can examine.
const MOST_COMMITS: usize = 10_000;
/// A subject longer than that is cut: it is only shown.
const SUBJECT_BYTES: usize = 1_000;

pub(super) fn merge_base(
    repository: &Repository,
    a: &CommitId,
    b: &CommitId,
) -> Result<Option<CommitId>, GitError> {
    let (a, b) = (find_commit(repository, a)?, find_commit(repository, b)?);
    match repository.merge_base(a.id(), b.id()) {
        Ok(base) => commit_id(base).map(Some),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(local("looking for a merge base")(error)),
    }
}

pub(super) fn is_ancestor(
    repository: &Repository,
    ancestor: &CommitId,
    descendant: &CommitId,
) -> Result<bool, GitError> {
    let (ancestor, descendant) = (
        find_commit(repository, ancestor)?,
        find_commit(repository, descendant)?,
    );
    if ancestor.id() == descendant.id() {
        return Ok(true);
    }
    repository
        .graph_descendant_of(descendant.id(), ancestor.id())
        .map_err(local("comparing two commits"))
}

pub(super) fn between(
    repository: &Repository,
    base: &CommitId,
    head: &CommitId,
) -> Result<Vec<Commit>, GitError> {
    walk(repository, base, head)?
        .into_iter()
        .map(|id| read(repository, id))
        .collect()
}

pub(super) fn first_parent(
    repository: &Repository,
    after: &CommitId,
    until: &CommitId,
) -> Result<Vec<Commit>, GitError> {
    if !is_ancestor(repository, after, until)? {
        return Err(GitError::NotADescendant {
            after: after.clone(),
            until: until.clone(),
        });
    }
    let mut new: BTreeMap<Oid, Commit> = BTreeMap::new();
    for id in walk(repository, after, until)? {
        new.insert(id, read(repository, id)?);
    }
    let mut line = Vec::new();
    let mut at = Some(find_commit(repository, until)?.id());
    while let Some(commit) = at.and_then(|id| new.remove(&id)) {
        at = commit
            .parents
            .first()
            .and_then(|parent| Oid::from_str(parent.as_str()).ok());
        line.push(commit);
    }
    line.reverse();
    Ok(line)
}

/// What `head` has and `base` has not, parents first.
fn walk(repository: &Repository, base: &CommitId, head: &CommitId) -> Result<Vec<Oid>, GitError> {
    let failed = local("walking through the history");
    let (base, head) = (find_commit(repository, base)?, find_commit(repository, head)?);
    let mut walk = repository.revwalk().map_err(&failed)?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)
        .map_err(&failed)?;
    walk.push(head.id()).map_err(&failed)?;
    walk.hide(base.id()).map_err(&failed)?;
    let mut found = Vec::new();
    for id in walk {
        if found.len() == MOST_COMMITS {
            return Err(GitError::TooMany {
                what: "commits to look at".into(),
                limit: MOST_COMMITS,
            });
        }
        found.push(id.map_err(&failed)?);
    }
    Ok(found)
}

fn read(repository: &Repository, id: Oid) -> Result<Commit, GitError> {
    let commit = repository.find_commit(id).map_err(local("reading a commit"))?;
    let subject = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default());
    let end = subject.floor_char_boundary(SUBJECT_BYTES);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let author = text(commit.author().email_bytes());
    let committer = text(commit.committer().email_bytes());
    let mut emails = vec![author];
    emails.extend(trailers(&text(commit.message_bytes())));
    if emails.len() > 1 || emails.first() != Some(&committer) {
        emails.push(committer);
    }
    Ok(Commit {
        id: commit_id(id)?,
        parents: commit.parent_ids().map(commit_id).collect::<Result<_, _>>()?,
        subject: subject.get(..end).unwrap_or_default().to_owned(),
        emails,
    })
}

/// So many people are read from a message; more do not work on one commit.
const MOST_TRAILERS: usize = 20;

/// The addresses of those whom a message names as having had a hand in the commit, as `Co-authored-by: Name <address>`.
fn trailers(message: &str) -> Vec<String> {
    let had_a_hand = |line: &str| {
        let (key, value) = line.trim().split_once(':')?;
        let keys = ["co-authored-by", "co-developed-by", "signed-off-by"];
        keys.contains(&key.trim().to_ascii_lowercase().as_str())
            .then_some(())?;
        let (_, address) = value.rsplit_once('<')?;
        Some(address.split('>').next().unwrap_or_default().trim().to_owned())
    };
    let mut found: Vec<String> = message
        .lines()
        .filter_map(had_a_hand)
        .take(MOST_TRAILERS)
        .collect();
    found.retain(|address| !address.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::trailers;

    #[test]
    fn who_had_a_hand_in_a_commit_is_read_from_its_trailers() {
        let message = "Ask for a shop\n\nReviewed-by: Root <root@example.test>\nCo-Authored-By: Ada L. <ada@example.test>\n\
                       signed-off-by: Grace <grace@example.test>\nCo-authored-by: nobody\nCo-authored-by: <>\n";
        assert_eq!(trailers(message), ["ada@example.test", "grace@example.test"]);
    }
}
