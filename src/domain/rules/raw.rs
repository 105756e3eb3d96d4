//! `landfall.yaml` as it may be written; `schemas/landfall.schema.json` is generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProviderKind;
use crate::domain::request::raw::{ApiVersion, Label, text};

text! {
    /// The full path of a forge group.
    GroupPath, 255, "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$",
    "the full path of a group, such as `platform/admins`"
}
text! {
    /// A region of a provider.
    Region, 64, "^[A-Za-z0-9][A-Za-z0-9-]*$", "a region such as `eu-central-1`"
}
text! {
    /// The name of a person on the forge.
    UserName, 255, "^[^\\s]([^\\r\\n]*[^\\s])?$", "a name on one line"
}

/// What kind of file this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RulesKind {
    /// The rules of a requests repository.
    Rules,
}

/// The rules of a requests repository: where requests can go, who asks, and who signs off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "landfall.yaml")]
pub struct RawRules {
    /// The version of the format: `landfall.dev/v1`.
    pub api_version: ApiVersion,
    /// What kind of file this is: `Rules`.
    pub kind: RulesKind,
    /// Where requests can go: name → provider and place.
    pub environments: BTreeMap<Label, RawEnvironment>,
    /// Who asks: name → people. The name is that of the folder below `requests/`, too.
    pub teams: BTreeMap<Label, RawTeam>,
    /// Who may do what.
    pub roles: RawRoles,
    /// How many sign-offs a change needs.
    #[serde(default)]
    pub approvals: RawApprovals,
}

/// Where requests can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawEnvironment {
    /// What makes things there.
    pub provider: ProviderKind,
    /// The provider's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Region")]
    pub region: Option<Region>,
}

/// A team that may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTeam {
    /// Its people.
    #[serde(default)]
    pub members: Vec<RawPerson>,
}

/// A person, by the forge's number: names can be changed and taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPerson {
    /// The forge's number for the person; the profile shows it.
    #[schemars(range(min = 1))]
    pub id: u64,
    /// The name, for people to read.
    pub name: UserName,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRoles {
    /// Who signs off, and owns this file.
    pub admin: RawHolders,
}

/// Who holds a role. Groups are looked up on the forge whenever it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawHolders {
    /// People.
    #[serde(default)]
    pub users: Vec<RawPerson>,
    /// Forge groups by full path.
    #[serde(default)]
    pub groups: Vec<GroupPath>,
}

/// How many sign-offs a change needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawApprovals {
    /// How many admins must approve; the author is never one of them.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub required: u32,
}

impl Default for RawApprovals {
    fn default() -> Self {
        Self { required: one() }
    }
}

fn one() -> u32 {
    1
}
