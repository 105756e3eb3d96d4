//! A report: what the forge should show now of a merge request, free of any markup.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::ChangeKind;
use super::finding::Finding;
use super::ids::{CommitId, Digest, EnvironmentName, RequestKey, ResourceName, RunId};
use super::landing::{HeldBecause, Origin};
use super::merge_request::MergeRequestState;
use super::plan::{Plan, ResourceKind};
use super::price::Estimate;
use super::push::{self, HeldPush, PushEnd};
use super::review::{Evaluation, Judged, Landed, Planning, Review};
use super::rules::{Environment, ProviderKind};
use super::run::{Run, RunState};
use super::signoff::Missing;
use super::step::StepState;

/// Where a merge request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Touches nothing that Landfall looks after.
    Nothing,
    /// Marked as not ready: findings and plan are shown, nobody is asked.
    Draft,
    /// Has findings that refuse it.
    Refused,
    /// The plan is being made.
    Planning {
        /// Why it is not there yet, if something is in the way.
        trouble: Option<String>,
    },
    /// Waits for a sign-off.
    Waiting(Vec<Missing>),
    /// Signed off: whoever may merge can.
    Ready {
        /// Who signed, by name.
        approvers: Vec<String>,
    },
    /// Landed, and not provisioned.
    Held(Vec<HeldBecause>),
    /// Landed and at work.
    Provisioning,
    /// Landed, and everything is there.
    Done,
    /// Landed, and something could not be made.
    Failed,
    /// Landed, and somebody stopped it before it was done.
    Cancelled,
    /// Landed, and something newer changed the same requests before it was done.
    Superseded {
        /// What did; nothing where the repository was adopted anew.
        by: BTreeSet<Origin>,
    },
    /// Pushed without a merge request, and cannot be released any more.
    Overtaken(push::Superseded),
    /// Closed without a merge.
    Closed,
}

impl Standing {
    /// One word for it: the comment's verdict and the status's first word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "Nothing to provision",
            Self::Draft => "Draft",
            Self::Refused => "Refused",
            Self::Planning { .. } => "Planning",
            Self::Waiting(_) => "Waiting for a sign-off",
            Self::Ready { .. } => "Ready to merge",
            Self::Held(_) => "Held",
            Self::Provisioning => "Provisioning",
            Self::Done => "Done",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Superseded { .. } | Self::Overtaken(_) => "Superseded",
            Self::Closed => "Closed",
        }
    }
}

/// What follows from what was accepted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aftermath {
    /// The newest run of each of its requests.
    pub runs: Vec<ReportedRun>,
    /// Its requests whose runs are not made, and why.
    pub held: Vec<(RequestKey, HeldBecause)>,
    /// Its requests that were changed again since, and by what; by nothing where the repository was adopted anew.
    pub superseded: BTreeMap<RequestKey, Option<Origin>>,
}

/// Where a merge request stands.
fn standing(
    review: &Review,
    aftermath: &Aftermath,
    target_branch: &str,
    blocked: Option<&HeldBecause>,
) -> Standing {
    match (&review.landed, review.facts.state) {
        (Some(Landed::Held { because, .. }), _) => Standing::Held(vec![because.clone()]),
        (Some(Landed::Nothing { .. }), _) => Standing::Nothing,
        (Some(Landed::Accepted { .. }), _) => accepted(review.evaluation.as_ref(), aftermath),
        (None, MergeRequestState::Closed) => Standing::Closed,
        // Landings are not looked at; or this one is about to be.
        (None, MergeRequestState::Merged) => match blocked {
            Some(because) => Standing::Held(vec![because.clone()]),
            None => Standing::Provisioning,
        },
        (None, MergeRequestState::Open) if review.facts.target_branch != target_branch => Standing::Nothing,
        (None, MergeRequestState::Open) => open(review),
    }
}

fn accepted(evaluation: Option<&Evaluation>, aftermath: &Aftermath) -> Standing {
    let (mut failed, mut cancelled, mut superseded) = (false, false, BTreeSet::new());
    let mut is_superseded = false;
    for goal in evaluation.into_iter().flat_map(Evaluation::goals) {
        let key = &goal.request.key;
        let run = aftermath
            .runs
            .iter()
            .find(|run| run.request == *key)
            .map(|run| run.state);
        let is_held = aftermath.held.iter().any(|(held, _)| held == key);
        let newer = aftermath.superseded.get(key);
        match (run, newer) {
            (Some(RunState::Queued | RunState::Running), _) => return Standing::Provisioning,
            (Some(RunState::Succeeded), _) => {}
            (_, Some(by)) => {
                is_superseded = true;
                superseded.extend(by.clone());
            }
            (Some(RunState::Failed), None) => failed = true,
            (Some(RunState::Cancelled), None) => cancelled = true,
            (None, None) if is_held => {}
            (None, None) => return Standing::Provisioning,
        }
    }
    if !aftermath.held.is_empty() {
        Standing::Held(
            aftermath
                .held
                .iter()
                .map(|(_, because)| because.clone())
                .collect(),
        )
    } else if failed {
        Standing::Failed
    } else if cancelled {
        Standing::Cancelled
    } else if is_superseded {
        Standing::Superseded { by: superseded }
    } else {
        Standing::Done
    }
}

