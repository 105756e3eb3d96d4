//! Reports that a reader would recognise, one for each standing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;

use crate::domain::change::ChangeKind;
use crate::domain::command;
use crate::domain::finding::{Code, Finding, Place, Severity};
use crate::domain::ids::{
    CommitId, Digest, EnvironmentName, MergeRequestNumber, RepositoryId, RequestKey, ResourceName, RunId,
};
use crate::domain::landing::{HeldBecause, Origin};
use crate::domain::plan::{Action, Plan, PlannedChange, PlannedValue, PropertyChange, ResourceKind};
use crate::domain::price::{Amount, Estimate, Monthly};
use crate::domain::report::{Report, ReportedChange, ReportedRun, ReportedStep, Standing};
use crate::domain::rules::{Environment, ProviderKind};
use crate::domain::run::RunState;
use crate::domain::signoff::{Discount, Missing};
use crate::domain::step::{Failure, FailureClass, StepState};

mod ends;
mod large;
mod pushes;

use ends::with_deletion;
pub(super) use ends::{cancelled, deleted, failed};
pub(super) use large::enlarge;

pub(super) use super::reader::{HOSTILE, read};
use super::{Context, Limits, Marker, reader};

pub(super) const GITLAB: Limits = Limits {
    note: 1_000_000,
    status: 255,
};

static ADMINS: LazyLock<Vec<String>> =
    LazyLock::new(|| vec!["Grace Hopper".into(), "members of platform/admins".into()]);

fn address(path: &str, line: u32) -> String {
    format!("https://forge.test/platform/requests/-/blob/main/{path}#L{line}")
}

pub(super) fn context() -> Context<'static> {
    Context {
        file_url: &address,
        admins: &ADMINS,
    }
}

pub(super) fn marker() -> Marker {
    Marker::report(&RepositoryId::new("platform").unwrap(), &seven())
}

fn seven() -> Origin {
    Origin::MergeRequest(MergeRequestNumber(7))
}

/// Fails if a whole note does anything that is not ours, or is a command to us.
pub(super) fn assert_only_ours(note: &str) {
    reader::assert_only_ours(note);
    assert_eq!(command::parse(note), vec![], "{note}");
}

fn orders() -> RequestKey {
    "Project/orders".parse().unwrap()
}

fn development() -> EnvironmentName {
    EnvironmentName::new("development").unwrap()
}

fn resource(name: &str) -> ResourceName {
    ResourceName::new(name).unwrap()
}

fn known(path: &str, before: Option<serde_json::Value>, after: Option<serde_json::Value>) -> PropertyChange {
    PropertyChange {
        path: path.into(),
        before: before.map(PlannedValue::Known),
        after: after.map(PlannedValue::Known),
    }
}

fn planned(name: &str, kind: ResourceKind, action: Action, properties: Vec<PropertyChange>) -> PlannedChange {
    PlannedChange {
        request: orders(),
        environment: development(),
        resource: resource(name),
        kind,
        action,
        properties,
        module: None,
    }
}

fn with(standing: Standing) -> Report {
    Report {
        origin: seven(),
        standing,
        head: CommitId::new("3f".repeat(20)).unwrap(),
        author: Some("ada".into()),
        changes: vec![],
        findings: vec![],
        plan: None,
        estimate: None,
        digest: None,
        environments: BTreeMap::new(),
        base_differs: false,
        paused: std::collections::BTreeSet::new(),
        runs: vec![],
        given_up: vec![],
        failing: vec![],
    }
}

/// A Project with a machine, a database and storage, planned.
pub(super) fn with_plan(standing: Standing) -> Report {
    Report {
        changes: vec![ReportedChange {
            request: Some(orders()),
            path: "requests/shop/orders.yaml".into(),
            kind: ChangeKind::Create,
            environment: Some(development()),
        }],
        plan: Some(Plan {
            changes: vec![
                planned(
                    "virtual-machine/web",
                    ResourceKind::VirtualMachine,
                    Action::Create,
                    vec![
                        known("size", None, Some(json!("small"))),
                        known("count", None, Some(json!(2))),
                        PropertyChange {
                            path: "address".into(),
                            before: None,
                            after: Some(PlannedValue::Unknown("the cloud's choice".into())),
                        },
                    ],
                ),
                planned(
                    "database/orders",
                    ResourceKind::Database,
                    Action::Create,
                    vec![
                        known("engine", None, Some(json!("postgres"))),
                        known("storageGb", None, Some(json!(20))),
                    ],
                ),
                planned("storage/receipts", ResourceKind::Storage, Action::Create, vec![]),
            ],
        }),
        digest: Some(Digest::of(b"a plan")),
        environments: BTreeMap::from([(development(), Environment::of(ProviderKind::Simulator))]),
        ..with(standing)
    }
}

