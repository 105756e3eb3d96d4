//! A snapshot of files: what git's mirror answers, and what `validate` fills from disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::BlobId;

/// What git says a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// A plain file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link: its content is where it points to.
    SymbolicLink,
    /// Another repository at some commit.
    Submodule,
    /// Something that no path of a file can name: a name that is not UTF-8, one that no checkout takes, one beyond
    /// [`LONGEST_PATH`] or [`MOST_LEVELS`]; or something that is neither a file nor a folder.
    Unreadable,
}

/// One path of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub mode: Mode,
    /// Its content.
    pub blob: BlobId,
    /// Its size in bytes; 0 for a submodule.
    pub size: u64,
}

/// Path → entry, with `/` between folders, in order of path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The files; folders stand in their paths only.
    pub entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// The content at a path, if there is any.
    #[must_use]
    pub fn blob(&self, path: &str) -> Option<&BlobId> {
        self.entries.get(path).map(|entry| &entry.blob)
    }
}

/// `landfall.yaml`, at the top of the requests repository.
pub const RULES_PATH: &str = "landfall.yaml";

/// How long a path may be, in bytes.
pub const LONGEST_PATH: usize = 1_000;

/// How many folders may lie in each other.
pub const MOST_LEVELS: usize = 20;

/// The folder of requests: `requests/<team>/<name>.yaml`.
pub const REQUESTS_FOLDER: &str = "requests/";

/// What Landfall makes of a path of the requests repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Below `requests/`: a request file, or something that must not be there.
    Request,
    /// `landfall.yaml`, `policies/` and `catalog/`: what judges requests.
    Rules,
    /// Anything else (README, CI): no concern of Landfall's.
    Other,
}

/// What Landfall makes of a path.
#[must_use]
pub fn role(path: &str) -> Role {
    if path.starts_with(REQUESTS_FOLDER) || path == "requests" {
        Role::Request
    } else if path == RULES_PATH
        || path == "policies"
        || path == "catalog"
        || path.starts_with("policies/")
        || path.starts_with("catalog/")
    {
        Role::Rules
    } else {
        Role::Other
    }
}

/// Whether a path ends as a YAML file does, in capitals or not.
#[must_use]
pub fn is_yaml(path: &str) -> bool {
    let extension = path.rsplit('.').next().unwrap_or_default();
    extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
}

/// Whether what lands at a path needs a sign-off: rules, and every file that is or looks like a request.
#[must_use]
pub fn is_governed(path: &str) -> bool {
    match role(path) {
        Role::Rules => true,
        Role::Request => is_yaml(path),
        Role::Other => false,
    }
}