fn open(review: &Review) -> Standing {
    let Some(evaluation) = &review.evaluation else {
        return Standing::Planning { trouble: None };
    };
    if evaluation.is_refused() {
        return Standing::Refused;
    }
    if evaluation.transitions.is_empty() {
        return Standing::Nothing;
    }
    if review.facts.draft {
        return Standing::Draft;
    }
    asked(evaluation, review.judged.as_ref())
}

/// Where it stands once there is something to sign.
fn asked(evaluation: &Evaluation, judged: Option<&Judged>) -> Standing {
    match (&evaluation.planning, judged) {
        (Planning::Blocked { reason }, _) => Standing::Planning {
            trouble: Some(reason.clone()),
        },
        (Planning::None | Planning::Pending { .. }, _) | (Planning::Ready(_), None) => {
            Standing::Planning { trouble: None }
        }
        (Planning::Ready(_), Some(Judged::SignedOff { approvers })) => Standing::Ready {
            approvers: approvers.clone(),
        },
        (Planning::Ready(_), Some(Judged::Missing(missing))) => Standing::Waiting(missing.clone()),
    }
}

/// One change of the merge request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedChange {
    /// The request; nothing for a change to the rules.
    pub request: Option<RequestKey>,
    /// Its file.
    pub path: String,
    /// What happens to it.
    pub kind: ChangeKind,
    /// Where it goes.
    pub environment: Option<EnvironmentName>,
}

/// A step as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedStep {
    /// The resource.
    pub resource: ResourceName,
    /// What it is.
    pub kind: ResourceKind,
    /// What is done to it.
    pub action: super::plan::Action,
    /// Where it stands.
    pub state: StepState,
}

/// A run as a person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedRun {
    /// The run.
    pub id: RunId,
    /// The request.
    pub request: RequestKey,
    /// Where its resources are.
    pub environment: EnvironmentName,
    /// Where it stands.
    pub state: RunState,
    /// Its steps.
    pub steps: Vec<ReportedStep>,
    /// What is not asked for any more and is kept.
    pub retained: Vec<ResourceName>,
    /// What is not asked for any more and was gone already.
    pub gone: Vec<ResourceName>,
    /// How long it took, in seconds, once it ended.
    pub seconds: Option<i64>,
}

impl From<&Run> for ReportedRun {
    fn from(run: &Run) -> Self {
        let step = |step: &super::run::Step| ReportedStep {
            resource: step.resource.name.clone(),
            kind: step.resource.kind,
            action: step.action,
            state: step.state.clone(),
        };
        Self {
            id: run.id,
            request: run.request.clone(),
            environment: run.environment.clone(),
            state: run.state,
            steps: run.steps.iter().map(step).collect(),
            retained: run.retained.clone(),
            gone: run.gone.clone(),
            seconds: run
                .finished_at
                .map(|at| at.duration_since(run.created_at).as_secs()),
        }
    }
}

/// What the comment on a merge request, or in the issue about a push, shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it is about.
    pub origin: Origin,
    /// Where it stands.
    pub standing: Standing,
    /// The head that this is about.
    pub head: CommitId,
    /// Its author's name on the forge, or who pushed it, if that is known.
    pub author: Option<String>,
    /// What it changes.
    pub changes: Vec<ReportedChange>,
    /// What is to be said about its files.
    pub findings: Vec<Finding>,
    /// What it would do.
    pub plan: Option<Plan>,
    /// What the plan costs a month, where prices are known.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    /// Names what is signed.
    pub digest: Option<Digest>,
    /// The environments that the plan touches.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Whether the target branch holds other content than was accepted, on a path of this merge request.
    pub base_differs: bool,
    /// The environments that it touches and that `landfall.yaml` pauses: runs wait there.
    pub paused: BTreeSet<EnvironmentName>,
    /// What follows from its landing.
    pub runs: Vec<ReportedRun>,
    /// Why Landfall gave up on something about it, if it did.
    #[serde(default)]
    pub given_up: Vec<String>,
    /// Why something about it fails again and again, if it does; Landfall goes on trying.
    #[serde(default)]
    pub failing: Vec<String>,
}

