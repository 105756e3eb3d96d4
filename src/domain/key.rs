//! What there is to reconcile, by name: all work is the reconciliation of a [`Key`].

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{
    CommitId, EnvironmentName, InvalidId, MergeRequestNumber, RepositoryId, RequestKey, RunId, TeamName,
};
use crate::domain::landing::Origin;

/// One thing to look at until what is and what should be agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Key {
    /// An open merge request: its transitions, findings, plan and sign-off.
    Review {
        /// Where it is.
        repository: RepositoryId,
        /// Which one.
        merge_request: MergeRequestNumber,
    },
    /// A push straight onto the target branch that is held: the same.
    Push {
        /// Where it is.
        repository: RepositoryId,
        /// The newest commit of it.
        commit: CommitId,
    },
    /// The target branch: what landed since the last look.
    Landing {
        /// Whose branch.
        repository: RepositoryId,
    },
    /// A request: at most one run for each of its generations.
    Request {
        /// Where it is kept.
        repository: RepositoryId,
        /// Which one.
        request: RequestKey,
    },
    /// A run: its next steps.
    Run(RunId),
    /// An environment: all operations there that have not ended.
    Poll {
        /// Whose rules name the environment.
        repository: RepositoryId,
        /// Which one.
        environment: EnvironmentName,
    },
    /// What the forge shows about something.
    Report {
        /// Where it is shown.
        repository: RepositoryId,
        /// About what.
        origin: Origin,
    },
    /// A whole repository: every key of it that could be out of date.
    Sweep {
        /// Which one.
        repository: RepositoryId,
    },
    /// The audit log: records that are not sealed yet.
    Seal,
    /// The history: what is older than it has to be kept.
    Prune,
}

/// How a reconcile function ended when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do until somebody touches the key.
    Done,
    /// Something is left: look again at that time.
    Again(Timestamp),
}

/// Among whom the workers' time is divided: a team of a repository, or the repository where no team is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(String);

impl Share {
    /// The share of a whole repository.
    #[must_use]
    pub fn of_repository(repository: &RepositoryId) -> Self {
        Self(repository.to_string())
    }

    /// The share of one team in a repository.
    #[must_use]
    pub fn of_team(repository: &RepositoryId, team: &TeamName) -> Self {
        Self(format!("{repository}/{team}"))
    }

    /// The text under which it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// The key that looks at what content came by.
    #[must_use]
    pub fn look_at(repository: &RepositoryId, origin: &Origin) -> Self {
        let repository = repository.clone();
        match origin {
            Origin::MergeRequest(number) => Self::Review {
                repository,
                merge_request: *number,
            },
            Origin::Push(commit) => Self::Push {
                repository,
                commit: commit.clone(),
            },
        }
    }

    /// The key of what the forge shows about it.
    #[must_use]
    pub fn report(repository: &RepositoryId, origin: &Origin) -> Self {
        Self::Report {
            repository: repository.clone(),
            origin: origin.clone(),
        }
    }

    /// The word that the key begins with.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Review { .. } => "review",
            Self::Push { .. } => "push",
            Self::Landing { .. } => "landing",
            Self::Request { .. } => "request",
            Self::Run(_) => "run",
            Self::Poll { .. } => "poll",
            Self::Report { .. } => "report",
            Self::Sweep { .. } => "sweep",
            Self::Seal => "seal",
            Self::Prune => "prune",
        }
    }

    /// The repository that it belongs to, where the key says so: a run's key does not, and some belong to none.
    #[must_use]
    pub fn repository(&self) -> Option<&RepositoryId> {
        match self {
            Self::Review { repository, .. }
            | Self::Push { repository, .. }
            | Self::Landing { repository }
            | Self::Request { repository, .. }
            | Self::Poll { repository, .. }
            | Self::Report { repository, .. }
            | Self::Sweep { repository } => Some(repository),
            Self::Run(_) | Self::Seal | Self::Prune => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Review {
                repository,
                merge_request,
            } => write!(f, "{kind}/{repository}/{merge_request}"),
            Self::Push { repository, commit } => write!(f, "{kind}/{repository}/{commit}"),
            Self::Landing { repository } | Self::Sweep { repository } => write!(f, "{kind}/{repository}"),
            Self::Request { repository, request } => write!(f, "{kind}/{repository}/{request}"),
            Self::Run(run) => write!(f, "{kind}/{run}"),
            Self::Seal | Self::Prune => f.write_str(kind),
            Self::Poll {
                repository,
                environment,
            } => write!(f, "{kind}/{repository}/{environment}"),
            Self::Report { repository, origin } => write!(f, "{kind}/{repository}/{origin}"),
        }
    }
}

impl FromStr for Key {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            text: text.into(),
            expected: "a key (`kind/…` as the queue writes it)",
        };
        let number = |text: &str| text.parse().map(MergeRequestNumber).map_err(|_| invalid());
        let parts: Vec<&str> = text.split('/').collect();
        let key = match parts.as_slice() {
            ["review", repository, merge_request] => Self::Review {
                repository: repository.parse()?,
                merge_request: number(merge_request)?,
            },
            ["push", repository, commit] => Self::Push {
                repository: repository.parse()?,
                commit: commit.parse()?,
            },
            ["landing", repository] => Self::Landing {
                repository: repository.parse()?,
            },
            ["request", repository, kind, name] => Self::Request {
                repository: repository.parse()?,
                request: RequestKey {
                    kind: kind.parse()?,
                    name: name.parse()?,
                },
            },
            ["run", run] => Self::Run(run.parse()?),
            ["poll", repository, environment] => Self::Poll {
                repository: repository.parse()?,
                environment: environment.parse()?,
            },
            ["report", repository, origin] => Self::Report {
                repository: repository.parse()?,
                origin: origin.parse()?,
            },
            ["sweep", repository] => Self::Sweep {
                repository: repository.parse()?,
            },
            ["seal"] => Self::Seal,
            ["prune"] => Self::Prune,
            _ => return Err(invalid()),
        };
        // `+5`, `05` or an upper-case run id would be a second name for the same thing.
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("review/platform/7")]
    #[case("push/platform/0123456789012345678901234567890123456789")]
    #[case("landing/platform")]
    #[case("request/platform/Project/orders")]
    #[case("run/0198c5a0-0000-7000-8000-000000000001")]
    #[case("poll/platform/production-eu")]
    #[case("report/platform/7")]
    #[case("report/platform/commit-0123456789012345678901234567890123456789")]
    #[case("sweep/platform")]
    #[case("seal")]
    #[case("prune")]
    fn a_key_is_read_as_it_was_written(#[case] text: &str) {
        let key: Key = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert!(text.starts_with(key.kind()));
    }

    #[rstest]
    #[case("")]
    #[case("review/platform")]
    #[case("review/platform/seven")]
    #[case("review/platform/+7")]
    #[case("review/platform/07")]
    #[case("review/platform/7/")]
    #[case("request/platform/Project")]
    #[case("request/platform/Spaceship/orders")]
    #[case("run/0198C5A0-0000-7000-8000-000000000001")]
    #[case("report/platform/commit-abc")]
    #[case("teleport/platform")]
    #[case("seal/platform")]
    #[case("prune/")]
    fn what_is_not_a_key_is_refused(#[case] text: &str) {
        assert!(text.parse::<Key>().is_err());
    }
}
