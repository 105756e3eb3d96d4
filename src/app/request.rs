//! `request/<repository>/<kind>/<name>`: what is accepted is planned anew, and what the signed plan allows becomes a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;

use crate::clock::{Clock, Ids};
use crate::domain::change::Goal;
use crate::domain::ids::{RequestKey, ResourceName};
use crate::domain::key::Outcome;
use crate::domain::landing::{HeldBecause, Mode};
use crate::domain::plan::{Action, Plan};
use crate::domain::run::{Run, RunState, steps_of};
use crate::store::{AcceptedFiles, Lease, Store};

use super::{AppError, Planners, Repository, plans};

/// How often it is looked whether a paused environment goes on.
const PAUSED_LOOK: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct RunMaker {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    planners: Planners,
}

impl RunMaker {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, planners: Planners) -> Self {
        Self {
            store,
            clock,
            ids,
            planners,
        }
    }

    pub(super) async fn reconcile(
        &self,
        lease: &Lease,
        repository: &Repository,
        key: &RequestKey,
    ) -> Result<Outcome, AppError> {
        let Some(desired) = self.store.desired(&repository.id, key).await? else {
            return Ok(Outcome::Done);
        };
        if let (Some(by), 0, None) = (&desired.cancelled, desired.runs, &desired.held) {
            let because = HeldBecause::Cancelled { by: by.clone() };
            let (generation, now) = (desired.generation, self.clock.now());
            self.store
                .hold_request(lease, &repository.id, key, generation, because, now)
                .await?;
            return Ok(Outcome::Done);
        }
        if !desired.wants_run() {
            return Ok(Outcome::Done);
        }
        let Some(sign_off) = &desired.sign_off else {
            // Adopted by hand: accepted, and not to be run.
            return Ok(Outcome::Done);
        };
        let request = &desired.goal.request;
        let accepted = self.store.accepted(&repository.id).await?;
        if let Some(because) = held(repository, &accepted, key) {
            let now = self.clock.now();
            self.store
                .hold_request(lease, &repository.id, key, desired.generation, because, now)
                .await?;
            return Ok(Outcome::Done);
        }
        let Some((_, rules)) = &accepted.rules else {
            return Err(AppError::Inconsistent(format!(
                "{key} is accepted, but no landfall.yaml is"
            )));
        };
        let place = rules
            .environments
            .get(&request.environment)
            .cloned()
            .ok_or_else(|| {
                AppError::Inconsistent(format!(
                    "{key}: environment {} is not defined",
                    request.environment
                ))
            })?;
        if place.paused {
            let again = self
                .clock
                .now()
                .checked_add(PAUSED_LOOK)
                .unwrap_or(jiff::Timestamp::MAX);
            return Ok(Outcome::Again(again));
        }
        let goals = std::slice::from_ref(&desired.goal);
        let planned = plans::plan(
            &self.store,
            &self.planners,
            &repository.id,
            rules,
            goals,
            &desired.pending,
        )
        .await;
        let plan = match planned {
            Ok(plans::Planned::Ready(plan)) => plan,
            Err(AppError::Provider { failure, .. }) if failure.class.is_answer() => {
                let because = HeldBecause::PlanRefused {
                    reason: failure.reason,
                };
                let (generation, now) = (desired.generation, self.clock.now());
                self.store
                    .hold_request(lease, &repository.id, key, generation, because, now)
                    .await?;
                return Ok(Outcome::Done);
            }
            Err(error) => return Err(error),
            Ok(plans::Planned::Pending { tokens, poll_at }) => {
                self.store
                    .plan_pending(lease, &repository.id, key, desired.generation, tokens)
                    .await?;
                return Ok(Outcome::Again(poll_at));
            }
        };
        let now = self.clock.now();
        let exceeding: Vec<String> = plan
            .exceeding(&desired.signed_plan)
            .map(|change| words(change.action, change.resource.as_str()))
            .collect();
        if !exceeding.is_empty() {
            let because = HeldBecause::PlanExceeds { what: exceeding };
            self.store
                .hold_request(lease, &repository.id, key, desired.generation, because, now)
                .await?;
            return Ok(Outcome::Done);
        }
        let resources: BTreeMap<_, _> = plans::desired(&desired.goal, rules)
            .into_iter()
            .map(|resource| (resource.name.clone(), resource))
            .collect();
        let run = Run {
            id: self.ids.run(),
            repository: repository.id.clone(),
            request: key.clone(),
            generation: desired.generation,
            origin: desired.origin.clone(),
            sign_off: sign_off.clone(),
            team: request.team.clone(),
            environment: request.environment.clone(),
            place,
            state: RunState::Queued,
            created_at: now,
            finished_at: None,
            steps: steps_of(&plan, &resources, &BTreeMap::new()),
            retained: idle(&plan, Action::Retain, &desired.goal),
            gone: idle(&plan, Action::NoOp, &desired.goal),
        };
        self.store.make_run(lease, &run, now).await?;
        Ok(Outcome::Done)
    }
}

/// Why a request's run is not made whatever its plan is.
fn held(repository: &Repository, accepted: &AcceptedFiles, key: &RequestKey) -> Option<HeldBecause> {
    let paths: Vec<String> = accepted.paths_of(key).map(ToOwned::to_owned).collect();
    if paths.len() > 1 {
        return Some(HeldBecause::Clashes { paths });
    }
    (repository.mode == Mode::Observe).then_some(HeldBecause::Observed)
}

/// What is not asked for any more and is not touched: it is kept, or it was gone already.
fn idle(plan: &Plan, action: Action, goal: &Goal) -> Vec<ResourceName> {
    let is_wanted = |name: &ResourceName| goal.resources().iter().any(|resource| resource.name == *name);
    plan.changes
        .iter()
        .filter(|change| change.action == action && !is_wanted(&change.resource))
        .map(|change| change.resource.clone())
        .collect()
}

/// A planned action in words, such as "delete database/orders".
pub(super) fn words(action: Action, resource: &str) -> String {
    let verb = match action {
        Action::Create => "create",
        Action::Recreate => "make again what is missing:",
        Action::Update => "update",
        Action::Replace => "REPLACE",
        Action::Delete => "DELETE",
        Action::Retain => "keep",
        Action::NoOp => "leave",
    };
    format!("{verb} {resource}")
}
