//! What a commit holds: governed paths, their modes and sizes; and the content of a blob.
//!
//! Trees are read to the letter, never by way of libgit2's own reading, which refuses some and rounds others: whoever
//! may push may push any bytes. What cannot be a file of ours is [unreadable](Mode::Unreadable), under a name of its
//! own, and stops its own change only. What two commits have in common is never looked at, so a commit that brings more
//! than can be looked at stops no other.

use std::collections::{BTreeMap, BTreeSet};

use git2::{ErrorCode, ObjectType, Odb, Oid, Repository};

use super::history::root_tree;
use super::{GitError, local, object_id};
use crate::domain::ids::{BlobId, CommitId, Digest};
use crate::domain::tree::{Entry, LONGEST_PATH, MOST_LEVELS, Mode, RULES_PATH, Role, Tree, role};

/// Paths of one commit that are read at once: ten times what a large organisation has.
const MOST_PATHS: Bound = Bound {
    paths: 100_000,
    bytes: 20_000_000,
};
/// Paths on which two commits may differ: more than anybody reviews.
const MOST_CHANGED: Bound = Bound {
    paths: 10_000,
    bytes: 2_000_000,
};
/// Entries of folders that are looked at for one answer.
const MOST_ENTRIES: usize = 1_000_000;
/// A folder whose list is longer than that, in bytes, is none that can be read: it has about 400,000 names.
const LARGEST_FOLDER: usize = 16 << 20;
/// The same of the top: most of what is there is nobody's concern.
const LARGEST_TOP: usize = 64 << 20;
/// How much of a name that cannot be read is kept: its end, which says what it would be.
const SHOWN_NAME: usize = 100;

/// How much one answer may hold.
#[derive(Clone, Copy)]
struct Bound {
    paths: usize,
    /// Of all paths together.
    bytes: usize,
}

/// What a folder says that a name is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node {
    mode: u32,
    id: Oid,
}

impl Node {
    const FOLDER: u32 = 0o040_000;

    fn is_folder(self) -> bool {
        self.mode == Self::FOLDER
    }

    fn mode(self) -> Mode {
        match self.mode {
            // As git of old wrote it for files that their group may write.
            0o100_644 | 0o100_664 => Mode::File,
            0o100_755 => Mode::Executable,
            0o120_000 => Mode::SymbolicLink,
            0o160_000 => Mode::Submodule,
            _ => Mode::Unreadable,
        }
    }
}

/// What there is on both sides of a comparison, below one folder.
struct Place {
    prefix: String,
    levels: usize,
    sides: [Option<Oid>; 2],
}

/// A walk through two trees at once.
struct Walk<'r> {
    objects: Odb<'r>,
    bound: Bound,
    entries: usize,
    bytes: usize,
    found: [Tree; 2],
}

/// All governed paths of a commit.
pub(super) fn governed(repository: &Repository, commit: &CommitId) -> Result<Tree, GitError> {
    let root = root_tree(repository, commit)?;
    let [tree, _] = Walk::through(repository, [Some(root), None], MOST_PATHS, &|_, _| true)?;
    Ok(tree)
}

/// The governed paths on which two commits differ, with what each holds there.
pub(super) fn differences(
    repository: &Repository,
    one: &CommitId,
    other: &CommitId,
) -> Result<(Tree, Tree), GitError> {
    let roots = [root_tree(repository, one)?, root_tree(repository, other)?];
    let [one, other] = Walk::through(repository, roots.map(Some), MOST_CHANGED, &|_, _| true)?;
    Ok((one, other))
}

/// What a commit holds at some governed paths.
pub(super) fn at(
    repository: &Repository,
    commit: &CommitId,
    paths: &BTreeSet<String>,
) -> Result<Tree, GitError> {
    let root = root_tree(repository, commit)?;
    let is_wanted = |path: &str, is_folder: bool| {
        if is_folder {
            let prefix = format!("{path}/");
            let below = paths.range(prefix.clone()..).next();
            below.is_some_and(|below| below.starts_with(&prefix)) || paths.contains(path)
        } else {
            paths.contains(path)
        }
    };
    let [tree, _] = Walk::through(repository, [Some(root), None], MOST_PATHS, &is_wanted)?;
    Ok(tree)
}

