//! A report: what the forge should show now of a merge request, free of any markup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finding::Finding;
use super::ids::{CommitId, Digest, EnvironmentName, RequestKey, ResourceName, RunId};
use super::landing::HeldBecause;
use super::plan::{Plan, ResourceKind};
use super::rules::ProviderKind;
use super::run::RunState;
use super::signoff::Missing;
use super::step::StepState;
use super::transition::ChangeKind;

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
            Self::Closed => "Closed",
        }
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
    /// How long it took, in seconds, once it ended.
    pub seconds: Option<i64>,
}

/// What the comment on a merge request shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where it stands.
    pub standing: Standing,
    /// The head that this is about.
    pub head: CommitId,
    /// Its author's name on the forge.
    pub author: String,
    /// What it changes.
    pub changes: Vec<ReportedChange>,
    /// What is to be said about its files.
    pub findings: Vec<Finding>,
    /// What it would do.
    pub plan: Option<Plan>,
    /// Names what is signed.
    pub digest: Option<Digest>,
    /// The provider of each environment that the plan touches.
    pub providers: BTreeMap<EnvironmentName, ProviderKind>,
    /// Whether the target branch holds other content than was accepted, on a path of this merge request.
    pub base_differs: bool,
    /// What follows from its landing.
    pub runs: Vec<ReportedRun>,
}

impl Report {
    /// Whether anything that this shows is made by the simulator.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.providers
            .values()
            .any(|provider| matches!(provider, ProviderKind::Simulator))
    }
}
