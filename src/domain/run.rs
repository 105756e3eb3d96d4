//! A run: the steps that bring one generation of a request about. [`RunState::next`] is its whole life, and [`advance`]
//! says what is to be done next.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{
    Digest, EnvironmentName, Generation, RepositoryId, RequestKey, ResourceName, RunId, TeamName,
};
use super::landing::Origin;
use super::module::{Module, PlannedModule};
use super::plan::{Action, Plan, Resource};
use super::rules::Environment;
use super::step::{Failure, IllegalEvent, StepState};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Made, not begun.
    Queued,
    /// Begun.
    Running,
    /// Every step succeeded.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// Superseded or cancelled before its end.
    Cancelled,
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEvent {
    /// Its first step is about to begin.
    Begin,
    /// Its last step succeeded, or there was none.
    Succeed,
    /// No step can go on, and one failed.
    Fail,
    /// A newer generation came, or a person stopped it, and no step is at work.
    Cancel,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state after an event.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot happen in this state.
    pub fn next(self, event: RunEvent) -> Result<Self, IllegalEvent> {
        Ok(match (self, event) {
            (Self::Queued, RunEvent::Begin) => Self::Running,
            (Self::Queued | Self::Running, RunEvent::Succeed) => Self::Succeeded,
            (Self::Queued | Self::Running, RunEvent::Fail) => Self::Failed,
            (Self::Queued | Self::Running, RunEvent::Cancel) => Self::Cancelled,
            (state, event) => {
                return Err(IllegalEvent {
                    what: "run",
                    state: state.name().into(),
                    event: format!("{event:?}").to_lowercase(),
                });
            }
        })
    }

    /// Whether nothing will happen to it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state's name, as the store keeps it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One step of a run: what is done to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its place in the run, from 0.
    pub number: u32,
    /// What is done: create, recreate, update, replace or delete.
    pub action: Action,
    /// Whether a snapshot is taken before it goes.
    #[serde(default)]
    pub final_snapshot: bool,
    /// The resource, as the request asks for it; for a deletion, as it was.
    pub resource: Resource,
    /// What it is made by, where its provider works by modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
    /// What the plan says that the step comes to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedModule>,
    /// Steps of the same run that must have succeeded first.
    pub after: Vec<ResourceName>,
    /// Where it stands.
    pub state: StepState,
}

/// The work that follows a landing, for one generation of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The requests repository.
    pub repository: RepositoryId,
    /// The request.
    pub request: RequestKey,
    /// Which generation of it.
    pub generation: Generation,
    /// What brought it.
    #[serde(alias = "merge_request")]
    pub origin: Option<Origin>,
    /// The sign-off that it rests on.
    pub sign_off: Digest,
    /// Whose they are.
    pub team: TeamName,
    /// Where the resources are.
    pub environment: EnvironmentName,
    /// What that name meant when it was signed off.
    pub place: Environment,
    /// Where it stands.
    pub state: RunState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// What is not asked for any more and is kept.
    #[serde(default)]
    pub retained: Vec<ResourceName>,
    /// What is not asked for any more and was gone already.
    #[serde(default)]
    pub gone: Vec<ResourceName>,
}

/// The steps of a plan, in order of dependency: what others need comes first, and goes last. What is left as it is needs none.
#[must_use]
pub fn steps_of(
    plan: &Plan,
    resources: &BTreeMap<ResourceName, Resource>,
    modules: &BTreeMap<ResourceName, Module>,
) -> Vec<Step> {
    let mut steps: Vec<Step> = plan
        .changes
        .iter()
        .filter(|change| !change.action.is_idle())
        .map(|change| {
            let resource = resources
                .get(&change.resource)
                .cloned()
                .unwrap_or_else(|| Resource {
                    name: change.resource.clone(),
                    kind: change.kind,
                    properties: BTreeMap::new(),
                    depends_on: vec![],
                });
            Step {
                number: 0,
                action: change.action,
                final_snapshot: change.takes_final_snapshot(),
                resource,
                module: modules.get(&change.resource).cloned(),
                planned: change.module.clone(),
                after: vec![],
                state: StepState::Pending,
            }
        })
        .collect();
    let actions: BTreeMap<ResourceName, Action> = steps
        .iter()
        .map(|step| (step.resource.name.clone(), step.action))
        .collect();
    let mut after: BTreeMap<ResourceName, Vec<ResourceName>> = BTreeMap::new();
    for step in &steps {
        for needed in step
            .resource
            .depends_on
            .iter()
            .filter(|needed| actions.contains_key(*needed))
        {
            let (first, then) = if actions.get(needed) == Some(&Action::Delete) {
                (&step.resource.name, needed)
            } else {
                (needed, &step.resource.name)
            };
            after.entry(then.clone()).or_default().push(first.clone());
        }
    }
    for (number, step) in (0..).zip(steps.iter_mut()) {
        step.number = number;
        step.after = after.remove(&step.resource.name).unwrap_or_default();
    }
    steps
}

