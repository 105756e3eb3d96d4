//! Git as a person runs it, with nothing of this machine's configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    git_reading(directory, arguments, b"")
}

/// The same, with something to read.
fn git_reading(directory: &Path, arguments: &[&str], input: &[u8]) -> Said {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut to = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A git that has read enough may be gone by then.
        scope.spawn(move || to.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
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

    /// Runs git here with something to read, and answers what it printed; it must succeed.
    pub(crate) fn run_reading(&self, arguments: &[&str], input: &[u8]) -> String {
        let said = git_reading(&self.path, arguments, input);
        assert!(said.success, "git {arguments:?}: {}", said.stderr);
        said.stdout.trim().to_owned()
    }

    /// Writes an object of git's to the letter, be it one that no git would make; answers its id.
    pub(crate) fn writes_object(&self, kind: &str, bytes: &[u8]) -> String {
        self.run_reading(
            &["hash-object", "-w", "--literally", "-t", kind, "--stdin"],
            bytes,
        )
    }

    /// Writes a tree of entries `(mode, name, object)`, whatever they are; answers its id.
    pub(crate) fn writes_tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, object) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            let digits = object.as_bytes().chunks(2);
            bytes
                .extend(digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()));
        }
        self.writes_object("tree", &bytes)
    }

    /// The tree of a commit, with further or other entries at its top.
    pub(crate) fn tree_with(&self, commit: &str, entries: &[(&str, &[u8], &str)]) -> String {
        let listed = self.run(&["ls-tree", "-z", commit]);
        let mut all: Vec<(String, Vec<u8>, String)> = listed
            .split_terminator('\0')
            .map(|line| {
                let (what, name) = line.split_once('\t').unwrap();
                let what: Vec<&str> = what.split(' ').collect();
                let mode = what[0].trim_start_matches('0').to_owned();
                (mode, name.as_bytes().to_vec(), what[2].to_owned())
            })
            .filter(|(_, name, _)| entries.iter().all(|entry| entry.1 != name))
            .collect();
        let further = entries
            .iter()
            .map(|(mode, name, object)| ((*mode).to_owned(), name.to_vec(), (*object).to_owned()));
        all.extend(further);
        // As git sorts: a folder as if its name ended in a slash.
        all.sort_by_key(|(mode, name, _)| {
            let slash: &[u8] = if mode == "40000" { b"/" } else { b"" };
            [name.as_slice(), slash].concat()
        });
        let all: Vec<(&str, &[u8], &str)> = all
            .iter()
            .map(|(mode, name, object)| (mode.as_str(), name.as_slice(), object.as_str()))
            .collect();
        self.writes_tree(&all)
    }

    /// A commit of a tree on top of others; answers its id.
    pub(crate) fn commits_tree(&self, tree: &str, parents: &[&str], message: &str) -> String {
        let mut arguments = vec!["commit-tree", tree, "-m", message];
        for parent in parents {
            arguments.extend(["-p", parent]);
        }
        self.run(&arguments)
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
