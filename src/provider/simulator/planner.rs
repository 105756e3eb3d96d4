//! The looking half: what stands, and what would have to be done about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::Row;

use super::cloud::{self, Aftermath, Cloud, Error, scope_text};
use super::operation::refuse_foreign;
use super::{Call, Owner, SimulatedResource};
use crate::domain::ids::{Digest, ResourceName};
use crate::domain::plan::{Action, Plan, PlannedChange, PropertyChange, Resource, ResourceKind};
use crate::domain::provenance::Provenance;
use crate::domain::step::Failure;
use crate::provider::{Answer, Observed, Planner, Question, Scope, Token};

/// How long the cloud takes over a plan that is not ready at once.
const PLAN_TAKES: Duration = Duration::from_millis(500);

/// Properties that cannot be changed in place: the clouds' own rules, as far as the simulator keeps them. A dotted
/// path below one of them counts, too.
const REPLACING: [(ResourceKind, &str); 7] = [
    (ResourceKind::VirtualMachine, "image"),
    (ResourceKind::VirtualMachine, "access"),
    (ResourceKind::VirtualMachine, "sshPublicKey"),
    (ResourceKind::Database, "engine"),
    (ResourceKind::Database, "databaseName"),
    (ResourceKind::Database, "adminUsername"),
    (ResourceKind::Cluster, "serviceCidr"),
];

/// Looks at the simulated cloud and plans. Its connections cannot change what stands there.
#[derive(Clone)]
pub struct SimulatorPlanner {
    pub(super) cloud: Arc<Cloud>,
}

impl SimulatorPlanner {
    pub(super) fn new(cloud: Arc<Cloud>) -> Self {
        Self { cloud }
    }

    async fn trouble(
        &self,
        call: Call,
        scope: &Scope,
        subjects: &[(&ResourceName, ResourceKind)],
    ) -> Result<Aftermath, Failure> {
        self.cloud
            .trouble(|trouble| trouble.hits(call, &scope.request, subjects))
            .await
    }

    /// When a pending plan will be ready; nothing if there is none under that token.
    async fn ready_at(&self, scope: &Scope, token: &Token) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query("SELECT ready_at FROM change_sets WHERE token = ? AND scope = ?")
            .bind(&token.0)
            .bind(scope_text(&Owner::from(scope)))
            .fetch_optional(&mut *self.cloud.look().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Timestamp::from_millisecond(row.try_get("ready_at")?)
            .map(Some)
            .map_err(|error| Error::Content(error.to_string()))
    }

    async fn make_pending(&self, scope: &Scope, asked: Option<&Token>) -> Result<Answer, Error> {
        let now = self.cloud.clock.now();
        let scope = scope_text(&Owner::from(scope));
        let fresh = || {
            let digest = Digest::of(format!("{scope} {now}").as_bytes());
            Token(format!("landfall-plan-{}", digest.short()))
        };
        let token = asked.cloned().unwrap_or_else(fresh);
        // Rounded up to a millisecond, which is what is stored: asked then, it must be ready.
        let ready_at = now.as_millisecond() + PLAN_TAKES.as_millis() as i64 + 1;
        let mut transaction = self.cloud.begin().await?;
        sqlx::query("INSERT OR REPLACE INTO change_sets (token, scope, ready_at) VALUES (?, ?, ?)")
            .bind(&token.0)
            .bind(scope)
            .bind(ready_at)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let poll_at = Timestamp::from_millisecond(ready_at).map_err(|e| Error::Content(e.to_string()))?;
        Ok(Answer::Pending { token, poll_at })
    }

