//! The looking half: what stands in an account, and what would have to be done about it. It holds the planning role
//! only, which makes and removes change sets named `landfall-plan-…` of stacks that stand, and nothing else: a new stack
//! is planned from its template, so no plan leaves an empty stack.

mod change_set;
mod looked_up;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::change_set::Outcome;
use super::access::{Access, Place, Role, Session};
use super::calls::Calls;
use super::changes::is_losing;
use super::stack::{self, Meaning, Standing, stack_name};
use super::template::Template;
use crate::clock::Clock;
use crate::domain::ids::ResourceName;
use crate::domain::module::{Module, Part, PlannedModule};
use crate::domain::plan::{
    Action, DELETION_POLICY, Plan, PlannedChange, PropertyChange, Resource, ResourceKind,
};
use crate::domain::provenance::Provenance;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Answer, Observed, Planner, Question, Scope, Token};

/// When to ask after a change set again: AWS takes some seconds for one.
const CHANGE_SET_TAKES: Duration = Duration::from_secs(3);
/// When to look at a stack again that something is being done to.
const STACK_TAKES: Duration = Duration::from_secs(15);

/// Looks at AWS and plans, with the planning role.
#[derive(Clone)]
pub struct AwsPlanner {
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
}

/// What a plan that is being made has left in the cloud so far: stack → change set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traces {
    change_sets: BTreeMap<String, String>,
}

impl Traces {
    fn of(token: &Token) -> Result<Self, Failure> {
        serde_json::from_str(&token.0).map_err(|_| internal("the token is not one of the planner for AWS"))
    }

    fn token(&self) -> Result<Token, Failure> {
        let text = serde_json::to_string(self).map_err(|error| internal(error.to_string()))?;
        Ok(Token(text))
    }
}

/// One question, being answered.
struct Round<'a> {
    planner: &'a AwsPlanner,
    calls: Calls<'a>,
    session: Session,
    question: &'a Question,
    traces: Traces,
    /// How long to wait for what is not ready, if anything is not.
    wait: Option<Duration>,
}

/// What becomes of a desired resource.
struct Made {
    action: Action,
    /// The template by which the stack was made; nothing for a new one.
    before: Option<Template>,
    resolved: BTreeMap<String, String>,
    kept: BTreeSet<String>,
    parts: Vec<Part>,
}

impl AwsPlanner {
    pub(super) fn new(access: Arc<Access>, clock: Arc<dyn Clock>) -> Self {
        Self { access, clock }
    }

    async fn round<'a>(&'a self, question: &'a Question) -> Result<Round<'a>, Failure> {
        let place = Place::of(&question.scope, Role::Planning)?;
        let traces = question.pending.as_ref().map(Traces::of).transpose()?;
        Ok(Round {
            planner: self,
            calls: Calls::at(&self.access, &place).await?,
            session: self.access.session(&place).await?,
            question,
            traces: traces.unwrap_or_default(),
            wait: None,
        })
    }
}

#[async_trait]
impl Planner for AwsPlanner {
    async fn observe(
        &self,
        scope: &Scope,
        provenance: &BTreeMap<ResourceName, Provenance>,
    ) -> Result<Vec<Observed>, Failure> {
        let calls = Calls::at(&self.access, &Place::of(scope, Role::Planning)?).await?;
        let (mut observed, mut next) = (Vec::new(), None);
        loop {
            let (page, more) = calls.page_of_stacks(next).await?;
            for standing in &page {
                if let Some((resource, kind)) = of_request(standing, scope) {
                    let on_record = provenance.get(&resource).cloned().unwrap_or_default();
                    standing.check_owner(scope, &resource, kind, &on_record)?;
                    observed.push(Observed {
                        resource,
                        kind,
                        external_id: standing.id.clone(),
                        properties: template(&calls, standing)
                            .await?
                            .and_then(|template| template.fields())
                            .unwrap_or_default(),
                    });
                }
            }
            next = more;
            if next.is_none() {
                return Ok(observed);
            }
        }
    }

    async fn plan(&self, question: &Question) -> Result<Answer, Failure> {
        let mut round = self.round(question).await?;
        let planned = round.plan().await;
        if let (Ok(_), Some(wait)) = (&planned, round.wait) {
            let now = self.clock.now();
            return Ok(Answer::Pending {
                token: round.traces.token()?,
                poll_at: now.checked_add(wait).unwrap_or(now),
            });
        }
        let cleared = round.clear().await;
        let plan = planned?;
        cleared?;
        Ok(Answer::Ready(plan))
    }

