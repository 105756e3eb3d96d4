//! The acting half: every order becomes a change set of its own, compared with what was signed before it is executed.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_cloudformation::types::ChangeSetType;

use super::access::{Access, Place, Role};
use super::calls::{Calls, Draft};
use super::job::{Job, Phase, again, call_token, explained};
use super::poll;
use super::settling::Wanted;
use super::stack::{
    Meaning, NETWORK_OUTPUT, PRIVATE_SUBNETS_OUTPUT, Standing, network_stack_name, stack_name, tags,
};
use super::template::Template;
use crate::clock::Clock;
use crate::domain::module::{Module, Parameter, PlannedModule};
use crate::domain::plan::{Action, ResourceKind};
use crate::domain::rules::Network;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Order, Progress, Provider, Token};

/// The most bytes of a template that CloudFormation takes in a call.
const LARGEST_TEMPLATE: usize = 51_200;

/// Makes, changes and destroys stacks. Cloning it shares credentials and paces.
#[derive(Clone)]
pub struct AwsProvider {
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
}

/// An order that can be carried out.
struct Work<'a> {
    order: &'a Order,
    module: &'a Module,
    planned: &'a PlannedModule,
    stack: String,
    change_set: String,
    job: Job,
}

fn refused(reason: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Refused, reason)
}

fn internal(reason: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Internal, reason)
}

impl AwsProvider {
    pub(super) fn new(access: Arc<Access>, clock: Arc<dyn Clock>) -> Self {
        Self { access, clock }
    }

    async fn begin(&self, order: &Order) -> Result<Progress, Failure> {
        let work = self.work(order)?;
        let calls = Calls::at(&self.access, &work.job.place).await?;
        let standing = calls.stack(&work.stack).await?;
        if let Some(standing) = &standing {
            standing.check_owner(
                &order.scope,
                &order.resource.name,
                order.resource.kind,
                &order.provenance,
            )?;
        }
        let creates = matches!(order.action, Action::Create | Action::Recreate);
        match standing {
            None if creates => self.make(&calls, work, None).await,
            None => {
                let name = &order.resource.name;
                Err(again(format!("{name} is not there any more: plan again")))
            }
            Some(standing) => self.go_on(&calls, work, standing, creates).await,
        }
    }

