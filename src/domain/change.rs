//! A change: what a merge request does to one request. And its goal: what shall become of the request.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ids::{RequestKey, TeamName};
use super::plan::Resource;
use super::request::{DeletionPolicy, Request};

/// What a change does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was not there.
    Create,
    /// It was there with other content.
    Update,
    /// It goes.
    Delete,
    /// The same content under another path.
    Move,
}

/// What a merge request does to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It was not there.
    Create(Request),
    /// It was there with other content, perhaps under another path.
    Update {
        /// As it was accepted.
        before: Request,
        /// As it would be.
        after: Request,
    },
    /// It goes: as it was accepted.
    Delete(Request),
    /// The same content under another path: no change of anything real.
    Move(Request),
}

impl Change {
    /// What it does, in a word.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match self {
            Self::Create(_) => ChangeKind::Create,
            Self::Update { .. } => ChangeKind::Update,
            Self::Delete(_) => ChangeKind::Delete,
            Self::Move(_) => ChangeKind::Move,
        }
    }

    /// The request as it would be; of one that goes, as it was.
    #[must_use]
    pub fn request(&self) -> &Request {
        match self {
            Self::Create(request) | Self::Delete(request) | Self::Move(request) => request,
            Self::Update { after, .. } => after,
        }
    }

    /// The request's key.
    #[must_use]
    pub fn key(&self) -> &RequestKey {
        &self.request().key
    }

    /// The request as it was accepted; nothing for a new one.
    #[must_use]
    pub fn before(&self) -> Option<&Request> {
        match self {
            Self::Create(_) => None,
            Self::Update { before, .. } => Some(before),
            Self::Delete(request) | Self::Move(request) => Some(request),
        }
    }

    /// The request as it would be; nothing for one that goes.
    #[must_use]
    pub fn after(&self) -> Option<&Request> {
        match self {
            Self::Delete(_) => None,
            _ => Some(self.request()),
        }
    }

    /// The teams that it is counted for, before and after.
    #[must_use]
    pub fn teams(&self) -> BTreeSet<TeamName> {
        let sides = [self.before(), self.after()];
        sides
            .into_iter()
            .flatten()
            .map(|request| request.team.clone())
            .collect()
    }

    /// What shall become of the request; nothing where only its path changes.
    #[must_use]
    pub fn goal(&self) -> Option<Goal> {
        let removal = self
            .before()
            .map_or_else(DeletionPolicy::default, |before| before.deletion_policy);
        let deleted = self.kind() == ChangeKind::Delete;
        (self.kind() != ChangeKind::Move).then(|| Goal {
            request: self.request().clone(),
            deleted,
            removal,
        })
    }
}

/// What shall become of a request: it is there as it asks to be, or it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// The request; of one that goes, as it was last accepted.
    pub request: Request,
    /// Whether it goes.
    pub deleted: bool,
    /// What becomes of resources that are not asked for any more. It is the policy that was accepted before: one that
    /// comes with the change could not have been signed off as such.
    pub removal: DeletionPolicy,
}

impl Goal {
    /// The resources that shall be there.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        if self.deleted {
            &[]
        } else {
            &self.request.resources
        }
    }
}
