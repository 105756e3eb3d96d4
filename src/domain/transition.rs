//! A transition: what a merge request, or a landing, does to one governed path.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{BlobId, Digest, EnvironmentName, RepositoryId, RequestKey};
use super::rules::Environment;

/// What a governed path is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A request file.
    Request(RequestKey),
    /// A file of `requests/` that holds no request: an adopted tree may have such files, and they can only go.
    NoRequest,
    /// `landfall.yaml`, or a file of `policies/` or `catalog/`.
    Rules,
}

/// From one accepted content of a path to another. The signature of a merge request is made of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transition {
    /// The requests repository.
    pub repository: RepositoryId,
    /// The target branch: the desired state.
    pub target_branch: String,
    /// What the path is about.
    pub subject: Subject,
    /// The path in the repository.
    pub path: String,
    /// What was accepted there before; nothing if nothing was.
    pub from: Option<BlobId>,
    /// What shall stand there; nothing to delete it.
    pub to: Option<BlobId>,
}

/// The digest that names a sign-off's content: the transitions, sorted, the plan's own digest, and where it goes.
#[must_use]
pub fn signed_digest(
    transitions: &[Transition],
    plan: &Digest,
    environments: &BTreeMap<EnvironmentName, Environment>,
) -> Digest {
    let mut sorted: Vec<&Transition> = transitions.iter().collect();
    sorted.sort();
    let mut text = String::from("landfall sign-off v1\n");
    for transition in sorted {
        // Each part as JSON on its own line: no text can pass for two parts.
        text.push_str(&serde_json::to_value(transition).unwrap_or_default().to_string());
        text.push('\n');
    }
    let places: BTreeMap<&EnvironmentName, serde_json::Value> = environments
        .iter()
        .map(|(name, environment)| (name, environment.place()))
        .collect();
    text.push_str(&serde_json::to_value(places).unwrap_or_default().to_string());
    text.push('\n');
    text.push_str(plan.as_str());
    Digest::of(text.as_bytes())
}