/// The plan touches what is there already.
fn with_destructive_plan(standing: Standing) -> Report {
    let mut report = with_plan(standing);
    report.changes[0].kind = ChangeKind::Update;
    report.plan = Some(Plan {
        changes: vec![
            planned(
                "virtual-machine/web",
                ResourceKind::VirtualMachine,
                Action::Update,
                vec![
                    known("size", Some(json!("small")), Some(json!("large"))),
                    known("note", Some(json!("old")), None),
                ],
            ),
            planned(
                "database/orders",
                ResourceKind::Database,
                Action::Replace,
                vec![known("engine", Some(json!("postgres")), Some(json!("mysql")))],
            ),
            planned("storage/receipts", ResourceKind::Storage, Action::Delete, vec![]),
            planned("storage/kept", ResourceKind::Storage, Action::NoOp, vec![]),
        ],
    });
    report
}

/// The plan costs something: one entry is cheaper, one dearer, one gone, and one has no price.
fn with_prices(standing: Standing) -> Report {
    let mut report = with_destructive_plan(standing);
    let monthly = |name: &str, before, after| Monthly {
        request: orders(),
        resource: resource(name),
        currency: "EUR".into(),
        before,
        after,
    };
    let entries = [
        monthly("virtual-machine/web", Some(Amount(3_000)), Some(Amount(12_050))),
        monthly("database/orders", Some(Amount(9_020)), Some(Amount(4_510))),
        monthly("storage/receipts", Some(Amount(500)), Some(Amount::ZERO)),
        monthly("storage/kept", None, None),
    ];
    report.estimate = report.plan.as_ref().and_then(|plan| Estimate::of(plan, &entries));
    report
}

fn approvals(counted: u32, needed: u32, by_digest: bool) -> Missing {
    Missing::Approvals {
        needed,
        counted,
        because: (needed > 1).then(|| "it could not be established who pushed".into()),
        who: ADMINS.clone(),
        by_digest,
    }
}

pub(super) fn waiting() -> Report {
    with_plan(Standing::Waiting(vec![Missing::NotShown, approvals(0, 1, false)]))
}

pub(super) fn refused() -> Report {
    let place = |line, column| Place {
        path: "requests/shop/orders.yaml".into(),
        line,
        column,
    };
    let mut warning = Finding::error(
        Code::InvalidValue,
        place(3, 1),
        "the name is long",
        "choose a shorter one",
    );
    warning.severity = Severity::Warning;
    Report {
        findings: vec![
            warning,
            Finding::error(
                Code::UnknownField,
                place(12, 7),
                "\"siez\" is not a field of a virtual machine",
                "did you mean \"size\"?",
            ),
            Finding::error(
                Code::UnknownEnvironment,
                place(8, 16),
                "there is no environment \"prod\"",
                "landfall.yaml has: development, production",
            ),
        ],
        changes: with_plan(Standing::Refused).changes,
        ..with(Standing::Refused)
    }
}

fn step(name: &str, kind: ResourceKind, state: StepState) -> ReportedStep {
    ReportedStep {
        resource: resource(name),
        kind,
        action: Action::Create,
        state,
    }
}

pub(super) fn succeeded(id: &str, outputs: &[(&str, &str)]) -> StepState {
    StepState::Succeeded {
        external_id: id.into(),
        outputs: outputs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    }
}

fn with_run(standing: Standing, state: RunState, seconds: Option<i64>, steps: Vec<ReportedStep>) -> Report {
    Report {
        runs: vec![ReportedRun {
            id: RunId(uuid::Uuid::from_u128(1)),
            request: orders(),
            environment: development(),
            state,
            steps,
            retained: vec![],
            gone: vec![],
            seconds,
        }],
        ..with_plan(standing)
    }
}

fn machine() -> ReportedStep {
    step(
        "virtual-machine/web",
        ResourceKind::VirtualMachine,
        succeeded(
            "vm-0001",
            &[("privateAddress", "10.0.0.4"), ("ssh", "ssh admin@10.0.0.4")],
        ),
    )
}

