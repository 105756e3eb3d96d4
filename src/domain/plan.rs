//! A plan: what a change would do, resource by resource. Its digest names it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::Goal;
use super::ids::{Digest, EnvironmentName, RequestKey, ResourceName, TeamName};
use super::module::PlannedModule;
use super::request::DeletionPolicy;
use super::rules::{Environment, ProviderKind};

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
    /// A repository on the forge.
    Repository,
    /// The network of an environment, which all requests there share. Made with the first that needs it, kept ever after.
    Network,
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
            Self::Repository => "repository",
            Self::Network => "network",
        }
    }

    /// Whether it holds what a replacement would lose for good. A virtual machine does not: what it keeps belongs into
    /// a database or a storage, and a new image is a new machine.
    #[must_use]
    pub fn is_stateful(self) -> bool {
        matches!(
            self,
            Self::Database | Self::Storage | Self::Cluster | Self::Repository | Self::Network
        )
    }

    /// Whether it is put into the network of its environment.
    #[must_use]
    pub fn needs_network(self) -> bool {
        matches!(self, Self::VirtualMachine | Self::Database | Self::Cluster)
    }

    /// Whether a snapshot of it can be taken before it goes.
    #[must_use]
    pub fn can_be_snapshotted(self) -> bool {
        matches!(self, Self::Database)
    }
}

/// What makes a resource: which planner plans for it, and which provider acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Maker {
    /// The provider of the resource's environment.
    Provider(ProviderKind),
    /// The forge, whatever the environment.
    Forge,
}

impl Maker {
    /// What makes a resource of that kind in that environment.
    #[must_use]
    pub fn of(kind: ResourceKind, environment: &Environment) -> Self {
        match kind {
            ResourceKind::Repository => Self::Forge,
            ResourceKind::VirtualMachine
            | ResourceKind::Database
            | ResourceKind::Storage
            | ResourceKind::Cluster
            | ResourceKind::Network => Self::Provider(environment.provider),
        }
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
    /// Made again: Landfall made it before, and it is missing in the cloud.
    Recreate,
    /// Changed in place.
    Update,
    /// Destroyed and made anew.
    Replace,
    /// Destroyed.
    Delete,
    /// Not asked for any more, and kept: it stays as it is, and stays listed.
    Retain,
    /// Left as it is.
    NoOp,
}

impl Action {
    /// Whether nothing is done to the resource.
    #[must_use]
    pub fn is_idle(self) -> bool {
        matches!(self, Self::NoOp | Self::Retain)
    }
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

impl PropertyChange {
    /// The difference between the fields before and after, sorted by path; with nothing before, all of them.
    #[must_use]
    pub fn between(before: Option<&BTreeMap<String, Value>>, after: &BTreeMap<String, Value>) -> Vec<Self> {
        let (mut was, mut will_be) = (BTreeMap::new(), BTreeMap::new());
        before
            .into_iter()
            .flatten()
            .for_each(|(name, value)| flatten(name, value, &mut was));
        after
            .iter()
            .for_each(|(name, value)| flatten(name, value, &mut will_be));
        let paths: BTreeSet<_> = was.keys().chain(will_be.keys()).collect();
        let known = |value: Option<&&Value>| value.map(|value| PlannedValue::Known((**value).clone()));
        paths
            .into_iter()
            .filter(|path| was.get(*path) != will_be.get(*path))
            .map(|path| Self {
                path: path.clone(),
                before: known(was.get(path)),
                after: known(will_be.get(path)),
            })
            .collect()
    }
}

/// Objects by dotted path; lists are one value.
fn flatten<'v>(path: &str, value: &'v Value, into: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields
                .iter()
                .for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, into));
        }
        value => drop(into.insert(path.to_owned(), value)),
    }
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
    /// The module that it is made by, and what that comes to, where its provider works by modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<PlannedModule>,
}

/// A resource that Landfall made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownResource {
    /// Its name in its request.
    pub name: ResourceName,
    /// What it is.
    pub kind: ResourceKind,
    /// Whether it was kept when its request asked for it no more.
    pub retained: bool,
    /// The team that it was made for. It stays that team's.
    pub team: TeamName,
    /// The version of the module that made it, where a module did.
    pub module_version: Option<String>,
}

