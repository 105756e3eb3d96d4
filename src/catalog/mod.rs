//! Modules: versioned templates, built into the binary, that make a request's resource out of a cloud's own resources.
//! Finds the one for a resource and renders it; providers get the result and never see this module.
//!
//! A module is two files below `catalog/modules/<name>/<version>/<cloud>/`, both rendered with the same context:
//! `template.yaml`, and `parameters.yaml`, which gives each of the template's parameters its value or says how it is
//! looked up. A published version never changes: what was signed with it can be made again. The template that comes
//! back holds in `Metadata.Landfall` what was asked for (`spec`) and the policy for its deletion (`DeletionPolicy`).
//!
//! # What a deletion deletes
//! A template takes the request's `deletionPolicy` and holds to it everywhere: `Retain` becomes
//! `DeletionPolicy: RetainExceptOnCreate` with deletion protection (plain `Retain` would leave what a failed creation
//! began, under the name that the next attempt needs), `Snapshot` a final snapshot where the cloud can take one, and
//! `Delete` nothing that stands in the way. The stack's termination protection follows the policy in
//! `Metadata.Landfall`. The policy also stands in the metadata of each resource that it protects, since CloudFormation
//! does not take a change of a `DeletionPolicy` alone.
//!
//! So what a sign-off may delete is really deleted, once the stack has been updated to the policy. Where both come in
//! one change, render the resource as it was accepted with the policy that the deletion obeys, update the stack to
//! that, then delete it.

use std::collections::BTreeMap;

use crate::domain::ids::{EnvironmentName, RepositoryId, RequestKey, TeamName};
use crate::domain::module::Module;
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::request::DeletionPolicy;
use crate::domain::rules::{Environment, ProviderKind};

mod access;
mod builtin;
mod context;
mod render;
#[cfg(test)]
mod tests;
mod version;

use builtin::Source;
use version::Version;

/// The modules that there are.
#[derive(Debug)]
pub struct Catalog {
    /// Name → version → its files.
    modules: BTreeMap<&'static str, BTreeMap<Version, Source>>,
}

/// Whose resource is rendered, and where it goes: what names and environments decide in a template.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The requests repository.
    pub repository: &'a RepositoryId,
    /// The request. For a network, any that needs it: a network's template is the same for all.
    pub request: &'a RequestKey,
    /// Its team.
    pub team: &'a TeamName,
    /// The environment's name.
    pub environment_name: &'a EnvironmentName,
    /// The environment.
    pub environment: &'a Environment,
    /// What becomes of the resource when the request's file is deleted.
    pub deletion_policy: DeletionPolicy,
}

/// Why there is no module for a resource that should have one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// What is asked for cannot be made there. Says what, and what to write instead, for whoever asked.
    #[error("{0}")]
    User(String),
    /// The version that is asked for is not in this catalog.
    #[error("the module `{name}` has no version {version}; it has {}", known.join(", "))]
    UnknownVersion {
        /// The module.
        name: String,
        /// The version asked for.
        version: String,
        /// The versions there are, oldest first.
        known: Vec<String>,
    },
    /// A fault of the module itself.
    #[error("the module `{module}` cannot be rendered: {reason}. Please report this fault of Landfall")]
    Broken {
        /// Name and version.
        module: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Catalog {
    /// The modules that are built into the binary.
    #[must_use]
    pub fn builtin() -> Self {
        let mut modules: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for source in builtin::SOURCES {
            modules
                .entry(source.name)
                .or_default()
                .insert(source.version, *source);
        }
        Self { modules }
    }

    /// The module of a resource, rendered: the newest version, or the one asked for. Nothing for what is made without
    /// modules: a repository, and everything in an environment whose provider takes none.
    ///
    /// # Errors
    /// What the request or `landfall.yaml` asks for cannot be made so, there is no such version, or the module itself
    /// is at fault.
    pub fn module(
        &self,
        resource: &Resource,
        subject: &Subject<'_>,
        version: Option<&str>,
    ) -> Result<Option<Module>, CatalogError> {
        let Some(name) = module_of(resource.kind, subject.environment.provider) else {
            return Ok(None);
        };
        let source = self.resolve(name, version)?;
        let context = context::context(resource, subject)?;
        render::render(source, &context).map(Some)
    }

    fn resolve(&self, name: &str, version: Option<&str>) -> Result<&Source, CatalogError> {
        let versions = self.modules.get(name);
        let found = versions.and_then(|versions| match version {
            None => versions.values().next_back(),
            Some(version) => versions.get(&Version::parse(version)?),
        });
        found.ok_or_else(|| CatalogError::UnknownVersion {
            name: name.to_owned(),
            version: version.unwrap_or("at all").to_owned(),
            known: versions
                .into_iter()
                .flatten()
                .map(|(known, _)| known.to_string())
                .collect(),
        })
    }
}

/// The name of the module that makes a kind of resource, where modules make it.
fn module_of(kind: ResourceKind, provider: ProviderKind) -> Option<&'static str> {
    match (provider, kind) {
        (ProviderKind::Simulator, _) | (_, ResourceKind::Repository) => None,
        (ProviderKind::Aws, ResourceKind::VirtualMachine) => Some("virtual-machine"),
        (ProviderKind::Aws, ResourceKind::Database) => Some("database"),
        (ProviderKind::Aws, ResourceKind::Storage) => Some("storage"),
        (ProviderKind::Aws, ResourceKind::Cluster) => Some("cluster"),
        (ProviderKind::Aws, ResourceKind::Network) => Some("network"),
    }
}