    /// Checks that an order can be carried out.
    fn work<'a>(&self, order: &'a Order) -> Result<Work<'a>, Failure> {
        let Order { scope, resource, .. } = order;
        let place = Place::of(scope, Role::Applying)?;
        let (Some(module), Some(planned)) = (&order.module, &order.planned) else {
            return Err(internal(format!("{} has no module to be made by", resource.name)));
        };
        match order.action {
            Action::Create | Action::Recreate | Action::Update | Action::Replace => {}
            action @ (Action::Delete | Action::Retain | Action::NoOp) => {
                return Err(internal(format!(
                    "{action:?} of {} is nothing that can be started",
                    resource.name
                )));
            }
        }
        if planned.digest != Some(module.digest()) {
            return Err(refused(format!(
                "the template of {} is not the one that was signed off",
                resource.name
            )));
        }
        if module.template.len() > LARGEST_TEMPLATE {
            return Err(internal(format!(
                "the template of {} has {} bytes; CloudFormation takes {LARGEST_TEMPLATE}",
                resource.name,
                module.template.len()
            )));
        }
        let is_network = resource.kind == ResourceKind::Network;
        let stack = stack_name(scope, &resource.name, resource.kind);
        let job = Job {
            place,
            step: order.key.clone(),
            stack: stack.clone(),
            begun: self.clock.now(),
            protected: order.protected || is_network,
            keep_failed: scope.environment.aws.as_ref().is_some_and(|aws| aws.keep_failed),
            breakable: !is_network && !module.template.contains("Retain"),
            cluster: Wanted::of(resource)?,
            snapshot_of: None,
            told: None,
            phase: Phase::Deleting,
        };
        Ok(Work {
            order,
            module,
            planned,
            stack,
            // By the step's mark: one of that name that somebody else made would be executed.
            change_set: change_set_name(order),
            job,
        })
    }

    /// Goes on from a stack that is there.
    async fn go_on(
        &self,
        calls: &Calls<'_>,
        mut work: Work<'_>,
        standing: Standing,
        creates: bool,
    ) -> Result<Progress, Failure> {
        let now = self.clock.now();
        let name = &work.order.resource.name;
        let is_network = work.order.resource.kind == ResourceKind::Network;
        work.job.stack.clone_from(&standing.id);
        let is_ours = standing.is_by(&work.order.key.to_string());
        match standing.meaning()? {
            Meaning::Gone | Meaning::Empty if creates => self.make(calls, work, Some(standing)).await,
            // By an attempt whose answer was lost. A network is everybody's: whoever began it, it is waited for.
            Meaning::Standing if is_ours || (is_network && creates) => {
                work.job.finish(calls, standing, now).await
            }
            Meaning::Busy if is_ours || (is_network && creates) => {
                let creates = standing.status.starts_with("CREATE");
                let job = work.job.at(Phase::Working { creates });
                job.advance(calls, Some(standing), now, true).await
            }
            Meaning::Busy | Meaning::Going => {
                let reason = format!(
                    "stack {} is {}: somebody is at work on it",
                    standing.name, standing.status
                );
                Err(again(reason))
            }
            Meaning::Remains if creates => {
                let left = "what was left of an earlier attempt was removed; it is made anew";
                work.job.clear_up(calls, &standing, now, again(left)).await
            }
            Meaning::Stuck if creates => Err(again(format!(
                "{name} stands already as {}: plan again",
                standing.id
            ))),
            // AWS would leave behind what it may not delete.
            Meaning::Standing | Meaning::RolledBack
                if work.order.action == Action::Replace && standing.protection() == Some(true) =>
            {
                work.job.lift_protection(calls, &standing, now, false).await
            }
            // It stands though nobody recorded it: a change set tells whether anything is left to do.
            Meaning::Standing | Meaning::RolledBack => self.make(calls, work, Some(standing)).await,
            Meaning::Stuck => {
                let back = again("an earlier change that failed was taken back; this one is begun again");
                work.job.continue_rollback(calls, &standing, now, back).await
            }
            Meaning::Undeletable | Meaning::Remains => {
                let why = explained(calls, &standing).await?;
                Err(refused(format!(
                    "stack {} is {}: {}; delete it, or have the platform team clear it up",
                    standing.name, standing.status, why.reason
                )))
            }
            Meaning::Gone | Meaning::Empty => Err(again(format!("{name} is not there any more: plan again"))),
        }
    }

    /// Makes the change set, or finds it.
    async fn make(
        &self,
        calls: &Calls<'_>,
        work: Work<'_>,
        standing: Option<Standing>,
    ) -> Result<Progress, Failure> {
        let Work {
            order,
            module,
            planned,
            stack,
            change_set,
            job,
        } = work;
        let is_empty = standing.as_ref().map(Standing::meaning).transpose()? == Some(Meaning::Empty);
        let creates = standing.is_none() || is_empty;
        let before = match &standing {
            Some(standing) => calls.change_set(&standing.id, &change_set).await?,
            None => None,
        };
        let found = match (before, &standing) {
            (Some(set), Some(standing)) if set.is_spent() => {
                calls.remove_change_set(&standing.id, &change_set).await?;
                None
            }
            (found, _) => found,
        };
        let id = standing.as_ref().map_or("", |standing| standing.id.as_str());
        let arn = match found {
            Some(found) => found.stack,
            None => {
                let draft = Draft {
                    stack: &stack,
                    name: &change_set,
                    kind: if creates {
                        ChangeSetType::Create
                    } else {
                        ChangeSetType::Update
                    },
                    template: &module.template,
                    parameters: parameters(calls, order, module, planned, standing.as_ref()).await?,
                    tags: tags(
                        &order.scope,
                        &order.resource.name,
                        order.resource.kind,
                        module,
                        (&order.key, &order.mark),
                    ),
                    token: &call_token(&order.key, id, self.clock.now()),
                    keep_failed: job.keep_failed,
                };
                calls.make(draft).await?
            }
        };
        let job = Job {
            stack: arn,
            ..job.at(Phase::Reviewing {
                change_set,
                signed: planned.parts.clone(),
                in_place: Template::read(&module.template)?.updated_in_place(),
                creates,
            })
        };
        job.waiting(
            self.clock.now(),
            "CloudFormation is working out what this changes",
        )
    }

    async fn begin_to_destroy(&self, order: &Order) -> Result<Progress, Failure> {
        let Order { scope, resource, .. } = order;
        if resource.kind == ResourceKind::Network || order.action != Action::Delete {
            return Err(internal(format!(
                "{} is not to be deleted by a request",
                resource.name
            )));
        }
        let place = Place::of(scope, Role::Applying)?;
        let calls = Calls::at(&self.access, &place).await?;
        // The very one that was recorded, whatever bears its name by now.
        let recorded = order.provenance.recorded.first().cloned();
        let name = recorded.unwrap_or_else(|| stack_name(scope, &resource.name, resource.kind));
        let Some(standing) = calls.stack(&name).await? else {
            return Ok(Progress::Succeeded {
                external_id: String::new(),
                outputs: BTreeMap::new(),
            });
        };
        standing.check_owner(scope, &resource.name, resource.kind, &order.provenance)?;
        let now = self.clock.now();
        let job = Job {
            place,
            step: order.key.clone(),
            stack: standing.id.clone(),
            begun: now,
            protected: false,
            keep_failed: false,
            breakable: false,
            cluster: None,
            snapshot_of: None,
            told: None,
            phase: Phase::Deleting,
        };
        let stands = match standing.meaning()? {
            Meaning::Going | Meaning::Gone => return job.advance(&calls, Some(standing), now, true).await,
            Meaning::Busy => {
                let reason = format!(
                    "stack {} is {}: somebody is at work on it",
                    standing.name, standing.status
                );
                return Err(again(reason));
            }
            Meaning::Empty | Meaning::Remains => false,
            Meaning::Standing | Meaning::RolledBack | Meaning::Stuck | Meaning::Undeletable => true,
        };
        let template = match stands {
            true => calls.template(&standing.id).await?,
            false => String::new(),
        };
        if stands && order.final_snapshot && !leaves_a_snapshot(&template) {
            let reason = format!(
                "a last snapshot of {} was signed off, but the template of stack {} leaves none: nothing was deleted",
                resource.name, standing.name
            );
            return Err(refused(reason));
        }
        let job = match stands && order.final_snapshot {
            true => Job {
                snapshot_of: database(&calls, &standing.id).await?,
                ..job
            },
            false => job,
        };
        if standing.protected {
            calls.protect(&standing.id, false).await?;
        }
        if stands && standing.protection() == Some(true) && !template.contains("Retain") {
            return job.lift_protection(&calls, &standing, now, true).await;
        }
        job.begin_deletion(&calls, now, "CloudFormation has begun to delete it")
            .await
    }

    async fn stop(&self, token: &Token) -> Result<(), Failure> {
        let job = Job::of(token)?;
        let calls = Calls::at(&self.access, &job.place).await?;
        match &job.phase {
            Phase::Reviewing {
                change_set, creates, ..
            } => match calls.change_set(&job.stack, change_set).await? {
                Some(set) if !set.is_begun() => job.drop_change_set(&calls, change_set, *creates).await,
                _ => Ok(()),
            },
            Phase::Working { .. } => {
                let standing = calls.stack(&job.stack).await?;
                let ours = standing.filter(|standing| standing.is_by(&job.step.to_string()));
                match ours.map(|standing| standing.status).as_deref() {
                    Some("CREATE_IN_PROGRESS") if job.breakable => {
                        calls
                            .delete(&job.stack, &call_token(&job.step, "stop", self.clock.now()))
                            .await
                    }
                    Some("UPDATE_IN_PROGRESS") => match calls.cancel_update(&job.stack).await {
                        // It came to its end meanwhile.
                        Err(failure) if failure.class == FailureClass::Conflict => Ok(()),
                        other => other,
                    },
                    _ => Ok(()),
                }
            }
            Phase::Protecting
            | Phase::Lifting { .. }
            | Phase::Settling { .. }
            | Phase::Removing { .. }
            | Phase::Recovering { .. }
            | Phase::Deleting => Ok(()),
        }
    }
}

