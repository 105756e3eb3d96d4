//! A requests repository as a commit of the local git repository holds it.

use std::path::Path;

use anyhow::{Context, bail};
use git2::{ObjectType, Repository, TreeWalkMode, TreeWalkResult};

use crate::domain::ids::BlobId;
use crate::domain::request::Contents;
use crate::domain::tree::{Entry, Mode, Role, Tree, role};
use crate::domain::yaml::LARGEST_FILE;

/// Reads what Landfall looks at in a commit, by any name that git knows for it. Files over [`LARGEST_FILE`] are not
/// read.
///
/// # Errors
/// If the folder is in no git repository, or the commit is not in it: a shallow clone may lack it.
pub(super) fn read(root: &Path, revision: &str) -> anyhow::Result<(Tree, Contents)> {
    let repository = Repository::discover(root)
        .with_context(|| format!("{} is in no git repository, so there is no base", root.display()))?;
    let commit = repository
        .revparse_single(revision)
        .and_then(|object| object.peel_to_commit())
        .with_context(|| format!("`{revision}` is no commit of {}; fetch it first", root.display()))?;
    let mut tree = commit.tree()?;
    let inside = inside(&repository, root)?;
    if !inside.as_os_str().is_empty() {
        let entry = tree.get_path(&inside);
        tree = match entry
            .and_then(|entry| entry.to_object(&repository))
            .and_then(|object| object.peel_to_tree())
        {
            Ok(tree) => tree,
            // The folder came later: nothing was there.
            Err(_) => return Ok(Default::default()),
        };
    }
    collect(&repository, &tree)
}

/// The folder's path in the repository's working tree.
fn inside(repository: &Repository, root: &Path) -> anyhow::Result<std::path::PathBuf> {
    let Some(top) = repository.workdir() else {
        bail!("{} is a bare repository; validate a working tree", root.display());
    };
    let top = std::fs::canonicalize(top).with_context(|| format!("cannot read {}", top.display()))?;
    Ok(root
        .strip_prefix(&top)
        .with_context(|| format!("{} is outside of {}", root.display(), top.display()))?
        .into())
}

fn collect(repository: &Repository, root: &git2::Tree<'_>) -> anyhow::Result<(Tree, Contents)> {
    let (mut tree, mut contents) = (Tree::default(), Contents::new());
    let mut failure = None;
    root.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let path = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
        if entry.kind() == Some(ObjectType::Tree) {
            // Folders that are no concern of Landfall's are not walked.
            return if role(&path) == Role::Other {
                TreeWalkResult::Skip
            } else {
                TreeWalkResult::Ok
            };
        }
        if role(&path) == Role::Other {
            return TreeWalkResult::Ok;
        }
        match add(repository, entry, path, &mut tree, &mut contents) {
            Ok(()) => TreeWalkResult::Ok,
            Err(error) => {
                failure = Some(error);
                TreeWalkResult::Abort
            }
        }
    })
    .or_else(|error| if failure.is_some() { Ok(()) } else { Err(error) })?;
    failure.map_or(Ok((tree, contents)), Err)
}

fn add(
    repository: &Repository,
    entry: &git2::TreeEntry<'_>,
    path: String,
    tree: &mut Tree,
    contents: &mut Contents,
) -> anyhow::Result<()> {
    let blob = BlobId::new(entry.id().to_string())?;
    let mode = match entry.filemode() {
        0o100_755 => Mode::Executable,
        0o120_000 => Mode::SymbolicLink,
        0o160_000 => Mode::Submodule,
        _ => Mode::File,
    };
    let mut size = 0;
    if mode != Mode::Submodule {
        // The header alone tells the size: what is too large is not read.
        size = repository.odb()?.read_header(entry.id())?.0 as u64;
        if size <= LARGEST_FILE && mode != Mode::SymbolicLink {
            contents.insert(blob.clone(), repository.find_blob(entry.id())?.content().to_vec());
        }
    }
    tree.entries.insert(path, Entry { mode, blob, size });
    Ok(())
}
