//! Requests: what may be written ([`raw`]), and what may be used (this module).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{BlobId, EnvironmentName, RequestKey, TeamName};
use super::plan::Resource;

/// A request that was found valid: nothing in it needs checking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `kind` and `metadata.name`.
    pub key: RequestKey,
    /// `metadata.team`.
    pub team: TeamName,
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

/// Path → blob → bytes of the files that a check looks at.
pub type Contents = BTreeMap<BlobId, Vec<u8>>;
