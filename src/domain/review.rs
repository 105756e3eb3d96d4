//! A review: what Landfall made of a merge request, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::change::{Change, Goal};
use super::contribution::Content;
use super::finding::{Code, Finding, Place, Severity, sort};
use super::ids::{BlobId, CommitId, Digest, EnvironmentName, TeamName};
use super::landing::HeldBecause;
use super::merge_request::{MergeRequest, MergeRequestState};
use super::person::Owners;
use super::plan::Plan;
use super::policy::Demands;
use super::price::Monthly;
use super::report::ReportedChange;
use super::rules::{Environment, Pins};
use super::shape::list;
use super::signoff::{Approval, Missing, VersionSeen};
use super::transition::{Transition, signed_digest};

/// How far the plan of a merge request is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Planning {
    /// It is not made: there are findings, or nothing to plan for.
    None,
    /// It is not made for this author, or could not be made; in words.
    Blocked {
        /// Why.
        reason: String,
    },
    /// The cloud takes its time.
    Pending {
        /// A planner's token for each request that is waited for, by the request's key.
        tokens: BTreeMap<String, String>,
        /// When to ask again.
        poll_at: Timestamp,
    },
    /// There it is.
    Ready(Plan),
}

/// What a merge request would do, worked out from its files at one head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// The head.
    pub head: CommitId,
    /// The accepted `landfall.yaml` that it was judged under.
    pub rules: Option<BlobId>,
    /// What it would change of what is accepted.
    pub transitions: Vec<Transition>,
    /// The same, for a person.
    pub changes: Vec<ReportedChange>,
    /// What becomes of each request.
    pub requests: Vec<Change>,
    /// What is to be said about its files.
    pub findings: Vec<Finding>,
    /// Whether the target branch holds other content than was accepted, on a path of the transitions.
    pub base_differs: bool,
    /// The environments that it touches, as the rules define them: what is signed for one place is not signed for
    /// another.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// What its resources cost a month, before and after, where prices are known.
    #[serde(default)]
    pub monthly: Vec<Monthly>,
    /// The groups that its `landfall.yaml` names, by the forge's numbers for them: what is signed is these groups,
    /// whatever the paths lead to later. Empty where it leaves `landfall.yaml` as it is.
    #[serde(default)]
    pub groups: Pins,
    /// The plan.
    pub planning: Planning,
    /// What the accepted policies say about the sign-off; nothing before there is a plan.
    #[serde(default)]
    pub demands: Demands,
}

impl Evaluation {
    /// Whether a finding refuses it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// The paths that it changes.
    #[must_use]
    pub fn paths(&self) -> BTreeSet<String> {
        self.transitions
            .iter()
            .map(|transition| transition.path.clone())
            .collect()
    }

    /// What shall become of the requests that change.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        self.requests.iter().filter_map(Change::goal).collect()
    }

    /// Takes a plan, or what there is instead of one, and says what in it is never done.
    pub fn take_planning(&mut self, planning: Planning) {
        self.planning = planning;
        let Planning::Ready(plan) = &self.planning else {
            return;
        };
        let refused: Vec<Finding> = plan
            .refused_replacements()
            .map(|change| {
                let path = self.changes.iter().find(|reported| reported.request.as_ref() == Some(&change.request));
                let fields: Vec<&str> = change.properties.iter().map(|property| property.path.as_str()).collect();
                Finding::error(
                    Code::PlanRefused,
                    Place::start_of(path.map_or("", |reported| &reported.path)),
                    format!(
                        "This would REPLACE `{}`, and what it holds would be lost: {} cannot be changed in place.",
                        change.resource,
                        list(&fields, "and"),
                    ),
                    format!("Put that back, or ask for a second {} and move over to it.", change.kind.words()),
                )
            })
            .collect();
        self.findings.extend(refused);
        sort(&mut self.findings);
    }

    /// The teams whose requests it changes.
    #[must_use]
    pub fn teams(&self) -> BTreeSet<TeamName> {
        self.requests.iter().flat_map(Change::teams).collect()
    }

    /// The plan, once it is there.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        match &self.planning {
            Planning::Ready(plan) => Some(plan),
            _ => None,
        }
    }

    /// What a sign-off would sign; nothing while there is nothing that could be signed.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let mut plan = self.plan()?.digest();
        if !self.groups.is_empty() {
            let groups = serde_json::to_value(&self.groups).unwrap_or_default();
            plan = Digest::of(format!("{plan}\n{groups}").as_bytes());
        }
        (!self.is_refused() && !self.transitions.is_empty())
            .then(|| signed_digest(&self.transitions, &plan, &self.environments))
    }

    /// Where it goes: what is signed for one place is not signed for another.
    fn places(&self) -> impl Iterator<Item = (&EnvironmentName, serde_json::Value)> {
        self.environments
            .iter()
            .map(|(name, environment)| (name, environment.place()))
    }

    /// Whether another evaluation asks for the same of the same places, so that its plan is the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.signature() == other.signature()
            && self.requests == other.requests
            && self.places().eq(other.places())
    }

    /// Names the transitions alone: two versions with the same one ask for the same thing.
    #[must_use]
    pub fn signature(&self) -> Digest {
        signed_digest(&self.transitions, &Digest::of(b""), &BTreeMap::new())
    }
}

