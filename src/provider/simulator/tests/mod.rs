//! The simulator as its callers see it.

mod once;
mod planning;
mod trouble;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::domain::ids::{Generation, RunId, StepKey};
use crate::domain::plan::{Action, Plan, PlannedValue, PropertyChange, Resource};
use crate::domain::provenance::{Mark, Provenance};
use crate::domain::rules::{Environment, ProviderKind};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Answer, Order, Planner, Progress, Provider, Question, Token};

const START: Timestamp = Timestamp::constant(1_770_000_000, 123_456_789);
const LONG: Duration = Duration::from_secs(60);

struct World {
    folder: tempfile::TempDir,
    clock: ManualClock,
    simulator: Simulator,
}

impl World {
    async fn start() -> Self {
        Self::with(Latency::default()).await
    }

    async fn with(latency: Latency) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let simulator = open(folder.path(), &clock, latency).await;
        Self {
            folder,
            clock,
            simulator,
        }
    }

    /// As another process sees it, or this one after a restart.
    async fn opened_again(&self) -> Simulator {
        open(self.folder.path(), &self.clock, Latency::default()).await
    }

    async fn start_order(&self, order: &Order) -> Progress {
        self.simulator.provider().start(order).await
    }

    async fn poll(&self, token: &Token) -> Progress {
        let answers = self
            .simulator
            .provider()
            .poll(std::slice::from_ref(token))
            .await
            .unwrap();
        answers.into_iter().next().unwrap().1
    }

    /// Starts it and waits for its end.
    async fn finish(&self, order: &Order) -> Progress {
        let started = if order.action == Action::Delete {
            self.simulator.provider().destroy(order).await
        } else {
            self.start_order(order).await
        };
        match started {
            Progress::Waiting { token, .. } => {
                self.clock.advance(LONG);
                self.poll(&token).await
            }
            done => done,
        }
    }

    async fn plan(&self, desired: Vec<Resource>, known: Vec<&str>) -> Result<Plan, Failure> {
        match self.simulator.planner().plan(&question(desired, known)).await? {
            Answer::Ready(plan) => Ok(plan),
            Answer::Pending { .. } => panic!("pending"),
        }
    }

    /// `created step-1 database/orders`, and so on.
    async fn ledger(&self) -> Vec<String> {
        let line = |entry: LedgerEntry| {
            let step = entry.step.map_or("nobody of ours".into(), |step| {
                format!(
                    "run {}",
                    step.split_once('/')
                        .unwrap()
                        .0
                        .parse::<RunId>()
                        .unwrap()
                        .0
                        .as_u128()
                )
            });
            format!("{:?} by {step}: {}", entry.happening, entry.resource)
        };
        self.simulator
            .ledger()
            .await
            .unwrap()
            .into_iter()
            .map(line)
            .collect()
    }

    async fn order_trouble(&self, call: Call, effect: Effect) {
        self.simulator.order(Trouble::new(call, 1, effect)).await.unwrap();
    }
}

async fn open(folder: &std::path::Path, clock: &ManualClock, latency: Latency) -> Simulator {
    let options = SimulatorOptions {
        file: folder.join("cloud.db"),
        clock: Arc::new(clock.clone()),
        latency,
    };
    Simulator::open(options).await.unwrap()
}

fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

fn scope(request: &str) -> Scope {
    Scope {
        repository: RepositoryId::new("requests").unwrap(),
        request: format!("Project/{request}").parse().unwrap(),
        team: TeamName::new("shop-team").unwrap(),
        environment_name: EnvironmentName::new("development").unwrap(),
        environment: Environment::of(ProviderKind::Simulator),
    }
}

fn kind(resource: &str) -> ResourceKind {
    match resource.split_once('/').unwrap().0 {
        "database" => ResourceKind::Database,
        "storage" => ResourceKind::Storage,
        _ => ResourceKind::VirtualMachine,
    }
}

