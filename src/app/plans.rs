//! Plans for requests: one question to a planner for each, and what is known of their resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::catalog::{Catalog, CatalogError, Subject};
use crate::domain::change::Goal;
use crate::domain::ids::{RepositoryId, RequestKey, ResourceName, StepKey};
use crate::domain::module::{Module, PlannedModule};
use crate::domain::plan::{KnownResource, Maker, Plan, Resource, ResourceKind};
use crate::domain::provenance::{Mark, MarkingKey, Provenance};
use crate::domain::request::Request;
use crate::domain::review::{Evaluation, Planning};
use crate::domain::rules::{Environment, Network, ProviderKind, Rules};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::repository::GROUP;
use crate::provider::{Answer, Planner, Question, Scope, Token};
use crate::store::{Desired, Lease, Store};

use super::{AppError, Planners};

/// Makes plans: all that a review gets to see of a cloud.
#[derive(Clone)]
pub(super) struct Plans {
    store: Store,
    planners: Planners,
    catalog: Arc<Catalog>,
    marking_key: MarkingKey,
}

/// What shall be there, and what it is made by.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) resources: Vec<Resource>,
    pub(super) modules: BTreeMap<ResourceName, Module>,
}

/// What a planner, or several, answered.
enum Planned {
    /// The plan of all the requests together, and what it was made for.
    Ready(Plan, Wanted),
    /// Some take their time.
    Pending {
        /// [`target`] → token.
        tokens: BTreeMap<String, String>,
        /// When to ask again.
        poll_at: Timestamp,
    },
}

/// What the plan of something signed off comes to, made anew.
pub(super) enum Anew {
    /// It is this, for what is wanted.
    Plan(Plan, Wanted),
    /// It takes its time: look again then.
    Wait(Timestamp),
    /// There is none, and a person has to act.
    Refused(Failure),
}

impl Plans {
    pub(super) fn new(
        store: Store,
        planners: Planners,
        catalog: Arc<Catalog>,
        marking_key: MarkingKey,
    ) -> Self {
        Self {
            store,
            planners,
            catalog,
            marking_key,
        }
    }

    /// Plans for each request that changes. `pending` holds the tokens of an earlier answer, `signed` the plan that was
    /// signed off, if one was.
    async fn plan(
        &self,
        repository: &RepositoryId,
        rules: &Rules,
        goals: &[Goal],
        pending: &BTreeMap<String, String>,
        signed: Option<&Plan>,
    ) -> Result<Planned, AppError> {
        let mut tokens = BTreeMap::new();
        let planned = self
            .plan_each(repository, rules, goals, pending, signed, &mut tokens)
            .await;
        if let Err(AppError::Provider { failure, .. }) = &planned {
            // An answer is not asked for again: nobody would come back for what is pending. What else went wrong is tried
            // again by the tokens that are on record.
            let mut left = if failure.class.is_answer() {
                pending.clone()
            } else {
                BTreeMap::new()
            };
            left.extend(tokens);
            left.retain(|key, token| failure.class.is_answer() || pending.get(key) != Some(token));
            let requests: Vec<&Request> = goals.iter().map(|goal| &goal.request).collect();
            // The failure is what matters; what could not be removed is found by a later plan.
            let _ = self.discard_all(repository, rules, &requests, &left).await;
        }
        planned
    }

