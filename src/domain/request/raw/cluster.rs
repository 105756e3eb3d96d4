//! A `Cluster` as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApiVersion, Label, RawMetadata, Size, text};
use crate::domain::request::DeletionPolicy;
use crate::domain::request::quantity::Quantity;

text! {
    /// A minor version of Kubernetes.
    KubernetesVersion, 16, "^1\\.(0|[1-9][0-9]{0,2})$", "a minor version in quotes, such as `\"1.33\"`"
}
text! {
    /// The name of a node pool: short, since clouds make names of it.
    PoolName, 12, "^[a-z][a-z0-9]{0,11}$",
    "a name of up to 12 lower-case letters and digits that starts with a letter"
}
text! {
    /// A block of addresses; whether it is one is checked by code.
    Cidr, 49, "^[0-9A-Fa-f:.]+/[0-9]{1,3}$", "a block of addresses, such as `203.0.113.0/24`"
}
text! {
    /// Whoever gets an access right.
    Subject, 261, "^(team:[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?|(user|group):[A-Za-z0-9_][A-Za-z0-9_./-]{0,254})$",
    "`team:` and a team of `landfall.yaml`, or `user:` or `group:` and a name of the forge"
}
text! {
    /// A namespace of Kubernetes.
    Namespace, 63, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "a name of up to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends"
}

/// The kind of this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterKind {
    /// A Kubernetes cluster.
    Cluster,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Cluster")]
pub struct RawCluster {
    /// The version of the request format: `landfall.dev/v1`.
    pub api_version: ApiVersion,
    /// The kind of request: `Cluster`.
    pub kind: ClusterKind,
    /// Who asks, and under which name.
    pub metadata: RawMetadata,
    /// What is asked for.
    pub spec: RawClusterSpec,
}

/// What a cluster is to be like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawClusterSpec {
    /// Where: an environment of `landfall.yaml`. Cannot be changed.
    pub environment: Label,
    /// What becomes of the cluster when the file is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The minor version of Kubernetes, in quotes, such as `"1.33"`. It goes up one at a time, and never down.
    pub version: KubernetesVersion,
    /// The nodes: one pool or more.
    pub node_pools: Vec<RawNodePool>,
    /// Who reaches the API server.
    pub api_server: RawApiServer,
    /// The addresses of services inside the cluster: a private block of `/12` to `/24`. Cannot be changed.
    #[serde(default = "default_service_cidr")]
    pub service_cidr: Cidr,
    /// Who may do what in the cluster.
    #[serde(default)]
    pub access: Vec<RawAccess>,
}

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNodePool {
    /// Unique in the cluster. Cannot be changed.
    pub name: PoolName,
    /// How large its nodes are. A change replaces the nodes.
    #[serde(default)]
    pub size: Size,
    /// The fewest nodes.
    #[serde(default = "default_min")]
    #[schemars(range(min = 1, max = 1000))]
    pub min: u32,
    /// The most nodes. The environment limits how many a cluster may have.
    #[serde(default = "default_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub max: u32,
    /// How many nodes it starts with; 2, or as near to it as `min` and `max` allow, if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 1000))]
    pub desired: Option<u32>,
    /// The disk of each node, 30Gi to 2Ti.
    #[serde(default = "default_node_disk")]
    pub disk_size: Quantity,
    /// Whether nodes are there to stay. A change replaces the nodes.
    #[serde(default)]
    pub capacity: Capacity,
}

/// Whether nodes are there to stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Capacity {
    /// They are.
    #[default]
    OnDemand,
    /// The cloud may take them away at any time, and they cost less.
    Spot,
}

/// Who reaches the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawApiServer {
    /// Whether it can be reached from outside of the network.
    #[serde(default)]
    pub access: ApiAccess,
    /// The addresses that reach it from outside; needed with `access: Public`, and never all there are.
    #[serde(default)]
    pub allowed_cidrs: Vec<Cidr>,
}

/// Whether an API server can be reached from outside of its network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiAccess {
    /// From the addresses in `allowedCidrs`.
    #[default]
    Public,
    /// From inside only.
    Private,
}

/// One access right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAccess {
    /// Who: `team:NAME` of `landfall.yaml`, or `user:NAME` or `group:PATH` of the forge.
    pub subject: Subject,
    /// What they may do. There is no default: a right is written down.
    pub role: AccessRole,
    /// Where; in the whole cluster if none is given.
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
}

/// What somebody may do in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessRole {
    /// Everything.
    Admin,
    /// Change workloads.
    Edit,
    /// Look.
    View,
}

fn default_service_cidr() -> Cidr {
    Cidr("172.20.0.0/16".into())
}

fn default_min() -> u32 {
    2
}

/// The most nodes of a pool that says nothing about it.
pub(in crate::domain::request) fn default_max() -> u32 {
    5
}

fn default_node_disk() -> Quantity {
    Quantity::gibibytes(80)
}
