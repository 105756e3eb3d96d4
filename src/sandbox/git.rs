//! Real git, run as a program with fixed arguments and a fixed environment, never through a shell.

mod history;
mod trees;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub(super) use history::{Commit, FileDiff};
pub(super) use trees::{PathChange, TreeEntry, is_plain_path};

/// The name git gives to nothing.
pub(super) const ZERO: &str = "0000000000000000000000000000000000000000";

/// A rebase takes no more commits than this.
const MOST_REBASED: usize = 10_000;

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
            // GitLab looks at what is pushed, and refuses commits without an author or of a day that never was
            // (docs.gitlab.com/administration/gitaly/consistency_checks/). Imports, and whoever turned that off, do not.
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
        if self.merge_base(ours, theirs).await?.is_none() {
            // Git refuses to merge what has nothing in common.
            return Ok(None);
        }
        self.merged(&[ours, theirs]).await
    }

    async fn merged(&self, what: &[&str]) -> Result<Option<String>, GitError> {
        let arguments = [&["merge-tree", "--write-tree", "--no-messages"], what].concat();
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

    /// Puts commits on top of another one, as a rebase does: merges, and what changes nothing there, are left out.
    /// Answers the new head, or nothing where they conflict. Moves nothing.
    pub(super) async fn rebase(
        &self,
        onto: &str,
        base: &str,
        head: &str,
        committer: &Signature,
    ) -> Result<Option<String>, GitError> {
        let range = format!("{base}..{head}");
        let commits = self
            .log(
                &["--reverse", "--topo-order", "--no-merges", &range, "--"],
                MOST_REBASED,
            )
            .await?;
        let mut tip = onto.to_owned();
        for commit in commits {
            let Some(parent) = commit.parents.first() else {
                return Ok(None);
            };
            let before = format!("--merge-base={parent}");
            let Some(tree) = self.merged(&[&before, &tip, &commit.id]).await? else {
                return Ok(None);
            };
            if tree == self.line(&["rev-parse", &format!("{tip}^{{tree}}")]).await? {
                continue;
            }
            let author = Signature {
                seconds: commit
                    .authored
                    .parse()
                    .map_or(committer.seconds, jiff::Timestamp::as_second),
                name: commit.author_name,
                email: commit.author_email,
            };
            tip = self
                .commit_tree(&tree, &[&tip], &commit.message, &author, committer)
                .await?;
        }
        Ok(Some(tip))
    }
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
