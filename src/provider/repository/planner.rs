//! The looking half: what stands on the forge, and what would have to be done about it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::{
    DEFAULT_BRANCH, Level, Membership, Repository, RepositoryView, Rights, Views, Wanted, accounts, find,
    find_or_free, forge_of, others, own_name, rights, rights_of_other,
};
use crate::domain::ids::{ResourceName, UserId};
use crate::domain::plan::{
    Action, Plan, PlannedChange, PlannedValue, PropertyChange, Resource, ResourceKind,
};
use crate::domain::provenance::Provenance;
use crate::domain::step::Failure;
use crate::provider::{Answer, Observed, Planner, Question, Scope, Token};

/// Looks at a forge and plans. It is given what looks only.
#[derive(Clone)]
pub struct RepositoryPlanner {
    forges: Views,
}

impl RepositoryPlanner {
    /// One that looks at these forges.
    #[must_use]
    pub fn new(forges: Views) -> Self {
        Self { forges }
    }

    /// One that stands and is not recorded was begun and not finished: it is still to be made, as it was signed.
    async fn change(
        &self,
        forge: &dyn RepositoryView,
        scope: &Scope,
        resource: &Resource,
        provenance: &Provenance,
    ) -> Result<PlannedChange, Failure> {
        let wanted = Wanted::of(scope, resource)?;
        let found = find_or_free(forge, provenance, &wanted).await?;
        let accounts = accounts(forge, &wanted).await?;
        let found = found.filter(|found| provenance.is_recorded(&found.id.to_string()));
        let members = match &found {
            Some(repository) => forge.members(repository.id).await?,
            None => Vec::new(),
        };
        let properties = differences(found.as_ref(), &members, &wanted, &accounts);
        let action = match found {
            None => Action::Create,
            Some(_) if properties.is_empty() => Action::NoOp,
            Some(_) => Action::Update,
        };
        Ok(planned(scope, &resource.name, action, properties))
    }
}

fn planned(
    scope: &Scope,
    resource: &ResourceName,
    action: Action,
    properties: Vec<PropertyChange>,
) -> PlannedChange {
    PlannedChange {
        request: scope.request.clone(),
        environment: scope.environment_name.clone(),
        resource: resource.clone(),
        kind: ResourceKind::Repository,
        action,
        properties,
        module: None,
    }
}

/// What is signed: where it will be, who sees it, and who is let in. People stand there with their numbers, so that a
/// name which somebody else takes over after the sign-off is another plan.
fn differences(
    found: Option<&Repository>,
    members: &[Membership],
    wanted: &Wanted,
    accounts: &BTreeMap<String, UserId>,
) -> Vec<PropertyChange> {
    let known = |text: String| Some(PlannedValue::Known(Value::String(text)));
    let mut changes = Vec::new();
    let mut add = |path: String, before: Option<String>, after: Option<String>| {
        changes.push(PropertyChange {
            path,
            before: before.and_then(known),
            after: after.and_then(known),
        });
    };
    let person = |level: Level, user: UserId| format!("{} (user {user})", level.as_str());
    if found.is_none() {
        add(
            "path".into(),
            None,
            Some(format!("{}/{}", wanted.group, wanted.name)),
        );
        add("protectedBranch".into(), None, Some(DEFAULT_BRANCH.into()));
    }
    let visibility = found.map(|repository| repository.visibility.clone());
    if visibility.as_deref() != Some("Private") {
        add("visibility".into(), visibility, Some("Private".into()));
    }
    for (username, level) in &wanted.collaborators {
        let Some(id) = accounts.get(username) else {
            continue;
        };
        let membership = members.iter().find(|member| member.user == *id);
        if rights(membership, *level) != Rights::Fine {
            let before = membership.map(|member| person(member.level, *id));
            add(
                format!("collaborators.{username}"),
                before,
                Some(person(*level, *id)),
            );
        }
    }
    for other in others(members, accounts).filter(|other| rights_of_other(other) == Rights::Remove) {
        let before = person(other.level, other.user);
        add(format!("collaborators.{}", other.username), Some(before), None);
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

#[async_trait]
impl Planner for RepositoryPlanner {
    async fn observe(
        &self,
        scope: &Scope,
        provenance: &BTreeMap<ResourceName, Provenance>,
    ) -> Result<Vec<Observed>, Failure> {
        let forge = forge_of(&self.forges, scope)?;
        let mut seen = Vec::new();
        for (resource, provenance) in provenance {
            if let Some(repository) = find(forge, provenance).await? {
                let visibility = Value::String(repository.visibility);
                seen.push(Observed {
                    resource: resource.clone(),
                    kind: ResourceKind::Repository,
                    external_id: repository.id.to_string(),
                    properties: [("visibility".to_owned(), visibility)].into(),
                });
            }
        }
        Ok(seen)
    }

    async fn plan(&self, question: &Question) -> Result<Answer, Failure> {
        let scope = &question.scope;
        let forge = forge_of(&self.forges, scope)?;
        let mut changes = Vec::new();
        for resource in &question.desired {
            let provenance = question.provenance_of(&resource.name);
            changes.push(self.change(forge, scope, resource, &provenance).await?);
        }
        for (name, _) in &question.known {
            if question.desired.iter().any(|resource| resource.name == *name) {
                continue;
            }
            // What is gone already needs nothing.
            let found = find(forge, &question.provenance_of(name)).await?;
            let action = if found.is_some() {
                Action::Delete
            } else {
                Action::NoOp
            };
            let path = found.map(|repository| PropertyChange {
                path: "path".into(),
                before: Some(PlannedValue::Known(Value::String(repository.path))),
                after: None,
            });
            changes.push(planned(scope, name, action, path.into_iter().collect()));
        }
        changes.sort_by(|a, b| own_name(&a.resource).cmp(own_name(&b.resource)));
        Ok(Answer::Ready(Plan { changes }))
    }

    /// No plan is ever pending.
    async fn discard(&self, _: &Scope, _: &Token) -> Result<(), Failure> {
        Ok(())
    }
}