fn resource(text: &str, properties: Value) -> Resource {
    let Value::Object(properties) = properties else {
        panic!("an object")
    };
    Resource {
        name: name(text),
        kind: kind(text),
        properties: properties.into_iter().collect(),
        depends_on: Vec::new(),
    }
}

fn orders_database() -> Resource {
    resource(
        "database/orders",
        json!({ "engine": "PostgreSQL", "size": "Small", "adminUsername": "appadmin" }),
    )
}

fn order(run: u64, action: Action, resource: Resource) -> Order {
    Order {
        key: StepKey {
            run: RunId(uuid::Uuid::from_u64_pair(0, run)),
            resource: resource.name.clone(),
        },
        scope: scope("shop"),
        generation: Generation(1),
        final_snapshot: false,
        protected: false,
        action,
        resource,
        provenance: Provenance::default(),
        network: Provenance::default(),
        mark: Mark::default(),
        module: None,
        planned: None,
    }
}

fn question(desired: Vec<Resource>, known: Vec<&str>) -> Question {
    let known = known.into_iter().map(|text| (name(text), kind(text))).collect();
    Question {
        scope: scope("shop"),
        desired,
        modules: BTreeMap::new(),
        signed: BTreeMap::new(),
        known,
        provenance: BTreeMap::new(),
        pending: None,
    }
}

fn failure() -> Failure {
    Failure::new(FailureClass::Transient, "the connection was reset")
}

fn token_of(progress: Progress) -> Token {
    match progress {
        Progress::Waiting { token, .. } => token,
        other => panic!("not waiting: {other:?}"),
    }
}

fn is_done(progress: &Progress) -> bool {
    matches!(progress, Progress::Succeeded { .. })
}

