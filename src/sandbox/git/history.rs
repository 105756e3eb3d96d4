//! Reading history: commits, and what they change.

use super::{GitError, Repository, ZERO, accept, text};

#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Commit {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) parents: Vec<String>,
    pub(in crate::sandbox) author_name: String,
    pub(in crate::sandbox) author_email: String,
    pub(in crate::sandbox) authored: String,
    pub(in crate::sandbox) committer_name: String,
    pub(in crate::sandbox) committer_email: String,
    pub(in crate::sandbox) committed: String,
    pub(in crate::sandbox) message: String,
}

impl Commit {
    pub(in crate::sandbox) fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// One changed file.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct FileDiff {
    pub(in crate::sandbox) old_path: String,
    pub(in crate::sandbox) new_path: String,
    pub(in crate::sandbox) old_mode: String,
    pub(in crate::sandbox) new_mode: String,
    pub(in crate::sandbox) kind: char,
    pub(in crate::sandbox) text: String,
}

impl Repository {
    /// Commits of a range, newest first.
    pub(in crate::sandbox) async fn log(
        &self,
        range: &[&str],
        limit: usize,
    ) -> Result<Vec<Commit>, GitError> {
        let count = format!("--max-count={limit}");
        let format = "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B";
        let mut arguments = vec!["log", "-z", "--no-show-signature", &count, format];
        arguments.extend(range);
        let bytes = self.run(&arguments).await?;
        let all = text(&bytes);
        let fields: Vec<&str> = all.split('\0').collect();
        Ok(fields
            .chunks_exact(9)
            .map(|one| Commit {
                id: one[0].to_owned(),
                parents: one[1].split_whitespace().map(str::to_owned).collect(),
                author_name: one[2].to_owned(),
                author_email: one[3].to_owned(),
                authored: one[4].to_owned(),
                committer_name: one[5].to_owned(),
                committer_email: one[6].to_owned(),
                committed: one[7].to_owned(),
                message: one[8].to_owned(),
            })
            .collect())
    }

    pub(in crate::sandbox) async fn commit(&self, id: &str) -> Result<Option<Commit>, GitError> {
        Ok(self.log(&["--no-walk", id, "--"], 1).await?.into_iter().next())
    }

    /// The commit by which a branch that went from one commit to another came to hold a commit: a merge commit, or the
    /// commit itself.
    pub(in crate::sandbox) async fn brought_by(
        &self,
        commit: &str,
        from: &str,
        to: &str,
    ) -> Result<Option<String>, GitError> {
        let range = format!("{from}..{to}");
        let range = if from == ZERO { to } else { &range };
        let first_parents = self
            .line(&["rev-list", "--first-parent", "--reverse", range, "--"])
            .await?;
        for candidate in first_parents.lines() {
            if self.is_ancestor(commit, candidate).await? {
                return Ok(Some(candidate.to_owned()));
            }
        }
        Ok(None)
    }

    pub(in crate::sandbox) async fn count(&self, range: &str) -> Result<usize, GitError> {
        Ok(self
            .line(&["rev-list", "--count", range, "--"])
            .await?
            .parse()
            .unwrap_or(0))
    }

    /// Paths that differ between two trees, with what happened to each.
    pub(in crate::sandbox) async fn changed_paths(
        &self,
        from: &str,
        to: &str,
    ) -> Result<Vec<(char, String)>, GitError> {
        let bytes = self
            .run(&["diff-tree", "-r", "-z", "--name-status", "--no-renames", from, to])
            .await?;
        let all = text(&bytes);
        let fields: Vec<&str> = all.split('\0').collect();
        Ok(fields
            .chunks_exact(2)
            .map(|pair| (pair[0].chars().next().unwrap_or('M'), pair[1].to_owned()))
            .collect())
    }

    /// Changed files between two trees, renames found.
    pub(in crate::sandbox) async fn diff(&self, from: &str, to: &str) -> Result<Vec<FileDiff>, GitError> {
        let raw = self
            .run(&["diff-tree", "-r", "-M", "-z", "--raw", "--no-abbrev", from, to])
            .await?;
        let patch = self
            .run(&[
                "diff-tree",
                "-r",
                "-M",
                "-p",
                "--no-color",
                "--no-ext-diff",
                from,
                to,
            ])
            .await?;
        let mut texts = Vec::new();
        for line in text(&patch).split_inclusive('\n') {
            if line.starts_with("diff --git ") {
                texts.push((false, String::new()));
            } else if let Some((body, current)) = texts.last_mut() {
                *body |= line.starts_with("@@") || line.starts_with("Binary files");
                if *body {
                    current.push_str(line);
                }
            }
        }
        let mut texts = texts.into_iter().map(|(_, body)| body);
        let all = text(&raw);
        let mut fields = all.split('\0');
        let mut files = Vec::new();
        while let Some(header) = fields.next().and_then(|header| header.strip_prefix(':')) {
            let parts: Vec<&str> = header.split(' ').collect();
            let [old_mode, new_mode, _, _, status] = parts.as_slice() else {
                break;
            };
            let kind = status.chars().next().unwrap_or('M');
            let old_path = fields.next().unwrap_or_default().to_owned();
            let new_path = match kind {
                'R' | 'C' => fields.next().unwrap_or_default().to_owned(),
                _ => old_path.clone(),
            };
            files.push(FileDiff {
                old_path,
                new_path,
                old_mode: (*old_mode).to_owned(),
                new_mode: (*new_mode).to_owned(),
                kind,
                text: texts.next().unwrap_or_default(),
            });
        }
        Ok(files)
    }

    /// The identity of a patch, whatever it stands on; nothing where nothing changed.
    pub(in crate::sandbox) async fn patch_id(
        &self,
        from: &str,
        to: &str,
    ) -> Result<Option<String>, GitError> {
        let patch = self.run(&["diff-tree", "-r", "-p", from, to]).await?;
        let arguments = ["patch-id", "--stable"];
        let bytes = accept(&arguments, self.output(&arguments, Some(&patch), &[]).await?)?;
        Ok(text(&bytes).split_whitespace().next().map(str::to_owned))
    }
}
