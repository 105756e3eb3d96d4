//! `run/<id>`: the steps of a run are begun, each after what it needs.

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::ids::{ResourceName, RunId, StepKey};
use crate::domain::key::Outcome;
use crate::domain::plan::{Action, Maker, ResourceKind};
use crate::domain::rules::Environment;
use crate::domain::run::{Run, Step, advance, back_off};
use crate::domain::step::{Failure, FailureClass, StepEvent, StepState};
use crate::provider::{Order, Progress, Provider, Scope, Token};
use crate::store::{Desired, Lease, Store};

use super::plans::{Anew, Plans};
use super::request::words;
use super::{AppError, Providers};

pub(super) struct Runner {
    store: Store,
    clock: Arc<dyn Clock>,
    plans: Plans,
    providers: Providers,
}

/// A run, and what it rests on.
struct Work {
    run: Run,
    desired: Desired,
    scope: Scope,
}

/// Whether a step that may have acted before is begun again.
enum Again {
    Begin,
    Wait(Timestamp),
    Fail(Failure),
}

impl Runner {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, plans: Plans, providers: Providers) -> Self {
        Self {
            store,
            clock,
            plans,
            providers,
        }
    }

    pub(super) async fn reconcile(&self, lease: &Lease, id: RunId) -> Result<Outcome, AppError> {
        let Some(run) = self.store.run(id).await? else {
            return Ok(Outcome::Done);
        };
        if run.state.is_final() {
            return Ok(Outcome::Done);
        }
        let desired = self
            .store
            .desired(&run.repository, &run.request)
            .await?
            .ok_or_else(|| {
                AppError::Inconsistent(format!("run {id} is for {}, which is not known", run.request))
            })?;
        let stop = stop(&run, &desired);
        let scope = Scope {
            repository: run.repository.clone(),
            request: run.request.clone(),
            team: run.team.clone(),
            environment_name: run.environment.clone(),
            environment: run.place.clone(),
        };
        let mut work = Work { run, desired, scope };
        if work.desired.cancelled.is_some() {
            self.stop_what_waits(&work.run).await?;
        }
        let stop = stop.as_deref();
        // Each round may free steps that wait for what it did; there are no more rounds than steps.
        for _ in 0..=work.run.steps.len() {
            let next = advance(&work.run.steps, self.clock.now(), stop);
            for (resource, reason) in next.skip {
                self.record(lease, &mut work.run, &resource, StepEvent::Skip { reason })
                    .await?;
            }
            if let Some(end) = next.end {
                let state = work.run.state.next(end)?;
                self.store.end_run(lease, id, state, self.clock.now()).await?;
                return Ok(Outcome::Done);
            }
            if next.start.is_empty() {
                let moved = advance(&work.run.steps, self.clock.now(), stop);
                if moved.end.is_none() && moved.skip.is_empty() {
                    return Ok(moved.again_at.map_or(Outcome::Done, Outcome::Again));
                }
                continue;
            }
            let mut wait: Option<Timestamp> = None;
            for resource in next.start {
                let until = self.start(lease, &mut work, &resource).await?;
                wait = [wait, until].into_iter().flatten().min();
            }
            if let Some(until) = wait {
                return Ok(Outcome::Again(until));
            }
        }
        Ok(Outcome::Again(self.clock.now()))
    }

    /// What makes things of that kind there.
    fn provider(&self, kind: ResourceKind, place: &Environment) -> Result<&dyn Provider, AppError> {
        let maker = Maker::of(kind, place);
        let provider = self.providers.get(&maker).map(AsRef::as_ref);
        provider.ok_or(AppError::UnknownProvider(maker))
    }

    /// Asks the provider to stop what it is at, where that is safe. How it ended comes by the next poll.
    async fn stop_what_waits(&self, run: &Run) -> Result<(), AppError> {
        for step in &run.steps {
            if let StepState::Waiting { token, .. } = &step.state {
                let provider = self.provider(step.resource.kind, &run.place)?;
                let stopped = provider.cancel(&Token(token.clone())).await;
                stopped.map_err(|failure| AppError::Provider {
                    activity: format!("stopping the work on {}", step.resource.name),
                    failure,
                })?;
            }
        }
        Ok(())
    }

    /// Begins a step. `Started` is recorded before the provider is called. Answers when to look again, where the plan
    /// is waited for.
    async fn start(
        &self,
        lease: &Lease,
        work: &mut Work,
        resource: &ResourceName,
    ) -> Result<Option<Timestamp>, AppError> {
        let Some(step) = find(&work.run, resource).cloned() else {
            return Ok(None);
        };
        if step.state != StepState::Pending {
            match self.check_again(lease, work, &step).await? {
                Again::Begin => {}
                Again::Wait(until) => return Ok(Some(until)),
                Again::Fail(failure) => {
                    // It may have acted: only what was begun can fail.
                    self.record(lease, &mut work.run, resource, StepEvent::Fail(failure))
                        .await?;
                    return Ok(None);
                }
            }
        }
        self.record(lease, &mut work.run, resource, StepEvent::Start)
            .await?;
        let provider = self.provider(step.resource.kind, &work.scope.environment)?;
        let key = StepKey {
            run: work.run.id,
            resource: resource.clone(),
        };
        let (provenance, network, mark) = self.plans.provenance_of(&work.scope, &key).await?;
        let order = Order {
            key,
            scope: work.scope.clone(),
            generation: work.run.generation,
            action: step.action,
            final_snapshot: step.final_snapshot,
            protected: work
                .desired
                .goal
                .request
                .deletion_policy
                .protects(step.resource.kind),
            resource: step.resource.clone(),
            provenance,
            network,
            mark,
            module: step.module.clone(),
            planned: step.planned.clone(),
        };
        let progress = act(provider, &order).await;
        let attempt = match find(&work.run, resource).map(|step| &step.state) {
            Some(StepState::Started { attempt }) => *attempt,
            _ => 1,
        };
        let event = event_of(progress, attempt, self.clock.now());
        self.record(lease, &mut work.run, resource, event).await?;
        Ok(None)
    }

    /// A step that may have acted before is begun again only while the plan does no more than was signed.
    async fn check_again(&self, lease: &Lease, work: &Work, step: &Step) -> Result<Again, AppError> {
        let accepted = self.store.accepted(&work.run.repository).await?;
        let Some(rules) = accepted.current_rules() else {
            let reason = "no landfall.yaml is accepted any more";
            return Ok(Again::Fail(Failure::new(FailureClass::Internal, reason)));
        };
        let (repository, desired) = (&work.run.repository, &work.desired);
        let plan = match self.plans.anew(lease, repository, rules, desired).await? {
            Anew::Plan(plan, _) => plan,
            Anew::Wait(until) => return Ok(Again::Wait(until)),
            Anew::Refused(failure) => return Ok(Again::Fail(failure)),
        };
        let more: Vec<String> = plan
            .exceeding(&desired.signed_plan)
            .filter(|change| change.resource == step.resource.name)
            .map(|change| words(change, &desired.signed_plan))
            .collect();
        if more.is_empty() {
            return Ok(Again::Begin);
        }
        let reason = format!("the plan now does more than was signed off: {}", more.join(", "));
        Ok(Again::Fail(Failure::new(FailureClass::Refused, reason)))
    }

    async fn record(
        &self,
        lease: &Lease,
        run: &mut Run,
        resource: &ResourceName,
        event: StepEvent,
    ) -> Result<(), AppError> {
        let state = self
            .store
            .step_event(lease, run.id, resource, event, self.clock.now())
            .await?;
        if let Some(step) = run.steps.iter_mut().find(|step| step.resource.name == *resource) {
            step.state = state;
        }
        Ok(())
    }
}

