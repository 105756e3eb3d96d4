//! Measures many stacks that are open at once: 500 creations that do not end, begun by four workers and asked after as a
//! run's polls do. Prints what they take of memory, and how often AWS is called a minute. `LANDFALL_BENCH_AWS` is the
//! address of an AWS on this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, Response};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use landfall::clock::{Clock, SystemClock};
use landfall::domain::ids::{Generation, RunId, StepKey};
use landfall::domain::module::{Module, Part, PlannedModule};
use landfall::domain::plan::{Action, Resource, ResourceKind};
use landfall::domain::provenance::{Mark, Provenance};
use landfall::domain::rules::{Aws as AwsRules, Environment, ProviderKind};
use landfall::provider::aws::{Aws, AwsOptions, AwsProvider, CALLS_A_SECOND};
use landfall::provider::{Order, Progress, Provider, Scope, Token};

const STACKS: usize = 500;
const WORKERS: usize = 4;
/// As many as the poller asks after in one call.
const PAGE: usize = 100;
/// How long the open stacks are watched.
const WATCHED: Duration = Duration::from_secs(60);
/// Twenty times what an account is given, so that the stacks are open soon.
const CALLS_WHILE_OPENING: NonZeroU32 = CALLS_A_SECOND.saturating_mul(NonZeroU32::new(20).unwrap());
/// It waits for a signal that never comes.
const TEMPLATE: &str = r#"{"Resources": {
    "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
    "Ready": {"Type": "AWS::CloudFormation::WaitCondition", "DependsOn": "Handle",
        "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "43200", "Count": 1}}}}"#;

/// What is passed on to the AWS, and counted.
struct Counter {
    upstream: String,
    client: reqwest::Client,
    calls: AtomicUsize,
}

async fn pass_on(State(counter): State<Arc<Counter>>, request: Request<Body>) -> Response<Body> {
    counter.calls.fetch_add(1, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = counter
        .client
        .request(head.method, format!("{}{path}", counter.upstream))
        .headers(head.headers)
        .body(Bytes::from(bytes))
        .send()
        .await
        .unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

fn order(number: usize) -> Order {
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/landfall-{name}");
    let environment = Environment {
        account: Some("123456789012".into()),
        region: Some("eu-central-1".into()),
        aws: Some(AwsRules {
            planning_role: role("planning"),
            applying_role: role("applying"),
            admin_role: role("admin"),
            log_bucket: "access-logs".into(),
            team_roles: BTreeMap::new(),
            keep_failed: false,
        }),
        ..Environment::of(ProviderKind::Aws)
    };
    let module = Module {
        name: "storage".into(),
        version: "1.0.0".into(),
        template: TEMPLATE.into(),
        parameters: BTreeMap::new(),
    };
    let part = |name: &str, kind: &str| Part {
        name: name.into(),
        kind: kind.into(),
        action: Action::Create,
        properties: vec![],
    };
    let planned = PlannedModule {
        name: module.name.clone(),
        version: module.version.clone(),
        digest: Some(module.digest()),
        resolved: BTreeMap::new(),
        kept: BTreeSet::new(),
        parts: vec![
            part("Handle", "AWS::CloudFormation::WaitConditionHandle"),
            part("Ready", "AWS::CloudFormation::WaitCondition"),
        ],
    };
    let resource = Resource {
        name: "storage/pictures".parse().unwrap(),
        kind: ResourceKind::Storage,
        properties: BTreeMap::new(),
        depends_on: vec![],
    };
    Order {
        key: StepKey {
            run: RunId(uuid::Uuid::from_u64_pair(0, number as u64)),
            resource: resource.name.clone(),
        },
        scope: Scope {
            repository: "platform".parse().unwrap(),
            request: format!("Project/shop-{number}").parse().unwrap(),
            team: "web-team".parse().unwrap(),
            environment_name: "dev".parse().unwrap(),
            environment,
        },
        generation: Generation(1),
        action: Action::Create,
        final_snapshot: false,
        protected: false,
        resource,
        provenance: Provenance::default(),
        network: Provenance::default(),
        mark: Mark::default(),
        module: Some(module),
        planned: Some(planned),
    }
}

fn aws(endpoint: &str, calls_a_second: NonZeroU32) -> AwsProvider {
    let credentials = aws_credential_types::Credentials::new("somebody", "a-word", None, None, "bench");
    Aws::new(AwsOptions {
        clock: Arc::new(SystemClock),
        http: landfall::http_client::build(&Default::default()).expect("a client"),
        endpoint: Some(endpoint.to_owned()),
        credentials: Some(credentials),
        calls_a_second,
    })
    .provider()
}

/// Asks after everything that is due, as the poller does. Answers how many have ended.
async fn look(provider: &AwsProvider, open: &mut Vec<(Token, Timestamp)>) -> usize {
    let now = SystemClock.now();
    let due: Vec<Token> = open
        .iter()
        .filter(|(_, at)| *at <= now)
        .map(|(token, _)| token.clone())
        .collect();
    let mut ended = 0;
    for page in due.chunks(PAGE) {
        for (token, progress) in provider.poll(page).await.unwrap() {
            let place = open.iter().position(|(known, _)| *known == token).unwrap();
            match progress {
                Progress::Waiting { token, poll_at, .. } => open[place] = (token, poll_at),
                Progress::Succeeded { .. } => {
                    open.swap_remove(place);
                    ended += 1;
                }
                Progress::Failed(failure) => panic!("{failure}"),
            }
        }
    }
    ended
}

/// What this process holds in memory, in MiB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let upstream =
        std::env::var("LANDFALL_BENCH_AWS").expect("LANDFALL_BENCH_AWS is an address; scripts/bench sets it");
    let counter = Arc::new(Counter {
        upstream,
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
        calls: AtomicUsize::new(0),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(pass_on).with_state(counter.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let opening = aws(&endpoint, CALLS_WHILE_OPENING);
    let mut open = Vec::new();
    let mut held = Vec::new();
    for begun in (0..STACKS).collect::<Vec<_>>().chunks(STACKS / 5) {
        let mut starts = futures_util::stream::iter(begun.iter().copied())
            .map(|number| {
                let provider = opening.clone();
                async move { provider.start(&order(number)).await }
            })
            .buffer_unordered(WORKERS);
        while let Some(progress) = starts.next().await {
            match progress {
                Progress::Waiting { token, poll_at, .. } => open.push((token, poll_at)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(look(&opening, &mut open).await, 0);
        held.push(format!("{:.0}", memory()));
    }
    // At the pace of an account, from here on.
    let watching = aws(&endpoint, CALLS_A_SECOND);
    let (before, began) = (counter.calls.load(Ordering::Relaxed), Instant::now());
    let mut most = 0.0_f64;
    while began.elapsed() < WATCHED {
        assert_eq!(look(&watching, &mut open).await, 0, "nothing ends");
        most = most.max(memory());
        let now = SystemClock.now();
        let next = open.iter().map(|(_, at)| *at).min().unwrap_or(now);
        let soon = now.checked_add(Duration::from_millis(100)).unwrap();
        SystemClock.sleep_until(next.max(soon)).await;
    }
    let calls = counter.calls.load(Ordering::Relaxed) - before;
    let a_minute = calls as f64 * 60.0 / began.elapsed().as_secs_f64();
    println!(
        "{STACKS} stacks open at once, {WORKERS} workers   {a_minute:.0} calls of AWS a minute (the limit is {}), {} MiB while they \
         were begun (each 100), {most:.0} MiB at most while they were watched",
        CALLS_A_SECOND.get() * 60,
        held.join(", "),
    );
}