    async fn discard(&self, scope: &Scope, token: &Token) -> Result<(), Failure> {
        let traces = Traces::of(token)?;
        if traces.change_sets.is_empty() {
            return Ok(());
        }
        let calls = Calls::at(&self.access, &Place::of(scope, Role::Planning)?).await?;
        change_set::remove_all(&calls, &traces.change_sets).await
    }
}

impl Round<'_> {
    /// The plan; worth something only if nothing is waited for.
    async fn plan(&mut self) -> Result<Plan, Failure> {
        let question = self.question;
        let mut changes: BTreeMap<ResourceName, PlannedChange> = BTreeMap::new();
        let mut new = Vec::new();
        for resource in &question.desired {
            let module = question.modules.get(&resource.name).ok_or_else(|| {
                internal(format!(
                    "there is no module for {}, which AWS needs",
                    resource.name
                ))
            })?;
            match self.standing(&resource.name, resource.kind).await? {
                None => new.push((resource, module)),
                Some(standing) => {
                    let change = self.existing(resource, module, &standing).await?;
                    changes.extend(change.map(|change| (resource.name.clone(), change)));
                }
            }
        }
        self.preflight(&new).await?;
        for (resource, module) in new {
            let change = self.new_stack(resource, module).await?;
            changes.insert(resource.name.clone(), change);
        }
        for (name, kind) in &question.known {
            if !question.desired.iter().any(|resource| resource.name == *name) {
                let change = self.gone(name, *kind).await?;
                changes.extend(change.map(|change| (name.clone(), change)));
            }
        }
        Ok(Plan {
            changes: changes.into_values().collect(),
        })
    }

    /// The stack of a desired resource, if there is one to start from; waits for one that something is done to.
    async fn standing(
        &mut self,
        name: &ResourceName,
        kind: ResourceKind,
    ) -> Result<Option<Standing>, Failure> {
        let scope = &self.question.scope;
        let Some(standing) = self.calls.stack(&stack_name(scope, name, kind)).await? else {
            return Ok(None);
        };
        standing.check_owner(scope, name, kind, &self.question.provenance_of(name))?;
        let stuck = |what: &str| {
            let reason = format!(
                "stack {} is {}: {what} AWS says: {}",
                standing.name, standing.status, standing.reason
            );
            Failure::new(FailureClass::Refused, reason)
        };
        match standing.meaning()? {
            Meaning::Empty | Meaning::Remains | Meaning::Gone => Ok(None),
            Meaning::Standing | Meaning::RolledBack | Meaning::Busy | Meaning::Going => Ok(Some(standing)),
            Meaning::Stuck => Err(stuck(
                "a change failed, and could not be taken back. The platform team has to continue its roll-back; then \
                 plan again.",
            )),
            Meaning::Undeletable => Err(stuck(
                "it was to be deleted, and could not be. The platform team has to delete what is left of it; then plan \
                 again.",
            )),
        }
    }

    async fn new_stack(&mut self, resource: &Resource, module: &Module) -> Result<PlannedChange, Failure> {
        let resolved = self.resolve_new(resource, module).await?;
        let given = looked_up::given(module, &resolved, None);
        let made = Made {
            action: Action::Create,
            before: None,
            parts: Template::read(&module.template)?.creates(&given),
            resolved,
            kept: BTreeSet::new(),
        };
        self.change(resource, module, made)
    }

    /// A resource whose stack stands; nothing if AWS is still busy with it.
    async fn existing(
        &mut self,
        resource: &Resource,
        module: &Module,
        standing: &Standing,
    ) -> Result<Option<PlannedChange>, Failure> {
        if matches!(standing.meaning()?, Meaning::Busy | Meaning::Going) {
            self.wait_for(STACK_TAKES);
            return Ok(None);
        }
        let before = template(&self.calls, standing).await?;
        let fields = before.as_ref().and_then(Template::fields);
        let resolved = self
            .resolve_existing(resource, module, standing, fields.as_ref())
            .await?;
        let parts = match self.change_set(module, standing, &resolved).await? {
            Outcome::Parts(parts) => parts,
            Outcome::Waiting => {
                self.wait_for(CHANGE_SET_TAKES);
                return Ok(None);
            }
        };
        let is_known = self.question.known.iter().any(|(name, _)| *name == resource.name);
        if parts.is_empty() && !is_known && resource.kind != ResourceKind::Network {
            // Made, and nobody recorded it: it is still to be made, as it was signed, and the provider finds it there.
            return Ok(Some(self.new_stack(resource, module).await?));
        }
        let is_kept = |(name, value): &(&String, &String)| standing.parameters.get(*name) == Some(*value);
        let made = Made {
            action: action(&parts),
            before,
            kept: resolved
                .iter()
                .filter(is_kept)
                .map(|(name, _)| name.clone())
                .collect(),
            resolved,
            parts,
        };
        Ok(Some(self.change(resource, module, made)?))
    }

    fn change(&self, resource: &Resource, module: &Module, made: Made) -> Result<PlannedChange, Failure> {
        let properties = match (made.action, &made.before) {
            (Action::NoOp, _) => Vec::new(),
            (_, None) => PropertyChange::between(None, &resource.properties),
            (_, Some(before)) => changed(before, &Template::read(&module.template)?, resource),
        };
        let planned = PlannedModule {
            name: module.name.clone(),
            version: module.version.clone(),
            digest: Some(module.digest()),
            resolved: made.resolved,
            kept: made.kept,
            parts: made.parts,
        };
        Ok(self.entry(
            &resource.name,
            resource.kind,
            made.action,
            properties,
            Some(planned),
        ))
    }

    fn entry(
        &self,
        name: &ResourceName,
        kind: ResourceKind,
        action: Action,
        properties: Vec<PropertyChange>,
        module: Option<PlannedModule>,
    ) -> PlannedChange {
        PlannedChange {
            request: self.question.scope.request.clone(),
            environment: self.question.scope.environment_name.clone(),
            resource: name.clone(),
            kind,
            action,
            properties,
            module,
        }
    }

    /// A resource that is not asked for any more; nothing if AWS is still busy with it.
    async fn gone(
        &mut self,
        name: &ResourceName,
        kind: ResourceKind,
    ) -> Result<Option<PlannedChange>, Failure> {
        if kind == ResourceKind::Network {
            // Others live in it, or may any day.
            return Ok(Some(self.entry(name, kind, Action::Retain, Vec::new(), None)));
        }
        let scope = &self.question.scope;
        let nothing = self.entry(name, kind, Action::NoOp, Vec::new(), None);
        let provenance = self.question.provenance_of(name);
        // The very one that was recorded, whatever bears its name by now.
        let recorded = provenance.recorded.first().cloned();
        let stack = recorded.unwrap_or_else(|| stack_name(scope, name, kind));
        let Some(standing) = self.calls.stack(&stack).await? else {
            return Ok(Some(nothing));
        };
        standing.check_owner(scope, name, kind, &provenance)?;
        match standing.meaning()? {
            Meaning::Gone => return Ok(Some(nothing)),
            Meaning::Busy | Meaning::Going => {
                self.wait_for(STACK_TAKES);
                return Ok(None);
            }
            Meaning::Empty
            | Meaning::Standing
            | Meaning::RolledBack
            | Meaning::Remains
            | Meaning::Stuck
            | Meaning::Undeletable => {}
        }
        let parts = self.parts_of_deletion(&standing).await?;
        let tag = standing
            .tags
            .get(stack::MODULE)
            .map(String::as_str)
            .unwrap_or_default();
        let (module, version) = tag.split_once('/').unwrap_or((tag, ""));
        let planned = PlannedModule {
            name: module.to_owned(),
            version: version.to_owned(),
            digest: None,
            resolved: BTreeMap::new(),
            kept: BTreeSet::new(),
            parts,
        };
        Ok(Some(self.entry(
            name,
            kind,
            Action::Delete,
            Vec::new(),
            Some(planned),
        )))
    }

    async fn parts_of_deletion(&self, standing: &Standing) -> Result<Vec<Part>, Failure> {
        if standing.meaning()? == Meaning::Empty {
            return Ok(Vec::new());
        }
        let template = Template::read(&self.calls.template(&standing.id).await?)?;
        let resources = self.calls.resources(&standing.id).await?;
        let mut parts: Vec<Part> = resources
            .into_iter()
            .map(|resource| Part {
                action: if template.retains(&resource.name) {
                    Action::Retain
                } else {
                    Action::Delete
                },
                name: resource.name,
                kind: resource.kind,
                properties: Vec::new(),
            })
            .collect();
        parts.sort();
        Ok(parts)
    }

    fn wait_for(&mut self, time: Duration) {
        self.wait = Some(self.wait.map_or(time, |wait| wait.min(time)));
    }
}