/// Why a run is to begin nothing more, if so.
fn stop(run: &Run, desired: &Desired) -> Option<String> {
    if desired.generation != run.generation {
        return Some("a newer change of this request landed".to_owned());
    }
    desired.cancelled.as_ref().map(|by| format!("{by} cancelled it"))
}

fn find<'a>(run: &'a Run, resource: &ResourceName) -> Option<&'a Step> {
    run.steps.iter().find(|step| step.resource.name == *resource)
}

async fn act(provider: &dyn Provider, order: &Order) -> Progress {
    match order.action {
        Action::Delete => provider.destroy(order).await,
        Action::Create
        | Action::Recreate
        | Action::Update
        | Action::Replace
        | Action::Retain
        | Action::NoOp => provider.start(order).await,
    }
}

/// What a provider's answer means for a step.
pub(super) fn event_of(progress: Progress, attempt: u32, now: Timestamp) -> StepEvent {
    match progress {
        Progress::Waiting {
            token,
            poll_at,
            message,
        } => StepEvent::Wait {
            token: token.0,
            poll_at,
            message,
        },
        Progress::Succeeded { external_id, outputs } => StepEvent::Succeed { external_id, outputs },
        Progress::Failed(failure) => match back_off(attempt, &failure, now) {
            Some(until) => StepEvent::BackOff { until, failure },
            None => StepEvent::Fail(failure),
        },
    }
}
