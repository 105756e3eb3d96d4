//! The repository of a project as it may be written. A template to start it from is not taken yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;

text! {
    /// The name of a repository: the last part of its address on the forge.
    RepositoryName, 24, "^[a-z0-9][a-z0-9._-]+[a-z0-9]$",
    "a name of 3 to 24 lower-case letters, digits, dots, underscores and hyphens, with a letter or digit at both ends"
}
text! {
    /// A person's name on the forge.
    Username, 255, "^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$",
    "the name of an account on the forge, without `@`"
}

/// A repository on the forge: private, with a protected default branch `main`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRepository {
    /// Its name, unique in the team's group on the forge. Cannot be changed.
    pub name: RepositoryName,
    /// Who can see it: those who are let in.
    #[serde(default)]
    pub visibility: Visibility,
    /// Who is let in, besides the members of the team's group.
    #[serde(default)]
    pub collaborators: Vec<RawCollaborator>,
}

/// Who can see a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Visibility {
    /// Its members only.
    #[default]
    Private,
}

/// Somebody who is let into a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCollaborator {
    /// Their name on the forge. They need an account there already.
    pub username: Username,
    /// What they may do.
    #[serde(default)]
    pub role: Role,
}

/// What somebody may do in a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// Push branches and open merge requests.
    #[default]
    Developer,
    /// Read.
    Reporter,
    /// Merge, and push to the default branch.
    Maintainer,
}