/// What a commit holds below a governed folder, whose name ends in a slash.
pub(super) fn below(repository: &Repository, commit: &CommitId, folder: &str) -> Result<Tree, GitError> {
    let root = root_tree(repository, commit)?;
    let is_wanted = |path: &str, is_folder: bool| {
        path.starts_with(folder) || (is_folder && folder.starts_with(&format!("{path}/")))
    };
    let [tree, _] = Walk::through(repository, [Some(root), None], MOST_CHANGED, &is_wanted)?;
    Ok(tree)
}

impl<'r> Walk<'r> {
    fn through(
        repository: &'r Repository,
        roots: [Option<Oid>; 2],
        bound: Bound,
        is_wanted: &dyn Fn(&str, bool) -> bool,
    ) -> Result<[Tree; 2], GitError> {
        let mut walk = Self {
            objects: repository.odb().map_err(local("reading a tree"))?,
            bound,
            entries: 0,
            bytes: 0,
            found: [Tree::default(), Tree::default()],
        };
        // Not a recursion: the depth is the pusher's choice.
        let mut places = vec![Place {
            prefix: String::new(),
            levels: 0,
            sides: roots,
        }];
        while let Some(place) = places.pop() {
            walk.look(&place, is_wanted, &mut places)?;
        }
        Ok(walk.found)
    }

    fn look(
        &mut self,
        place: &Place,
        is_wanted: &dyn Fn(&str, bool) -> bool,
        places: &mut Vec<Place>,
    ) -> Result<(), GitError> {
        let [one, other] = place.sides;
        let (one, other) = (self.listed(place, one)?, self.listed(place, other)?);
        let names: BTreeSet<&str> = one.keys().chain(other.keys()).map(String::as_str).collect();
        for name in names {
            let nodes = [one.get(name), other.get(name)].map(|node| node.copied());
            if nodes[0] == nodes[1] {
                continue;
            }
            let path = format!("{}{name}", place.prefix);
            let is_too_deep = place.levels + 1 > MOST_LEVELS;
            let mut sides = [None, None];
            for (side, (node, folder)) in nodes.into_iter().zip(&mut sides).enumerate() {
                let Some(node) = node.filter(|node| is_wanted(&path, node.is_folder())) else {
                    continue;
                };
                if node.is_folder() && !is_too_deep && self.is_folder(node.id)? {
                    *folder = Some(node.id);
                } else {
                    self.keep(side, &path, node)?;
                }
            }
            if sides.iter().any(Option::is_some) {
                places.push(Place {
                    prefix: format!("{path}/"),
                    levels: place.levels + 1,
                    sides,
                });
            }
        }
        Ok(())
    }

    /// What a folder holds on one side, by names that a path can have.
    fn listed(&mut self, place: &Place, folder: Option<Oid>) -> Result<BTreeMap<String, Node>, GitError> {
        let mut listed = BTreeMap::new();
        let Some(id) = folder else {
            return Ok(listed);
        };
        let nobody_knows = || {
            if place.prefix.is_empty() {
                RULES_PATH.to_owned()
            } else {
                odd_name(&[])
            }
        };
        let (size, kind) = self
            .objects
            .read_header(id)
            .map_err(|error| missing(id, &error))?;
        if kind != ObjectType::Tree || size > LARGEST_TOP {
            listed.insert(nobody_knows(), Node { mode: 0, id });
            return Ok(listed);
        }
        let object = self.objects.read(id).map_err(|error| missing(id, &error))?;
        let mut rest = object.data();
        while !rest.is_empty() {
            let Some((name, mut node, after)) = entry(rest) else {
                // Cut off: nobody knows what else it was to hold.
                listed.insert(nobody_knows(), Node { mode: 0, id });
                break;
            };
            rest = after;
            let name = if let Some(name) = readable(&place.prefix, name) {
                name.to_owned()
            } else {
                node.mode = 0;
                odd_name(name)
            };
            if role(&format!("{}{name}", place.prefix)) == Role::Other {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(too_many("files and folders to look at", MOST_ENTRIES));
            }
            if listed.insert(name.clone(), node).is_some() {
                // Which of them counts, nobody could say.
                listed.insert(name, Node { mode: 0, ..node });
            }
        }
        Ok(listed)
    }

