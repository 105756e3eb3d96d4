//! A requests repository on disk, as git would see it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use git2::{ObjectType, Oid};

use crate::domain::ids::BlobId;
use crate::domain::request::Contents;
use crate::domain::tree::{Entry, Mode, RULES_PATH, Role, Tree, role};
use crate::domain::yaml::LARGEST_FILE;

/// The nearest folder at or above a path that holds `landfall.yaml`; else, for a folder, the folder itself.
///
/// # Errors
/// If the path is not there, or is a file with no `landfall.yaml` above it.
pub(super) fn find_root(path: &Path) -> anyhow::Result<PathBuf> {
    let start = fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(root) = start
        .ancestors()
        .find(|folder| folder.join(RULES_PATH).symlink_metadata().is_ok())
    {
        return Ok(root.to_path_buf());
    }
    if !start.is_dir() {
        bail!(
            "no landfall.yaml beside or above {}: is it in a requests repository?",
            path.display()
        );
    }
    Ok(start)
}

/// Reads what Landfall looks at: `landfall.yaml`, and everything below `requests/`. Links are not followed, and files
/// over [`LARGEST_FILE`] are not read.
///
/// # Errors
/// If a folder or file cannot be read.
pub(super) fn read(root: &Path) -> anyhow::Result<(Tree, Contents)> {
    read_names(root, &[RULES_PATH, "requests"])
}

/// Reads everything below `policies/`, in the same way.
///
/// # Errors
/// If a folder or file cannot be read.
pub(super) fn read_policies(root: &Path) -> anyhow::Result<(Tree, Contents)> {
    read_names(root, &["policies"])
}

fn read_names(root: &Path, names: &[&str]) -> anyhow::Result<(Tree, Contents)> {
    let mut reader = Reader::default();
    for name in names {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => reader.add(name, &path, &metadata)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    Ok((reader.tree, reader.contents))
}

#[derive(Default)]
struct Reader {
    tree: Tree,
    contents: Contents,
}

impl Reader {
    fn add(&mut self, name: &str, path: &Path, metadata: &fs::Metadata) -> anyhow::Result<()> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            // Another repository's folder is what git keeps as a submodule.
            return if path.join(".git").exists() {
                self.insert(name, Mode::Submodule, 0, b"")
            } else {
                self.add_folder(name, path)
            };
        }
        let refused =
            |error: io::Error| anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
        if kind.is_symlink() {
            let target = fs::read_link(path).map_err(refused)?;
            return self.insert(
                name,
                Mode::SymbolicLink,
                metadata.len(),
                target.as_os_str().as_encoded_bytes(),
            );
        }
        let mode = if is_executable(metadata) {
            Mode::Executable
        } else {
            Mode::File
        };
        if !kind.is_file() || metadata.len() > LARGEST_FILE {
            // Named by its path, not by its content: the content is not read.
            let blob = blob_id(format!("not read: {name}").as_bytes())?;
            self.tree.entries.insert(
                name.into(),
                Entry {
                    mode,
                    blob,
                    size: metadata.len().max(LARGEST_FILE + 1),
                },
            );
            return Ok(());
        }
        let bytes = fs::read(path).map_err(refused)?;
        self.insert(name, mode, bytes.len() as u64, &bytes)
    }

    fn add_folder(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            self.add(&name, &entry.path(), &entry.metadata()?)?;
        }
        Ok(())
    }

    fn insert(&mut self, name: &str, mode: Mode, size: u64, bytes: &[u8]) -> anyhow::Result<()> {
        if role(name) == Role::Other {
            return Ok(());
        }
        let blob = blob_id(bytes)?;
        if matches!(mode, Mode::File | Mode::Executable) {
            self.contents.insert(blob.clone(), bytes.to_vec());
        }
        self.tree.entries.insert(name.into(), Entry { mode, blob, size });
        Ok(())
    }
}

fn blob_id(bytes: &[u8]) -> anyhow::Result<BlobId> {
    Ok(BlobId::new(
        Oid::hash_object(ObjectType::Blob, bytes)?.to_string(),
    )?)
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}
