//! What may not change once it exists: immutable fields, and sizes that only grow.

use serde_json::Value;

use super::Request;
use super::meaning::{LISTS, REPOSITORY};
use super::quantity::Quantity;
use crate::domain::finding::{Code, Finding};
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::shape::dotted;
use crate::domain::yaml::{Places, join};

/// Fields of a resource that can never change.
fn immutable(kind: ResourceKind) -> &'static [&'static str] {
    match kind {
        ResourceKind::Database => &["engine", "databaseName", "adminUsername"],
        ResourceKind::Cluster => &["serviceCidr"],
        ResourceKind::VirtualMachine
        | ResourceKind::Storage
        | ResourceKind::Repository
        | ResourceKind::Network => &[],
    }
}

/// Fields of a resource that only grow.
fn growing(kind: ResourceKind) -> &'static [&'static str] {
    match kind {
        ResourceKind::Database => &["storage"],
        ResourceKind::VirtualMachine => &["diskSize"],
        ResourceKind::Storage | ResourceKind::Cluster | ResourceKind::Repository | ResourceKind::Network => {
            &[]
        }
    }
}

/// What to do instead of changing what makes a request what it is.
const ANOTHER_REQUEST: &str = "make a request with another name, and delete this one";

/// What an update changes that cannot be changed, field by field.
#[must_use]
pub fn check_update(before: &Request, after: &Request, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    let identity = [
        ("/kind", before.key.kind.as_str(), after.key.kind.as_str()),
        (
            "/metadata/name",
            before.key.name.as_str(),
            after.key.name.as_str(),
        ),
        ("/metadata/team", before.team.as_str(), after.team.as_str()),
        (
            "/spec/environment",
            before.environment.as_str(),
            after.environment.as_str(),
        ),
    ];
    for (pointer, was, is) in identity {
        if was != is {
            findings.push(cannot_change(pointer, was, is, places, ANOTHER_REQUEST));
        }
    }
    for (resource, pointer) in with_pointers(after) {
        if let Some(earlier) = before.resources.iter().find(|r| r.name == resource.name) {
            findings.extend(check_resource(earlier, resource, &pointer, places));
        }
    }
    findings.extend(check_repository(before, after, places));
    findings
}

/// A project has one repository, so another name would be another repository.
fn check_repository(before: &Request, after: &Request, places: &Places) -> Option<Finding> {
    let name = |request: &Request| -> Option<String> {
        let is_repository = |resource: &&Resource| resource.kind == ResourceKind::Repository;
        let resource = request.resources.iter().find(is_repository)?;
        Some(resource.name.as_str().split_once('/')?.1.to_owned())
    };
    let (was, is) = (name(before)?, name(after)?);
    (was != is).then(|| {
        let pointer = join(REPOSITORY, "name");
        cannot_change(
            &pointer,
            &was,
            &is,
            places,
            "ask for the other repository in a project of its own",
        )
    })
}

fn check_resource(before: &Resource, after: &Resource, pointer: &str, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    for field in immutable(after.kind) {
        let (was, is) = (before.properties.get(*field), after.properties.get(*field));
        if let (Some(was), Some(is)) = (was, is)
            && was != is
        {
            let instead = match after.kind {
                ResourceKind::Cluster => ANOTHER_REQUEST.to_owned(),
                kind => format!("add a {} with another name", kind.words()),
            };
            findings.push(cannot_change(
                &join(pointer, field),
                &text(was),
                &text(is),
                places,
                &instead,
            ));
        }
    }
    for field in growing(after.kind) {
        let size = |of: &Resource| -> Option<Quantity> { of.properties.get(*field)?.as_str()?.parse().ok() };
        if let (Some(was), Some(is)) = (size(before), size(after))
            && is < was
        {
            let pointer = join(pointer, field);
            findings.push(Finding::error(
                Code::ImmutableField,
                places.of_value(&pointer),
                format!(
                    "{} can only grow: it is {was}, and {is} is less.",
                    dotted(&pointer)
                ),
                format!("Write {was} or more."),
            ));
        }
    }
    if after.kind == ResourceKind::Cluster {
        findings.extend(check_version(before, after, pointer, places));
        findings.extend(check_pools(before, after, pointer, places));
    }
    findings
}

