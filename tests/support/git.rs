//! Git as a person runs it, with nothing of this machine's configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use url::Url;

/// What a git command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs git in a directory; never asks anything.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> Said {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .expect("git is installed");
    Said {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A clone with an author of its own.
pub(crate) struct Clone {
    pub(crate) path: PathBuf,
}

impl Clone {
    /// Clones a repository as this user; the token is git's password.
    pub(crate) fn of(repository: &Url, username: &str, token: &str, into: &Path) -> Self {
        Self::attempt_of(repository, username, token, into).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, whatever comes of it.
    pub(crate) fn attempt_of(
        repository: &Url,
        username: &str,
        token: &str,
        into: &Path,
    ) -> Result<Self, String> {
        let mut address = repository.clone();
        address.set_username(username).unwrap();
        address.set_password(Some(token)).unwrap();
        let parent = into.parent().unwrap();
        let said = git(
            parent,
            &["clone", "--quiet", address.as_str(), into.to_str().unwrap()],
        );
        if !said.success {
            return Err(said.stderr);
        }
        let clone = Self {
            path: into.to_owned(),
        };
        clone.run(&["config", "user.name", username]);
        clone.run(&["config", "user.email", &format!("{username}@example.test")]);
        Ok(clone)
    }

    /// Runs git here and answers what it printed; it must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let said = git(&self.path, arguments);
        assert!(said.success, "git {arguments:?}: {}", said.stderr);
        said.stdout.trim().to_owned()
    }

    /// Runs git here, whatever comes of it.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> Said {
        git(&self.path, arguments)
    }

    /// Writes a file and commits it; answers the commit.
    pub(crate) fn commit(&self, path: &str, content: &str, message: &str) -> String {
        let file = self.path.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
        self.run(&["add", "--all"]);
        self.run(&["commit", "--quiet", "-m", message]);
        self.run(&["rev-parse", "HEAD"])
    }
}
