//! The names of things: one type each, so that no number or string is taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A string that does not have the form that its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidId {
    /// What was given.
    pub text: String,
    /// What would have been right, in words.
    pub expected: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the form and wraps the text.
            ///
            /// # Errors
            /// [`InvalidId`] with the form that is expected.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(InvalidId { text, expected: $expected }) }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// A DNS-1123 label: lower-case letters, digits and hyphens, a letter or digit at both ends.
#[must_use]
pub fn is_dns_label(text: &str, longest: usize) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !bytes.is_empty()
        && bytes.len() <= longest
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn is_git_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

text_id! {
    /// The name that the configuration gives to a requests repository. It stands in keys, cloud names and tags,
    /// so it outlives a move of the forge or a rename of the project.
    RepositoryId, "a repository id (a DNS-1123 label of up to 40 characters)", |t| is_dns_label(t, 40)
}
text_id! {
    /// A git commit, by its full object id.
    CommitId, "a commit id (40 or 64 lower-case hex digits)", is_git_object_id
}
text_id! {
    /// The content of one file in git, by its full object id.
    BlobId, "a blob id (40 or 64 lower-case hex digits)", is_git_object_id
}
text_id! {
    /// `metadata.name` of a request.
    RequestName, "a request name (a DNS-1123 label of up to 40 characters)", |t| is_dns_label(t, 40)
}
text_id! {
    /// A team of `landfall.yaml`; also the folder of its requests.
    TeamName, "a team name (a DNS-1123 label of up to 40 characters)", |t| is_dns_label(t, 40)
}
text_id! {
    /// An environment of `landfall.yaml`.
    EnvironmentName, "an environment name (a DNS-1123 label of up to 40 characters)", |t| is_dns_label(t, 40)
}
text_id! {
    /// One resource of a request: its kind and its name there, such as `database/orders`. The name of its step, too.
    /// Repositories have dots and underscores in theirs.
    ResourceName, "a resource name (`kind/name`)", |t| {
        t.len() <= 120 && t.split_once('/').is_some_and(|(kind, name)| {
            is_dns_label(kind, 40) && is_dns_label(&name.replace(['.', '_'], "-"), 63)
        })
    }
}
text_id! {
    /// SHA-256 in lower-case hex: names a plan, a sign-off's content or a text.
    Digest, "a digest (64 lower-case hex digits)", |t| t.len() == 64 && is_git_object_id(t)
}

impl Digest {
    /// The first 32 digits: what `/landfall approve` takes. Fewer could be made to fit two changes by whoever writes
    /// both.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..super::signoff::SHORTEST_DIGEST).unwrap_or(&self.0)
    }

    /// SHA-256 of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        Self(hex::encode(Sha256::digest(bytes)))
    }
}

impl CommitId {
    /// The first eight digits, as forges show a commit.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

number_id! {
    /// A person (or bot) on the forge, by the forge's own number: names can be changed and taken over.
    UserId
}
number_id! {
    /// A merge request, by its number in its project (GitLab's `iid`).
    MergeRequestNumber
}
number_id! {
    /// A note (comment) on the forge.
    NoteId
}
number_id! {
    /// An issue on the forge, by its number in its project.
    IssueNumber
}
number_id! {
    /// How often a request's accepted content has changed. A newer generation supersedes the older ones.
    Generation
}

/// A run, by a time-ordered unique id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub uuid::Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self).map_err(|_| InvalidId {
            text: text.into(),
            expected: "a run id (a UUID)",
        })
    }
}

/// The kinds of request there are. `apiVersion` is `landfall.dev/v1` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Machines, databases and storage for one piece of work.
    Project,
    /// A Kubernetes cluster.
    Cluster,
}

impl Kind {
    /// Every kind, for schemas and for the finding on an unknown one.
    pub const ALL: [Self; 2] = [Self::Project, Self::Cluster];

    /// As it stands in a request file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "Project",
            Self::Cluster => "Cluster",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| InvalidId {
                text: text.into(),
                expected: "a kind of request",
            })
    }
}

/// What names a request in its repository: `kind/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique among its kind in the repository.
    pub name: RequestName,
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for RequestKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (kind, name) = text.split_once('/').ok_or_else(|| InvalidId {
            text: text.into(),
            expected: "a request key (`Kind/name`)",
        })?;
        Ok(Self {
            kind: kind.parse()?,
            name: name.parse()?,
        })
    }
}

impl TryFrom<String> for RequestKey {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<RequestKey> for String {
    fn from(key: RequestKey) -> String {
        key.to_string()
    }
}

/// One step of one run: the idempotency key under which a provider acts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The run.
    pub run: RunId,
    /// The resource that the step works on; a run has one step for each.
    pub resource: ResourceName,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.resource)
    }
}
