//! Who descends from whom, and by which commits.
//!
//! libgit2 walks through what it can read. Commits that it cannot (without an author, of a day that never was) may be
//! pushed all the same: where it meets one, the walk is done again by our own reading, which takes parents and
//! addresses from wherever they stand and finds nothing else worth a refusal.

use std::collections::{BTreeSet, VecDeque};

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository, Sort};

use super::{Commit, GitError, commit_id, local, object_id};
use crate::domain::ids::CommitId;

/// More commits than that between two heads are more than anybody can answer for.
const MOST_COMMITS: usize = 10_000;
/// Commits of the target branch that one landing looks at; the next goes on behind them.
const MOST_LANDED: usize = 10_000;
/// Commits that are walked through for one answer.
const MOST_WALKED: usize = 1_000_000;
/// A subject longer than that is cut: it is only shown.
const SUBJECT_BYTES: usize = 1_000;
/// So much of the end of a message is looked through for whom it names.
const MESSAGE_BYTES: usize = 64 << 10;
/// No mailbox has a longer address (RFC 5321, 4.5.3.1): a longer one is nobody's, and is not kept.
const LONGEST_ADDRESS: usize = 320;

/// What stands at the head of a commit, as far as it can be read.
#[derive(Default)]
struct Header {
    tree: Option<Oid>,
    parents: Vec<Oid>,
    authors: Vec<String>,
    committers: Vec<String>,
    subject: String,
}

/// The tree of a commit.
pub(super) fn root_tree(repository: &Repository, commit: &CommitId) -> Result<Oid, GitError> {
    let id = find(repository, commit)?;
    let objects = repository.odb().map_err(local("reading a commit"))?;
    let none = || GitError::Local {
        activity: "reading a commit".into(),
        reason: format!("commit {id} names no tree"),
    };
    header(&objects, id)?.tree.ok_or_else(none)
}

/// The first parent of a commit.
pub(super) fn parent(repository: &Repository, commit: &CommitId) -> Result<Option<CommitId>, GitError> {
    let id = find(repository, commit)?;
    let objects = repository.odb().map_err(local("reading a commit"))?;
    header(&objects, id)?
        .parents
        .first()
        .copied()
        .map(commit_id)
        .transpose()
}

pub(super) fn merge_base(
    repository: &Repository,
    a: &CommitId,
    b: &CommitId,
) -> Result<Option<CommitId>, GitError> {
    let (a, b) = (find(repository, a)?, find(repository, b)?);
    match repository.merge_base(a, b) {
        Ok(base) => commit_id(base).map(Some),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(_) => {
            let objects = repository.odb().map_err(local("looking for a merge base"))?;
            let known = ancestors(&objects, a, MOST_WALKED)?;
            // The nearest by steps: what the two have in common is never further than that.
            nearest(&objects, b, &known)?.map(commit_id).transpose()
        }
    }
}

pub(super) fn is_ancestor(
    repository: &Repository,
    ancestor: &CommitId,
    descendant: &CommitId,
) -> Result<bool, GitError> {
    let (ancestor, descendant) = (find(repository, ancestor)?, find(repository, descendant)?);
    if ancestor == descendant {
        return Ok(true);
    }
    match repository.graph_descendant_of(descendant, ancestor) {
        Ok(answer) => Ok(answer),
        Err(_) => {
            let objects = repository.odb().map_err(local("comparing two commits"))?;
            Ok(nearest(&objects, descendant, &[ancestor].into())?.is_some())
        }
    }
}

pub(super) fn between(
    repository: &Repository,
    base: &CommitId,
    head: &CommitId,
) -> Result<Vec<Commit>, GitError> {
    let (base, head) = (find(repository, base)?, find(repository, head)?);
    let objects = repository.odb().map_err(local("walking through the history"))?;
    let ids = match walk(repository, base, head) {
        Err(GitError::Local { .. }) => by_hand(&objects, base, head)?,
        answer => answer?,
    };
    ids.into_iter().map(|id| read(&objects, id)).collect()
}

