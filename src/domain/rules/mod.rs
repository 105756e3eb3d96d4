//! `landfall.yaml`: what may be written ([`raw`]), and what may be used (this module).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::{EnvironmentName, TeamName, UserId};
use super::person::Owners;
use super::price::Prices;
use super::request::quantity::Quantity;
use super::request::raw::Size;

pub mod check;
pub mod group;
pub mod limits;
pub mod raw;
#[cfg(test)]
mod tests;
mod update;
mod valid;

pub use group::{AccessLevel, Doubt, Group, Pins};
pub use update::check_rules_update;

/// The platform's rules, found valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Where requests can go.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Who asks.
    pub teams: BTreeMap<TeamName, Team>,
    /// Who may sign off.
    pub admins: RoleHolders,
    /// Who may ask, besides the members of the teams.
    #[serde(default)]
    pub developers: RoleHolders,
    /// Who may look.
    #[serde(default)]
    pub project_managers: RoleHolders,
    /// E-mail addresses of people, besides those that the forge tells.
    #[serde(default)]
    pub emails: Owners,
    /// The groups that policies may ask for, besides those that hold a role.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// How many sign-offs a change needs; at least 1.
    pub approvals: u32,
    /// The environments in which an accepted policy may waive sign-offs.
    #[serde(default)]
    pub waivers: BTreeSet<EnvironmentName>,
}

/// Where requests can go: a name that the platform team gives to a provider and a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Which provider makes things there.
    pub provider: ProviderKind,
    /// The provider's account or subscription.
    #[serde(default)]
    pub account: Option<String>,
    /// The provider's region.
    pub region: Option<String>,
    /// The network that things are put into.
    #[serde(default)]
    pub network: Option<Network>,
    /// What AWS alone needs to be told; there exactly if AWS is the provider.
    #[serde(default)]
    pub aws: Option<Aws>,
    /// The Kubernetes versions on offer; any if there are none.
    #[serde(default)]
    pub cluster_versions: BTreeSet<String>,
    /// The sizes on offer with the provider's names for them; a kind that is not in it has all sizes.
    #[serde(default)]
    pub sizes: BTreeMap<SizedKind, BTreeMap<Size, String>>,
    /// What things cost there, if that is known.
    #[serde(default)]
    pub prices: Option<Prices>,
    /// How much may be asked for there.
    #[serde(default)]
    pub limits: Limits,
    /// Whether people depend on what is there: what policies ask.
    #[serde(default)]
    pub production: bool,
    /// Whether runs wait.
    #[serde(default)]
    pub paused: bool,
    /// How many sign-offs a change there needs, where that is more than [`Rules::approvals`].
    #[serde(default)]
    pub approvals: u32,
}

impl Environment {
    /// One about which nothing is said but its provider.
    #[must_use]
    pub fn of(provider: ProviderKind) -> Self {
        Self {
            provider,
            account: None,
            region: None,
            network: None,
            aws: None,
            cluster_versions: BTreeSet::new(),
            sizes: BTreeMap::new(),
            prices: None,
            limits: Limits::default(),
            production: false,
            paused: false,
            approvals: 0,
        }
    }

    /// What a sign-off for this environment is bound to: where things are made, and what of. Prices, limits, offers
    /// and pauses change without making anything else of what was signed.
    #[must_use]
    pub fn place(&self) -> serde_json::Value {
        serde_json::json!([self.provider, self.account, self.region, self.network, self.sizes])
    }
}

/// What AWS needs to be told about an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aws {
    /// The ARN of the role that looks and plans.
    pub planning_role: String,
    /// The ARN of the role that acts.
    pub applying_role: String,
    /// The ARN of the platform team's own role: it administrates every cluster.
    pub admin_role: String,
    /// The bucket that takes the access logs of storages.
    pub log_bucket: String,
    /// The ARNs of the roles that teams take on: what `access` of a cluster gives to `team:NAME`.
    pub team_roles: BTreeMap<TeamName, String>,
    /// Whether what could not be created is kept for somebody to look at.
    pub keep_failed: bool,
}

/// What has a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SizedKind {
    /// A machine.
    VirtualMachine,
    /// A managed database.
    Database,
    /// A node of a cluster.
    Node,
}

/// The network of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// Landfall makes it.
    Create,
    /// It is there.
    Given {
        /// The provider's id of the network.
        vpc: Option<String>,
        /// The provider's ids of the subnets, two or more.
        subnets: BTreeSet<String>,
    },
}

/// How much may be asked for in an environment. What is not given has no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The most nodes that a cluster may grow to.
    pub nodes_per_cluster: u32,
    /// The most clusters that a team may have.
    pub clusters_per_team: Option<u32>,
    /// The most virtual CPUs that a team's virtual machines may have.
    #[serde(default)]
    pub cores_per_team: Option<u32>,
    /// The most memory that a team's virtual machines may have.
    #[serde(default)]
    pub memory_per_team: Option<Quantity>,
    /// The most disk that a team may have.
    #[serde(default)]
    pub disk_per_team: Option<Quantity>,
    /// The largest disk of a virtual machine.
    #[serde(default)]
    pub disk_per_machine: Option<Quantity>,
    /// How far a database may grow.
    #[serde(default)]
    pub disk_per_database: Option<Quantity>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&raw::RawLimits::default())
    }
}

/// How much a team may have in all environments together. What is not given has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamLimits {
    /// The most clusters.
    pub clusters: Option<u32>,
    /// The most nodes that its clusters may grow to.
    pub nodes: Option<u32>,
    /// The most virtual CPUs of its virtual machines.
    pub cores: Option<u32>,
    /// The most memory of its virtual machines.
    pub memory: Option<Quantity>,
    /// The most disk of its virtual machines and databases.
    pub disk: Option<Quantity>,
}

/// The providers there are.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum ProviderKind {
    /// The make-believe cloud.
    Simulator,
    /// Amazon Web Services.
    #[serde(rename = "AWS")]
    Aws,
}

impl ProviderKind {
    /// As it stands in `landfall.yaml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulator => "Simulator",
            Self::Aws => "AWS",
        }
    }
}

/// A team that may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its people, by forge user id.
    pub members: BTreeSet<UserId>,
    /// The full path of the forge group that its repositories are made in.
    #[serde(default)]
    pub group: Option<String>,
    /// How much it may have.
    #[serde(default)]
    pub limits: TeamLimits,
}

/// Who holds a role: people by forge user id, and members of forge groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleHolders {
    /// Forge user id → the name that `landfall.yaml` gives beside it, for people to read.
    pub users: BTreeMap<UserId, String>,
    /// Forge groups.
    pub groups: Vec<Group>,
}

impl RoleHolders {
    /// Their names, for a person who looks for one of them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let groups = self
            .groups
            .iter()
            .map(|group| format!("members of {}", group.path));
        self.users.values().cloned().chain(groups).collect()
    }
}