fn failed(progress: Progress) -> Failure {
    match progress {
        Progress::Failed(failure) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

#[tokio::test]
async fn a_database_takes_its_time_and_says_what_it_is_at() {
    let world = World::start().await;
    let mut progress = world
        .start_order(&order(1, Action::Create, orders_database()))
        .await;
    let mut messages = Vec::new();
    let mut polls = 0;
    while let Progress::Waiting {
        token,
        poll_at,
        message,
    } = progress
    {
        assert!(
            world.simulator.resources().await.unwrap().is_empty(),
            "not before its time"
        );
        messages.push(message);
        world.clock.advance(
            poll_at
                .duration_since(crate::clock::Clock::now(&world.clock))
                .try_into()
                .unwrap(),
        );
        progress = world.poll(&token).await;
        polls += 1;
    }

    messages.dedup();
    assert_eq!(
        messages,
        [
            "creating the database database/orders: reserving a place (simulated)",
            "creating the database database/orders: at work (simulated)",
            "creating the database database/orders: waiting until it is ready (simulated)",
        ]
    );
    assert!(polls < 10, "{polls} polls");
    let Progress::Succeeded { external_id, outputs } = progress else {
        panic!("{progress:?}")
    };
    assert!(external_id.starts_with("sim-db-"), "{external_id}");
    assert_eq!(outputs["endpoint"], "orders.shop.simulated.invalid:5432");
    assert_eq!(outputs["username"], "appadmin");
    assert!(
        outputs["secret"].starts_with("simulated://secrets/requests-shop-orders-"),
        "{outputs:?}"
    );
    assert!(world.simulator.provider().is_simulated());
    assert_eq!(world.ledger().await, ["Created by run 1: database/orders"]);
}

#[tokio::test]
async fn each_kind_is_reached_in_its_own_way() {
    let world = World::start().await;
    for (text, expected) in [
        ("vm/worker", &["host", "privateAddress", "session"][..]),
        ("database/orders", &["endpoint", "secret"]),
        ("storage/assets", &["bucket", "url"]),
    ] {
        let progress = world
            .finish(&order(1, Action::Create, resource(text, json!({}))))
            .await;
        let Progress::Succeeded { outputs, .. } = progress else {
            panic!("{progress:?}")
        };
        assert_eq!(
            outputs.keys().map(String::as_str).collect::<Vec<_>>(),
            expected,
            "{text}"
        );
        assert!(outputs.values().all(|value| {
            value.contains("simulated")
                || value.starts_with("192.0.2.")
                || value.starts_with("requests-shop-")
        }));
    }
}

#[tokio::test]
async fn what_was_planned_is_what_happens_and_then_nothing_is_left() {
    let world = World::start().await;
    let machine = |image: &str, size: &str| resource("vm/worker", json!({ "image": image, "size": size }));
    let story = [
        (Action::Create, Some(machine("Ubuntu2204", "Small"))),
        (Action::Update, Some(machine("Ubuntu2204", "Large"))),
        (Action::Replace, Some(machine("Ubuntu2404", "Large"))),
        (Action::Delete, None),
    ];
    let mut ids = Vec::new();
    for (run, (action, desired)) in (1..).zip(story) {
        let wanted: Vec<_> = desired.clone().into_iter().collect();
        let plan = world.plan(wanted.clone(), vec!["vm/worker"]).await.unwrap();
        assert_eq!(
            plan.changes
                .iter()
                .map(|change| change.action)
                .collect::<Vec<_>>(),
            [action]
        );
        let resource = desired.unwrap_or_else(|| machine("Ubuntu2404", "Large"));
        let progress = world.finish(&order(run, action, resource)).await;
        let Progress::Succeeded { external_id, .. } = progress else {
            panic!("{progress:?}")
        };
        ids.push(external_id);
        let left = world.plan(wanted, vec!["vm/worker"]).await.unwrap();
        assert_eq!(left.changes[0].action, Action::NoOp);
    }
    assert_eq!(ids[0], ids[1], "an update keeps the machine");
    assert_ne!(ids[1], ids[2], "a replacement makes another");
    assert_eq!(ids[2], ids[3]);
    assert!(world.simulator.resources().await.unwrap().is_empty());
    assert_eq!(
        world.ledger().await,
        [
            "Created by run 1: vm/worker",
            "Updated by run 2: vm/worker",
            "Deleted by run 3: vm/worker",
            "Created by run 3: vm/worker",
            "Deleted by run 4: vm/worker",
        ]
    );
}

#[tokio::test]
async fn two_requests_whose_names_read_the_same_do_not_meet() {
    let world = World::start().await;
    let longest = "x".repeat(40);
    let cases = [
        ("a-b", "vm/c"),
        ("a", "vm/b-c"),
        (&longest, "vm/c"),
        (&longest, "storage/c"),
    ];
    for (run, (request, resource_name)) in (1..).zip(cases) {
        let create = order(run, Action::Create, resource(resource_name, json!({})));
        let create = Order {
            scope: scope(request),
            ..create
        };
        assert!(is_done(&world.finish(&create).await), "{request} {resource_name}");
    }
    let names = world
        .simulator
        .resources()
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.cloud_name);
    let names: std::collections::BTreeSet<_> = names.collect();
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_happens() {
    let world = World::start().await;
    world.finish(&order(1, Action::Create, orders_database())).await;
    let other_size = resource("database/orders", json!({ "size": "Large" }));
    for (case, class, reason) in [
        (
            order(2, Action::Create, orders_database()),
            FailureClass::Conflict,
            "stands already",
        ),
        (
            order(2, Action::Update, resource("vm/x", json!({}))),
            FailureClass::Conflict,
            "not there any more",
        ),
        (
            order(2, Action::NoOp, orders_database()),
            FailureClass::Internal,
            "nothing that can be started",
        ),
        (
            order(1, Action::Create, other_size),
            FailureClass::Internal,
            "was used for another order",
        ),
    ] {
        let failure = failed(world.start_order(&case).await);
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.reason.contains(reason), "{failure}");
    }
    let unknown = failed(world.poll(&Token("sim-op-lost".into())).await);
    assert!(unknown.reason.contains("knows of no such operation"), "{unknown}");
    assert_eq!(world.ledger().await.len(), 1);
}