impl Report {
    /// What is to be shown of a merge request: `target_branch` is the branch that is the desired state, `blocked` why
    /// landings are not looked at, if they are not. Nothing before it was looked at.
    #[must_use]
    pub fn of(
        review: &Review,
        aftermath: Aftermath,
        target_branch: &str,
        blocked: Option<&HeldBecause>,
    ) -> Option<Self> {
        let head = review.facts.head.clone()?;
        let standing = standing(review, &aftermath, target_branch, blocked);
        let evaluation = review.evaluation.as_ref();
        Some(Self::with(
            Origin::MergeRequest(review.facts.number),
            standing,
            head,
            Some(review.facts.author.username.clone()),
            evaluation,
            aftermath.runs,
        ))
    }

    /// What is to be shown of a push that was held.
    #[must_use]
    pub fn of_push(push: &HeldPush, aftermath: Aftermath) -> Self {
        let evaluation = push.evaluation.as_ref();
        let standing = match (&push.end, evaluation) {
            (Some(PushEnd::Accepted), _) => accepted(evaluation, &aftermath),
            (Some(PushEnd::Superseded(why)), _) => Standing::Overtaken(why.clone()),
            (None, None) => Standing::Planning { trouble: None },
            (None, Some(evaluation)) if evaluation.is_refused() => Standing::Refused,
            (None, Some(evaluation)) => asked(evaluation, push.judged.as_ref()),
        };
        Self::with(
            push.origin(),
            standing,
            push.commit.clone(),
            push.pusher.as_ref().map(|user| user.username.clone()),
            evaluation,
            aftermath.runs,
        )
    }

    fn with(
        origin: Origin,
        standing: Standing,
        head: CommitId,
        author: Option<String>,
        evaluation: Option<&Evaluation>,
        runs: Vec<ReportedRun>,
    ) -> Self {
        // What landed otherwise than it was shown cannot be signed by what was shown.
        let can_be_signed = match &standing {
            Standing::Held(because) => because.iter().all(HeldBecause::can_be_released),
            Standing::Overtaken(_) => false,
            _ => true,
        };
        Self {
            origin,
            standing,
            head,
            author,
            changes: evaluation.map(|e| e.changes.clone()).unwrap_or_default(),
            findings: evaluation.map(|e| e.findings.clone()).unwrap_or_default(),
            plan: evaluation.and_then(|e| e.plan().cloned()),
            estimate: evaluation.and_then(|e| Estimate::of(e.plan()?, &e.monthly)),
            digest: evaluation.and_then(Evaluation::digest).filter(|_| can_be_signed),
            environments: evaluation.map(|e| e.environments.clone()).unwrap_or_default(),
            base_differs: evaluation.is_some_and(|e| e.base_differs),
            paused: BTreeSet::new(),
            runs,
            given_up: vec![],
            failing: vec![],
        }
    }

    /// Whether it is about a push that came without a merge request.
    #[must_use]
    pub fn is_push(&self) -> bool {
        matches!(self.origin, Origin::Push(_))
    }

    /// Whether anything that this shows is made by the simulator.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        let mut kinds = self.kinds().peekable();
        let on_forge_only = kinds.peek().is_some() && kinds.all(|kind| kind == ResourceKind::Repository);
        let simulated = |place: &Environment| place.provider == ProviderKind::Simulator;
        !on_forge_only && self.environments.values().any(simulated)
    }

    /// Whether it shows a repository: those are real wherever the rest is simulated.
    #[must_use]
    pub fn has_repository(&self) -> bool {
        self.kinds().any(|kind| kind == ResourceKind::Repository)
    }

    fn kinds(&self) -> impl Iterator<Item = ResourceKind> {
        let planned = self.plan.iter().flat_map(|plan| &plan.changes);
        let made = self.runs.iter().flat_map(|run| &run.steps);
        planned
            .map(|change| change.kind)
            .chain(made.map(|step| step.kind))
    }
}

/// What to say to someone whose command is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum CommandAnswer {
    /// The list of commands, which they asked for.
    Help,
    /// There is no such command.
    Unknown {
        /// What they wrote behind `/landfall`.
        text: String,
    },
    /// The note says more than a command.
    NotAlone,
    /// The note was changed, or somebody reacted to it, before it was read: whose words it holds cannot be known.
    Changed,
    /// There is nothing that could be stopped, or tried again.
    NothingTo {
        /// What they asked for, such as `cancel`.
        command: String,
    },
    /// They may not give commands here.
    NotAllowed {
        /// Their name on the forge.
        username: String,
    },
}