    async fn plan_each(
        &self,
        repository: &RepositoryId,
        rules: &Rules,
        goals: &[Goal],
        pending: &BTreeMap<String, String>,
        signed: Option<&Plan>,
        tokens: &mut BTreeMap<String, String>,
    ) -> Result<Planned, AppError> {
        let mut all = Plan::default();
        let mut made_of = Wanted::default();
        let mut soonest: Option<Timestamp> = None;
        for goal in goals {
            let request = &goal.request;
            let known = self.store.known_resources(repository, &request.key).await?;
            let scope = scope(repository, request, rules)?;
            refuse_of_others(&scope, &known)?;
            let signed = signed
                .map(|plan| modules_of(plan, &request.key))
                .unwrap_or_default();
            let wanted = self.wanted(&scope, goal, rules, &known, &signed)?;
            let question = Question {
                known: known
                    .iter()
                    .map(|known| (known.name.clone(), known.kind))
                    .collect(),
                provenance: self.provenance(&scope).await?,
                desired: wanted.resources.clone(),
                modules: wanted.modules.clone(),
                signed,
                pending: None,
                scope,
            };
            made_of.resources.extend(wanted.resources);
            made_of.modules.extend(wanted.modules);
            for (maker, mut question) in questions(question) {
                let target = target(&request.key, maker);
                question.pending = pending.get(&target).cloned().map(Token);
                let answer =
                    self.planner(maker)?
                        .plan(&question)
                        .await
                        .map_err(|failure| AppError::Provider {
                            activity: format!("planning {}", request.key),
                            failure,
                        })?;
                match answer {
                    Answer::Ready(plan) => all.changes.extend(plan.obeying(goal, &known).changes),
                    Answer::Pending { token, poll_at } => {
                        tokens.insert(target, token.0);
                        soonest = Some(soonest.map_or(poll_at, |at| at.min(poll_at)));
                    }
                }
            }
        }
        Ok(match soonest {
            None => Planned::Ready(all, made_of),
            Some(poll_at) => Planned::Pending {
                tokens: std::mem::take(tokens),
                poll_at,
            },
        })
    }

    /// What is on record of a request's resources.
    async fn provenance(&self, scope: &Scope) -> Result<BTreeMap<ResourceName, Provenance>, AppError> {
        let (repository, request, environment) = (&scope.repository, &scope.request, &scope.environment_name);
        let key = &self.marking_key;
        Ok(self
            .store
            .provenance(key, repository, request, environment)
            .await?)
    }

    /// What is on record of what a step works on, and of its environment's network; and the mark of the step, which
    /// counts among it: it may have acted.
    pub(super) async fn provenance_of(
        &self,
        scope: &Scope,
        step: &StepKey,
    ) -> Result<(Provenance, Provenance, Mark), AppError> {
        let mark = self.marking_key.mark(&scope.repository, &scope.request, step);
        let mut provenance = self.provenance(scope).await?;
        let mut one = provenance.get(&step.resource).cloned().unwrap_or_default();
        one.begun.insert(mark.clone());
        let network = ResourceName::new(format!("network/{}", scope.environment_name));
        let network = network.ok().and_then(|name| provenance.remove(&name));
        Ok((one, network.unwrap_or_default(), mark))
    }