/// What a run needs next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Next {
    /// Steps to start now, by their resource.
    pub start: Vec<ResourceName>,
    /// Steps that will never begin, and why.
    pub skip: Vec<(ResourceName, String)>,
    /// The soonest time at which a step that backs off may start again.
    pub again_at: Option<Timestamp>,
    /// The event that ends the run, once nothing is left to do.
    pub end: Option<RunEvent>,
}

/// Says what a run needs next. `stop` names the reason when it is to begin nothing more.
#[must_use]
pub fn advance(steps: &[Step], now: Timestamp, stop: Option<&str>) -> Next {
    let mut next = Next::default();
    let states: BTreeMap<&ResourceName, &StepState> =
        steps.iter().map(|s| (&s.resource.name, &s.state)).collect();
    for step in steps {
        let name = &step.resource.name;
        let blocked = step.after.iter().find(|needed| {
            matches!(
                states.get(needed),
                Some(StepState::Failed(_) | StepState::Skipped { .. })
            )
        });
        match &step.state {
            StepState::Pending | StepState::BackingOff { .. } if stop.is_some() => {
                next.skip
                    .push((name.clone(), stop.unwrap_or_default().to_owned()));
            }
            StepState::Pending => {
                if let Some(blocked) = blocked {
                    let what = if step.action == Action::Delete {
                        "is still there"
                    } else {
                        "was not made"
                    };
                    next.skip.push((name.clone(), format!("{blocked} {what}")));
                } else if step
                    .after
                    .iter()
                    .all(|n| matches!(states.get(n), Some(StepState::Succeeded { .. })))
                {
                    next.start.push(name.clone());
                }
            }
            // Left by someone who stopped in the middle: the same order again finds what was done.
            StepState::Started { .. } => next.start.push(name.clone()),
            StepState::BackingOff { until, .. } if *until <= now => next.start.push(name.clone()),
            StepState::BackingOff { until, .. } => {
                next.again_at = Some(next.again_at.map_or(*until, |at| at.min(*until)));
            }
            StepState::Waiting { .. }
            | StepState::Succeeded { .. }
            | StepState::Failed(_)
            | StepState::Skipped { .. } => {}
        }
    }
    if steps.iter().all(|step| step.state.is_final()) {
        let failed = steps
            .iter()
            .any(|step| matches!(step.state, StepState::Failed(_)));
        let skipped = steps
            .iter()
            .any(|step| matches!(step.state, StepState::Skipped { .. }));
        // What was at work when it was stopped may have been broken off, which is no failure of its own.
        next.end = Some(match (failed, skipped) {
            (true, _) if stop.is_none() => RunEvent::Fail,
            (true, _) | (_, true) => RunEvent::Cancel,
            (false, false) => RunEvent::Succeed,
        });
    }
    next
}

