//! Trouble to order: what goes wrong, where, and how often.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SimulatorError;
use crate::domain::ids::{RequestKey, ResourceName};
use crate::domain::plan::ResourceKind;
use crate::domain::step::Failure;

/// Where something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// [`Planner::observe`](crate::provider::Planner::observe).
    Observe,
    /// [`Planner::plan`](crate::provider::Planner::plan).
    Plan,
    /// [`Planner::discard`](crate::provider::Planner::discard).
    Discard,
    /// [`Provider::start`](crate::provider::Provider::start).
    Start,
    /// [`Provider::destroy`](crate::provider::Provider::destroy).
    Destroy,
    /// [`Provider::poll`](crate::provider::Provider::poll): the asking, not what is asked after.
    Poll,
    /// [`Provider::cancel`](crate::provider::Provider::cancel).
    Cancel,
    /// No call, but the cloud's own work on an order; settled when the order is started.
    Work,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Plan => "plan",
            Self::Discard => "discard",
            Self::Start => "start",
            Self::Destroy => "destroy",
            Self::Poll => "poll",
            Self::Cancel => "cancel",
            Self::Work => "work",
        })
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It fails, and nothing was done.
    Fail(Failure),
    /// It is done, and fails all the same: the answer is lost.
    FailAfter(Failure),
    /// It takes so much longer.
    Latency(Duration),
    /// A call is never answered; work never ends.
    NeverFinishes,
    /// A plan is not ready yet.
    PlanPending,
}

/// Which calls trouble is for; what is not said matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matching {
    /// Of this request.
    pub request: Option<RequestKey>,
    /// About this resource. A call about none, such as [`Call::Observe`], never matches one.
    pub resource: Option<ResourceName>,
    /// About a resource of this kind.
    pub kind: Option<ResourceKind>,
}

/// An order for trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Where.
    pub call: Call,
    /// Which of those calls.
    pub matching: Matching,
    /// How often it happens before all is well again.
    pub times: u32,
    /// What happens.
    pub effect: Effect,
}

impl Trouble {
    /// Trouble at every such call, so often.
    #[must_use]
    pub fn new(call: Call, times: u32, effect: Effect) -> Self {
        Self {
            call,
            matching: Matching::default(),
            times,
            effect,
        }
    }

    /// Only at calls about this resource.
    #[must_use]
    pub fn about(mut self, resource: ResourceName) -> Self {
        self.matching.resource = Some(resource);
        self
    }

    pub(super) fn check(&self) -> Result<(), SimulatorError> {
        if self.effect == Effect::PlanPending && self.call != Call::Plan {
            return Err(SimulatorError::Meaningless {
                effect: "a pending plan".into(),
                call: self.call,
            });
        }
        Ok(())
    }

    /// Whether it happens to a call of this request about these resources.
    pub(super) fn hits(
        &self,
        call: Call,
        request: &RequestKey,
        subjects: &[(&ResourceName, ResourceKind)],
    ) -> bool {
        let Matching {
            request: of,
            resource,
            kind,
        } = &self.matching;
        let about_any = resource.is_none() && kind.is_none();
        self.call == call
            && of.as_ref().is_none_or(|of| of == request)
            && (about_any
                || subjects.iter().any(|(name, what)| {
                    resource.as_ref().is_none_or(|resource| resource == *name)
                        && kind.is_none_or(|kind| kind == *what)
                }))
    }
}