    /// Plans what was signed off once more, before anything is done: a run is made, or a step is begun again.
    pub(super) async fn anew(
        &self,
        lease: &Lease,
        repository: &RepositoryId,
        rules: &Rules,
        desired: &Desired,
    ) -> Result<Anew, AppError> {
        let goals = std::slice::from_ref(&desired.goal);
        let signed = Some(&desired.signed_plan);
        match self
            .plan(repository, rules, goals, &desired.pending, signed)
            .await
        {
            Ok(Planned::Ready(plan, wanted)) => Ok(Anew::Plan(plan, wanted)),
            Ok(Planned::Pending { tokens, poll_at }) => {
                let (request, generation) = (&desired.goal.request.key, desired.generation);
                self.store
                    .plan_pending(lease, repository, request, generation, tokens)
                    .await?;
                Ok(Anew::Wait(poll_at))
            }
            Err(AppError::Provider { failure, .. }) if failure.class.is_answer() => {
                Ok(Anew::Refused(failure))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes over the plan of an earlier evaluation where its inputs are the same, and lets go of it otherwise. Answers
    /// the tokens to go on with, if a plan is to be made.
    pub(super) async fn take_over(
        &self,
        repository: &RepositoryId,
        rules: Option<&Rules>,
        before: Option<&Evaluation>,
        evaluation: &mut Evaluation,
    ) -> Result<Option<BTreeMap<String, String>>, AppError> {
        let same_inputs = before.filter(|before| before.is_like(evaluation));
        let mut tokens = BTreeMap::new();
        match (same_inputs.map(|same| &same.planning), before) {
            (Some(ready @ Planning::Ready(_)), _) => {
                evaluation.take_planning(ready.clone());
                return Ok(None);
            }
            (Some(Planning::Pending { tokens: pending, .. }), _) => tokens.clone_from(pending),
            (None, Some(before)) => self.discard(repository, rules, before).await?,
            _ => {}
        }
        let is_to_be_made = rules.is_some() && !evaluation.is_refused() && !evaluation.transitions.is_empty();
        Ok(is_to_be_made.then_some(tokens))
    }

    /// Makes the plan of an evaluation. Answers when to look again, if that takes its time.
    pub(super) async fn make(
        &self,
        repository: &RepositoryId,
        rules: &Rules,
        tokens: &BTreeMap<String, String>,
        evaluation: &mut Evaluation,
    ) -> Result<Option<Timestamp>, AppError> {
        match self
            .plan(repository, rules, &evaluation.goals(), tokens, None)
            .await
        {
            Ok(Planned::Ready(plan, _)) => {
                evaluation.take_planning(Planning::Ready(plan));
                Ok(None)
            }
            Ok(Planned::Pending { tokens, poll_at }) => {
                evaluation.planning = Planning::Pending { tokens, poll_at };
                Ok(Some(poll_at))
            }
            Err(AppError::Provider { failure, .. }) if failure.class.is_answer() => {
                evaluation.planning = Planning::Blocked {
                    reason: failure.to_string(),
                };
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets the plan of an evaluation, if it is being made and not wanted any more.
    pub(super) async fn discard(
        &self,
        repository: &RepositoryId,
        rules: Option<&Rules>,
        evaluation: &Evaluation,
    ) -> Result<(), AppError> {
        let (Some(rules), Planning::Pending { tokens, .. }) = (rules, &evaluation.planning) else {
            return Ok(());
        };
        let goals = evaluation.goals();
        let requests: Vec<&Request> = goals.iter().map(|goal| &goal.request).collect();
        self.discard_all(repository, rules, &requests, tokens).await
    }

    async fn discard_all(
        &self,
        repository: &RepositoryId,
        rules: &Rules,
        requests: &[&Request],
        tokens: &BTreeMap<String, String>,
    ) -> Result<(), AppError> {
        for request in requests {
            // An environment that is gone from the rules cannot be asked any more.
            let Ok(scope) = scope(repository, request, rules) else {
                continue;
            };
            for maker in makers(&scope.environment) {
                let Some(token) = tokens.get(&target(&request.key, maker)) else {
                    continue;
                };
                self.planner(maker)?
                    .discard(&scope, &Token(token.clone()))
                    .await
                    .map_err(|failure| AppError::Provider {
                        activity: format!("discarding the plan of {}", request.key),
                        failure,
                    })?;
            }
        }
        Ok(())
    }

    /// What shall be there of a request under some rules. The version of a module that was signed stays, and so does the
    /// one by which something was made.
    fn wanted(
        &self,
        scope: &Scope,
        goal: &Goal,
        rules: &Rules,
        known: &[KnownResource],
        signed: &BTreeMap<ResourceName, PlannedModule>,
    ) -> Result<Wanted, AppError> {
        let subject = Subject {
            repository: &scope.repository,
            request: &scope.request,
            team: &scope.team,
            environment_name: &scope.environment_name,
            environment: &scope.environment,
            deletion_policy: goal.request.deletion_policy,
        };
        let version = |name: &ResourceName| {
            let made_by = known.iter().find(|known| known.name == *name);
            let signed = signed.get(name).map(|module| module.version.as_str());
            signed.or_else(|| made_by?.module_version.as_deref())
        };
        let resources = desired(goal, rules);
        let mut modules = BTreeMap::new();
        for resource in &resources {
            let module = self
                .catalog
                .module(resource, &subject, version(&resource.name))
                .map_err(|error| AppError::Provider {
                    activity: format!("planning {}", scope.request),
                    failure: Failure::new(class_of(&error), error.to_string()),
                })?;
            modules.extend(module.map(|module| (resource.name.clone(), module)));
        }
        Ok(Wanted { resources, modules })
    }

    fn planner(&self, maker: Maker) -> Result<&dyn Planner, AppError> {
        self.planners
            .get(&maker)
            .map(AsRef::as_ref)
            .ok_or(AppError::UnknownProvider(maker))
    }
}

fn class_of(error: &CatalogError) -> FailureClass {
    match error {
        CatalogError::User(_) => FailureClass::User,
        CatalogError::UnknownVersion { .. } => FailureClass::Refused,
        CatalogError::Broken { .. } => FailureClass::Internal,
    }
}

/// What was signed of each resource of a request that is made by a module.
fn modules_of(signed: &Plan, request: &RequestKey) -> BTreeMap<ResourceName, PlannedModule> {
    let changes = signed.changes.iter().filter(|change| change.request == *request);
    changes
        .filter_map(|change| Some((change.resource.clone(), change.module.clone()?)))
        .collect()
}

/// What was made for one team is never another's, whatever was signed meanwhile.
fn refuse_of_others(scope: &Scope, known: &[KnownResource]) -> Result<(), AppError> {
    let Some(other) = known.iter().find(|known| known.team != scope.team) else {
        return Ok(());
    };
    let (name, team) = (&other.name, &other.team);
    let reason = format!(
        "{name} is still there of an earlier {}, and belongs to the team {team}: give this one another name",
        scope.request
    );
    Err(AppError::Provider {
        activity: format!("planning {}", scope.request),
        failure: Failure::new(FailureClass::User, reason),
    })
}

/// The scope of a request's resources under some rules.
///
/// # Errors
/// The rules do not define its environment: what is accepted rests on an environment that is there.
pub(super) fn scope(repository: &RepositoryId, request: &Request, rules: &Rules) -> Result<Scope, AppError> {
    let environment = rules.environments.get(&request.environment).ok_or_else(|| {
        let (key, name) = (&request.key, &request.environment);
        AppError::Inconsistent(format!("{key}: environment {name} is not defined"))
    })?;
    Ok(Scope {
        repository: repository.clone(),
        request: request.key.clone(),
        team: request.team.clone(),
        environment_name: request.environment.clone(),
        environment: environment.clone(),
    })
}

/// What shall be there of a request under some rules: a repository goes into the group that its team has there, and what
/// needs a network that Landfall makes comes after it.
fn desired(goal: &Goal, rules: &Rules) -> Vec<Resource> {
    let mut resources = in_their_group(goal, rules);
    let network = rules
        .environments
        .get(&goal.request.environment)
        .filter(|environment| environment.provider == ProviderKind::Aws)
        .filter(|environment| environment.network == Some(Network::Create))
        .and_then(|_| ResourceName::new(format!("network/{}", goal.request.environment)).ok());
    let Some(network) = network else {
        return resources;
    };
    let mut is_needed = false;
    for resource in &mut resources {
        if resource.kind.needs_network() {
            resource.depends_on.push(network.clone());
            is_needed = true;
        }
    }
    if is_needed {
        resources.push(Resource {
            name: network,
            kind: ResourceKind::Network,
            properties: BTreeMap::new(),
            depends_on: vec![],
        });
    }
    resources
}

fn in_their_group(goal: &Goal, rules: &Rules) -> Vec<Resource> {
    let team = rules.teams.get(&goal.request.team);
    let group = team.and_then(|team| team.group.clone());
    let in_its_group = |resource: &Resource| {
        let mut resource = resource.clone();
        if resource.kind == ResourceKind::Repository
            && let Some(group) = &group
        {
            resource.properties.insert(GROUP.to_owned(), group.clone().into());
        }
        resource
    };
    goal.resources().iter().map(in_its_group).collect()
}

/// Everything that could make something of a request in an environment.
fn makers(environment: &Environment) -> [Maker; 2] {
    [Maker::Provider(environment.provider), Maker::Forge]
}

/// What a plan that takes its time is kept under: each of a request's makers has one of its own.
fn target(request: &RequestKey, maker: Maker) -> String {
    match maker {
        Maker::Provider(provider) => format!("{request} {provider:?}"),
        Maker::Forge => format!("{request} forge"),
    }
}

/// The questions that a request comes to, each with what answers it: the environment's provider is always asked, the
/// forge if anything of the request is its to make.
fn questions(question: Question) -> Vec<(Maker, Question)> {
    let environment = &question.scope.environment;
    let parts = makers(environment).map(|maker| {
        let is_its = |kind| Maker::of(kind, environment) == maker;
        let part = Question {
            scope: question.scope.clone(),
            desired: question
                .desired
                .iter()
                .filter(|resource| is_its(resource.kind))
                .cloned()
                .collect(),
            known: question
                .known
                .iter()
                .filter(|(_, kind)| is_its(*kind))
                .cloned()
                .collect(),
            provenance: question.provenance.clone(),
            modules: question.modules.clone(),
            signed: question.signed.clone(),
            pending: None,
        };
        (maker, part)
    });
    parts
        .into_iter()
        .filter(|(maker, part)| *maker != Maker::Forge || !part.desired.is_empty() || !part.known.is_empty())
        .collect()
}

#[cfg(test)]
mod tests;