/// How often a step is tried when its failure may pass, and how long it waits in between.
#[must_use]
pub fn back_off(attempt: u32, failure: &Failure, now: Timestamp) -> Option<Timestamp> {
    use super::step::FailureClass as C;
    let (tries, first, longest) = match failure.class {
        C::Throttled => (u32::MAX, 5, 300),
        C::Conflict => (60, 10, 60),
        C::Transient => (5, 2, 60),
        C::Refused | C::User | C::Internal => return None,
    };
    if attempt >= tries {
        return None;
    }
    let seconds = (first << attempt.saturating_sub(1).min(10)).min(longest);
    now.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::{PlannedChange, ResourceKind};
    use crate::domain::step::FailureClass;

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).unwrap()
    }

    fn resource(text: &str, depends_on: &[&str]) -> Resource {
        Resource {
            name: name(text),
            kind: ResourceKind::Database,
            properties: BTreeMap::new(),
            depends_on: depends_on.iter().map(|n| name(n)).collect(),
        }
    }

    fn steps(action: Action) -> Vec<Step> {
        let resources = [
            resource("database/orders", &[]),
            resource("virtual-machine/web", &["database/orders"]),
        ];
        let changes = resources
            .iter()
            .map(|r| PlannedChange {
                request: "Project/shop".parse().unwrap(),
                environment: "dev".parse().unwrap(),
                resource: r.name.clone(),
                kind: r.kind,
                action,
                properties: vec![],
                module: None,
            })
            .collect();
        steps_of(
            &Plan { changes },
            &resources.into_iter().map(|r| (r.name.clone(), r)).collect(),
            &BTreeMap::new(),
        )
    }

    fn succeeded() -> StepState {
        StepState::Succeeded {
            external_id: "x".into(),
            outputs: BTreeMap::new(),
        }
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn every_event_in_every_state_of_a_run() {
        let rows = [
            (RunState::Queued, ["running", "succeeded", "failed", "cancelled"]),
            (RunState::Running, ["-", "succeeded", "failed", "cancelled"]),
            (RunState::Succeeded, ["-"; 4]),
            (RunState::Failed, ["-"; 4]),
            (RunState::Cancelled, ["-"; 4]),
        ];
        for (state, expected) in rows {
            for (event, expected) in [
                RunEvent::Begin,
                RunEvent::Succeed,
                RunEvent::Fail,
                RunEvent::Cancel,
            ]
            .into_iter()
            .zip(expected)
            {
                assert_eq!(
                    state.next(event).map_or("-", RunState::name),
                    expected,
                    "{state:?} by {event:?}"
                );
            }
        }
    }

    #[test]
    fn what_others_need_is_made_first_and_destroyed_last() {
        let make = steps(Action::Create);
        assert_eq!(advance(&make, NOW, None).start, [name("database/orders")]);
        let destroy = steps(Action::Delete);
        assert_eq!(advance(&destroy, NOW, None).start, [name("virtual-machine/web")]);
    }

    #[test]
    fn a_step_starts_once_what_it_needs_is_there() {
        let mut steps = steps(Action::Create);
        steps[0].state = succeeded();
        assert_eq!(advance(&steps, NOW, None).start, [name("virtual-machine/web")]);
        steps[1].state = succeeded();
        assert_eq!(advance(&steps, NOW, None).end, Some(RunEvent::Succeed));
    }

    #[test]
    fn a_failure_skips_only_what_needs_it() {
        let mut steps = steps(Action::Create);
        steps[0].state = StepState::Failed(Failure::new(FailureClass::Refused, "quota"));
        let next = advance(&steps, NOW, None);
        assert_eq!(
            next.skip,
            [(
                name("virtual-machine/web"),
                "database/orders was not made".to_owned()
            )]
        );
        assert_eq!(next.end, None, "not before the skip is recorded");
        steps[1].state = StepState::Skipped {
            reason: String::new(),
        };
        assert_eq!(advance(&steps, NOW, None).end, Some(RunEvent::Fail));
    }

    #[test]
    fn what_a_dead_worker_started_is_started_again() {
        let mut steps = steps(Action::Create);
        steps[0].state = StepState::Started { attempt: 1 };
        assert_eq!(advance(&steps, NOW, None).start, [name("database/orders")]);
    }

    #[test]
    fn a_stopped_run_finishes_what_is_at_work_and_begins_nothing() {
        let mut steps = steps(Action::Create);
        let waiting = StepState::Waiting {
            attempt: 1,
            token: "t".into(),
            poll_at: NOW,
            message: String::new(),
        };
        steps[0].state = waiting;
        let next = advance(&steps, NOW, Some("a newer change landed"));
        assert_eq!((next.start.len(), next.skip.len(), next.end), (0, 1, None));
    }

    #[test]
    fn a_stopped_run_whose_work_was_broken_off_is_cancelled_and_not_failed() {
        let mut steps = steps(Action::Create);
        steps[0].state = StepState::Failed(Failure::new(FailureClass::Refused, "cancelled"));
        steps[1].state = StepState::Skipped {
            reason: "dana cancelled it".into(),
        };
        assert_eq!(
            advance(&steps, NOW, Some("dana cancelled it")).end,
            Some(RunEvent::Cancel)
        );
        assert_eq!(advance(&steps, NOW, None).end, Some(RunEvent::Fail));
        steps.iter_mut().for_each(|step| step.state = succeeded());
        assert_eq!(
            advance(&steps, NOW, Some("dana cancelled it")).end,
            Some(RunEvent::Succeed)
        );
    }

    #[test]
    fn no_steps_is_a_run_that_has_nothing_left_to_do() {
        assert_eq!(advance(&[], NOW, None).end, Some(RunEvent::Succeed));
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        use FailureClass as C;
        let wait = |class, attempt| back_off(attempt, &Failure::new(class, ""), NOW).map(|at| at.as_second());
        let cases = [
            (C::Transient, 1, Some(2)),
            (C::Transient, 4, Some(16)),
            (C::Transient, 5, None),
            (C::Throttled, 1000, Some(300)),
            (C::Conflict, 1, Some(10)),
            (C::Conflict, 60, None),
            (C::Refused, 1, None),
            (C::User, 1, None),
            (C::Internal, 1, None),
        ];
        for (class, attempt, expected) in cases {
            assert_eq!(wait(class, attempt), expected, "{class:?}, attempt {attempt}");
        }
    }
}
