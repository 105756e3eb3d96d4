//! Trees: reading files, and making a tree of another with some paths changed.

use std::path::Path;

use super::{GitError, Repository, ZERO, accept, text};

/// One entry of a tree.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct TreeEntry {
    pub(in crate::sandbox) mode: String,
    pub(in crate::sandbox) kind: String,
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) path: String,
}

/// A change to one path of a tree: its new mode and blob, or nothing.
pub(in crate::sandbox) struct PathChange {
    pub(in crate::sandbox) path: String,
    pub(in crate::sandbox) to: Option<(String, String)>,
}

impl Repository {
    /// Blob id, content and mode of a file.
    pub(in crate::sandbox) async fn file(
        &self,
        commit: &str,
        path: &str,
    ) -> Result<Option<(TreeEntry, Vec<u8>)>, GitError> {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            return Ok(None);
        }
        let entry = self
            .tree(commit, path, false)
            .await?
            .into_iter()
            .find(|entry| entry.path == path);
        match entry {
            Some(entry) if entry.kind == "blob" => {
                let bytes = self.run(&["cat-file", "blob", &entry.id]).await?;
                Ok(Some((entry, bytes)))
            }
            _ => Ok(None),
        }
    }

    /// Entries of a tree; a path with a slash at its end lists what is under it.
    pub(in crate::sandbox) async fn tree(
        &self,
        commit: &str,
        path: &str,
        recursive: bool,
    ) -> Result<Vec<TreeEntry>, GitError> {
        if !path.is_empty() && !is_plain_path(path.strip_suffix('/').unwrap_or(path)) {
            return Ok(Vec::new());
        }
        let mut arguments = vec!["ls-tree", "-z", "--full-tree"];
        if recursive {
            arguments.extend(["-r", "-t"]);
        }
        arguments.extend([commit, "--"]);
        if !path.is_empty() {
            arguments.push(path);
        }
        let bytes = self.run(&arguments).await?;
        Ok(text(&bytes)
            .split('\0')
            .filter_map(|line| {
                let (meta, path) = line.split_once('\t')?;
                let mut meta = meta.split(' ');
                Some(TreeEntry {
                    mode: meta.next()?.to_owned(),
                    kind: meta.next()?.to_owned(),
                    id: meta.next()?.to_owned(),
                    path: path.to_owned(),
                })
            })
            .collect())
    }

    /// The tree that holds nothing.
    pub(in crate::sandbox) async fn empty_tree(&self) -> Result<String, GitError> {
        let arguments = ["mktree"];
        let output = self.output(&arguments, Some(b""), &[]).await?;
        Ok(text(&accept(&arguments, output)?).trim().to_owned())
    }

    pub(in crate::sandbox) async fn write_blob(&self, content: &[u8]) -> Result<String, GitError> {
        let arguments = ["hash-object", "-w", "--stdin"];
        let output = self.output(&arguments, Some(content), &[]).await?;
        Ok(text(&accept(&arguments, output)?).trim().to_owned())
    }

    /// The tree that comes of changing paths of another; git refuses paths that leave the tree.
    pub(in crate::sandbox) async fn change_tree(
        &self,
        base: Option<&str>,
        changes: &[PathChange],
        index: &Path,
    ) -> Result<String, GitError> {
        let index_name = index.to_string_lossy().into_owned();
        let variables = [("GIT_INDEX_FILE", index_name.as_str())];
        if let Some(base) = base {
            let arguments = ["read-tree", base];
            accept(&arguments, self.output(&arguments, None, &variables).await?)?;
        }
        let mut lines = Vec::new();
        for change in changes {
            let line = match &change.to {
                Some((mode, blob)) => format!("{mode} {blob}\t{}\0", change.path),
                None => format!("0 {ZERO}\t{}\0", change.path),
            };
            lines.extend(line.into_bytes());
        }
        let arguments = ["update-index", "--add", "--remove", "-z", "--index-info"];
        let updated = self.output(&arguments, Some(&lines), &variables).await;
        let result = match updated.and_then(|output| accept(&arguments, output)) {
            Ok(_) => self
                .output(&["write-tree"], None, &variables)
                .await
                .and_then(|output| accept(&["write-tree"], output)),
            Err(error) => Err(error),
        };
        let _ = tokio::fs::remove_file(index).await;
        Ok(text(&result?).trim().to_owned())
    }
}

/// Whether a path stays in its tree.
pub(in crate::sandbox) fn is_plain_path(path: &str) -> bool {
    !path.contains('\0')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && !part.eq_ignore_ascii_case(".git"))
}