/// The commits of the first-parent line of `until` that `after` does not hold, oldest first; of a line that is longer
/// than one landing looks at, the oldest of them.
pub(super) fn first_parent(
    repository: &Repository,
    after: &CommitId,
    until: &CommitId,
) -> Result<Vec<Commit>, GitError> {
    let not_a_descendant = || GitError::NotADescendant {
        after: after.clone(),
        until: until.clone(),
    };
    let (from, to) = (find(repository, after)?, find(repository, until)?);
    let objects = repository.odb().map_err(local("walking through the history"))?;
    // Mostly `after` lies on the line itself: then nothing else is looked at, however much was merged into it.
    let mut line = VecDeque::new();
    let mut at = Some(to);
    while let Some(id) = at.filter(|id| *id != from && line.len() < MOST_WALKED) {
        line.push_front(id);
        at = header(&objects, id)?.parents.first().copied();
    }
    if at != Some(from) {
        if !is_ancestor(repository, after, until)? {
            return Err(not_a_descendant());
        }
        // Somebody merged the branch into theirs, and it was fast-forwarded to that.
        let known = ancestors(&objects, from, MOST_WALKED)?;
        let parted = line.iter().rposition(|id| known.contains(id));
        line.drain(..parted.map_or(0, |place| place + 1));
    }
    line.into_iter()
        .take(MOST_LANDED)
        .map(|id| read(&objects, id))
        .collect()
}

/// What `head` has and `base` has not, parents first.
fn walk(repository: &Repository, base: Oid, head: Oid) -> Result<Vec<Oid>, GitError> {
    let failed = local("walking through the history");
    let mut walk = repository.revwalk().map_err(&failed)?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE)
        .map_err(&failed)?;
    walk.push(head).map_err(&failed)?;
    walk.hide(base).map_err(&failed)?;
    let mut found = Vec::new();
    for id in walk {
        if found.len() == MOST_COMMITS {
            return Err(too_many());
        }
        found.push(id.map_err(&failed)?);
    }
    Ok(found)
}

/// The same by our own reading.
fn by_hand(objects: &Odb<'_>, base: Oid, head: Oid) -> Result<Vec<Oid>, GitError> {
    let known = ancestors(objects, base, MOST_WALKED)?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    // A commit and whether its parents are done.
    let mut stack = vec![(head, false)];
    while let Some((id, is_done)) = stack.pop() {
        if is_done {
            found.push(id);
        } else if !known.contains(&id) && seen.insert(id) {
            if seen.len() > MOST_COMMITS {
                return Err(too_many());
            }
            stack.push((id, true));
            stack.extend(
                header(objects, id)?
                    .parents
                    .into_iter()
                    .map(|parent| (parent, false)),
            );
        }
    }
    Ok(found)
}

/// A commit and all that it goes back to.
fn ancestors(objects: &Odb<'_>, id: Oid, most: usize) -> Result<BTreeSet<Oid>, GitError> {
    let mut known = BTreeSet::from([id]);
    let mut next = vec![id];
    while let Some(id) = next.pop() {
        for parent in header(objects, id)?.parents {
            if known.insert(parent) {
                next.push(parent);
            }
        }
        if known.len() > most {
            return Err(too_many());
        }
    }
    Ok(known)
}

/// The nearest of some commits that another goes back to.
fn nearest(objects: &Odb<'_>, from: Oid, wanted: &BTreeSet<Oid>) -> Result<Option<Oid>, GitError> {
    let mut seen = BTreeSet::from([from]);
    let mut next = VecDeque::from([from]);
    while let Some(id) = next.pop_front() {
        if wanted.contains(&id) {
            return Ok(Some(id));
        }
        for parent in header(objects, id)?.parents {
            if seen.insert(parent) {
                next.push_back(parent);
            }
        }
        if seen.len() > MOST_WALKED {
            return Err(too_many());
        }
    }
    Ok(None)
}

fn too_many() -> GitError {
    GitError::TooMany {
        what: "commits".into(),
        limit: MOST_COMMITS,
    }
}

/// A commit that the mirror has, however it is written.
pub(super) fn find(repository: &Repository, commit: &CommitId) -> Result<Oid, GitError> {
    let id = object_id(commit.as_str())?;
    let objects = repository.odb().map_err(local("reading a commit"))?;
    let missing = || GitError::Missing {
        what: format!("commit {}", commit.short()),
    };
    match objects.read_header(id) {
        Ok((_, ObjectType::Commit)) => Ok(id),
        Ok(_) => Err(missing()),
        Err(error) if error.code() == ErrorCode::NotFound => Err(missing()),
        Err(error) => Err(local("reading a commit")(error)),
    }
}

fn header(objects: &Odb<'_>, id: Oid) -> Result<Header, GitError> {
    let object = objects.read(id).map_err(|error| match error.code() {
        ErrorCode::NotFound => GitError::Missing {
            what: format!("commit {id}"),
        },
        _ => local("reading a commit")(error),
    })?;
    Ok(Header::of(object.data()))
}