fn provisioning() -> Report {
    let working = StepState::Waiting {
        attempt: 1,
        token: "a-token".into(),
        poll_at: jiff::Timestamp::UNIX_EPOCH,
        message: "created Clients (AWS::EC2::SecurityGroup)\ncreating Database (AWS::RDS::DBInstance)".into(),
    };
    with_run(
        Standing::Provisioning,
        RunState::Running,
        None,
        vec![
            machine(),
            step("database/orders", ResourceKind::Database, working),
            step("storage/receipts", ResourceKind::Storage, StepState::Pending),
        ],
    )
}

fn provisioning_again() -> Report {
    let backing_off = StepState::BackingOff {
        attempt: 2,
        until: jiff::Timestamp::UNIX_EPOCH,
        failure: Failure::new(FailureClass::Throttled, "Rate exceeded"),
    };
    let mut report = provisioning();
    report.runs[0].steps[1].state = backing_off;
    report.runs[0].steps[2].state = StepState::Started { attempt: 3 };
    report
}

pub(super) fn done() -> Report {
    let database = succeeded(
        "db-0002",
        &[
            ("endpoint", "orders.db.internal:5432"),
            ("password", "secret://orders/password"),
        ],
    );
    with_run(
        Standing::Done,
        RunState::Succeeded,
        Some(72),
        vec![
            machine(),
            step("database/orders", ResourceKind::Database, database),
            step(
                "storage/receipts",
                ResourceKind::Storage,
                succeeded("st-0003", &[]),
            ),
        ],
    )
}

/// Every standing, by a name for its snapshot; some in more than one way.
pub(super) fn every_standing() -> Vec<(&'static str, Report)> {
    let discounted = Missing::Discounted {
        username: "grace".into(),
        why: Discount::BeforeComment,
    };
    let changed = Missing::Discounted {
        username: "linus".into(),
        why: Discount::CommentChanged,
    };
    let trouble = "the network of environment `dev` cannot take it:\nsubnet `subnet-1` has no route to 0.0.0.0/0;\n\
                   subnet `subnet-2` has 3 free addresses, and 16 are needed";
    let trouble = Some(trouble.into());
    let held = vec![HeldBecause::NotSignedOff {
        missing: vec![
            "0 of 1 sign-offs".into(),
            "the approval of ada does not count".into(),
        ],
    }];
    let refused_landing = vec![HeldBecause::Refused];
    let approvers = vec!["Grace Hopper".into()];
    let digest_only = Report {
        base_differs: true,
        ..with_destructive_plan(Standing::Waiting(vec![approvals(1, 2, true)]))
    };
    let all: Vec<(&'static str, Report)> = vec![
        ("nothing", with(Standing::Nothing)),
        ("draft", with_plan(Standing::Draft)),
        ("refused", refused()),
        ("planning", with(Standing::Planning { trouble: None })),
        ("planning_with_trouble", with(Standing::Planning { trouble })),
        ("waiting", waiting()),
        (
            "waiting_with_an_approval_that_does_not_count",
            with_plan(Standing::Waiting(vec![
                approvals(0, 1, false),
                discounted,
                changed,
            ])),
        ),
        ("waiting_for_the_digest", digest_only),
        (
            "waiting_without_rules",
            with_plan(Standing::Waiting(vec![Missing::NoRules])),
        ),
        (
            "waiting_denied",
            with_plan(Standing::Waiting(vec![
                Missing::Denied("no databases in development".into()),
                approvals(0, 1, false),
            ])),
        ),
        (
            "waiting_to_be_shown",
            with_plan(Standing::Waiting(vec![Missing::NotShown])),
        ),
        (
            "waiting_prices",
            with_prices(Standing::Waiting(vec![approvals(0, 1, false)])),
        ),
        ("ready", with_plan(Standing::Ready { approvers })),
        ("held", with_plan(Standing::Held(held))),
        (
            "held_with_findings",
            Report {
                standing: Standing::Held(refused_landing),
                ..refused()
            },
        ),
        ("provisioning", provisioning()),
        ("provisioning_again", provisioning_again()),
        ("done", done()),
        ("done_without_runs", with(Standing::Done)),
        ("failed", failed()),
        (
            "waiting_for_a_deletion",
            with_deletion(Standing::Waiting(vec![approvals(0, 1, false)])),
        ),
        ("done_with_a_deletion", deleted()),
        (
            "given_up",
            Report {
                given_up: vec!["the database failed: disk is full".into()],
                ..with(Standing::Planning { trouble: None })
            },
        ),
        (
            "failing",
            Report {
                failing: vec!["fetching main: the forge refused our token (403: insufficient_scope)".into()],
                ..with(Standing::Provisioning)
            },
        ),
        ("cancelled", cancelled()),
        (
            "superseded",
            with_plan(Standing::Superseded {
                by: [Origin::MergeRequest(MergeRequestNumber(12)), pushes::pushed()].into(),
            }),
        ),
        ("closed", with(Standing::Closed)),
    ]
    .into_iter()
    .chain(pushes::of_a_push())
    .collect();
    let seen: std::collections::BTreeSet<usize> =
        all.iter().map(|(_, report)| number(&report.standing)).collect();
    assert_eq!(seen.len(), 14, "a standing has no sample");
    all
}