/// The property of a deletion that a snapshot is taken first.
const FINAL_SNAPSHOT: &str = "finalSnapshot";
/// The property of an update that takes a retained resource back.
const RETAINED: &str = "retained";

/// The property of an update by which something else becomes of the resource when it is asked for no more. It is a field of
/// the whole request.
pub const DELETION_POLICY: &str = "deletionPolicy";

/// What a change would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One entry for each resource that is looked at.
    pub changes: Vec<PlannedChange>,
}

impl PlannedChange {
    /// Whether a snapshot is taken before it goes.
    #[must_use]
    pub fn takes_final_snapshot(&self) -> bool {
        self.properties
            .iter()
            .any(|property| property.path == FINAL_SNAPSHOT)
    }

    /// Whether it takes a resource back that was retained.
    #[must_use]
    pub fn takes_back(&self) -> bool {
        self.properties.iter().any(|property| property.path == RETAINED)
    }

    /// One entry of [`Plan::obeying`].
    fn obeying(mut self, removal: DeletionPolicy, known: Option<&KnownResource>) -> Self {
        let retained = known.is_some_and(|known| known.retained);
        let flag = |path: &str, before: Option<bool>, after: bool| PropertyChange {
            path: path.to_owned(),
            before: before.map(|before| PlannedValue::Known(before.into())),
            after: Some(PlannedValue::Known(after.into())),
        };
        match self.action {
            Action::Create if known.is_some() => self.action = Action::Recreate,
            Action::Delete if retained || removal == DeletionPolicy::Retain => {
                self.action = Action::Retain;
                self.properties.clear();
                self.module = None;
            }
            Action::Delete if removal == DeletionPolicy::Snapshot && self.kind.can_be_snapshotted() => {
                self.properties.push(flag(FINAL_SNAPSHOT, None, true));
            }
            Action::Update if retained => self.properties.push(flag(RETAINED, Some(true), false)),
            _ => {}
        }
        self
    }

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
            properties,
            self.module
        ])
        .to_string()
    }

    /// Whether a policy may waive its sign-off: it loses nothing, and gives nobody a way in.
    #[must_use]
    pub fn may_be_waived(&self) -> bool {
        let loses = |action: Action| match action {
            Action::Create | Action::Recreate | Action::Update | Action::NoOp => false,
            Action::Replace | Action::Delete | Action::Retain => true,
        };
        let parts = self.module.iter().flat_map(|module| &module.parts);
        let lost = loses(self.action) || parts.into_iter().any(|part| loses(part.action));
        // What changes though the request asks for nothing new is somebody else's doing: a person looks at it.
        let unexplained = self.action == Action::Update && self.properties.is_empty();
        let is_let_go = self
            .properties
            .iter()
            .any(|property| property.path == DELETION_POLICY);
        !lost
            && !unexplained
            && !is_let_go
            && !self.properties.iter().any(|property| self.gives_access(property))
    }

    /// Whether a property lets somebody in. What is empty, and what is closed by default, lets nobody in when it is new;
    /// every change of what is there may.
    fn gives_access(&self, property: &PropertyChange) -> bool {
        let field = property.path.split(['.', '[']).next().unwrap_or_default();
        let is_new = matches!(self.action, Action::Create | Action::Recreate);
        let is_about_access = match self.kind {
            ResourceKind::VirtualMachine => ["access", "sshPublicKey"].contains(&field),
            ResourceKind::Database => field == "adminUsername" && !is_new,
            ResourceKind::Storage | ResourceKind::Network => false,
            ResourceKind::Cluster => ["access", "apiServer"].contains(&field),
            ResourceKind::Repository => ["collaborators", "visibility"].contains(&field),
        };
        let lets_nobody_in = match &property.after {
            None => true,
            Some(PlannedValue::Unknown(_)) => false,
            Some(PlannedValue::Known(value)) => {
                let is_empty = match value {
                    Value::Null => true,
                    Value::Array(list) => list.is_empty(),
                    Value::Object(fields) => fields.is_empty(),
                    _ => false,
                };
                is_empty
                    || value == "Session"
                    || value == "Private"
                    || value.get("access") == Some(&"Private".into())
            }
        };
        is_about_access && !(is_new && lets_nobody_in)
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
                Action::Update => {
                    let module = match (&self.module, &signed.module) {
                        (Some(module), Some(signed)) => module.is_contained_in(signed),
                        (module, signed) => module == signed,
                    };
                    module && self.properties.iter().all(|p| signed.properties.contains(p))
                }
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
            !change.action.is_idle() && !signed.changes.iter().any(|s| change.is_allowed_by(s))
        })
    }

    /// What a provider's plan comes to under Landfall's rules: what is not asked for any more goes only as the deletion
    /// policy says, what was retained stays so until it is asked for again, and what was made and is missing is never
    /// made again as if it were new.
    #[must_use]
    pub fn obeying(self, goal: &Goal, known: &[KnownResource]) -> Self {
        let wanted = |name: &ResourceName| goal.resources().iter().any(|resource| resource.name == *name);
        let change = |mut change: PlannedChange| {
            let known = known.iter().find(|known| known.name == change.resource);
            // It stands as it should and nobody looks after it: taking it back is something to sign off.
            if change.action == Action::NoOp && wanted(&change.resource) && known.is_some_and(|k| k.retained)
            {
                change.action = Action::Update;
            }
            change.obeying(goal.removal, known)
        };
        Self {
            changes: self.changes.into_iter().map(change).collect(),
        }
    }

    /// The replacements that are never made, since what the resource holds would be lost.
    pub fn refused_replacements(&self) -> impl Iterator<Item = &PlannedChange> {
        self.changes
            .iter()
            .filter(|change| change.action == Action::Replace && change.kind.is_stateful())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::module::Part;
    use crate::domain::request::Request;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).unwrap()
    }

    fn planned(resource: &str, kind: ResourceKind, action: Action) -> PlannedChange {
        PlannedChange {
            request: "Project/shop".parse().unwrap(),
            environment: "dev".parse().unwrap(),
            resource: name(resource),
            kind,
            action,
            properties: vec![],
            module: None,
        }
    }

    fn goal(removal: DeletionPolicy, resources: &[&str]) -> Goal {
        let resource = |text: &&str| Resource {
            name: name(text),
            kind: ResourceKind::Database,
            properties: BTreeMap::new(),
            depends_on: vec![],
        };
        let request = Request {
            key: "Project/shop".parse().unwrap(),
            team: "web".parse().unwrap(),
            expires: None,
            environment: "dev".parse().unwrap(),
            deletion_policy: DeletionPolicy::Delete,
            resources: resources.iter().map(resource).collect(),
        };
        Goal {
            request,
            deleted: false,
            removal,
        }
    }

    /// What becomes of one entry of a provider's plan.
    fn done(
        action: Action,
        kind: ResourceKind,
        removal: DeletionPolicy,
        known: Option<bool>,
        wanted: bool,
    ) -> PlannedChange {
        let known: Vec<KnownResource> = known
            .into_iter()
            .map(|retained| KnownResource {
                name: name("database/x"),
                kind,
                retained,
                team: "web".parse().unwrap(),
                module_version: None,
            })
            .collect();
        let goal = goal(removal, if wanted { &["database/x"] } else { &[] });
        let plan = Plan {
            changes: vec![planned("database/x", kind, action)],
        };
        plan.obeying(&goal, &known).changes.remove(0)
    }

    #[test]
    fn what_is_not_asked_for_any_more_goes_as_the_policy_says() {
        use DeletionPolicy as P;
        use ResourceKind as K;
        for (removal, kind, action, snapshot) in [
            (P::Retain, K::Database, Action::Retain, false),
            (P::Retain, K::VirtualMachine, Action::Retain, false),
            (P::Snapshot, K::Database, Action::Delete, true),
            (P::Snapshot, K::Storage, Action::Delete, false),
            (P::Delete, K::Database, Action::Delete, false),
        ] {
            let change = done(Action::Delete, kind, removal, Some(false), false);
            assert_eq!(
                (change.action, change.takes_final_snapshot()),
                (action, snapshot),
                "{removal:?} {kind:?}"
            );
        }
    }

    #[test]
    fn what_was_retained_stays_until_it_is_asked_for_again() {
        let (kind, delete) = (ResourceKind::Database, DeletionPolicy::Delete);
        let left = done(Action::Delete, kind, delete, Some(true), false);
        assert_eq!(left.action, Action::Retain, "a later policy does not reach it");
        for action in [Action::NoOp, Action::Update] {
            let back = done(action, kind, delete, Some(true), true);
            assert_eq!(
                (back.action, back.takes_back()),
                (Action::Update, true),
                "{action:?}"
            );
        }
        assert_eq!(
            done(Action::NoOp, kind, delete, Some(false), true).action,
            Action::NoOp
        );
    }

    #[test]
    fn what_is_missing_is_never_made_as_if_it_were_new() {
        let kind = ResourceKind::Database;
        let change = |known| done(Action::Create, kind, DeletionPolicy::Retain, known, true);
        assert_eq!(change(None).action, Action::Create);
        let again = Plan {
            changes: vec![change(Some(false))],
        };
        assert_eq!(again.changes[0].action, Action::Recreate);
        let signed = Plan {
            changes: vec![change(None)],
        };
        assert!(
            !again.is_contained_in(&signed),
            "a sign-off for the first time is none for the second"
        );
        assert!(again.is_contained_in(&again));
    }

    #[test]
    fn what_is_lost_inside_or_changes_by_itself_is_never_waived() {
        let part = |action| Part {
            name: "Nodes".into(),
            kind: "AWS::EKS::Nodegroup".into(),
            action,
            properties: vec![],
        };
        let change = |action, properties: Vec<PropertyChange>, parts: Vec<Part>| PlannedChange {
            properties,
            module: Some(PlannedModule {
                name: "cluster".into(),
                version: "1.0.0".into(),
                digest: None,
                resolved: BTreeMap::new(),
                kept: BTreeSet::new(),
                parts,
            }),
            ..planned("cluster/main", ResourceKind::Cluster, action)
        };
        let size = || {
            vec![PropertyChange {
                path: "nodePools".into(),
                before: Some(PlannedValue::Known(1.into())),
                after: Some(PlannedValue::Known(2.into())),
            }]
        };
        let policy = || {
            vec![PropertyChange {
                path: DELETION_POLICY.into(),
                before: Some(PlannedValue::Known("Retain".into())),
                after: Some(PlannedValue::Known("Delete".into())),
            }]
        };
        for (change, waived) in [
            (change(Action::Create, vec![], vec![part(Action::Create)]), true),
            (change(Action::Update, size(), vec![part(Action::Update)]), true),
            (change(Action::Update, vec![], vec![part(Action::Update)]), false),
            (
                change(Action::Update, policy(), vec![part(Action::Update)]),
                false,
            ),
            (change(Action::Update, size(), vec![part(Action::Replace)]), false),
            (change(Action::Update, size(), vec![part(Action::Delete)]), false),
        ] {
            assert_eq!(change.may_be_waived(), waived, "{change:?}");
        }
    }

    #[test]
    fn a_part_that_goes_is_no_update_that_a_policy_may_wave_through() {
        let with = |action, part| {
            let mut change = planned("cluster/x", ResourceKind::Cluster, action);
            change.properties.push(PropertyChange {
                path: "version".into(),
                before: None,
                after: Some(PlannedValue::Known("1.33".into())),
            });
            change.module = Some(PlannedModule {
                name: "cluster".into(),
                version: "1.0.0".into(),
                digest: None,
                resolved: BTreeMap::new(),
                kept: BTreeSet::new(),
                parts: vec![crate::domain::module::Part {
                    name: "Nodes".into(),
                    kind: "AWS::EKS::Nodegroup".into(),
                    action: part,
                    properties: vec![],
                }],
            });
            change
        };
        for (part, may) in [
            (Action::Create, true),
            (Action::Update, true),
            (Action::Replace, false),
            (Action::Delete, false),
        ] {
            assert_eq!(with(Action::Update, part).may_be_waived(), may, "{part:?}");
        }
        let kept = with(Action::Delete, Action::Delete).obeying(DeletionPolicy::Retain, None);
        assert_eq!(
            (kept.action, kept.module),
            (Action::Retain, None),
            "nothing of it goes"
        );
    }

    #[test]
    fn only_what_holds_nothing_can_be_replaced() {
        let kinds = [
            ResourceKind::VirtualMachine,
            ResourceKind::Database,
            ResourceKind::Storage,
            ResourceKind::Cluster,
        ];
        let changes = kinds
            .iter()
            .map(|kind| planned("database/x", *kind, Action::Replace))
            .collect();
        let plan = Plan { changes };
        let refused: Vec<ResourceKind> = plan.refused_replacements().map(|change| change.kind).collect();
        assert_eq!(refused, kinds[1..]);
    }
}
