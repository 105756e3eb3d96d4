//! What is looked up for a module's parameters: the network's ids, and images. What was signed is kept, and so is what a
//! stack was made with.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Round, internal, kinds};
use crate::domain::module::{Module, Parameter};
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::rules::Network;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::aws::apply::{network_resource, protection};
use crate::provider::aws::images;
use crate::provider::aws::network::{self, Subnet};
use crate::provider::aws::stack::{NETWORK_OUTPUT, PRIVATE_SUBNETS_OUTPUT, Standing, network_stack_name};

/// The request's field that a machine's image follows from.
const IMAGE: &str = "image";

/// The parameters of a template, as far as they are known: what was given, what was looked up, and what the stack has, if
/// there is one.
pub(super) fn given(
    module: &Module,
    resolved: &BTreeMap<String, String>,
    standing: Option<&Standing>,
) -> BTreeMap<String, String> {
    let value = |(name, parameter): (&String, &Parameter)| {
        let value = match parameter {
            Parameter::Value(text) => Some(text.clone()),
            Parameter::Network | Parameter::PrivateSubnets | Parameter::Image(_) => {
                resolved.get(name).cloned()
            }
            Parameter::Protection => Some(protection(standing)),
        };
        value.map(|value| (name.clone(), value))
    };
    module.parameters.iter().filter_map(value).collect()
}

/// Whether it goes into the environment's network.
fn is_in_network(module: &Module) -> bool {
    let mut parameters = module.parameters.values();
    parameters.any(|parameter| matches!(parameter, Parameter::Network | Parameter::PrivateSubnets))
}

impl Round<'_> {
    /// Looks at the subnets that the environment is given, before anything new is put into them.
    ///
    /// # Errors
    /// The user's, with everything that is wrong with them, a line each.
    pub(super) async fn preflight(&self, new: &[(&Resource, &Module)]) -> Result<(), Failure> {
        let scope = &self.question.scope;
        let inside: Vec<_> = new
            .iter()
            .copied()
            .filter(|(_, module)| is_in_network(module))
            .collect();
        if inside.is_empty() {
            return Ok(());
        }
        match &scope.environment.network {
            Some(Network::Create) => Ok(()),
            Some(Network::Given { vpc, subnets }) => {
                let found = self.subnets(subnets).await?;
                let problems = network::problems(subnets, vpc.as_deref(), &found, &kinds(&inside));
                if problems.is_empty() {
                    return Ok(());
                }
                let reason = format!(
                    "the network of environment `{}` cannot take it:\n{}",
                    scope.environment_name,
                    problems.join(";\n")
                );
                Err(Failure::new(FailureClass::User, reason))
            }
            None => Err(Failure::new(
                FailureClass::User,
                format!(
                    "environment `{}` has no network; add `network` to it in landfall.yaml",
                    scope.environment_name
                ),
            )),
        }
    }

    async fn subnets(&self, ids: &std::collections::BTreeSet<String>) -> Result<Vec<Subnet>, Failure> {
        let found = network::subnets(self.planner.access.query(), &self.session, ids).await;
        match found {
            Ok(found) => Ok(found),
            Err(fault) => Err(self.calls.failed(fault, "looking at the subnets").await),
        }
    }

    /// For a stack that is to be made. What the environment's network has not got yet is left out: the step looks it up
    /// once the network stands.
    pub(super) async fn resolve_new(
        &self,
        resource: &Resource,
        module: &Module,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut resolved = BTreeMap::new();
        for (name, parameter) in &module.parameters {
            let value = match parameter {
                Parameter::Value(_) | Parameter::Protection => None,
                Parameter::Network | Parameter::PrivateSubnets => self.given_network(parameter).await?,
                Parameter::Image(published) => Some(self.image(resource, module, name, published).await?),
            };
            resolved.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(resolved)
    }

    /// For a stack that stands: what it was made with, unless the request wants another image now.
    pub(super) async fn resolve_existing(
        &self,
        resource: &Resource,
        module: &Module,
        standing: &Standing,
        before: Option<&BTreeMap<String, Value>>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let is_same_image = before.is_some_and(|before| before.get(IMAGE) == resource.properties.get(IMAGE));
        let mut resolved = BTreeMap::new();
        for (name, parameter) in &module.parameters {
            let kept = standing.parameters.get(name).cloned();
            let value = match (parameter, kept) {
                (Parameter::Value(_) | Parameter::Protection, _) => continue,
                (Parameter::Network | Parameter::PrivateSubnets, Some(kept)) => kept,
                (Parameter::Network | Parameter::PrivateSubnets, None) => {
                    match self.given_network(parameter).await? {
                        Some(given) => given,
                        None => self.made_network(parameter).await?,
                    }
                }
                (Parameter::Image(_), Some(kept)) if is_same_image => kept,
                (Parameter::Image(published), _) => self.image(resource, module, name, published).await?,
            };
            resolved.insert(name.clone(), value);
        }
        Ok(resolved)
    }

    /// What was signed for this very module, else what is published now.
    async fn image(
        &self,
        resource: &Resource,
        module: &Module,
        parameter: &str,
        published: &str,
    ) -> Result<String, Failure> {
        let signed = self.question.signed.get(&resource.name);
        let signed = signed.filter(|signed| signed.digest.as_ref() == Some(&module.digest()));
        if let Some(kept) = signed.and_then(|signed| signed.resolved.get(parameter)) {
            return Ok(kept.clone());
        }
        let found = images::image(self.planner.access.query(), &self.session, published).await;
        match found {
            Ok(found) => Ok(found),
            Err(fault) => {
                let activity = format!("looking up the image of {}", resource.name);
                Err(self.calls.failed(fault, &activity).await)
            }
        }
    }

    /// The ids that `landfall.yaml` gives; nothing for a network that Landfall makes.
    async fn given_network(&self, parameter: &Parameter) -> Result<Option<String>, Failure> {
        let Some(Network::Given { vpc, subnets }) = &self.question.scope.environment.network else {
            return Ok(None);
        };
        if *parameter == Parameter::PrivateSubnets {
            return Ok(Some(subnets.iter().cloned().collect::<Vec<_>>().join(",")));
        }
        if let Some(vpc) = vpc {
            return Ok(Some(vpc.clone()));
        }
        let found = self.subnets(subnets).await?;
        Ok(found.into_iter().next().map(|subnet| subnet.vpc))
    }

    /// The ids of the network that Landfall made.
    async fn made_network(&self, parameter: &Parameter) -> Result<String, Failure> {
        let name = network_stack_name(&self.question.scope);
        let output = match parameter {
            Parameter::Network => NETWORK_OUTPUT,
            _ => PRIVATE_SUBNETS_OUTPUT,
        };
        let standing = self.calls.stack(&name).await?;
        if let Some(standing) = &standing {
            let resource = network_resource(self.question.scope.environment_name.as_str())?;
            let provenance = self.question.provenance_of(&resource);
            standing.check_owner(
                &self.question.scope,
                &resource,
                ResourceKind::Network,
                &provenance,
            )?;
        }
        let value = standing.and_then(|standing| standing.outputs.get(output).cloned());
        value.ok_or_else(|| internal(format!("stack {name} has no output {output}")))
    }
}
