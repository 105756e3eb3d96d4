//! `landfall.yaml` as it may be written; `schemas/landfall.schema.json` is generated from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLevel, ProviderKind};
use crate::domain::price::Amount;
use crate::domain::request::quantity::Quantity;
use crate::domain::request::raw::{ApiVersion, KubernetesVersion, Label, text};

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
    /// An account or subscription of a provider.
    Account, 64, "^[A-Za-z0-9][A-Za-z0-9-]*$", "an account or subscription in quotes, such as `\"123456789012\"`"
}
text! {
    /// The provider's name for a part of a network: AWS's id, or Azure's path.
    NetworkId, 512, "^[A-Za-z0-9/][A-Za-z0-9/_.-]*$", "the provider's id, such as `subnet-0a1b2c3d`"
}
text! {
    /// The provider's name for a size.
    ProviderType, 64, "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "the provider's name for a size, such as `t3.large`"
}
text! {
    /// The ARN of a role of AWS's IAM.
    RoleArn, 256, "^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$",
    "the ARN of a role, such as `arn:aws:iam::123456789012:role/landfall-planning`"
}
text! {
    /// The name of a bucket of S3.
    BucketName, 63, "^[a-z0-9][a-z0-9.-]*[a-z0-9]$", "the name of a bucket, such as `platform-access-logs`"
}
text! {
    /// A currency by its ISO 4217 code.
    Currency, 16, "^[A-Z]{3}$", "a currency by its three letters, such as `EUR`"
}
text! {
    /// An e-mail address.
    EmailAddress, 254, "^[^\\s@<>]+@[^\\s@<>]+$", "an e-mail address, such as `ada@example.com`"
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
    /// The groups whose approval a policy may ask for, besides those that hold a role.
    #[serde(default)]
    pub groups: Vec<RawGroup>,
    /// How many sign-offs a change needs, and where a policy may waive them.
    #[serde(default)]
    pub approvals: RawSignOffs,
}

/// Where requests can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawEnvironment {
    /// What makes things there. Cannot be changed while something lives there.
    pub provider: ProviderKind,
    /// The provider's account or subscription, in quotes. Cannot be changed while something lives here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Account")]
    pub account: Option<Account>,
    /// The provider's region. Cannot be changed while something lives here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Region")]
    pub region: Option<Region>,
    /// The network that things are put into. Cannot be changed while something lives here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawNetwork")]
    pub network: Option<RawNetwork>,
    /// What AWS alone needs to be told; needed exactly where AWS is the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawAws")]
    pub aws: Option<RawAws>,
    /// The versions on offer; any, where none are listed.
    #[serde(default)]
    pub versions: RawVersions,
    /// The sizes on offer, each with the provider's name for it; all of them, by the provider's own choice, where
    /// none are listed.
    #[serde(default)]
    pub sizes: RawSizes,
    /// What things cost here, for the estimate in the comment; no estimate where none are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawPrices")]
    pub prices: Option<RawPrices>,
    /// How much may be asked for here.
    #[serde(default)]
    pub limits: RawLimits,
    /// Whether people depend on what is there. Policies may ask for more then; nothing else follows from it.
    #[serde(default)]
    pub production: bool,
    /// Whether runs wait, such as during maintenance. Reviews and sign-offs go on.
    #[serde(default)]
    pub paused: bool,
    /// How many sign-offs a change here needs, where that is more than everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawApprovals")]
    pub approvals: Option<RawApprovals>,
}

/// A network: `create: true` for one that Landfall makes, or the subnets of one that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNetwork {
    /// Whether Landfall makes it.
    #[serde(default)]
    pub create: bool,
    /// The network that the subnets belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "NetworkId")]
    pub vpc: Option<NetworkId>,
    /// Subnets of a network that is there: two or more, in two zones or more.
    #[serde(default)]
    pub subnets: Vec<NetworkId>,
}

