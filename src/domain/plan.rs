//! A plan: what a change would do, resource by resource. Its digest names it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{Digest, EnvironmentName, RequestKey, ResourceName};

/// The kinds of resource that requests are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceKind {
    /// A machine.
    VirtualMachine,
    /// A managed database.
    Database,
    /// A bucket or storage account.
    Storage,
    /// A Kubernetes cluster with its node pools.
    Cluster,
}

impl ResourceKind {
    /// In words, for a person.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::VirtualMachine => "virtual machine",
            Self::Database => "database",
            Self::Storage => "storage",
            Self::Cluster => "cluster",
        }
    }

    /// Whether it holds data that a replacement would lose.
    #[must_use]
    pub fn is_stateful(self) -> bool {
        matches!(
            self,
            Self::Database | Self::Storage | Self::VirtualMachine | Self::Cluster
        )
    }
}

/// One resource that a request asks for, free of any provider's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Unique in its request, such as `database/orders`.
    pub name: ResourceName,
    /// What it is.
    pub kind: ResourceKind,
    /// The request's fields for it, defaults filled in: camelCase field → value.
    pub properties: BTreeMap<String, Value>,
    /// Resources of the same request that must be there first.
    pub depends_on: Vec<ResourceName>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Made new.
    Create,
    /// Changed in place.
    Update,
    /// Destroyed and made anew.
    Replace,
    /// Destroyed.
    Delete,
    /// Left as it is.
    NoOp,
}

/// A value in a plan: what it will be, or why that is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlannedValue {
    /// It will be this.
    Known(Value),
    /// It is known only afterwards; the symbol stands for it, such as `the cloud's choice`.
    Unknown(String),
}

/// One property that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyChange {
    /// Dotted path of the property, such as `size`.
    pub path: String,
    /// Before; nothing for a new one.
    pub before: Option<PlannedValue>,
    /// After; nothing for one that goes.
    pub after: Option<PlannedValue>,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    /// The request that asks for it.
    pub request: RequestKey,
    /// Where it will be.
    pub environment: EnvironmentName,
    /// The resource.
    pub resource: ResourceName,
    /// What it is.
    pub kind: ResourceKind,
    /// What happens to it.
    pub action: Action,
    /// The properties that change, sorted by path. Empty for a no-op.
    pub properties: Vec<PropertyChange>,
}

/// What a change would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One entry for each resource that is looked at.
    pub changes: Vec<PlannedChange>,
}

impl PlannedChange {
    /// The line that the digest is made of: who, where, what, and each property's path and hash.
    fn line(&self) -> String {
        let mut properties: Vec<(&str, Digest)> = self
            .properties
            .iter()
            .map(|p| {
                let value = serde_json::json!([p.before, p.after]);
                (p.path.as_str(), Digest::of(value.to_string().as_bytes()))
            })
            .collect();
        properties.sort();
        serde_json::json!([
            self.request,
            self.environment,
            self.resource,
            self.kind,
            self.action,
            properties
        ])
        .to_string()
    }

    fn is_allowed_by(&self, signed: &Self) -> bool {
        let same_subject = (
            &self.request,
            &self.environment,
            &self.resource,
            self.kind,
            self.action,
        ) == (
            &signed.request,
            &signed.environment,
            &signed.resource,
            signed.kind,
            signed.action,
        );
        same_subject
            && match self.action {
                // An update may touch fewer properties than were signed, never others.
                Action::Update => self.properties.iter().all(|p| signed.properties.contains(p)),
                _ => self.line() == signed.line(),
            }
    }
}

impl Plan {
    /// Names the plan: the same for plans that do the same, whatever their order.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut lines: Vec<String> = self.changes.iter().map(PlannedChange::line).collect();
        lines.sort();
        Digest::of(format!("landfall plan v1\n{}", lines.join("\n")).as_bytes())
    }

    /// Whether this plan does nothing that the signed one does not: each entry equals a signed one, is a no-op, or
    /// is an update of fewer properties.
    #[must_use]
    pub fn is_contained_in(&self, signed: &Self) -> bool {
        self.exceeding(signed).next().is_none()
    }

    /// The entries that the signed plan does not allow.
    pub fn exceeding<'a>(&'a self, signed: &'a Self) -> impl Iterator<Item = &'a PlannedChange> {
        self.changes.iter().filter(|change| {
            change.action != Action::NoOp && !signed.changes.iter().any(|s| change.is_allowed_by(s))
        })
    }

    /// The entries of one request.
    #[must_use]
    pub fn of_request(&self, request: &RequestKey) -> Self {
        Self {
            changes: self
                .changes
                .iter()
                .filter(|c| c.request == *request)
                .cloned()
                .collect(),
        }
    }
}
