//! What a commit holds: governed paths, their modes and sizes; and the content of a blob.

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::{GitError, find_commit, local, object_id};
use crate::domain::ids::{BlobId, CommitId};
use crate::domain::tree::{Entry, Mode, Role, Tree, role};

/// Paths and folders of one commit that are looked at: ten times what a large organisation has.
const MOST_ENTRIES: usize = 100_000;

pub(super) fn governed(repository: &Repository, commit: &CommitId) -> Result<Tree, GitError> {
    let failed = local("reading a tree");
    let root = find_commit(repository, commit)?.tree_id();
    let objects = repository.odb().map_err(&failed)?;
    let mut tree = Tree::default();
    let mut seen = 0;
    // Folders to enter. Not a recursion: the depth is the pusher's choice.
    let mut folders = vec![(String::new(), root)];
    while let Some((prefix, id)) = folders.pop() {
        for entry in repository.find_tree(id).map_err(&failed)?.iter() {
            let lossy = format!("{prefix}{}", String::from_utf8_lossy(entry.name_bytes()));
            if role(&lossy) == Role::Other {
                continue;
            }
            seen += 1;
            if seen > MOST_ENTRIES {
                let what = "files and folders that Landfall reads in one commit".into();
                return Err(GitError::TooMany {
                    what,
                    limit: MOST_ENTRIES,
                });
            }
            let readable = entry.name().is_ok_and(|name| {
                !matches!(name, "" | "." | "..") && !name.contains('/') && !name.eq_ignore_ascii_case(".git")
            });
            if !readable {
                // Kept as what it is, under a name of its own: one odd name stops its own change, never the repository.
                let path = format!("{prefix}{}", entry.id());
                let path = format!("{path}-{}", lossy.rsplit('/').next().unwrap_or_default());
                let blob = blob_id(entry.id())?;
                tree.entries.insert(
                    path,
                    Entry {
                        mode: Mode::Unreadable,
                        blob,
                        size: 0,
                    },
                );
                continue;
            }
            if entry.kind() == Some(ObjectType::Tree) {
                folders.push((format!("{lossy}/"), entry.id()));
                continue;
            }
            let mode = mode(entry.filemode());
            let size = match mode {
                Mode::Submodule => 0,
                _ => match objects.read_header(entry.id()).map_err(&failed)? {
                    (size, ObjectType::Blob) => size as u64,
                    _ => return Err(GitError::UnreadablePath { path: lossy }),
                },
            };
            tree.entries.insert(
                lossy.clone(),
                Entry {
                    mode,
                    blob: blob_id(entry.id())?,
                    size,
                },
            );
        }
    }
    Ok(tree)
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

fn mode(mode: i32) -> Mode {
    match mode {
        0o100_755 => Mode::Executable,
        0o120_000 => Mode::SymbolicLink,
        0o160_000 => Mode::Submodule,
        _ => Mode::File,
    }
}

fn blob_id(id: Oid) -> Result<BlobId, GitError> {
    BlobId::new(id.to_string()).map_err(|error| GitError::Local {
        activity: "reading a tree".into(),
        reason: error.to_string(),
    })
}