/// Who acts for Landfall on AWS. Both roles trust the identity that Landfall runs as, under the external id
/// `landfall:REPOSITORY:ENVIRONMENT` (the repository's id in Landfall's configuration): no other repository can use them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAws {
    /// The role that looks and plans. It needs no right to build.
    pub planning_role: RoleArn,
    /// The role that acts.
    pub applying_role: RoleArn,
    /// The platform team's own role: it administrates every cluster.
    pub admin_role: RoleArn,
    /// The bucket that takes the access logs of storages.
    pub log_bucket: BucketName,
    /// The role that each team takes on: what `access` of a cluster gives to `team:NAME`.
    #[serde(default)]
    pub team_roles: BTreeMap<Label, RoleArn>,
    /// Whether what could not be created is kept for somebody to look at, instead of being removed.
    #[serde(default)]
    pub keep_failed: bool,
}

/// Versions on offer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawVersions {
    /// Of Kubernetes.
    #[serde(default)]
    pub cluster: Vec<KubernetesVersion>,
}

/// Sizes on offer, by what they are the sizes of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawSizes {
    /// Of virtual machines.
    #[serde(default)]
    pub virtual_machine: RawTypes,
    /// Of databases.
    #[serde(default)]
    pub database: RawTypes,
    /// Of the nodes of clusters.
    #[serde(default)]
    pub node: RawTypes,
}

/// The provider's name for each size on offer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RawTypes {
    /// For `Small`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProviderType")]
    pub small: Option<ProviderType>,
    /// For `Medium`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProviderType")]
    pub medium: Option<ProviderType>,
    /// For `Large`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ProviderType")]
    pub large: Option<ProviderType>,
}

/// What things cost a month. The estimate is the sum of these: disks and traffic are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPrices {
    /// The currency of all of them, such as `EUR`.
    pub currency: Currency,
    /// A virtual machine, by size.
    #[serde(default)]
    pub virtual_machine: RawAmounts,
    /// A database in one zone, by size. In several zones it counts twice, for its standby.
    #[serde(default)]
    pub database: RawAmounts,
    /// A node of a cluster, by size. As many count as are desired.
    #[serde(default)]
    pub node: RawAmounts,
    /// A cluster without its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawAmount")]
    pub cluster: Option<RawAmount>,
    /// A storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawAmount")]
    pub storage: Option<RawAmount>,
}

/// What each size costs a month.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RawAmounts {
    /// `Small`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawAmount")]
    pub small: Option<RawAmount>,
    /// `Medium`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawAmount")]
    pub medium: Option<RawAmount>,
    /// `Large`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawAmount")]
    pub large: Option<RawAmount>,
}

/// An amount of money a month: a number such as `61.50`, rounded to hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawAmount(pub Amount);

/// The largest amount that is taken: past it, somebody slipped.
const LARGEST_AMOUNT: f64 = 1_000_000.0;

impl<'de> Deserialize<'de> for RawAmount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = f64::deserialize(deserializer)?;
        if !(0.0..=LARGEST_AMOUNT).contains(&amount) {
            return Err(serde::de::Error::custom("an amount is 0 to 1000000"));
        }
        // In the range that was just checked, so nothing is cut off.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self(Amount((amount * 100.0).round() as u64)))
    }
}

impl Serialize for RawAmount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[allow(clippy::cast_precision_loss)] // at most 100 million hundredths
        serializer.serialize_f64(self.0.0 as f64 / 100.0)
    }
}

impl JsonSchema for RawAmount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0, "maximum": 1_000_000 })
    }
}

/// How much may be asked for in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawLimits {
    /// The most nodes that a cluster may grow to, all its node pools together.
    #[serde(default = "default_nodes_per_cluster")]
    #[schemars(range(min = 1, max = 1000))]
    pub nodes_per_cluster: u32,
    /// The most clusters that a team may have; any number if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 0, max = 1000))]
    pub clusters_per_team: Option<u32>,
    /// The most virtual CPUs that a team's virtual machines may have together; any number if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 0, max = 100_000))]
    pub cores_per_team: Option<u32>,
    /// The most memory that a team's virtual machines may have together, counted at 4Gi a virtual CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub memory_per_team: Option<Quantity>,
    /// The most disk that a team's virtual machines have and its databases may grow to, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub disk_per_team: Option<Quantity>,
    /// The largest disk of a virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub disk_per_machine: Option<Quantity>,
    /// How far a database's disk may grow: the largest `maxStorage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub disk_per_database: Option<Quantity>,
}

