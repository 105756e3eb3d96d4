//! Real git, run as a program with fixed arguments and a fixed environment, never through a shell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The name git gives to nothing.
pub(super) const ZERO: &str = "0000000000000000000000000000000000000000";

/// Why a git command did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    #[error("running git: {0}; is git installed and on PATH?")]
    Start(#[from] std::io::Error),
    #[error("git {command}: {message}")]
    Failed { command: String, message: String },
}

/// Who writes a commit, and when (Unix seconds).
#[derive(Debug, Clone)]
pub(super) struct Signature {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) seconds: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) parents: Vec<String>,
    pub(super) author_name: String,
    pub(super) author_email: String,
    pub(super) authored: String,
    pub(super) committer_name: String,
    pub(super) committer_email: String,
    pub(super) committed: String,
    pub(super) message: String,
}

impl Commit {
    pub(super) fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// One changed file.
#[derive(Debug, Clone)]
pub(super) struct FileDiff {
    pub(super) old_path: String,
    pub(super) new_path: String,
    pub(super) old_mode: String,
    pub(super) new_mode: String,
    pub(super) kind: char,
    pub(super) text: String,
}

/// One entry of a tree.
#[derive(Debug, Clone)]
pub(super) struct TreeEntry {
    pub(super) mode: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) path: String,
}

/// A change to one path of a tree: its new mode and blob, or nothing.
pub(super) struct PathChange {
    pub(super) path: String,
    pub(super) to: Option<(String, String)>,
}

/// The environment of every git run: nothing of the user's or the machine's configuration.
pub(super) fn environment(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_LITERAL_PATHSPECS", "1")
        .kill_on_drop(true);
}

/// A bare repository on disk.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    path: PathBuf,
}

impl Repository {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A fresh bare repository, set up as GitLab's are.
    pub(super) async fn init(&self, branch: &str) -> Result<(), GitError> {
        tokio::fs::create_dir_all(&self.path).await?;
        self.run(&[
            "init",
            "--quiet",
            "--bare",
            "--template=",
            &format!("--initial-branch={branch}"),
        ])
        .await?;
        for (key, value) in [
            ("receive.advertisePushOptions", "true"),
            ("receive.hideRefs", "refs/merge-requests"),
            ("receive.autogc", "false"),
            ("receive.denyDeleteCurrent", "ignore"),
            ("receive.fsckObjects", "false"),
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("uploadpack.allowFilter", "true"),
            ("gc.auto", "0"),
            ("core.fsync", "none"),
            ("core.quotePath", "false"),
        ] {
            self.run(&["config", key, value]).await?;
        }
        Ok(())
    }

