//! What makes real things: [`Planner`] looks and plans with rights that cannot build, [`Provider`] acts. Two traits,
//! because they hold two credentials.

pub mod aws;
pub mod repository;
pub mod simulator;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::ids::{
    EnvironmentName, Generation, RepositoryId, RequestKey, ResourceName, StepKey, TeamName,
};
use crate::domain::module::{Module, PlannedModule};
use crate::domain::plan::{Action, Plan, Resource, ResourceKind};
use crate::domain::provenance::{Mark, Provenance};
use crate::domain::rules::Environment;
use crate::domain::step::Failure;

/// Whose resources: what every cloud name and tag is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The requests repository.
    pub repository: RepositoryId,
    /// The request.
    pub request: RequestKey,
    /// Its team.
    pub team: TeamName,
    /// The environment's name in `landfall.yaml`.
    pub environment_name: EnvironmentName,
    /// The environment.
    pub environment: Environment,
}

/// A token that a provider gave for something that takes time. Opaque to everybody else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

/// What stands in the cloud under a resource's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The resource's name in its request.
    pub resource: ResourceName,
    /// What it is.
    pub kind: ResourceKind,
    /// The cloud's own name for it.
    pub external_id: String,
    /// The properties that the cloud shows, by the request's field names.
    pub properties: BTreeMap<String, Value>,
}

/// What to plan for: one request's desired resources; none to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whose.
    pub scope: Scope,
    /// What shall be there.
    pub desired: Vec<Resource>,
    /// The module of each desired resource, where the environment's provider works by modules.
    pub modules: BTreeMap<ResourceName, Module>,
    /// What was signed for each, once it is: what was looked up for it then is kept.
    pub signed: BTreeMap<ResourceName, PlannedModule>,
    /// Resources that Landfall made for it and knows of: what is not desired any more is deleted.
    pub known: Vec<(ResourceName, ResourceKind)>,
    /// What is on record of its resources: what stands there and is not among it is somebody else's.
    pub provenance: BTreeMap<ResourceName, Provenance>,
    /// The token of an answer that was pending, to ask again.
    pub pending: Option<Token>,
}

impl Question {
    /// What is on record of a resource; nothing of one that was never begun.
    #[must_use]
    pub fn provenance_of(&self, resource: &ResourceName) -> Provenance {
        self.provenance.get(resource).cloned().unwrap_or_default()
    }
}

/// A planner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The plan.
    Ready(Plan),
    /// The cloud takes its time: ask again with this token, not before then. Discard it if no longer wanted.
    Pending {
        /// For [`Question::pending`] and [`Planner::discard`].
        token: Token,
        /// When to ask again.
        poll_at: Timestamp,
    },
}

/// Looks and plans. Holds no credentials that can build.
#[async_trait]
pub trait Planner: Send + Sync {
    /// What stands in the cloud of a request's resources, by what is on record of them. What is somebody else's is a
    /// failure, never an answer.
    async fn observe(
        &self,
        scope: &Scope,
        provenance: &BTreeMap<ResourceName, Provenance>,
    ) -> Result<Vec<Observed>, Failure>;
    /// What would have to be done.
    async fn plan(&self, question: &Question) -> Result<Answer, Failure>;
    /// Forgets a pending plan and removes what it left. Doing it twice is fine.
    async fn discard(&self, scope: &Scope, token: &Token) -> Result<(), Failure>;
}

/// One thing to do: the same order under the same key does the thing once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The idempotency key; also the tags that name run and step.
    pub key: StepKey,
    /// Whose.
    pub scope: Scope,
    /// The request's generation that asks for it.
    pub generation: Generation,
    /// Create, recreate, update or replace; [`Provider::destroy`] deletes.
    pub action: Action,
    /// Whether a snapshot is taken before it is destroyed.
    #[serde(default)]
    pub final_snapshot: bool,
    /// Whether what is made is protected against everything but a signed deletion.
    #[serde(default)]
    pub protected: bool,
    /// What shall be there.
    pub resource: Resource,
    /// What is on record of it: what stands there and is not that is never touched.
    #[serde(default)]
    pub provenance: Provenance,
    /// What is on record of its environment's network.
    #[serde(default)]
    pub network: Provenance,
    /// What this step puts on what it makes.
    #[serde(default)]
    pub mark: Mark,
    /// What it is made by, where its provider works by modules; nothing for a deletion.
    #[serde(default)]
    pub module: Option<Module>,
    /// What the plan says that this comes to, where its provider works by modules.
    #[serde(default)]
    pub planned: Option<PlannedModule>,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Progress {
    /// It goes on: ask again, not before then.
    Waiting {
        /// For [`Provider::poll`].
        token: Token,
        /// When to ask again.
        poll_at: Timestamp,
        /// What happened since it was last asked after, for a person, a line each; the last is what it is at. May be empty.
        message: String,
    },
    /// Done, with what it is reached by. Never a secret: references to a secret store instead.
    Succeeded {
        /// The cloud's own name for it.
        external_id: String,
        /// Output name → value.
        outputs: BTreeMap<String, String>,
    },
    /// It failed.
    Failed(Failure),
}

/// Acts. Every call may be repeated, after a crash or a lost answer, with the same result.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Starts an order, or finds the one that was started under the same key.
    async fn start(&self, order: &Order) -> Progress;
    /// Asks after many tokens at once. A token that is not answered for is asked for again later.
    async fn poll(&self, tokens: &[Token]) -> Result<Vec<(Token, Progress)>, Failure>;
    /// Stops an order where it can safely be stopped. Answers how far it is now.
    async fn cancel(&self, token: &Token) -> Result<(), Failure>;
    /// Destroys a resource, after a snapshot where the order asks for one. Destroying what is not there succeeds.
    async fn destroy(&self, order: &Order) -> Progress;
    /// Whether what this provider makes is real. What it makes is said to be simulated otherwise.
    fn is_simulated(&self) -> bool {
        false
    }
}