/// The name of an order's change set. Nobody knows it before it is there.
fn change_set_name(order: &Order) -> String {
    let mark = order.mark.as_str();
    format!(
        "landfall-apply-{}",
        mark.strip_prefix("landfall-").unwrap_or(mark)
    )
}

/// What RDS calls the database of a stack.
async fn database(calls: &Calls<'_>, stack: &str) -> Result<Option<String>, Failure> {
    let resources = calls.resources(stack).await?.into_iter();
    let mut databases = resources.filter(|resource| resource.kind == "AWS::RDS::DBInstance");
    Ok(databases.next().map(|database| database.id))
}

/// Whether a template, in YAML or JSON, takes a snapshot of something before it goes.
fn leaves_a_snapshot(template: &str) -> bool {
    template.split("DeletionPolicy").skip(1).any(|rest| {
        rest.trim_start_matches(|c: char| c == '"' || c == ':' || c.is_whitespace())
            .starts_with("Snapshot")
    })
}

/// The parameters of a template, each with what it is given.
async fn parameters(
    calls: &Calls<'_>,
    order: &Order,
    module: &Module,
    planned: &PlannedModule,
    standing: Option<&Standing>,
) -> Result<Vec<(String, String)>, Failure> {
    let asks_for_network =
        |parameter: &Parameter| matches!(parameter, Parameter::Network | Parameter::PrivateSubnets);
    let is_resolved = |name: &String| planned.resolved.contains_key(name);
    let network = if module
        .parameters
        .iter()
        .any(|(name, parameter)| asks_for_network(parameter) && !is_resolved(name))
    {
        Some(network(calls, order).await?)
    } else {
        None
    };
    let mut given = Vec::new();
    for (name, parameter) in &module.parameters {
        let value = match (parameter, planned.resolved.get(name), &network) {
            (Parameter::Value(value), _, _) => value.clone(),
            (Parameter::Protection, ..) => protection(standing),
            (_, Some(resolved), _) => resolved.clone(),
            (Parameter::Network, None, Some((id, _))) => id.clone(),
            (Parameter::PrivateSubnets, None, Some((_, subnets))) => subnets.clone(),
            (Parameter::Image(image), None, _) => {
                return Err(internal(format!("the image {image} was not looked up at review")));
            }
            (Parameter::Network | Parameter::PrivateSubnets, None, None) => {
                return Err(internal(format!("parameter {name} has no network to come from")));
            }
        };
        given.push((name.clone(), value));
    }
    Ok(given)
}