/// No wildcard: a new standing does not compile until it has a sample.
fn number(standing: &Standing) -> usize {
    match standing {
        Standing::Nothing => 0,
        Standing::Draft => 1,
        Standing::Refused => 2,
        Standing::Planning { .. } => 3,
        Standing::Waiting(_) => 4,
        Standing::Ready { .. } => 5,
        Standing::Held(_) => 6,
        Standing::Provisioning => 7,
        Standing::Done => 8,
        Standing::Failed => 9,
        Standing::Closed => 10,
        Standing::Superseded { .. } => 11,
        Standing::Cancelled => 12,
        Standing::Overtaken(_) => 13,
    }
}

/// Puts a text into every place that text from outside can reach.
pub(super) fn poison(report: &mut Report, text: &str) {
    let evil = || text.to_owned();
    // Never the form of a user name, which may be mentioned.
    report.author = Some(format!("{text} {text}"));
    for change in &mut report.changes {
        change.path = evil();
    }
    report.given_up.iter_mut().for_each(|reason| *reason = evil());
    report.failing.iter_mut().for_each(|reason| *reason = evil());
    for finding in &mut report.findings {
        finding.place.path = evil();
        finding.message = evil();
        finding.hint = evil();
    }
    for entry in report
        .estimate
        .iter_mut()
        .flat_map(|estimate| &mut estimate.entries)
    {
        entry.currency = evil();
    }
    for property in report
        .plan
        .iter_mut()
        .flat_map(|plan| &mut plan.changes)
        .flat_map(|c| &mut c.properties)
    {
        property.path = evil();
        property.before = Some(PlannedValue::Unknown(evil()));
        property.after = Some(PlannedValue::Known(json!({ text: [text] })));
    }
    match &mut report.standing {
        Standing::Planning { trouble } => *trouble = Some(evil()),
        Standing::Ready { approvers } => *approvers = vec![evil(), evil()],
        Standing::Held(because) => {
            because.push(HeldBecause::OtherContent {
                paths: vec![evil(); 9],
            });
            because.push(HeldBecause::NotSignedOff {
                missing: vec![evil()],
            });
        }
        Standing::Waiting(missing) => {
            let discounted = Missing::Discounted {
                username: evil(),
                why: Discount::Author,
            };
            missing.extend([Missing::Denied(evil()), discounted]);
            for missing in missing {
                if let Missing::Approvals { who, because, .. } = missing {
                    *who = vec![evil(); 9];
                    *because = Some(evil());
                }
            }
        }
        _ => {}
    }
    for step in report.runs.iter_mut().flat_map(|run| &mut run.steps) {
        match &mut step.state {
            StepState::BackingOff { failure, .. } | StepState::Failed(failure) => failure.reason = evil(),
            StepState::Skipped { reason } => *reason = evil(),
            StepState::Succeeded { external_id, outputs } => {
                *external_id = evil();
                outputs.insert(evil(), evil());
            }
            _ => {}
        }
    }
}

/// A merge request by someone who tries it on.
pub(super) fn hostile() -> Report {
    let mut report = refused();
    report.author = Some("all".into());
    report.changes = with_plan(Standing::Refused).changes;
    report.changes[0].path = "requests/shop/![x](https://evil.example/p.png)|@all.yaml".into();
    report.findings = HOSTILE
        .iter()
        .map(|text| {
            let place = Place {
                path: format!("requests/shop/{text}.yaml"),
                line: 1,
                column: 1,
            };
            Finding::error(Code::InvalidValue, place, *text, *text)
        })
        .collect();
    report
}