/// A version, and what was found in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownVersion {
    /// The forge's number for it.
    pub id: u64,
    /// What the gate looks at.
    pub seen: VersionSeen,
    /// [`Evaluation::signature`] of it; nothing if it was gone before it was looked at.
    pub signature: Option<Digest>,
    /// What it makes different, and by which commits; nothing where that is not known.
    #[serde(default)]
    pub content: Option<Content>,
}

/// What the gate said, with names for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Judged {
    /// Signed off.
    SignedOff {
        /// By whom, by their names on the forge.
        approvers: Vec<String>,
    },
    /// Not signed off.
    Missing(Vec<Missing>),
}

/// What became of a merge request on the target branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Landed {
    /// It is accepted.
    Accepted {
        /// The commit of the target branch that it was found at.
        commit: CommitId,
    },
    /// It is not.
    Held {
        /// The commit of the target branch that it was found at.
        commit: CommitId,
        /// Why.
        because: HeldBecause,
        /// What had been examined before it; nothing where it was not recognised when it landed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<CommitId>,
    },
    /// It changed nothing that Landfall looks after.
    Nothing {
        /// The commit of the target branch that it was found at.
        commit: CommitId,
    },
}

/// The plan that the comment shows, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What it names.
    pub digest: Digest,
    /// When the forge says that the comment which first showed it was written.
    pub at: Timestamp,
    /// Whether it was written anew, after somebody had changed or deleted it.
    pub anew: bool,
}

/// All that is known of a merge request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// As the forge last showed it.
    pub facts: MergeRequest,
    /// Its versions, oldest first.
    pub versions: Vec<KnownVersion>,
    /// What it would do.
    pub evaluation: Option<Evaluation>,
    /// Approvals as last seen.
    pub approvals: Vec<Approval>,
    /// What the gate said of them.
    pub judged: Option<Judged>,
    /// Approvals given up to this time, by the forge's clock, are void.
    pub voided_at: Option<Timestamp>,
    /// What became of it.
    pub landed: Option<Landed>,
    /// Whose the forge says that the addresses in its commits are; each is asked for once.
    #[serde(default)]
    pub owners: Owners,
}

impl Review {
    /// A merge request that was just seen for the first time.
    #[must_use]
    pub fn new(facts: MergeRequest) -> Self {
        Self {
            facts,
            versions: vec![],
            evaluation: None,
            approvals: vec![],
            judged: None,
            voided_at: None,
            landed: None,
            owners: Owners::new(),
        }
    }

    /// Whether the gate let it through when it was last asked.
    #[must_use]
    pub fn is_signed_off(&self) -> bool {
        matches!(self.judged, Some(Judged::SignedOff { .. }))
    }

    /// What had been examined before it landed, if it is held and a release can help it.
    #[must_use]
    pub fn releasable(&self) -> Option<&CommitId> {
        match &self.landed {
            Some(Landed::Held { because, before, .. }) if because.can_be_released() => before.as_ref(),
            _ => None,
        }
    }

    /// Whether a later look at the same merge request came to the same.
    #[must_use]
    pub fn says_the_same_as(&self, later: &Self) -> bool {
        (&self.evaluation, &self.judged) == (&later.evaluation, &later.judged)
    }

    /// What it was last evaluated to, if another evaluation is [like](Evaluation::is_like) it.
    #[must_use]
    pub fn evaluation_like(&self, other: &Evaluation) -> Option<&Evaluation> {
        self.evaluation.as_ref().filter(|known| known.is_like(other))
    }

    /// Whether it may still change.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.facts.state == MergeRequestState::Open
    }
}
