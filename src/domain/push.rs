//! A push straight onto the target branch: held, until somebody releases it or it is superseded.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::CommitId;
use super::landing::{Accepted, Landed, Origin};
use super::merge_request::User;
use super::person::Owners;
use super::review::{Evaluation, Judged};
use super::signoff::{Approval, Pusher, VersionSeen};
use super::tree::Tree;

/// All that is known of governed content that came without a merge request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldPush {
    /// The newest commit of it.
    pub commit: CommitId,
    /// What had been examined before it: what it changed is told by that.
    pub before: CommitId,
    /// When it was held, by our clock.
    pub held_at: Timestamp,
    /// What it did to each governed path, against what was accepted then.
    pub landed: Vec<Landed>,
    /// Who pushed it, as the forge's events tell; nothing while that is not established.
    pub pusher: Option<User>,
    /// Who had a hand in it, as the gate looks at it.
    pub seen: VersionSeen,
    /// What it would do.
    pub evaluation: Option<Evaluation>,
    /// Approvals as last seen.
    pub approvals: Vec<Approval>,
    /// What the gate said of them.
    pub judged: Option<Judged>,
    /// What became of it.
    pub end: Option<PushEnd>,
    /// Whose the forge says that the addresses in its commits are; each is asked for once.
    #[serde(default)]
    pub owners: Owners,
}

/// What became of a push that was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PushEnd {
    /// Somebody released it.
    Accepted,
    /// It cannot be released any more.
    Superseded(Superseded),
}

/// Why a push cannot be released any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Superseded {
    /// Something newer landed, or the target branch holds something else.
    Newer {
        /// The paths.
        paths: Vec<String>,
    },
    /// What is accepted is not what it was.
    Accepted {
        /// The paths.
        paths: Vec<String>,
    },
}

impl HeldPush {
    /// A push that was just held.
    #[must_use]
    pub fn new(before: CommitId, commit: CommitId, landed: Vec<Landed>, held_at: Timestamp) -> Self {
        let seen = VersionSeen {
            head: commit.clone(),
            // Not known yet; an approval cannot be older, since it comes after the plan was shown.
            created_at: Timestamp::UNIX_EPOCH,
            changed: true,
            stands: true,
            pusher: Pusher::Unknown,
            also_pushed: BTreeSet::new(),
            emails: BTreeSet::new(),
        };
        Self {
            commit,
            before,
            held_at,
            landed,
            pusher: None,
            seen,
            evaluation: None,
            approvals: vec![],
            judged: None,
            end: None,
            owners: Owners::new(),
        }
    }

    /// What it is called where merge requests have a number.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::Push(self.commit.clone())
    }

    /// The paths that it changed.
    #[must_use]
    pub fn paths(&self) -> BTreeSet<String> {
        self.landed.iter().map(|landed| landed.path.clone()).collect()
    }

    /// Whether the gate let it through when it was last asked.
    #[must_use]
    pub fn is_signed_off(&self) -> bool {
        self.end.is_none() && matches!(self.judged, Some(Judged::SignedOff { .. }))
    }

    /// Whether a later look at the same push came to the same.
    #[must_use]
    pub fn says_the_same_as(&self, later: &Self) -> bool {
        (&self.evaluation, &self.judged, &self.end) == (&later.evaluation, &later.judged, &later.end)
    }

    /// Whether it cannot be released any more, and why: `target` is what the target branch holds, `newer` are the paths
    /// of what is held and landed after it.
    #[must_use]
    pub fn superseded(
        &self,
        target: &Tree,
        accepted: &Accepted,
        newer: &BTreeSet<String>,
    ) -> Option<Superseded> {
        let paths_where = |wrong: &dyn Fn(&Landed) -> bool| -> Vec<String> {
            self.landed
                .iter()
                .filter(|landed| wrong(landed))
                .map(|landed| landed.path.clone())
                .collect()
        };
        let paths = paths_where(&|landed| {
            target.blob(&landed.path) != landed.to.as_ref() || newer.contains(&landed.path)
        });
        if !paths.is_empty() {
            return Some(Superseded::Newer { paths });
        }
        let paths = paths_where(&|landed| accepted.get(&landed.path) != landed.from.as_ref());
        (!paths.is_empty()).then_some(Superseded::Accepted { paths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::BlobId;
    use crate::domain::tree::{Entry, Mode};

    const SHOP: &str = "requests/web/shop.yaml";

    fn blob(digit: char) -> BlobId {
        BlobId::new(digit.to_string().repeat(40)).unwrap()
    }

    fn commit(digit: char) -> CommitId {
        CommitId::new(digit.to_string().repeat(40)).unwrap()
    }

    fn holding(content: Option<char>) -> Tree {
        let entry = |digit| Entry {
            mode: Mode::File,
            blob: blob(digit),
            size: 1,
        };
        Tree {
            entries: content
                .map(|digit| (SHOP.to_owned(), entry(digit)))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn only_what_the_branch_still_holds_and_nothing_newer_touched_can_be_released() {
        let shop = || vec![SHOP.to_owned()];
        let newer = Some(Superseded::Newer { paths: shop() });
        // What the push made of `a`; what the branch holds now; what is accepted now; what else is held there.
        let cases = [
            ("as it was pushed", Some('b'), Some('b'), Some('a'), vec![], None),
            ("a deletion", None, None, Some('a'), vec![], None),
            (
                "changed again",
                Some('b'),
                Some('c'),
                Some('a'),
                vec![],
                newer.clone(),
            ),
            ("reverted", Some('b'), Some('a'), Some('a'), vec![], newer.clone()),
            ("brought back", None, Some('a'), Some('a'), vec![], newer.clone()),
            (
                "pushed again, the same",
                Some('b'),
                Some('b'),
                Some('a'),
                shop(),
                newer,
            ),
            (
                "accepted by hand",
                Some('b'),
                Some('b'),
                Some('b'),
                vec![],
                Some(Superseded::Accepted { paths: shop() }),
            ),
            (
                "something else was accepted",
                Some('b'),
                Some('b'),
                Some('d'),
                vec![],
                Some(Superseded::Accepted { paths: shop() }),
            ),
        ];
        for (name, pushed, target, accepted, newer, expected) in cases {
            let landed = Landed {
                path: SHOP.to_owned(),
                from: Some(blob('a')),
                to: pushed.map(blob),
            };
            let push = HeldPush::new(commit('1'), commit('2'), vec![landed], Timestamp::UNIX_EPOCH);
            let accepted: Accepted = accepted
                .map(|digit| (SHOP.to_owned(), blob(digit)))
                .into_iter()
                .collect();
            let newer = newer.into_iter().collect();
            assert_eq!(
                push.superseded(&holding(target), &accepted, &newer),
                expected,
                "{name}"
            );
        }
    }
}