    async fn forget(&self, scope: &Scope, token: &Token) -> Result<(), Error> {
        let mut transaction = self.cloud.begin().await?;
        sqlx::query("DELETE FROM change_sets WHERE token = ? AND scope = ?")
            .bind(&token.0)
            .bind(scope_text(&Owner::from(scope)))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// What stands under the request's names, if all of it is the request's.
    async fn standing(&self, owner: &Owner) -> Result<Vec<SimulatedResource>, Failure> {
        let standing = cloud::standing(&mut *self.cloud.look().await?, owner).await?;
        standing
            .iter()
            .try_for_each(|found| refuse_foreign(owner, found))?;
        Ok(standing)
    }
}

#[async_trait]
impl Planner for SimulatorPlanner {
    async fn observe(
        &self,
        scope: &Scope,
        _: &BTreeMap<ResourceName, Provenance>,
    ) -> Result<Vec<Observed>, Failure> {
        let trouble = self.trouble(Call::Observe, scope, &[]).await?;
        let standing = self.standing(&Owner::from(scope)).await?;
        trouble.answer(standing.into_iter().map(observed).collect())
    }

    async fn plan(&self, question: &Question) -> Result<Answer, Failure> {
        let scope = &question.scope;
        if let Some(token) = &question.pending
            && let Some(ready_at) = self.ready_at(scope, token).await?
            && self.cloud.clock.now() < ready_at
        {
            return Ok(Answer::Pending {
                token: token.clone(),
                poll_at: ready_at,
            });
        }
        let desired = question
            .desired
            .iter()
            .map(|resource| (&resource.name, resource.kind));
        let subjects: Vec<_> = desired
            .chain(question.known.iter().map(|(name, kind)| (name, *kind)))
            .collect();
        let trouble = self.trouble(Call::Plan, scope, &subjects).await?;
        if trouble.plan_pending {
            return Ok(self.make_pending(scope, question.pending.as_ref()).await?);
        }
        let standing = self.standing(&Owner::from(scope)).await?;
        let plan = compare(question, &standing);
        if let Some(token) = &question.pending {
            self.forget(scope, token).await?;
        }
        trouble.answer(Answer::Ready(plan))
    }

    async fn discard(&self, scope: &Scope, token: &Token) -> Result<(), Failure> {
        let trouble = self.trouble(Call::Discard, scope, &[]).await?;
        self.forget(scope, token).await?;
        trouble.answer(())
    }
}

fn observed(found: SimulatedResource) -> Observed {
    Observed {
        resource: found.resource,
        kind: found.kind,
        external_id: found.external_id,
        properties: found.properties,
    }
}

/// The difference, in order of name. What stands with our tags and is not desired goes, whether Landfall remembers
/// it or not; what it remembers and is gone needs nothing.
pub(super) fn compare(question: &Question, standing: &[SimulatedResource]) -> Plan {
    let standing: BTreeMap<_, _> = standing.iter().map(|found| (&found.resource, found)).collect();
    let mut changes: BTreeMap<ResourceName, PlannedChange> = BTreeMap::new();
    let mut add = |resource: &ResourceName, kind, action, properties| {
        let change = PlannedChange {
            request: question.scope.request.clone(),
            environment: question.scope.environment_name.clone(),
            resource: resource.clone(),
            kind,
            action,
            properties,
            module: None,
        };
        changes.entry(resource.clone()).or_insert(change);
    };
    for desired in &question.desired {
        let found = standing.get(&desired.name).copied();
        let properties = PropertyChange::between(found.map(|found| &found.properties), &desired.properties);
        add(
            &desired.name,
            desired.kind,
            action(desired, found, &properties),
            properties,
        );
    }
    for found in standing.values() {
        add(&found.resource, found.kind, Action::Delete, Vec::new());
    }
    for (name, kind) in &question.known {
        add(name, *kind, Action::NoOp, Vec::new());
    }
    Plan {
        changes: changes.into_values().collect(),
    }
}

fn action(desired: &Resource, found: Option<&SimulatedResource>, properties: &[PropertyChange]) -> Action {
    let replaces = |property: &PropertyChange| {
        REPLACING.iter().any(|(kind, path)| {
            let below = property.path.strip_prefix(path);
            *kind == desired.kind && below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
        })
    };
    match found {
        None => Action::Create,
        Some(found) if found.kind != desired.kind => Action::Replace,
        Some(_) if properties.is_empty() => Action::NoOp,
        Some(_) if properties.iter().any(replaces) => Action::Replace,
        Some(_) => Action::Update,
    }
}