/// How much a team may have in all environments together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTeamLimits {
    /// The most clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 0, max = 1000))]
    pub clusters: Option<u32>,
    /// The most nodes that its clusters may grow to, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 0, max = 100_000))]
    pub nodes: Option<u32>,
    /// The most virtual CPUs of its virtual machines together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 0, max = 100_000))]
    pub cores: Option<u32>,
    /// The most memory of its virtual machines together, counted at 4Gi a virtual CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub memory: Option<Quantity>,
    /// The most disk that its virtual machines have and its databases may grow to, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub disk: Option<Quantity>,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            nodes_per_cluster: default_nodes_per_cluster(),
            clusters_per_team: None,
            cores_per_team: None,
            memory_per_team: None,
            disk_per_team: None,
            disk_per_machine: None,
            disk_per_database: None,
        }
    }
}

fn default_nodes_per_cluster() -> u32 {
    10
}

/// A team that may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTeam {
    /// Its people.
    #[serde(default)]
    pub members: Vec<RawPerson>,
    /// The forge group that the team's repositories are made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GroupPath")]
    pub group: Option<GroupPath>,
    /// How much it may have, in all environments together.
    #[serde(default)]
    pub limits: RawTeamLimits,
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
    /// Further e-mail addresses of theirs that the forge does not tell: a change whose commits carry one is theirs.
    #[serde(default)]
    pub emails: Vec<EmailAddress>,
}

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRoles {
    /// Who signs off, and owns this file.
    pub admin: RawHolders,
    /// Who asks for things, besides the members of the teams.
    #[serde(default)]
    pub developer: RawHolders,
    /// Who looks: what was asked for, what is waiting, what it costs.
    #[serde(default)]
    pub project_manager: RawHolders,
}

/// Who holds a role. Groups are looked up on the forge whenever it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawHolders {
    /// People.
    #[serde(default)]
    pub users: Vec<RawPerson>,
    /// Forge groups: their direct members from Developer on, unless more is said.
    #[serde(default)]
    pub groups: Vec<RawGroup>,
}

/// A forge group: its full path, or what is said about it beside the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RawGroup {
    /// Its full path.
    Path(GroupPath),
    /// More than that.
    Named(RawNamedGroup),
}

/// A forge group, with what is said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNamedGroup {
    /// Its full path.
    pub path: GroupPath,
    /// The forge's number for it; as it is found when the rules are accepted, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 1))]
    pub id: Option<u64>,
    /// Whether members of the groups above it count, too. Never those of groups that were invited.
    #[serde(default)]
    pub inherited: bool,
    /// The lowest level at which a member counts.
    #[serde(default)]
    pub from: AccessLevel,
}

impl JsonSchema for RawGroup {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Group".into()
    }

    /// One schema for both forms: what it says of texts concerns no object, and the other way round.
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = RawNamedGroup::json_schema(generator);
        let path = GroupPath::json_schema(generator);
        for word in ["maxLength", "pattern", "patternErrorMessage"] {
            if let Some(value) = path.get(word) {
                schema.insert(word.to_owned(), value.clone());
            }
        }
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema
    }
}

/// How many sign-offs a change needs, and where a policy may waive them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawSignOffs {
    /// How many admins must approve; the author is never one of them.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub required: u32,
    /// The environments in which an accepted policy may say that nobody has to: never for a deletion, a replacement or
    /// an access right.
    #[serde(default)]
    pub waivers: Vec<Label>,
}

impl Default for RawSignOffs {
    fn default() -> Self {
        Self {
            required: one(),
            waivers: Vec::new(),
        }
    }
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

fn one() -> u32 {
    1
}
