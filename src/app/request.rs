//! `request/<repository>/<kind>/<name>`: what is accepted is planned anew, and what the signed plan allows becomes a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, Ids};
use crate::domain::ids::{RequestKey, ResourceName};
use crate::domain::key::Outcome;
use crate::domain::landing::{HeldBecause, Mode};
use crate::domain::module::Part;
use crate::domain::plan::{Action, Plan, PlannedChange, Resource};
use crate::domain::request::Request;
use crate::domain::rules::limits::check_limits;
use crate::domain::rules::{Environment, Rules};
use crate::domain::run::{Run, RunState, steps_of};
use crate::domain::usage::kept;
use crate::store::{AcceptedFiles, Desired, Lease, Store};

use super::plans::{Anew, Plans};
use super::{AppError, Repository};

/// How often it is looked whether a paused environment goes on.
const PAUSED_LOOK: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct RunMaker {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    plans: Plans,
}

impl RunMaker {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, plans: Plans) -> Self {
        Self {
            store,
            clock,
            ids,
            plans,
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
            return self.hold(lease, repository, &desired, because).await;
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
            return self.hold(lease, repository, &desired, because).await;
        }
        let rules = accepted
            .current_rules()
            .ok_or_else(|| AppError::Inconsistent(format!("{key} is accepted, but no landfall.yaml is")))?;
        let place = match signed_place(&desired, rules) {
            Ok(place) => place,
            Err(because) => return self.hold(lease, repository, &desired, because).await,
        };
        if let Some(because) = over_limit(&desired, rules, &accepted) {
            return self.hold(lease, repository, &desired, because).await;
        }
        let now = self.clock.now();
        if place.paused {
            return Ok(Outcome::Again(
                now.checked_add(PAUSED_LOOK).unwrap_or(Timestamp::MAX),
            ));
        }
        let (plan, wanted) = match self.plans.anew(lease, &repository.id, rules, &desired).await? {
            Anew::Plan(plan, wanted) => (plan, wanted),
            Anew::Wait(until) => return Ok(Outcome::Again(until)),
            Anew::Refused(failure) => {
                let reason = failure.reason;
                let because = HeldBecause::PlanRefused { reason };
                return self.hold(lease, repository, &desired, because).await;
            }
        };
        let what: Vec<String> = plan
            .exceeding(&desired.signed_plan)
            .map(|change| words(change, &desired.signed_plan))
            .collect();
        if !what.is_empty() {
            let because = HeldBecause::PlanExceeds { what };
            return self.hold(lease, repository, &desired, because).await;
        }
        let by_name = |resource: Resource| (resource.name.clone(), resource);
        let resources: BTreeMap<_, _> = wanted.resources.into_iter().map(by_name).collect();
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
            steps: steps_of(&plan, &resources, &wanted.modules),
            retained: idle(&plan, Action::Retain, &resources),
            gone: idle(&plan, Action::NoOp, &resources),
        };
        self.store.make_run(lease, &run, now).await?;
        Ok(Outcome::Done)
    }

    /// No run is made of it until a person acts.
    async fn hold(
        &self,
        lease: &Lease,
        repository: &Repository,
        desired: &Desired,
        because: HeldBecause,
    ) -> Result<Outcome, AppError> {
        let (key, generation) = (&desired.goal.request.key, desired.generation);
        self.store
            .hold_request(lease, &repository.id, key, generation, because, self.clock.now())
            .await?;
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

/// Where a request goes, if that is still the place that it was signed off for.
fn signed_place(desired: &Desired, rules: &Rules) -> Result<Environment, HeldBecause> {
    let name = &desired.goal.request.environment;
    let is_signed = |place: &&Environment| {
        let signed = desired.place.as_ref();
        signed.is_none_or(|signed| *signed == place.place())
    };
    let place = rules.environments.get(name).filter(is_signed);
    place.cloned().ok_or_else(|| HeldBecause::PlaceChanged {
        environment: name.clone(),
    })
}

/// Whether there is no room any more for what a request adds to what was made of it.
fn over_limit(desired: &Desired, rules: &Rules, accepted: &AcceptedFiles) -> Option<HeldBecause> {
    let request = &desired.goal.request;
    if desired.goal.deleted {
        return None;
    }
    let all: Vec<(String, Request)> = accepted
        .files
        .iter()
        .filter_map(|(path, file)| Some((path.clone(), file.request.clone()?)))
        .collect();
    let asked: Vec<&Request> = all.iter().map(|(_, one)| one).collect();
    let others: Vec<&Request> = asked
        .iter()
        .copied()
        .filter(|one| one.key != request.key)
        .collect();
    let there = kept(&accepted.existing, &others, &[]);
    let before: Vec<&Request> = others.into_iter().chain(&there).collect();
    let what: BTreeSet<String> = check_limits(rules, &before, &all, &kept(&accepted.existing, &asked, &[]))
        .into_iter()
        .filter(|finding| {
            accepted
                .paths_of(&request.key)
                .any(|path| path == finding.place.path)
        })
        .map(|finding| finding.message.trim_end_matches('.').to_owned())
        .collect();
    (!what.is_empty()).then(|| HeldBecause::OverLimit {
        what: what.into_iter().collect(),
    })
}

/// What is not asked for any more and is not touched: it is kept, or it was gone already.
fn idle(plan: &Plan, action: Action, wanted: &BTreeMap<ResourceName, Resource>) -> Vec<ResourceName> {
    plan.changes
        .iter()
        .filter(|change| change.action == action && !wanted.contains_key(&change.resource))
        .map(|change| change.resource.clone())
        .collect()
}

/// What a change does that nobody signed, in words, such as "delete database/orders". Where the same was signed of the
/// resource, it is the parts in the cloud that were not.
pub(super) fn words(change: &PlannedChange, signed: &Plan) -> String {
    let verb = match change.action {
        Action::Create => "create",
        Action::Recreate => "create again the missing",
        Action::Update => "update",
        Action::Replace => "REPLACE",
        Action::Delete => "DELETE",
        Action::Retain => "keep",
        Action::NoOp => "leave",
    };
    let was_signed = signed.changes.iter().find(|one| {
        (&one.request, &one.resource, one.action) == (&change.request, &change.resource, change.action)
    });
    let modules = was_signed.and_then(|one| Some((change.module.as_ref()?, one.module.as_ref()?)));
    let parts: Vec<String> = modules
        .into_iter()
        .flat_map(|(now, then)| now.exceeding(&then.parts))
        .map(Part::to_string)
        .collect();
    let parts = match parts.is_empty() {
        true => String::new(),
        false => format!(" (not signed: {})", parts.join(", ")),
    };
    format!("{verb} {}{parts}", change.resource)
}
