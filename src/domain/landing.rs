//! Landings: which merged merge request brought which commits of the target branch, and whether what landed is what
//! was signed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{BlobId, CommitId, EnvironmentName, InvalidId, MergeRequestNumber};
use super::transition::Transition;
use super::tree::{Tree, is_governed};

/// What Landfall does about a requests repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What is signed off and lands is provisioned.
    #[default]
    Provision,
    /// Merge requests are planned and commented on, and nothing is ever provisioned.
    Observe,
}

/// What content came by: it is judged, signed off, worked on and reported as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Origin {
    /// A merge request.
    MergeRequest(MergeRequestNumber),
    /// A push straight onto the target branch, by the newest commit of it.
    Push(CommitId),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MergeRequest(number) => write!(f, "{number}"),
            Self::Push(commit) => write!(f, "commit-{commit}"),
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if let Some(commit) = text.strip_prefix("commit-") {
            return commit.parse().map(Self::Push);
        }
        let number = text.parse().map(MergeRequestNumber).map_err(|_| InvalidId {
            text: text.into(),
            expected: "the number of a merge request, or `commit-` and a commit",
        })?;
        Ok(Self::MergeRequest(number))
    }
}

/// What the forge says of a merged merge request: how its commits can be told in the target's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Which.
    pub number: MergeRequestNumber,
    /// The merge commit, if there is one.
    pub merge_commit: Option<CommitId>,
    /// The squash commit, if there is one.
    pub squash_commit: Option<CommitId>,
    /// The head that was merged.
    pub head: Option<CommitId>,
}

impl Merged {
    /// The commits any of which the merge may have ended with on the target branch.
    #[must_use]
    pub fn ends(self) -> BTreeSet<CommitId> {
        [self.merge_commit, self.squash_commit, self.head]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Neighbouring commits of the target's first-parent history that landed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The merge request that brought them; nothing for a direct push.
    pub merge_request: Option<MergeRequestNumber>,
    /// The commits, oldest first; never empty.
    pub commits: Vec<CommitId>,
}

/// Groups the history (oldest first) by the merge request that each commit is attributed to. Neighbours of one merge
/// request are one group; so are neighbours of none.
#[must_use]
pub fn group(history: &[CommitId], attribution: &BTreeMap<CommitId, MergeRequestNumber>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for commit in history {
        let merge_request = attribution.get(commit).copied();
        match groups.last_mut() {
            Some(last) if last.merge_request == merge_request => last.commits.push(commit.clone()),
            _ => groups.push(Group {
                merge_request,
                commits: vec![commit.clone()],
            }),
        }
    }
    groups
}

/// Accepted content: path → blob.
pub type Accepted = BTreeMap<String, BlobId>;

/// Why a landing, or a part of it, is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeldBecause {
    /// Nobody opened a merge request for it.
    DirectPush,
    /// The target branch's history was rewritten: nothing that lands is looked at.
    HistoryRewritten,
    /// No commit of the repository was ever adopted: nothing that lands is looked at.
    NotAdopted,
    /// It was not recognised as this merge request's when it landed.
    NotRecognised,
    /// It was merged before it was signed off.
    NotSignedOff {
        /// What was missing, in words.
        missing: Vec<String>,
    },
    /// It brings more than can be looked at.
    Beyond {
        /// More than how many of what.
        what: String,
    },
    /// Its files have findings.
    Refused,
    /// The target branch holds other content than was signed.
    OtherContent {
        /// The paths.
        paths: Vec<String>,
    },
    /// Paths landed that nobody signed.
    Unsigned {
        /// The paths.
        paths: Vec<String>,
    },
    /// What was accepted has changed since it was signed.
    Overtaken {
        /// The paths.
        paths: Vec<String>,
    },
    /// The plan does more than was signed.
    PlanExceeds {
        /// What it does besides.
        what: Vec<String>,
    },
    /// It cannot be planned any more: what was fine when it was signed is refused now.
    PlanRefused {
        /// The provider's words.
        reason: String,
    },
    /// The environment is not the place any more that it was signed off for.
    PlaceChanged {
        /// The environment.
        environment: EnvironmentName,
    },
    /// It would be more than the limits of now allow.
    OverLimit {
        /// What is over which limit, in words.
        what: Vec<String>,
    },
    /// Several accepted files have the request's key.
    Clashes {
        /// The files.
        paths: Vec<String>,
    },
    /// The repository is only observed.
    Observed,
    /// Somebody stopped it before it was begun.
    Cancelled {
        /// Their name on the forge.
        by: String,
    },
}

impl HeldBecause {
    /// Whether an admin may release it: what it would do now is shown, and signed off by its digest.
    #[must_use]
    pub fn can_be_released(&self) -> bool {
        matches!(self, Self::NotSignedOff { .. } | Self::Refused)
    }

    /// Whether it is signed off, and something else than a sign-off is in the way: once that is seen to, a retry helps.
    #[must_use]
    pub fn may_be_retried(&self) -> bool {
        matches!(
            self,
            Self::PlanExceeds { .. }
                | Self::PlanRefused { .. }
                | Self::PlaceChanged { .. }
                | Self::OverLimit { .. }
        )
    }
}

