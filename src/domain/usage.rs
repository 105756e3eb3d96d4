//! How much requests ask for in all: what limits and policies count.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::Change;
use super::ids::{EnvironmentName, RequestKey, TeamName};
use super::plan::{Resource, ResourceKind};
use super::request::quantity::Quantity;
use super::request::raw::Size;
use super::request::{DeletionPolicy, Request};

/// How much some requests ask for in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Requests.
    pub requests: u64,
    /// Clusters.
    pub clusters: u64,
    /// Nodes that these clusters may grow to.
    pub nodes: u64,
    /// Virtual machines; nodes are not counted.
    pub virtual_machines: u64,
    /// Databases.
    pub databases: u64,
    /// Buckets or storage accounts.
    pub storages: u64,
    /// Virtual CPUs of the virtual machines.
    pub cores: u64,
    /// Memory of the virtual machines in gibibytes, at four a virtual CPU.
    pub memory_gibibytes: u64,
    /// Disks of the virtual machines, and what databases may grow to, in gibibytes.
    pub disk_gibibytes: u64,
}

/// A resource that is there because of a request, whatever became of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// The request that it was made for.
    pub request: RequestKey,
    /// Where it is.
    pub environment: EnvironmentName,
    /// The team that it was made for. It stays that team's.
    pub team: TeamName,
    /// The resource, as it was last asked for.
    pub resource: Resource,
    /// Whether a signed deletion of it is to be begun or is at work.
    pub leaving: bool,
}

/// What is there and is asked for by none of these requests, as requests of those whose it is. What is on its way out is
/// left out, and so is what these changes have deleted.
#[must_use]
pub fn kept(existing: &[Existing], asked: &[&Request], changes: &[Change]) -> Vec<Request> {
    let asks_for = |request: &Request, one: &Existing| {
        request.key == one.request
            && request
                .resources
                .iter()
                .any(|asked| asked.name == one.resource.name)
    };
    let is_deleted_by = |change: &Change, one: &Existing| {
        change.before().is_some_and(|before| asks_for(before, one))
            && change
                .goal()
                .is_some_and(|goal| goal.removal != DeletionPolicy::Retain)
    };
    let mut kept: Vec<Request> = Vec::new();
    for one in existing {
        if one.leaving
            || asked.iter().any(|request| asks_for(request, one))
            || changes.iter().any(|change| is_deleted_by(change, one))
        {
            continue;
        }
        let is_its = |request: &&mut Request| {
            (&request.key, &request.team, &request.environment) == (&one.request, &one.team, &one.environment)
        };
        match kept.iter_mut().find(is_its) {
            Some(request) => request.resources.push(one.resource.clone()),
            None => kept.push(Request {
                key: one.request.clone(),
                team: one.team.clone(),
                expires: None,
                environment: one.environment.clone(),
                deletion_policy: DeletionPolicy::Retain,
                resources: vec![one.resource.clone()],
            }),
        }
    }
    kept
}

impl Usage {
    /// The same with what is there and is asked for no more: it takes room, and is no request.
    #[must_use]
    pub fn with_kept<'a>(mut self, kept: impl IntoIterator<Item = &'a Request>) -> Self {
        kept.into_iter()
            .flat_map(|request| &request.resources)
            .for_each(|resource| self.add(resource));
        self
    }

    /// Of all of these requests.
    #[must_use]
    pub fn of<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Self {
        let mut usage = Self::default();
        for request in requests {
            usage.requests += 1;
            for resource in &request.resources {
                usage.add(resource);
            }
        }
        usage
    }

    fn add(&mut self, resource: &Resource) {
        let properties = &resource.properties;
        match resource.kind {
            ResourceKind::VirtualMachine => {
                let size = properties
                    .get("size")
                    .and_then(|size| Size::deserialize(size).ok());
                let cores = size.unwrap_or_default().cores();
                self.virtual_machines += 1;
                self.cores += cores;
                self.memory_gibibytes += cores * GIBIBYTES_PER_CORE;
                self.disk_gibibytes += gibibytes(properties.get("diskSize"));
            }
            ResourceKind::Database => {
                self.databases += 1;
                self.disk_gibibytes += gibibytes(properties.get("maxStorage"));
            }
            ResourceKind::Storage => self.storages += 1,
            // It takes room of the forge, which counts for itself.
            ResourceKind::Repository | ResourceKind::Network => {}
            ResourceKind::Cluster => {
                let pools = properties.get("nodePools").and_then(Value::as_object);
                let most = |pool: &Value| pool.get("max").and_then(Value::as_u64).unwrap_or(0);
                self.clusters += 1;
                self.nodes += pools
                    .into_iter()
                    .flatten()
                    .map(|(_, pool)| most(pool))
                    .sum::<u64>();
            }
        }
    }
}