    async fn output(
        &self,
        arguments: &[&str],
        input: Option<&[u8]>,
        variables: &[(&str, &str)],
    ) -> Result<Output, GitError> {
        let mut command = Command::new("git");
        environment(&mut command);
        command
            .args(arguments)
            .current_dir(&self.path)
            .env("GIT_DIR", &self.path)
            .envs(variables.iter().copied())
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let feed = async {
            if let (Some(mut stdin), Some(bytes)) = (stdin, input) {
                // A program that stops reading early reports why on stderr; that is the better message.
                let _ = stdin.write_all(bytes).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        Ok(output?)
    }

    /// Runs git and answers its output, or what it said on stderr.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let output = self.output(arguments, None, &[]).await?;
        accept(arguments, output)
    }

    async fn line(&self, arguments: &[&str]) -> Result<String, GitError> {
        Ok(text(&self.run(arguments).await?).trim_end().to_owned())
    }

    /// Branches and tags, by full name.
    pub(super) async fn refs(&self) -> Result<BTreeMap<String, String>, GitError> {
        let bytes = self
            .run(&[
                "for-each-ref",
                "--format=%(objectname) %(refname)",
                "refs/heads",
                "refs/tags",
            ])
            .await?;
        Ok(text(&bytes)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, name)| (name.to_owned(), id.to_owned()))
            .collect())
    }

    async fn verify(&self, revision: &str) -> Result<Option<String>, GitError> {
        let output = self
            .output(
                &["rev-parse", "--verify", "--quiet", "--end-of-options", revision],
                None,
                &[],
            )
            .await?;
        Ok(output
            .status
            .success()
            .then(|| text(&output.stdout).trim().to_owned()))
    }

    /// The commit that a branch, a tag or a commit id names. No revision expressions.
    pub(super) async fn resolve(&self, name: &str) -> Result<Option<String>, GitError> {
        if name.is_empty()
            || name.len() > 255
            || name.contains(['^', '~', ':', '\0', '\n', '\\'])
            || name.contains("@{")
        {
            return Ok(None);
        }
        let hexadecimal =
            name.len() >= 7 && name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if name == "HEAD" {
            return self.verify("HEAD^{commit}").await;
        }
        for prefix in ["refs/heads/", "refs/tags/"] {
            if let Some(id) = self.verify(&format!("{prefix}{name}^{{commit}}")).await? {
                return Ok(Some(id));
            }
        }
        if name.starts_with("refs/") || hexadecimal {
            return self.verify(&format!("{name}^{{commit}}")).await;
        }
        Ok(None)
    }

    pub(super) async fn branch(&self, name: &str) -> Result<Option<String>, GitError> {
        self.verify(&format!("refs/heads/{name}^{{commit}}")).await
    }

    pub(super) async fn valid_branch_name(&self, name: &str) -> Result<bool, GitError> {
        let output = self
            .output(&["check-ref-format", &format!("refs/heads/{name}")], None, &[])
            .await?;
        Ok(output.status.success() && !name.starts_with('-'))
    }

    pub(super) async fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>, GitError> {
        let output = self.output(&["merge-base", one, other], None, &[]).await?;
        Ok(output
            .status
            .success()
            .then(|| text(&output.stdout).trim().to_owned()))
    }

    pub(super) async fn is_ancestor(&self, ancestor: &str, of: &str) -> Result<bool, GitError> {
        Ok(self
            .output(&["merge-base", "--is-ancestor", ancestor, of], None, &[])
            .await?
            .status
            .success())
    }

    /// The tree of a merge, or nothing where it conflicts.
    pub(super) async fn merge_tree(&self, ours: &str, theirs: &str) -> Result<Option<String>, GitError> {
        let arguments = ["merge-tree", "--write-tree", "--no-messages", ours, theirs];
        let output = self.output(&arguments, None, &[]).await?;
        match output.status.code() {
            Some(0) => Ok(Some(text(&output.stdout).trim().to_owned())),
            Some(1) => Ok(None),
            _ => accept(&arguments, output).map(|_| None),
        }
    }

    pub(super) async fn commit_tree(
        &self,
        tree: &str,
        parents: &[&str],
        message: &str,
        author: &Signature,
        committer: &Signature,
    ) -> Result<String, GitError> {
        let mut arguments = vec!["commit-tree", tree];
        for parent in parents {
            arguments.extend(["-p", parent]);
        }
        let authored = format!("@{} +0000", author.seconds);
        let committed = format!("@{} +0000", committer.seconds);
        let variables = [
            ("GIT_AUTHOR_NAME", author.name.as_str()),
            ("GIT_AUTHOR_EMAIL", author.email.as_str()),
            ("GIT_AUTHOR_DATE", authored.as_str()),
            ("GIT_COMMITTER_NAME", committer.name.as_str()),
            ("GIT_COMMITTER_EMAIL", committer.email.as_str()),
            ("GIT_COMMITTER_DATE", committed.as_str()),
        ];
        let output = self
            .output(&arguments, Some(message.as_bytes()), &variables)
            .await?;
        Ok(text(&accept(&arguments, output)?).trim().to_owned())
    }

    /// Moves a reference, only if it still stands where it did; `ZERO` means that it does not exist.
    pub(super) async fn update_ref(&self, name: &str, new: &str, old: &str) -> Result<(), GitError> {
        if new == ZERO {
            self.run(&["update-ref", "-d", name, old]).await.map(drop)
        } else {
            self.run(&["update-ref", name, new, old]).await.map(drop)
        }
    }

    pub(super) async fn set_ref(&self, name: &str, new: &str) -> Result<(), GitError> {
        self.run(&["update-ref", name, new]).await.map(drop)
    }

    /// Brings a branch of another repository in under a reference of this one.
    pub(super) async fn fetch(&self, from: &Self, source: &str, into: &str) -> Result<(), GitError> {
        let location = from.path.to_string_lossy().into_owned();
        let refspec = format!("+{source}:{into}");
        self.run(&[
            "fetch",
            "--quiet",
            "--no-tags",
            "--end-of-options",
            &location,
            &refspec,
        ])
        .await
        .map(drop)
    }

    /// Commits of a range, newest first.
    pub(super) async fn log(&self, range: &[&str], limit: usize) -> Result<Vec<Commit>, GitError> {
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

    pub(super) async fn commit(&self, id: &str) -> Result<Option<Commit>, GitError> {
        Ok(self.log(&["--no-walk", id, "--"], 1).await?.into_iter().next())
    }

    pub(super) async fn count(&self, range: &str) -> Result<usize, GitError> {
        Ok(self
            .line(&["rev-list", "--count", range, "--"])
            .await?
            .parse()
            .unwrap_or(0))
    }

    /// Added and removed lines of one commit against its first parent.
    pub(super) async fn changed_paths(&self, from: &str, to: &str) -> Result<Vec<(char, String)>, GitError> {
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
    pub(super) async fn diff(&self, from: &str, to: &str) -> Result<Vec<FileDiff>, GitError> {
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
    pub(super) async fn patch_id(&self, from: &str, to: &str) -> Result<Option<String>, GitError> {
        let patch = self.run(&["diff-tree", "-r", "-p", from, to]).await?;
        let arguments = ["patch-id", "--stable"];
        let bytes = accept(&arguments, self.output(&arguments, Some(&patch), &[]).await?)?;
        Ok(text(&bytes).split_whitespace().next().map(str::to_owned))
    }

    /// Blob id, content and mode of a file.
    pub(super) async fn file(
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
    pub(super) async fn tree(
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
    pub(super) async fn empty_tree(&self) -> Result<String, GitError> {
        let arguments = ["mktree"];
        let output = self.output(&arguments, Some(b""), &[]).await?;
        Ok(text(&accept(&arguments, output)?).trim().to_owned())
    }

    pub(super) async fn write_blob(&self, content: &[u8]) -> Result<String, GitError> {
        let arguments = ["hash-object", "-w", "--stdin"];
        let output = self.output(&arguments, Some(content), &[]).await?;
        Ok(text(&accept(&arguments, output)?).trim().to_owned())
    }

    /// The tree that comes of changing paths of another; git refuses paths that leave the tree.
    pub(super) async fn change_tree(
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

    /// Puts the commits of a branch on top of another commit; nothing where they conflict.
    pub(super) async fn rebase(
        &self,
        onto: &str,
        base: &str,
        branch: &str,
        committer: &Signature,
    ) -> Result<Option<String>, GitError> {
        let committed = format!("@{} +0000", committer.seconds);
        let variables = [
            ("GIT_COMMITTER_NAME", committer.name.as_str()),
            ("GIT_COMMITTER_EMAIL", committer.email.as_str()),
            ("GIT_COMMITTER_DATE", committed.as_str()),
        ];
        let range = format!("{base}..refs/heads/{branch}");
        let output = self
            .output(&["replay", "--onto", onto, &range], None, &variables)
            .await?;
        if !output.status.success() {
            return Ok(None);
        }
        // `update refs/heads/x <new> <old>`
        let all = text(&output.stdout);
        Ok(all
            .lines()
            .next()
            .and_then(|line| line.split(' ').nth(2))
            .map(str::to_owned))
    }
}

/// Whether a path stays in its tree.
pub(super) fn is_plain_path(path: &str) -> bool {
    !path.contains('\0')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && !part.eq_ignore_ascii_case(".git"))
}

fn accept(arguments: &[&str], output: Output) -> Result<Vec<u8>, GitError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(GitError::Failed {
        command: arguments.first().copied().unwrap_or_default().to_owned(),
        message: text(&output.stderr).trim().to_owned(),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