impl fmt::Display for HeldBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DirectPush => {
                write!(
                    f,
                    "it was pushed to the target branch directly, without a merge request"
                )
            }
            Self::NotAdopted => {
                write!(
                    f,
                    "this repository was never adopted: whoever runs Landfall does that, with `landfall adopt`"
                )
            }
            Self::NotRecognised => {
                write!(f, "it was not recognised as this merge request's when it landed")
            }
            Self::HistoryRewritten => {
                write!(
                    f,
                    "the target branch's history was rewritten below what Landfall had looked at"
                )
            }
            Self::NotSignedOff { missing } if missing.is_empty() => {
                write!(f, "it was merged without a sign-off")
            }
            Self::NotSignedOff { missing } => {
                write!(f, "it was merged without a sign-off: {}", missing.join("; "))
            }
            Self::Beyond { what } => {
                write!(
                    f,
                    "it brings {what}, which is more than Landfall looks at in one go: take it back, and bring it in smaller parts"
                )
            }
            Self::Refused => write!(f, "it was merged although its files have findings"),
            Self::OtherContent { paths } => {
                write!(
                    f,
                    "the target branch holds other content than was signed off: {}",
                    paths.join(", ")
                )
            }
            Self::Unsigned { paths } => {
                write!(
                    f,
                    "files landed with it that nobody signed off: {}",
                    paths.join(", ")
                )
            }
            Self::Overtaken { paths } => {
                write!(
                    f,
                    "another change was accepted since it was signed off: {}",
                    paths.join(", ")
                )
            }
            Self::PlanRefused { reason } => {
                write!(f, "it cannot be planned any more: {reason}")
            }
            Self::PlaceChanged { environment } => {
                write!(
                    f,
                    "the environment `{environment}` is gone, or its provider, account, region, network or sizes are \
                     not those that it was signed off for"
                )
            }
            Self::OverLimit { what } => {
                write!(f, "there is no room for it any more: {}", what.join("; "))
            }
            Self::Clashes { paths } => {
                write!(
                    f,
                    "several files hold a request of this kind and name: {}; delete all but one of them",
                    paths.join(", ")
                )
            }
            Self::Cancelled { by } => {
                write!(
                    f,
                    "{by} cancelled it before anything was begun; `/landfall retry` begins it after all"
                )
            }
            Self::Observed => {
                write!(
                    f,
                    "Landfall only observes this repository (`mode = \"observe\"`), and provisions nothing for it"
                )
            }
            Self::PlanExceeds { what } => {
                write!(
                    f,
                    "the plan now does more than was signed off: {}",
                    what.join(", ")
                )
            }
        }
    }
}

/// What a landing did to one governed path that is not accepted by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// The path.
    pub path: String,
    /// What was accepted there.
    pub from: Option<BlobId>,
    /// What stands there now.
    pub to: Option<BlobId>,
}

/// The governed paths that a landing changed, whatever they hold now.
#[must_use]
pub fn changed_paths(before: &Tree, after: &Tree) -> Vec<String> {
    let paths: BTreeSet<&String> = before.entries.keys().chain(after.entries.keys()).collect();
    paths
        .into_iter()
        .filter(|path| is_governed(path))
        .filter(|path| before.entries.get(*path) != after.entries.get(*path))
        .cloned()
        .collect()
}

/// The governed paths that a landing changed and that now hold something else than was accepted.
#[must_use]
pub fn landed(before: &Tree, after: &Tree, accepted: &Accepted) -> Vec<Landed> {
    changed_paths(before, after)
        .into_iter()
        .filter(|path| accepted.get(path) != after.blob(path))
        .map(|path| Landed {
            from: accepted.get(&path).cloned(),
            to: after.blob(&path).cloned(),
            path,
        })
        .collect()
}

