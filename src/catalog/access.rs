//! Who gets into a cluster of EKS: access entries, from the request's `access` and the environment's roles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::CatalogError;
use crate::domain::ids::{Digest, EnvironmentName, TeamName};
use crate::domain::plan::Resource;
use crate::domain::rules::Aws;

/// How many hex digits of a role's hash name its entry in the template.
const HASH: usize = 12;

/// Role → policy of EKS → its namespaces; none for the whole cluster. EKS takes a role once, and a policy once a role.
type Entries<'a> = BTreeMap<&'a str, BTreeMap<&'static str, Option<BTreeSet<&'a str>>>>;

/// The entries of a cluster: its teams' roles, the platform team's and Landfall's own. Each is `{id, principal,
/// policies: [{name, namespaces}]}`; no namespaces stand for all.
pub(super) fn entries(
    resource: &Resource,
    environment: &EnvironmentName,
    aws: &Aws,
) -> Result<Vec<Value>, CatalogError> {
    let mut entries = Entries::new();
    add(&mut entries, &aws.admin_role, "AmazonEKSClusterAdminPolicy", None);
    // Landfall looks at the nodes before it says that a cluster is ready.
    add(&mut entries, &aws.applying_role, "AmazonEKSAdminViewPolicy", None);
    let rights = resource.properties.get("access").and_then(Value::as_object);
    for (subject, right) in rights.into_iter().flatten() {
        let principal = role_of(subject, environment, aws)?;
        let namespaces: Option<Vec<&str>> = right
            .get("namespaces")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect());
        let namespaces = namespaces.filter(|namespaces| !namespaces.is_empty());
        let policy = match (right.get("role").and_then(Value::as_str), &namespaces) {
            (Some("Admin"), None) => "AmazonEKSClusterAdminPolicy",
            (Some("Admin"), Some(_)) => "AmazonEKSAdminPolicy",
            (Some("Edit"), _) => "AmazonEKSEditPolicy",
            _ => "AmazonEKSViewPolicy",
        };
        add(&mut entries, principal, policy, namespaces);
    }
    Ok(entries.into_iter().map(entry).collect())
}

fn add<'a>(
    entries: &mut Entries<'a>,
    principal: &'a str,
    policy: &'static str,
    namespaces: Option<Vec<&'a str>>,
) {
    let policies = entries.entry(principal).or_default();
    match (policies.get_mut(policy), namespaces) {
        (Some(Some(there)), Some(namespaces)) => there.extend(namespaces),
        (Some(None), _) => {}
        (_, namespaces) => {
            policies.insert(
                policy,
                namespaces.map(|namespaces| namespaces.into_iter().collect()),
            );
        }
    }
}

/// The role that a subject takes on.
fn role_of<'a>(subject: &str, environment: &EnvironmentName, aws: &'a Aws) -> Result<&'a str, CatalogError> {
    let Some(team) = subject.strip_prefix("team:") else {
        return Err(CatalogError::User(format!(
            "`{subject}` cannot get access to a cluster in the environment `{environment}`: AWS knows the roles of teams \
             only. Write `team:` and a team of `landfall.yaml`."
        )));
    };
    let role = TeamName::new(team)
        .ok()
        .and_then(|team| aws.team_roles.get(&team));
    role.map(String::as_str).ok_or_else(|| {
        CatalogError::User(format!(
            "The team `{team}` has no role in the environment `{environment}`, so it cannot get access to a cluster there. \
             Ask an admin to add `environments.{environment}.aws.teamRoles.{team}` to `landfall.yaml`."
        ))
    })
}

/// Named by its role, so that entries that come and go leave the others as they are.
fn entry((principal, policies): (&str, BTreeMap<&'static str, Option<BTreeSet<&str>>>)) -> Value {
    let digest = Digest::of(principal.as_bytes());
    let policies: Vec<Value> = policies
        .into_iter()
        .map(|(name, namespaces)| json!({ "name": name, "namespaces": namespaces.unwrap_or_default() }))
        .collect();
    json!({
        "id": digest.as_str().get(..HASH).unwrap_or_default(),
        "principal": principal,
        "policies": policies,
    })
}
