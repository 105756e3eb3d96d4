//! Measures what stands between a plan and its sign-off: policies asked about every request of a merge request, in
//! their own process, and the gate. Prints the middle of some runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use landfall::clock::SystemClock;
use landfall::domain::change::{Change, ChangeKind};
use landfall::domain::ids::{CommitId, Digest, MergeRequestNumber, UserId};
use landfall::domain::merge_request::{MergeRequest, MergeRequestState, User};
use landfall::domain::plan::{Action, Plan, PlannedChange};
use landfall::domain::policy::input::{Facts, inputs};
use landfall::domain::policy::verdict::Verdict as PolicyVerdict;
use landfall::domain::policy::{Author, PolicyFile};
use landfall::domain::report::ReportedChange;
use landfall::domain::request::Request;
use landfall::domain::request::check::{ChangedFile, check_file};
use landfall::domain::review::{Evaluation, Planning};
use landfall::domain::rules::Rules;
use landfall::domain::rules::check::check_rules;
use landfall::domain::signoff::{Approval, Evidence, Given, Pusher, RoleNow, Verdict, VersionSeen, decide};
use landfall::domain::transition::{Subject, Transition};
use landfall::domain::tree::Mode;
use landfall::policy::Policies;

const REQUESTS: usize = 100;
const POLICIES: usize = 20;
const RUNS: usize = 21;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("requests-repo-template");
    let rules = check_rules(&fs::read(root.join("landfall.yaml")).unwrap())
        .0
        .unwrap();
    let policies = policies(&root.join("policies"));
    // One that was asked before would only repeat itself.
    let evaluator = || Policies::new(env!("CARGO_BIN_EXE_landfall").into(), Arc::new(SystemClock));
    let evaluation = evaluation(&rules);
    let mut took: Vec<(Duration, Duration)> = (0..RUNS)
        .map(|_| runtime.block_on(once(&evaluator(), &policies, &rules, &evaluation)))
        .collect();
    took.sort();
    let (whole, gate) = took[RUNS / 2];
    println!(
        "{POLICIES} policies, {REQUESTS} requests   {:7.1} ms ({:.1} to {:.1} ms in {RUNS} runs), of that the gate {:.2} ms",
        milliseconds(whole),
        milliseconds(took[0].0),
        milliseconds(took[RUNS - 1].0),
        milliseconds(gate)
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The template's policies, under as many names as it takes.
fn policies(folder: &Path) -> Vec<PolicyFile> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| !path.to_string_lossy().ends_with("_test.rego"));
    paths.sort();
    let file = |(number, path): (usize, &std::path::PathBuf)| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        PolicyFile {
            path: format!("policies/{name}-{number}.rego"),
            text: text.replace(&format!("package {name}"), &format!("package {name}_{number}")),
        }
    };
    paths
        .iter()
        .cycle()
        .take(POLICIES)
        .enumerate()
        .map(file)
        .collect()
}

fn request(rules: &Rules, number: usize) -> Request {
    let text = format!(
        "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {{name: request-{number}, team: web-team}}\nspec:\n  \
         environment: dev\n  virtualMachines: [{{name: web}}]\n  databases: [{{name: orders, version: \"17.6\"}}]\n  \
         storage: [{{name: pictures}}]\n"
    );
    let file = ChangedFile {
        path: "requests/web-team/request.yaml",
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before: None,
    };
    let (request, findings) = check_file(rules, &file);
    request.unwrap_or_else(|| panic!("{findings:?}"))
}

