//! Requests: what may be written ([`raw`]), and what may be used (this module); [`check`] leads from one to the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{BlobId, EnvironmentName, RequestKey, TeamName};
use super::plan::{Resource, ResourceKind};

pub mod check;
mod cidr;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod limits_tests;
mod meaning;
pub mod quantity;
pub mod raw;
#[cfg(test)]
mod repository_tests;
#[cfg(test)]
mod tests;
mod tree_check;
mod update;

/// A request that was found valid: nothing in it needs checking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `kind` and `metadata.name`.
    pub key: RequestKey,
    /// `metadata.team`.
    pub team: TeamName,
    /// `metadata.expires`: the last day on which it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::civil::Date>,
    /// `spec.environment`.
    pub environment: EnvironmentName,
    /// `spec.deletionPolicy`.
    pub deletion_policy: DeletionPolicy,
    /// What it asks for, in the order of the file.
    pub resources: Vec<Resource>,
}

/// What becomes of a request's resources when its file is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum DeletionPolicy {
    /// They stay, and stay listed.
    #[default]
    Retain,
    /// They go; what can be snapshotted is.
    Snapshot,
    /// They go.
    Delete,
}

impl DeletionPolicy {
    /// Whether it has a resource of that kind protected against a deletion that nobody signed off: where something of it
    /// would outlive a signed one.
    #[must_use]
    pub fn protects(self, kind: ResourceKind) -> bool {
        match self {
            Self::Retain => true,
            Self::Snapshot => kind.can_be_snapshotted(),
            Self::Delete => false,
        }
    }
}

/// Blob → bytes of the files that a check looks at.
pub type Contents = BTreeMap<BlobId, Vec<u8>>;
