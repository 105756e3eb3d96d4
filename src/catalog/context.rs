//! What a module's files are rendered with: the resource's fields, names, and what the environment says.

use serde_json::{Value, json};

use super::{CatalogError, Subject, access};
use crate::domain::cloud_name::cloud_name;
use crate::domain::ids::Digest;
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::rules::SizedKind;

/// The context, by these names:
///
/// - `spec`: the resource's fields, defaults filled in;
/// - `name`: its name in the cloud; `label`: its own name in its request; `environment`: the environment's;
/// - `region`, `production`, `logBucket`: of the environment;
/// - `types`: size → the provider's name, where the environment says so;
/// - `deletionPolicy`, and `fate`, which is the same for what cannot be snapshotted: `Retain` or `Delete`;
/// - `spread`: 0 or 1, to spread machines over zones;
/// - `key`: the SSH key of a machine that has one, `{name, kind, material}`;
/// - `access`: the access entries of a cluster.
pub(super) fn context(resource: &Resource, subject: &Subject<'_>) -> Result<Value, CatalogError> {
    let environment = subject.environment;
    let missing = |field: &str| {
        CatalogError::User(format!(
            "The environment `{}` says nothing of `{field}`, which AWS needs. Add it in `landfall.yaml`.",
            subject.environment_name
        ))
    };
    let region = environment.region.as_deref().ok_or_else(|| missing("region"))?;
    let account = environment.account.as_deref().ok_or_else(|| missing("account"))?;
    let aws = environment.aws.as_ref().ok_or_else(|| missing("aws"))?;
    let name = name(resource, subject, account, region);
    let access = match resource.kind {
        ResourceKind::Cluster => access::entries(resource, subject.environment_name, aws)?,
        _ => Vec::new(),
    };
    Ok(json!({
        "spec": resource.properties,
        "spread": spread(&name),
        "name": name,
        "label": resource.name.as_str().split_once('/').map(|(_, name)| name),
        "environment": subject.environment_name,
        "region": region,
        "production": environment.production,
        "logBucket": aws.log_bucket,
        "types": sized(resource.kind).and_then(|kind| environment.sizes.get(&kind)).map_or(json!({}), |types| json!(types)),
        "deletionPolicy": subject.deletion_policy,
        "fate": match subject.deletion_policy {
            crate::domain::request::DeletionPolicy::Retain => "Retain",
            _ => "Delete",
        },
        "key": ssh_key(resource, subject),
        "access": access,
    }))
}

fn sized(kind: ResourceKind) -> Option<SizedKind> {
    match kind {
        ResourceKind::VirtualMachine => Some(SizedKind::VirtualMachine),
        ResourceKind::Database => Some(SizedKind::Database),
        ResourceKind::Cluster => Some(SizedKind::Node),
        ResourceKind::Storage | ResourceKind::Repository | ResourceKind::Network => None,
    }
}

/// The name in the cloud, no longer than its kind takes. A bucket's is unique in all of AWS, so its hash is made of
/// account and region, too.
fn name(resource: &Resource, subject: &Subject<'_>, account: &str, region: &str) -> String {
    let (repository, team) = (subject.repository.as_str(), subject.team.as_str());
    let request = subject.request.name.as_str();
    let own = resource.name.as_str();
    match resource.kind {
        // What is made for an environment names no request.
        ResourceKind::Network => cloud_name(&[repository, subject.environment_name.as_str(), "network"], 128),
        // Its resource has the name of its request.
        ResourceKind::Cluster => cloud_name(&[repository, team, request], 100),
        ResourceKind::Storage => {
            let own = own.split_once('/').map_or(own, |(_, name)| name);
            cloud_name(&[repository, team, request, own, account, region], 63)
        }
        ResourceKind::Database | ResourceKind::VirtualMachine | ResourceKind::Repository => {
            let own = own.split_once('/').map_or(own, |(_, name)| name);
            cloud_name(&[repository, team, request, own], 63)
        }
    }
}

/// Which of two zones a machine goes to: always the same for the same name.
fn spread(name: &str) -> u8 {
    let digest = Digest::of(name.as_bytes());
    u8::from(
        digest
            .as_str()
            .as_bytes()
            .first()
            .is_some_and(|byte| byte % 2 == 1),
    )
}

/// The key without its comment, which is of no use in the cloud. Another key has another name, since a key is replaced
/// by making the new one first.
fn ssh_key(resource: &Resource, subject: &Subject<'_>) -> Option<Value> {
    let mut words = resource.properties.get("sshPublicKey")?.as_str()?.split(' ');
    let (kind, material) = (words.next()?, words.next()?);
    let digest = Digest::of(material.as_bytes());
    let parts = [
        subject.repository.as_str(),
        subject.team.as_str(),
        subject.request.name.as_str(),
        resource.name.as_str(),
        digest.as_str(),
    ];
    Some(json!({
        "name": cloud_name(&parts, 100),
        "kind": kind,
        "material": format!("{kind} {material}"),
    }))
}