    /// Whether what is called a folder is one that can be read.
    fn is_folder(&self, id: Oid) -> Result<bool, GitError> {
        let (size, kind) = self
            .objects
            .read_header(id)
            .map_err(|error| missing(id, &error))?;
        Ok(kind == ObjectType::Tree && size <= LARGEST_FOLDER)
    }

    fn keep(&mut self, side: usize, path: &str, node: Node) -> Result<(), GitError> {
        self.bytes += path.len();
        let Some(found) = self.found.get_mut(side).map(|tree| &mut tree.entries) else {
            return Ok(());
        };
        if found.len() >= self.bound.paths {
            return Err(too_many("files in Landfall's folders", self.bound.paths));
        }
        if self.bytes > self.bound.bytes {
            return Err(too_many("bytes of paths in Landfall's folders", self.bound.bytes));
        }
        let mut mode = node.mode();
        let mut size = 0;
        if matches!(mode, Mode::File | Mode::Executable | Mode::SymbolicLink) {
            match self
                .objects
                .read_header(node.id)
                .map_err(|error| missing(node.id, &error))?
            {
                (length, ObjectType::Blob) => size = length as u64,
                _ => mode = Mode::Unreadable,
            }
        }
        let blob = blob_id(node.id)?;
        found.insert(path.to_owned(), Entry { mode, blob, size });
        Ok(())
    }
}

/// The first entry of what is left of a tree, and what comes after it: `mode SP name NUL id`.
fn entry(bytes: &[u8]) -> Option<(&[u8], Node, &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let (mode, rest) = (bytes.get(..space)?, bytes.get(space + 1..)?);
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    let id = Oid::from_bytes(rest.get(..20)?).ok()?;
    let digits = std::str::from_utf8(mode).ok().filter(|text| text.len() <= 7);
    let mode = digits
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .unwrap_or(0);
    Some((name, Node { mode, id }, rest.get(20..)?))
}

/// A name as it stands in a path, if one can hold it.
fn readable<'n>(prefix: &str, name: &'n [u8]) -> Option<&'n str> {
    let name = std::str::from_utf8(name).ok()?;
    let is_one = !matches!(name, "" | "." | "..")
        && !name.contains(['/', '\0'])
        && !name.eq_ignore_ascii_case(".git")
        && prefix.len() + name.len() <= LONGEST_PATH;
    is_one.then_some(name)
}

/// What a name that cannot be read is called: always the same, and as no other.
fn odd_name(name: &[u8]) -> String {
    let digest = Digest::of(name);
    let end = name
        .get(name.len().saturating_sub(4 * SHOWN_NAME)..)
        .unwrap_or(name);
    let lossy = String::from_utf8_lossy(end);
    let last = lossy.rsplit(['/', '\0']).next().unwrap_or_default();
    let from = last.ceil_char_boundary(last.len().saturating_sub(SHOWN_NAME));
    let shown = last.get(from..).unwrap_or_default();
    format!("{}-{shown}", digest.as_str().get(..16).unwrap_or_default())
}

fn too_many(what: &str, limit: usize) -> GitError {
    GitError::TooMany {
        what: what.into(),
        limit,
    }
}

fn missing(id: Oid, error: &git2::Error) -> GitError {
    match error.code() {
        ErrorCode::NotFound => GitError::Missing {
            what: format!("object {id}"),
        },
        _ => GitError::Local {
            activity: "reading a tree".into(),
            reason: error.message().to_owned(),
        },
    }
}

pub(super) fn blob(repository: &Repository, blob: &BlobId, limit: u64) -> Result<Option<Vec<u8>>, GitError> {
    let missing = || GitError::Missing {
        what: format!("blob {blob}"),
    };
    let failed = |error: git2::Error| match error.code() {
        ErrorCode::NotFound => missing(),
        _ => local("reading a blob")(error),
    };
    let id = object_id(blob.as_str())?;
    let objects = repository.odb().map_err(local("reading a blob"))?;
    let (size, kind) = objects.read_header(id).map_err(failed)?;
    if kind != ObjectType::Blob {
        return Err(missing());
    }
    if size as u64 > limit {
        return Ok(None);
    }
    Ok(Some(objects.read(id).map_err(failed)?.data().to_vec()))
}

fn blob_id(id: Oid) -> Result<BlobId, GitError> {
    BlobId::new(id.to_string()).map_err(|error| GitError::Local {
        activity: "reading a tree".into(),
        reason: error.to_string(),
    })
}