/// What the parameter of that name is until the stack stands as ordered: what it is.
pub(super) fn protection(standing: Option<&Standing>) -> String {
    let protected = standing.and_then(Standing::protection).unwrap_or_default();
    protected.to_string()
}

/// The id of the environment's network, and of its private subnets, parted by commas.
async fn network(calls: &Calls<'_>, order: &Order) -> Result<(String, String), Failure> {
    let scope = &order.scope;
    let environment = &scope.environment_name;
    match &scope.environment.network {
        Some(Network::Given {
            vpc: Some(vpc),
            subnets,
        }) => {
            let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
            Ok((vpc.clone(), subnets.join(",")))
        }
        Some(Network::Given { vpc: None, .. }) => Err(refused(format!(
            "environment {environment} does not say which network its subnets are of: add `vpc` in landfall.yaml"
        ))),
        None => Err(refused(format!(
            "environment {environment} has no network: add `network` in landfall.yaml"
        ))),
        Some(Network::Create) => {
            let name = network_stack_name(scope);
            let found = calls.stack(&name).await?;
            let Some(standing) = found else {
                return Err(again(format!("the network of {environment} is not there yet")));
            };
            standing.check_owner(
                scope,
                &network_resource(environment.as_str())?,
                ResourceKind::Network,
                &order.network,
            )?;
            match standing.meaning()? {
                Meaning::Standing | Meaning::RolledBack => {}
                _ => {
                    let reason = format!("the network of {environment} is {}", standing.status);
                    return Err(again(reason));
                }
            }
            let output = |name: &str| {
                standing
                    .outputs
                    .get(name)
                    .cloned()
                    .ok_or_else(|| internal(format!("stack {} has no output {name}", standing.name)))
            };
            Ok((output(NETWORK_OUTPUT)?, output(PRIVATE_SUBNETS_OUTPUT)?))
        }
    }
}

pub(super) fn network_resource(environment: &str) -> Result<crate::domain::ids::ResourceName, Failure> {
    format!("network/{environment}")
        .parse()
        .map_err(|error: crate::domain::ids::InvalidId| internal(error.to_string()))
}

#[async_trait]
impl Provider for AwsProvider {
    async fn start(&self, order: &Order) -> Progress {
        self.begin(order).await.unwrap_or_else(Progress::Failed)
    }

    async fn poll(&self, tokens: &[Token]) -> Result<Vec<(Token, Progress)>, Failure> {
        Ok(poll::all(&self.access, self.clock.as_ref(), tokens).await)
    }

    async fn cancel(&self, token: &Token) -> Result<(), Failure> {
        self.stop(token).await
    }

    async fn destroy(&self, order: &Order) -> Progress {
        self.begin_to_destroy(order)
            .await
            .unwrap_or_else(Progress::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_only_promised_by_a_template_that_takes_one() {
        for (template, takes) in [
            ("Resources:\n  Database:\n    DeletionPolicy: Snapshot\n", true),
            (r#"{"Database": {"DeletionPolicy": "Snapshot"}}"#, true),
            (
                "Resources:\n  Database:\n    DeletionPolicy: Delete\n    UpdateReplacePolicy: Snapshot",
                false,
            ),
            ("Description: Snapshot", false),
        ] {
            assert_eq!(leaves_a_snapshot(template), takes, "{template}");
        }
    }
}
