//! `landfall.yaml`: what may be written ([`raw`]), and what may be used (this module).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::{EnvironmentName, TeamName, UserId};

pub mod check;
pub mod raw;

/// The platform's rules, found valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Where requests can go.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Who asks.
    pub teams: BTreeMap<TeamName, Team>,
    /// Who may sign off.
    pub admins: RoleHolders,
    /// How many sign-offs a change needs; at least 1.
    pub approvals: u32,
}

/// Where requests can go: a name that the platform team gives to a provider and a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Which provider makes things there.
    pub provider: ProviderKind,
    /// The provider's region.
    pub region: Option<String>,
}

/// The providers there are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum ProviderKind {
    /// The make-believe cloud.
    Simulator,
}

/// A team that may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its people, by forge user id.
    pub members: BTreeSet<UserId>,
}

/// Who holds a role: people by forge user id, and forge groups by full path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleHolders {
    /// Forge user id → the name that `landfall.yaml` gives beside it, for people to read.
    pub users: BTreeMap<UserId, String>,
    /// Full paths of forge groups.
    pub groups: BTreeSet<String>,
}

impl RoleHolders {
    /// Their names, for a person who looks for one of them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("members of {group}"));
        self.users.values().cloned().chain(groups).collect()
    }
}