/// What the parts come to: something that is lost is a replacement of the whole.
fn action(parts: &[Part]) -> Action {
    let loses =
        |part: &Part| matches!(part.action, Action::Replace | Action::Delete) && is_losing(&part.kind);
    if parts.iter().any(loses) {
        Action::Replace
    } else if parts.iter().all(|part| part.action.is_idle()) {
        Action::NoOp
    } else {
        Action::Update
    }
}

/// The template by which a stack was made.
async fn template(calls: &Calls<'_>, standing: &Standing) -> Result<Option<Template>, Failure> {
    if standing.meaning()? == Meaning::Empty {
        return Ok(None);
    }
    let template = calls.template(&standing.id).await?;
    // Somebody may have changed it by hand into something that we do not read: then nothing is known of before.
    Ok(Template::read(&template).ok())
}

/// What changes of the request's fields for a resource, and of its deletion policy, which is one of the whole request.
fn changed(before: &Template, after: &Template, resource: &Resource) -> Vec<PropertyChange> {
    let with_policy = |fields: BTreeMap<String, Value>, template: &Template| {
        let policy = template.deletion_policy();
        let policy = policy.map(|policy| (DELETION_POLICY.to_owned(), policy.into()));
        fields.into_iter().chain(policy).collect::<BTreeMap<_, _>>()
    };
    let fields = before.fields().map(|fields| with_policy(fields, before));
    PropertyChange::between(fields.as_ref(), &with_policy(resource.properties.clone(), after))
}