/// Whether what landed is exactly what was signed: every signed transition starts at what is accepted and holds in the
/// tree, and nothing else landed.
///
/// # Errors
/// Why it is held.
pub fn matches(
    signed: &[Transition],
    landed: &[Landed],
    after: &Tree,
    accepted: &Accepted,
) -> Result<(), HeldBecause> {
    let paths_where = |wrong: &dyn Fn(&Transition) -> bool| -> Vec<String> {
        signed
            .iter()
            .filter(|t| wrong(t))
            .map(|t| t.path.clone())
            .collect()
    };
    let other_content = paths_where(&|t| after.blob(&t.path) != t.to.as_ref());
    if !other_content.is_empty() {
        return Err(HeldBecause::OtherContent { paths: other_content });
    }
    let unsigned: Vec<String> = landed
        .iter()
        .filter(|l| !signed.iter().any(|t| t.path == l.path))
        .map(|l| l.path.clone())
        .collect();
    if !unsigned.is_empty() {
        return Err(HeldBecause::Unsigned { paths: unsigned });
    }
    let overtaken = paths_where(&|t| accepted.get(&t.path) != t.from.as_ref());
    if !overtaken.is_empty() {
        return Err(HeldBecause::Overtaken { paths: overtaken });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RepositoryId;
    use crate::domain::transition::Subject;
    use crate::domain::tree::{Entry, Mode};

    const SHOP: &str = "requests/web/shop.yaml";
    const BLOG: &str = "requests/web/blog.yaml";

    fn blob(digit: char) -> BlobId {
        BlobId::new(digit.to_string().repeat(40)).unwrap()
    }

    fn commit(digit: char) -> CommitId {
        CommitId::new(digit.to_string().repeat(40)).unwrap()
    }

    fn tree(files: &[(&str, char)]) -> Tree {
        let entry = |digit| Entry {
            mode: Mode::File,
            blob: blob(digit),
            size: 1,
        };
        Tree {
            entries: files
                .iter()
                .map(|(path, digit)| ((*path).to_owned(), entry(*digit)))
                .collect(),
        }
    }

    fn accepted(files: &[(&str, char)]) -> Accepted {
        files
            .iter()
            .map(|(path, digit)| ((*path).to_owned(), blob(*digit)))
            .collect()
    }

    fn signed(path: &str, from: Option<char>, to: Option<char>) -> Transition {
        Transition {
            repository: RepositoryId::new("requests").unwrap(),
            target_branch: "main".into(),
            subject: Subject::Request("Project/shop".parse().unwrap()),
            path: path.into(),
            from: from.map(blob),
            to: to.map(blob),
        }
    }

    /// What was accepted, what was signed, the tree before and after the landing, and whether it holds.
    type Case<'a> = (
        &'a str,
        &'a [(&'a str, char)],
        Vec<Transition>,
        &'a [(&'a str, char)],
        &'a [(&'a str, char)],
        &'a str,
    );

    #[test]
    fn what_landed_is_compared_with_what_was_signed() {
        let cases: Vec<Case<'_>> = vec![
            (
                "as signed",
                &[],
                vec![signed(SHOP, None, Some('a'))],
                &[],
                &[(SHOP, 'a')],
                "fine",
            ),
            (
                "other bytes",
                &[],
                vec![signed(SHOP, None, Some('a'))],
                &[],
                &[(SHOP, 'b')],
                "OtherContent",
            ),
            (
                "not there",
                &[],
                vec![signed(SHOP, None, Some('a'))],
                &[],
                &[],
                "OtherContent",
            ),
            (
                "with a stowaway",
                &[],
                vec![signed(SHOP, None, Some('a'))],
                &[],
                &[(SHOP, 'a'), (BLOG, 'b')],
                "Unsigned",
            ),
            (
                "with rules as stowaway",
                &[],
                vec![signed(SHOP, None, Some('a'))],
                &[],
                &[(SHOP, 'a'), ("landfall.yaml", 'b')],
                "Unsigned",
            ),
            (
                "with a README, which is nobody's concern",
                &[],
                vec![signed(SHOP, None, Some('a'))],
                &[],
                &[(SHOP, 'a'), ("README.md", 'b')],
                "fine",
            ),
            (
                "on top of what was accepted since",
                &[(SHOP, 'c')],
                vec![signed(SHOP, None, Some('a'))],
                &[(SHOP, 'c')],
                &[(SHOP, 'a')],
                "Overtaken",
            ),
            (
                "with something put back to what was accepted",
                &[(BLOG, 'b')],
                vec![signed(SHOP, None, Some('a'))],
                &[(BLOG, 'd')],
                &[(SHOP, 'a'), (BLOG, 'b')],
                "fine",
            ),
            (
                "a signed deletion",
                &[(SHOP, 'a')],
                vec![signed(SHOP, Some('a'), None)],
                &[(SHOP, 'a')],
                &[],
                "fine",
            ),
            (
                "a deletion that nobody signed",
                &[(SHOP, 'a'), (BLOG, 'b')],
                vec![signed(SHOP, Some('a'), None)],
                &[(SHOP, 'a'), (BLOG, 'b')],
                &[],
                "Unsigned",
            ),
        ];
        for (name, was, signed, before, after, expected) in cases {
            let (was, before, after) = (accepted(was), tree(before), tree(after));
            let got = match matches(&signed, &landed(&before, &after, &was), &after, &was) {
                Ok(()) => "fine".to_owned(),
                Err(because) => format!("{because:?}"),
            };
            assert!(got.starts_with(expected), "{name}: {got}");
        }
    }

    #[test]
    fn neighbours_of_one_merge_request_are_one_landing() {
        let history: Vec<CommitId> = ['1', '2', '3', '4', '5'].map(commit).to_vec();
        let (seven, eight) = (MergeRequestNumber(7), MergeRequestNumber(8));
        let attribution = [(commit('1'), seven), (commit('2'), seven), (commit('5'), eight)].into();
        let groups = group(&history, &attribution);
        assert_eq!(
            groups,
            [
                Group {
                    merge_request: Some(seven),
                    commits: vec![commit('1'), commit('2')]
                },
                Group {
                    merge_request: None,
                    commits: vec![commit('3'), commit('4')]
                },
                Group {
                    merge_request: Some(eight),
                    commits: vec![commit('5')]
                },
            ]
        );
    }
}
