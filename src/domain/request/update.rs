//! What may not change once it exists: immutable fields, and sizes that only grow.

use serde_json::Value;

use super::Request;
use super::meaning::LISTS;
use super::quantity::Quantity;
use crate::domain::finding::{Code, Finding};
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::shape::dotted;
use crate::domain::yaml::{Places, join};

/// Fields of a resource that can never change.
fn immutable(kind: ResourceKind) -> &'static [&'static str] {
    match kind {
        ResourceKind::Database => &["engine", "databaseName", "adminUsername"],
        ResourceKind::VirtualMachine | ResourceKind::Storage => &[],
    }
}

/// Fields of a resource that only grow.
fn growing(kind: ResourceKind) -> &'static [&'static str] {
    match kind {
        ResourceKind::Database => &["storage"],
        ResourceKind::VirtualMachine => &["diskSize"],
        ResourceKind::Storage => &[],
    }
}

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
            findings.push(cannot_change(
                pointer,
                was,
                is,
                places,
                "make a request with another name, and delete this one",
            ));
        }
    }
    for (resource, pointer) in with_pointers(after) {
        if let Some(earlier) = before.resources.iter().find(|r| r.name == resource.name) {
            findings.extend(check_resource(earlier, resource, &pointer, places));
        }
    }
    findings
}

fn check_resource(before: &Resource, after: &Resource, pointer: &str, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    for field in immutable(after.kind) {
        let (was, is) = (before.properties.get(*field), after.properties.get(*field));
        if let (Some(was), Some(is)) = (was, is)
            && was != is
        {
            let instead = format!("add a {} with another name", after.kind.words());
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

/// Every resource with the pointer of its entry: the n-th of its kind is the n-th of its list.
fn with_pointers(request: &Request) -> impl Iterator<Item = (&Resource, String)> {
    LISTS.iter().flat_map(move |(list, kind, _)| {
        let of_kind = request
            .resources
            .iter()
            .filter(move |resource| resource.kind == *kind);
        of_kind
            .enumerate()
            .map(move |(index, resource)| (resource, format!("/spec/{list}/{index}")))
    })
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