fn evaluation(rules: &Rules) -> Evaluation {
    let requests: Vec<Request> = (0..REQUESTS).map(|number| request(rules, number)).collect();
    let path = |request: &Request| format!("requests/web-team/{}.yaml", request.key.name);
    let transitions = requests.iter().map(|request| Transition {
        repository: "requests".parse().unwrap(),
        target_branch: "main".into(),
        subject: Subject::Request(request.key.clone()),
        path: path(request),
        from: None,
        to: Some("b".repeat(40).parse().unwrap()),
    });
    let changes = requests.iter().map(|request| ReportedChange {
        request: Some(request.key.clone()),
        path: path(request),
        kind: ChangeKind::Create,
        environment: Some(request.environment.clone()),
    });
    let planned = requests.iter().flat_map(|request| {
        request.resources.iter().map(|resource| PlannedChange {
            request: request.key.clone(),
            environment: request.environment.clone(),
            resource: resource.name.clone(),
            kind: resource.kind,
            action: Action::Create,
            properties: vec![],
            module: None,
        })
    });
    Evaluation {
        head: CommitId::new("c".repeat(40)).unwrap(),
        rules: None,
        transitions: transitions.collect(),
        changes: changes.collect(),
        findings: vec![],
        base_differs: false,
        environments: rules.environments.clone(),
        monthly: landfall::domain::price::monthly(rules, &[], &requests.iter().collect::<Vec<_>>()),
        groups: Default::default(),
        planning: Planning::Ready(Plan {
            changes: planned.collect(),
        }),
        demands: Default::default(),
        requests: requests.into_iter().map(Change::Create).collect(),
    }
}

/// One review's worth of it: how long all of it took, and the gate alone.
async fn once(
    evaluator: &Policies,
    policies: &[PolicyFile],
    rules: &Rules,
    evaluation: &Evaluation,
) -> (Duration, Duration) {
    let began = Instant::now();
    let plan = evaluation.plan().unwrap();
    let merge_request = merge_request();
    let documents = inputs(&Facts {
        rules,
        merge_request: Some(&merge_request),
        author: Some(&Author {
            id: UserId(11),
            username: "ada".into(),
            roles: vec![],
        }),
        accepted: &[],
        existing: &[],
        evaluation,
        plan,
    });
    let values = documents
        .iter()
        .map(|(_, input)| serde_json::to_value(input).unwrap());
    let evaluated = evaluator
        .evaluate(policies, values.collect())
        .await
        .unwrap()
        .unwrap();
    let mut verdict = PolicyVerdict::default();
    for ((request, _), values) in documents.iter().zip(&evaluated.documents) {
        for (package, values) in evaluated.packages.iter().zip(values) {
            verdict.read(package, values, request);
        }
    }
    verdict.settle();
    let at_gate = Instant::now();
    let decided = decide(&Evidence {
        transitions: &evaluation.transitions,
        plan,
        digest: &Digest::of(b"signed"),
        rules: Some(rules),
        demands: &verdict.demands,
        approvals: &[Approval {
            user: UserId(1),
            at: Timestamp::from_second(1_000).unwrap(),
            commit: None,
            digest: None,
            given: Given::AsListed,
        }],
        roles: &BTreeMap::from([(
            UserId(1),
            RoleNow {
                username: "root".into(),
                active_developer: true,
                admin: true,
                also: BTreeSet::new(),
                doubt: None,
            },
        )]),
        author: Some(UserId(11)),
        versions: &[VersionSeen {
            head: evaluation.head.clone(),
            created_at: Timestamp::UNIX_EPOCH,
            changed: true,
            stands: true,
            pusher: Pusher::Known(UserId(11)),
            also_pushed: BTreeSet::new(),
            emails: BTreeSet::new(),
        }],
        people: &Default::default(),
        shown_at: Some(Timestamp::UNIX_EPOCH),
        shown_anew: false,
        voided_at: None,
        settling: SignedDuration::ZERO,
        base_differs: false,
    });
    // The quota denies a hundred machines: both came to a verdict.
    assert!(matches!(decided, Verdict::Missing(_)) && !verdict.findings.is_empty());
    (began.elapsed(), at_gate.elapsed())
}

fn merge_request() -> MergeRequest {
    MergeRequest {
        number: MergeRequestNumber(7),
        state: MergeRequestState::Open,
        draft: false,
        title: "A hundred requests".into(),
        author: User {
            id: UserId(11),
            username: "ada".into(),
        },
        source_branch: "hundred".into(),
        from_fork: false,
        target_branch: "main".into(),
        head: None,
        merge_commit: None,
        squash_commit: None,
        merged_at: None,
        updated_at: Timestamp::UNIX_EPOCH,
        notes_count: 0,
        web_url: String::new(),
    }
}
