//! A cloud that takes its time: it is asked again and again, and the audit log does not grow by that.

use std::collections::BTreeMap;

use jiff::Timestamp;
use landfall::domain::audit::Record;
use landfall::domain::ids::{Digest, Generation, RunId};
use landfall::domain::key::Key;
use landfall::domain::plan::{Action, Resource, ResourceKind};
use landfall::domain::rules::{Environment, ProviderKind};
use landfall::domain::run::{Run, RunState, Step};
use landfall::domain::step::{StepEvent, StepState};
use landfall::store::Store;

use super::{checked, clock, does, lease, open, seals};

fn run() -> Run {
    Run {
        id: RunId(uuid::Uuid::from_u128(1)),
        repository: "requests".parse().unwrap(),
        request: "Project/shop".parse().unwrap(),
        generation: Generation(1),
        origin: None,
        sign_off: Digest::of(b"what was signed"),
        team: "web-team".parse().unwrap(),
        environment: "dev".parse().unwrap(),
        place: Environment::of(ProviderKind::Aws),
        state: RunState::Queued,
        created_at: Timestamp::UNIX_EPOCH,
        finished_at: None,
        steps: vec![Step {
            number: 0,
            action: Action::Create,
            final_snapshot: false,
            resource: Resource {
                name: "database/orders".parse().unwrap(),
                kind: ResourceKind::Database,
                properties: BTreeMap::new(),
                depends_on: vec![],
            },
            module: None,
            planned: None,
            after: vec![],
            state: StepState::Pending,
        }],
        retained: vec![],
        gone: vec![],
    }
}

fn waits(number: i64, message: &str) -> StepEvent {
    StepEvent::Wait {
        token: format!("the provider's token {number}"),
        poll_at: Timestamp::from_second(30 * number).unwrap(),
        message: message.into(),
    }
}

async fn states(store: &Store, run: &Run) -> Vec<StepState> {
    let records = store.audit(&run.repository, 0, 1000).await.unwrap();
    let state = |record| match record {
        Record::Step { state, .. } => Some(state),
        _ => None,
    };
    records
        .into_iter()
        .filter_map(|record| state(record.record))
        .collect()
}

#[tokio::test]
async fn a_step_that_waits_for_an_hour_is_on_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &clock()).await;
    let run = run();
    let repository = run.repository.clone();
    does(
        folder.path(),
        "INSERT INTO requests (repository, request, generation, content, signed_plan)
         VALUES ('requests', 'Project/shop', 1, '{}', '{}')",
    )
    .await;
    let key = Key::Request {
        repository: repository.clone(),
        request: run.request.clone(),
    };
    let by = lease(&store, key).await;
    store.make_run(&by, &run, Timestamp::UNIX_EPOCH).await.unwrap();

    let resource = &run.steps[0].resource.name;
    let happens = async |event, second| {
        let now = Timestamp::from_second(second).unwrap();
        store.step_event(&by, run.id, resource, event, now).await.unwrap()
    };
    happens(StepEvent::Start, 0).await;
    for number in 1..=120 {
        let message = if number <= 60 {
            "creating Key"
        } else {
            "creating Database"
        };
        happens(waits(number, message), 30 * number).await;
        // The newest token is what is asked by after a crash.
        let due = store
            .waiting_steps(&repository, &run.environment, Timestamp::MAX)
            .await
            .unwrap();
        assert_eq!(due[0].token, format!("the provider's token {number}"));
    }
    let done = StepEvent::Succeed {
        external_id: "arn:aws:rds".into(),
        outputs: BTreeMap::new(),
    };
    happens(done, 3600).await;

    let recorded = states(&store, &run).await;
    let names: Vec<&str> = recorded.iter().map(StepState::name).collect();
    assert_eq!(names, ["started", "waiting", "succeeded"]);
    let log = store.step_log(run.id, 0, 1000).await.unwrap();
    let told: Vec<&str> = log.iter().map(|line| line.state.name()).collect();
    assert_eq!(
        told,
        ["started", "waiting", "waiting", "succeeded"],
        "what the provider said is in the log"
    );
    let written = serde_json::to_string(&recorded).unwrap() + &format!("{log:?}");
    assert!(!written.contains("the provider's token"), "{written}");

    seals(&store).await;
    store.close().await;
    let verdict = checked(folder.path(), None).await;
    assert_eq!((verdict.faults.len(), verdict.unsealed), (0, 0));
}
