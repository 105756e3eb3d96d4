//! What simulated things are called, and what they are reached by: plausible, and plainly not real.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Owner;
use crate::domain::ids::{Digest, ResourceName};
use crate::domain::plan::{Resource, ResourceKind};

/// The longest cloud name; the limit of most clouds.
const LONGEST_NAME: usize = 63;

/// The cloud's own name for what a step makes: the same for the same step.
pub(super) fn external_id(kind: ResourceKind, step: &str) -> String {
    let short = match kind {
        ResourceKind::VirtualMachine => "vm",
        ResourceKind::Database => "db",
        ResourceKind::Storage => "storage",
        ResourceKind::Cluster => "cluster",
        ResourceKind::Repository => "repository",
        ResourceKind::Network => "network",
    };
    format!("sim-{short}-{}", Digest::of(step.as_bytes()).short())
}

/// The name that a resource bears in the cloud. The digest keeps two apart whose names only read the same.
pub(super) fn cloud_name(owner: &Owner, resource: &ResourceName) -> String {
    let whole = format!(
        "{}/{}/{}/{resource}",
        owner.repository, owner.request, owner.environment
    );
    let digest = Digest::of(whole.as_bytes());
    let mut name = format!(
        "{}-{}-{}",
        owner.repository,
        owner.request.name,
        own_name(resource)
    );
    name.truncate(LONGEST_NAME - 1 - digest.short().len());
    format!("{name}-{}", digest.short())
}

fn own_name(resource: &ResourceName) -> &str {
    resource.as_str().rsplit('/').next().unwrap_or_default()
}

/// Output name → value. Secrets are references.
pub(super) fn outputs(owner: &Owner, resource: &Resource, external_id: &str) -> BTreeMap<String, String> {
    let host = format!(
        "{}.{}.simulated.invalid",
        own_name(&resource.name),
        owner.request.name
    );
    let text = |property: &str| resource.properties.get(property).and_then(Value::as_str);
    let pairs: Vec<(&str, String)> = match resource.kind {
        ResourceKind::VirtualMachine => {
            // 192.0.2.0/24 is for documentation: nothing answers there.
            let last = Digest::of(external_id.as_bytes())
                .as_str()
                .bytes()
                .map(u32::from)
                .sum::<u32>()
                % 254
                + 1;
            vec![
                ("host", host),
                ("privateAddress", format!("192.0.2.{last}")),
                ("session", format!("simulated://sessions/{external_id}")),
            ]
        }
        ResourceKind::Database => {
            let port = if text("engine") == Some("MySQL") {
                3306
            } else {
                5432
            };
            let mut pairs = vec![
                ("endpoint", format!("{host}:{port}")),
                (
                    "secret",
                    format!("simulated://secrets/{}", cloud_name(owner, &resource.name)),
                ),
            ];
            pairs.extend(text("databaseName").map(|name| ("database", name.to_owned())));
            pairs.extend(text("adminUsername").map(|name| ("username", name.to_owned())));
            pairs
        }
        ResourceKind::Storage => {
            let name = cloud_name(owner, &resource.name);
            vec![("url", format!("simulated://storage/{name}")), ("bucket", name)]
        }
        ResourceKind::Cluster => {
            let mut pairs = vec![("endpoint", format!("https://{host}"))];
            pairs.extend(text("version").map(|version| ("version", version.to_owned())));
            pairs
        }
        ResourceKind::Repository | ResourceKind::Network => Vec::new(),
    };
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