/// What general-purpose machines have in the clouds.
const GIBIBYTES_PER_CORE: u64 = 4;

/// Rounded up, so that no part of a gibibyte is free.
fn gibibytes(size: Option<&Value>) -> u64 {
    let size: Option<Quantity> = size.and_then(Value::as_str).and_then(|text| text.parse().ok());
    size.map_or(0, |size| size.bytes().div_ceil(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::check::{ChangedFile, check_file};
    use crate::domain::rules::check::check_rules;
    use crate::domain::tree::Mode;

    const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments: {dev: {provider: Simulator}}
teams: {web-team: {}}
roles: {admin: {groups: [a]}}
";

    fn request(kind: &str, spec: &str) -> Request {
        let rules = check_rules(RULES.as_bytes()).0.expect("rules");
        let text = format!(
            "apiVersion: landfall.dev/v1\nkind: {kind}\nmetadata: {{name: main, team: web-team}}\nspec: {{environment: dev, {spec}}}\n"
        );
        let file = ChangedFile {
            path: "requests/web-team/main.yaml",
            mode: Mode::File,
            size: text.len() as u64,
            bytes: Some(text.as_bytes()),
            before: None,
        };
        let (request, findings) = check_file(&rules, &file);
        request.unwrap_or_else(|| panic!("{findings:?}"))
    }

    #[test]
    fn everything_is_counted_with_its_defaults() {
        let project = request(
            "Project",
            "virtualMachines: [{name: a}, {name: b, size: Large, diskSize: 1Ti}], storage: [{name: files}], \
             databases: [{name: d, version: \"17.6\"}, {name: e, version: \"17.6\", maxStorage: 200Gi}]",
        );
        let cluster = request(
            "Cluster",
            "version: \"1.33\", apiServer: {access: Private}, nodePools: [{name: a}, {name: b, min: 1, max: 3}]",
        );
        let expected = Usage {
            requests: 2,
            clusters: 1,
            nodes: 8,
            virtual_machines: 2,
            databases: 2,
            storages: 1,
            cores: 10,
            memory_gibibytes: 40,
            disk_gibibytes: 30 + 1024 + 100 + 200,
        };
        assert_eq!(Usage::of([&project, &cluster]), expected);
        assert_eq!(Usage::of([]), Usage::default());
    }

    #[test]
    fn what_is_there_and_nobody_asks_for_counts_until_it_is_on_its_way_out() {
        let project = |name: &str, policy: DeletionPolicy| Request {
            key: format!("Project/{name}").parse().unwrap(),
            deletion_policy: policy,
            ..request(
                "Project",
                "virtualMachines: [{name: a}], databases: [{name: d, version: \"17.6\"}]",
            )
        };
        let (old, new) = (
            project("old", DeletionPolicy::Retain),
            project("new", DeletionPolicy::Delete),
        );
        let existing = |leaving| -> Vec<Existing> {
            let of_old = |resource: &Resource| Existing {
                request: old.key.clone(),
                environment: old.environment.clone(),
                team: old.team.clone(),
                resource: resource.clone(),
                leaving,
            };
            old.resources.iter().map(of_old).collect()
        };
        let without_database = Request {
            resources: old.resources.iter().take(1).cloned().collect(),
            ..old.clone()
        };
        let delete = |policy| {
            vec![Change::Delete(Request {
                deletion_policy: policy,
                ..old.clone()
            })]
        };
        let (retain, snapshot) = (delete(DeletionPolicy::Retain), delete(DeletionPolicy::Snapshot));
        for (asked, changes, leaving, machines, databases) in [
            (vec![&old], &[] as &[Change], false, 0, 0),
            (vec![&new], &[], false, 1, 1),
            (vec![&new], &retain, false, 1, 1),
            (vec![&new], &snapshot, false, 0, 0),
            (vec![&new], &[], true, 0, 0),
            (vec![&without_database], &[], false, 0, 1),
        ] {
            let kept = kept(&existing(leaving), &asked, changes);
            let usage = Usage::default().with_kept(&kept);
            assert_eq!(
                (usage.requests, usage.virtual_machines, usage.databases),
                (0, machines, databases),
                "{kept:?}"
            );
            assert!(kept.iter().all(|one| one.team == old.team && one.key == old.key));
        }
    }

    #[test]
    fn a_part_of_a_gibibyte_counts_as_one() {
        assert_eq!(gibibytes(Some(&"1Mi".into())), 1);
        assert_eq!(gibibytes(Some(&"1025Mi".into())), 2);
        assert_eq!(gibibytes(None), 0);
    }
}