impl Header {
    fn of(bytes: &[u8]) -> Self {
        let mut header = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            rest = after;
            let (word, value) = match line.iter().position(|byte| *byte == b' ') {
                Some(at) => line.split_at(at),
                None => (line, &b""[..]),
            };
            let value = value.get(1..).unwrap_or_default();
            let id = || {
                std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| Oid::from_str(text).ok())
            };
            match word {
                b"" if line.is_empty() => break,
                b"tree" => header.tree = header.tree.or_else(id),
                b"parent" => header.parents.extend(id()),
                b"author" => header.authors.extend(addresses(value)),
                b"committer" => header.committers.extend(addresses(value)),
                _ => {}
            }
        }
        let subject = rest.split(|byte| *byte == b'\n').find(|line| !line.is_empty());
        let subject = subject.unwrap_or_default();
        let subject = String::from_utf8_lossy(subject.get(..SUBJECT_BYTES).unwrap_or(subject));
        header.subject = subject.trim().to_owned();
        let message = rest
            .get(rest.len().saturating_sub(MESSAGE_BYTES)..)
            .unwrap_or(rest);
        header.authors.extend(trailers(&String::from_utf8_lossy(message)));
        header
    }

    /// The authors, and last who committed it; one who is both stands there once.
    fn emails(self) -> Vec<String> {
        let (mut emails, mut committers) = (self.authors, self.committers);
        let committer = committers.pop().unwrap_or_default();
        emails.extend(committers);
        if emails.len() != 1 || emails.first() != Some(&committer) {
            emails.push(committer);
        }
        emails
    }
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    (
        bytes.get(..end).unwrap_or_default(),
        bytes.get(end + 1..).unwrap_or_default(),
    )
}

/// What may be the address in `Name <address> time`: whoever writes several is taken at each, since they only exclude.
fn addresses(person: &[u8]) -> BTreeSet<String> {
    let first = person.iter().position(|byte| *byte == b'<');
    let last = person.iter().rposition(|byte| *byte == b'<');
    let starts: BTreeSet<usize> = first.into_iter().chain(last).collect();
    starts
        .into_iter()
        .filter_map(|start| {
            let from = person.get(start + 1..)?;
            let end = from.iter().position(|byte| *byte == b'>').unwrap_or(from.len());
            let address = from
                .get(..end)
                .filter(|address| address.len() <= LONGEST_ADDRESS)?;
            Some(String::from_utf8_lossy(address).into_owned())
        })
        .collect()
}

fn read(objects: &Odb<'_>, id: Oid) -> Result<Commit, GitError> {
    let header = header(objects, id)?;
    Ok(Commit {
        id: commit_id(id)?,
        parents: header
            .parents
            .iter()
            .copied()
            .map(commit_id)
            .collect::<Result<_, _>>()?,
        subject: header.subject.clone(),
        emails: header.emails(),
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
    found.retain(|address| !address.is_empty() && address.len() <= LONGEST_ADDRESS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_a_hand_in_a_commit_is_read_from_its_trailers() {
        let message = "Ask for a shop\n\nReviewed-by: Root <root@example.test>\nCo-Authored-By: Ada L. <ada@example.test>\n\
                       signed-off-by: Grace <grace@example.test>\nCo-authored-by: nobody\nCo-authored-by: <>\n";
        assert_eq!(trailers(message), ["ada@example.test", "grace@example.test"]);
    }

    #[test]
    fn a_header_is_read_however_it_is_written() {
        let id = "1".repeat(40);
        let cases = [
            (
                format!(
                    "tree {id}\nparent {id}\nauthor A <a@x> 1 +0\ncommitter C <c@x> 1 +0\n\nwhat\n\nmore"
                ),
                1,
                "a@x c@x",
                "what",
            ),
            (format!("tree {id}\n\nwhat"), 0, "", "what"),
            (
                format!("tree {id}\nauthor A <a@x><b@x>\ncommitter <<c@x\n"),
                0,
                "a@x b@x <c@x c@x",
                "",
            ),
            (
                format!("parent {id}\nparent {id}\nparent no\n\n\n\nlate\n"),
                2,
                "",
                "late",
            ),
            (format!("author A <{}> 1\n", "a".repeat(1_000)), 0, "", ""),
            (String::new(), 0, "", ""),
        ];
        for (text, parents, emails, subject) in cases {
            let header = Header::of(text.as_bytes());
            assert_eq!(
                (header.parents.len(), header.subject.as_str()),
                (parents, subject),
                "{text:.100}"
            );
            assert_eq!(header.emails().join(" "), emails, "{text:.100}");
        }
    }
}