/// A cluster's version goes up one minor at a time, and never down: no cloud does anything else.
fn check_version(before: &Resource, after: &Resource, pointer: &str, places: &Places) -> Option<Finding> {
    let minor = |of: &Resource| -> Option<u32> {
        of.properties
            .get("version")?
            .as_str()?
            .strip_prefix("1.")?
            .parse()
            .ok()
    };
    let (was, is) = (minor(before)?, minor(after)?);
    let next = was.saturating_add(1);
    let (why, hint) = if is < was {
        (
            "never goes down",
            format!("Write `\"1.{was}\"` again, or `\"1.{next}\"`."),
        )
    } else if is > next {
        (
            "goes up one minor at a time",
            format!("Write `\"1.{next}\"`, and go on once the cluster has it."),
        )
    } else {
        return None;
    };
    let pointer = join(pointer, "version");
    Some(Finding::error(
        Code::VersionStep,
        places.of_value(&pointer),
        format!(
            "{} {why}: it is 1.{was}, and 1.{is} is written.",
            dotted(&pointer)
        ),
        hint,
    ))
}

/// Fields of a node pool whose change makes all of its nodes anew.
const REPLACING_NODES: [&str; 2] = ["size", "capacity"];

fn check_pools(before: &Resource, after: &Resource, pointer: &str, places: &Places) -> Vec<Finding> {
    let pools = |of: &'_ Resource| of.properties.get("nodePools").and_then(Value::as_object).cloned();
    let (before, after) = (
        pools(before).unwrap_or_default(),
        pools(after).unwrap_or_default(),
    );
    let mut findings = Vec::new();
    // They are in the order of the file.
    for (index, (name, pool)) in after.iter().enumerate() {
        let Some(earlier) = before.get(name) else { continue };
        for field in REPLACING_NODES {
            if let (Some(was), Some(is)) = (earlier.get(field), pool.get(field))
                && was != is
            {
                let at = format!("{pointer}/nodePools/{index}/{field}");
                let (was, is) = (text(was), text(is));
                findings.push(Finding::warning(
                    Code::ReplacesNodes,
                    places.of_value(&at),
                    format!(
                        "{} changes from `{was}` to `{is}`: every node of the pool is REPLACED.",
                        dotted(&at)
                    ),
                    "To move at your own pace, add a pool with another name, and delete this one later.",
                ));
            }
        }
    }
    findings
}

fn cannot_change(pointer: &str, was: &str, is: &str, places: &Places, instead: &str) -> Finding {
    Finding::error(
        Code::ImmutableField,
        places.of_value(pointer),
        format!(
            "{} cannot be changed: it is `{was}`, and `{is}` is written.",
            dotted(pointer)
        ),
        format!("Write `{was}` again, or {instead}."),
    )
}

/// Every resource with the pointer of its entry: the n-th of its kind is the n-th of its list, and a cluster is the
/// whole of its request.
fn with_pointers(request: &Request) -> impl Iterator<Item = (&Resource, String)> {
    let is_cluster = |resource: &&Resource| resource.kind == ResourceKind::Cluster;
    let cluster = request.resources.iter().filter(is_cluster);
    let of_lists = LISTS.iter().flat_map(move |(list, kind, _)| {
        let of_kind = request
            .resources
            .iter()
            .filter(move |resource| resource.kind == *kind);
        of_kind
            .enumerate()
            .map(move |(index, resource)| (resource, format!("/spec/{list}/{index}")))
    });
    cluster
        .map(|resource| (resource, "/spec".to_owned()))
        .chain(of_lists)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