/// The resource that a stack is of, if it is of that request.
fn of_request(standing: &Standing, scope: &Scope) -> Option<(ResourceName, ResourceKind)> {
    let tag = |name| standing.tags.get(name).map(String::as_str);
    let is_of_it = tag(stack::REPOSITORY) == Some(scope.repository.as_str())
        && tag(stack::REQUEST) == Some(scope.request.to_string().as_str());
    let name: ResourceName = tag(stack::RESOURCE)?.parse().ok()?;
    let kind = match tag(stack::MODULE)?.split_once('/')?.0 {
        "virtual-machine" => ResourceKind::VirtualMachine,
        "database" => ResourceKind::Database,
        "storage" => ResourceKind::Storage,
        "cluster" => ResourceKind::Cluster,
        _ => return None,
    };
    is_of_it.then_some((name, kind))
}

fn internal(reason: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Internal, reason)
}

/// The kinds of some resources.
fn kinds(resources: &[(&Resource, &Module)]) -> BTreeSet<ResourceKind> {
    resources.iter().map(|(resource, _)| resource.kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &str, action: Action) -> Part {
        Part {
            name: "Thing".into(),
            kind: kind.into(),
            action,
            properties: vec![],
        }
    }

    #[test]
    fn what_is_lost_makes_it_a_replacement() {
        use Action::{Create, Delete, NoOp, Replace, Retain, Update};
        let (database, group) = ("AWS::RDS::DBInstance", "AWS::RDS::DBParameterGroup");
        for (parts, expected) in [
            (vec![], NoOp),
            (vec![part(database, Retain)], NoOp),
            (vec![part(database, Update)], Update),
            (vec![part(group, Create)], Update),
            (vec![part(group, Replace), part(database, Update)], Update),
            (vec![part(group, Delete)], Update),
            (vec![part(group, Update), part(database, Replace)], Replace),
            (vec![part(database, Delete)], Replace),
        ] {
            assert_eq!(action(&parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn a_token_says_what_there_is_to_remove() {
        let mut traces = Traces::default();
        traces
            .change_sets
            .insert("arn:stack".into(), "landfall-plan-1".into());
        let token = traces.token().unwrap();
        assert_eq!(Traces::of(&token).unwrap(), traces);
        let other = Traces::of(&Token("landfall-plan-1".into()));
        assert_eq!(other.unwrap_err().class, FailureClass::Internal);
    }
}
