//! A cloud in memory, with a ledger: what stands, and every order that was begun.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use landfall::clock::{Clock, ManualClock};
use landfall::domain::ids::{RequestKey, ResourceName};
use landfall::domain::plan::{Action, Plan, PlannedChange, PropertyChange, ResourceKind};
use landfall::domain::provenance::Provenance;
use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::{Answer, Observed, Order, Planner, Progress, Provider, Question, Scope, Token};
use serde_json::Value;

use super::weather::{Fate, Weather};

/// How long anything takes there.
const TAKES: Duration = Duration::from_secs(20);

/// Something that stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thing {
    pub(super) kind: ResourceKind,
    pub(super) environment: String,
    pub(super) region: Option<String>,
    pub(super) properties: BTreeMap<String, Value>,
}

/// An order that was begun: the ledger has each once.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) step: String,
    pub(super) request: RequestKey,
    pub(super) resource: String,
    pub(super) action: Action,
    pub(super) environment: String,
    pub(super) region: Option<String>,
    pub(super) properties: BTreeMap<String, Value>,
    ends_at: Timestamp,
    ended: bool,
}

/// What there is in the cloud.
#[derive(Default)]
pub(super) struct Sky {
    /// Request and resource → what stands there.
    pub(super) things: BTreeMap<(RequestKey, String), Thing>,
    pub(super) ledger: Vec<Entry>,
}

/// The cloud, as Landfall reaches it. Cloning shares it.
#[derive(Clone)]
pub(super) struct Cloud {
    pub(super) sky: Arc<Mutex<Sky>>,
    pub(super) weather: Arc<Weather>,
    pub(super) clock: ManualClock,
}

impl Cloud {
    async fn call<T>(&self, name: &str, act: impl FnOnce(&mut Sky) -> T) -> Result<T, Failure> {
        let fault = |class, reason: &str| Err(Failure::new(class, reason.to_owned()));
        let fate = self.weather.meet(name).await;
        let mut sky = self.sky.lock().unwrap();
        sky.goes_on(self.clock.now());
        match fate {
            Fate::Fine => Ok(act(&mut sky)),
            Fate::Lost => fault(FailureClass::Transient, "the weather"),
            Fate::AnswerLost => {
                act(&mut sky);
                fault(FailureClass::Transient, "the weather")
            }
            Fate::Refused(_) => fault(FailureClass::Throttled, "too many calls"),
        }
    }

    fn begin(&self, sky: &mut Sky, order: &Order) -> Progress {
        let step = order.key.to_string();
        let now = self.clock.now();
        if !sky.ledger.iter().any(|entry| entry.step == step) {
            let place = (order.scope.request.clone(), order.resource.name.to_string());
            let stands = sky.things.contains_key(&place);
            let conflict = match order.action {
                Action::Create | Action::Recreate => stands,
                Action::Update => !stands,
                _ => false,
            };
            if conflict {
                let reason = "it is not as it was planned for: plan again";
                return Progress::Failed(Failure::new(FailureClass::Conflict, reason));
            }
            sky.ledger.push(Entry {
                step: step.clone(),
                request: order.scope.request.clone(),
                resource: order.resource.name.to_string(),
                action: order.action,
                environment: order.scope.environment_name.to_string(),
                region: order
                    .scope
                    .environment
                    .region
                    .clone()
                    .map(|region| region.to_string()),
                properties: order.resource.properties.clone(),
                ends_at: now.checked_add(TAKES).unwrap(),
                ended: false,
            });
        }
        sky.progress(&step)
    }
}

impl Sky {
    /// What has come to its end takes effect.
    pub(super) fn goes_on(&mut self, now: Timestamp) {
        for entry in self
            .ledger
            .iter_mut()
            .filter(|entry| !entry.ended && entry.ends_at <= now)
        {
            entry.ended = true;
            let place = (entry.request.clone(), entry.resource.clone());
            if entry.action == Action::Delete {
                self.things.remove(&place);
            } else {
                let thing = Thing {
                    kind: ResourceKind::Database,
                    environment: entry.environment.clone(),
                    region: entry.region.clone(),
                    properties: entry.properties.clone(),
                };
                self.things.insert(place, thing);
            }
        }
    }

    fn progress(&self, step: &str) -> Progress {
        let Some(entry) = self.ledger.iter().find(|entry| entry.step == step) else {
            return Progress::Failed(Failure::new(FailureClass::Internal, "no such order"));
        };
        if entry.ended {
            Progress::Succeeded {
                external_id: format!("db-{}", entry.request.name),
                outputs: BTreeMap::new(),
            }
        } else {
            Progress::Waiting {
                token: Token(step.to_owned()),
                poll_at: entry.ends_at,
                message: String::new(),
            }
        }
    }
}

#[async_trait]
impl Planner for Cloud {
    async fn observe(
        &self,
        scope: &Scope,
        _: &BTreeMap<ResourceName, Provenance>,
    ) -> Result<Vec<Observed>, Failure> {
        self.call("observe", |sky| {
            let own = sky
                .things
                .iter()
                .filter(|((request, _), _)| *request == scope.request);
            own.map(|((_, resource), thing)| Observed {
                resource: resource.parse().unwrap(),
                kind: thing.kind,
                external_id: "db".into(),
                properties: thing.properties.clone(),
            })
            .collect()
        })
        .await
    }

    async fn plan(&self, question: &Question) -> Result<Answer, Failure> {
        self.call("plan", |sky| {
            let scope = &question.scope;
            let mut changes = BTreeMap::new();
            let mut add = |name: &str, kind, action, properties| {
                let change = PlannedChange {
                    request: scope.request.clone(),
                    environment: scope.environment_name.clone(),
                    resource: name.parse().unwrap(),
                    kind,
                    action,
                    properties,
                    module: None,
                };
                changes.entry(name.to_owned()).or_insert(change);
            };
            for desired in &question.desired {
                let found = sky.things.get(&(scope.request.clone(), desired.name.to_string()));
                let properties =
                    PropertyChange::between(found.map(|one| &one.properties), &desired.properties);
                let action = match found {
                    None => Action::Create,
                    Some(_) if properties.is_empty() => Action::NoOp,
                    Some(_) => Action::Update,
                };
                add(desired.name.as_str(), desired.kind, action, properties);
            }
            for ((request, name), thing) in &sky.things {
                if *request == scope.request {
                    add(name, thing.kind, Action::Delete, Vec::new());
                }
            }
            for (name, kind) in &question.known {
                add(name.as_str(), *kind, Action::NoOp, Vec::new());
            }
            Answer::Ready(Plan {
                changes: changes.into_values().collect(),
            })
        })
        .await
    }

    async fn discard(&self, _: &Scope, _: &Token) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl Provider for Cloud {
    async fn start(&self, order: &Order) -> Progress {
        let begun = self.call("start", |sky| self.begin(sky, order)).await;
        begun.unwrap_or_else(Progress::Failed)
    }

    async fn poll(&self, tokens: &[Token]) -> Result<Vec<(Token, Progress)>, Failure> {
        self.call("poll", |sky| {
            tokens
                .iter()
                .map(|token| (token.clone(), sky.progress(&token.0)))
                .collect()
        })
        .await
    }

    async fn cancel(&self, _: &Token) -> Result<(), Failure> {
        Ok(())
    }

    async fn destroy(&self, order: &Order) -> Progress {
        let begun = self.call("destroy", |sky| self.begin(sky, order)).await;
        begun.unwrap_or_else(Progress::Failed)
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
