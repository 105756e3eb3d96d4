//! A text from outside, put into every place of everything that is written to a forge.

use std::collections::BTreeMap;

use landfall::domain::change::ChangeKind;
use landfall::domain::command;
use landfall::domain::finding::{Code, Finding, Place};
use landfall::domain::ids::{
    CommitId, Digest, EnvironmentName, MergeRequestNumber, RepositoryId, RequestKey, ResourceName, RunId,
};
use landfall::domain::landing::{HeldBecause, Origin};
use landfall::domain::plan::{Action, Plan, PlannedChange, PlannedValue, PropertyChange, ResourceKind};
use landfall::domain::price::{Amount, Estimate, Monthly};
use landfall::domain::report::{CommandAnswer, Report, ReportedChange, ReportedRun, ReportedStep, Standing};
use landfall::domain::rules::{Environment, ProviderKind};
use landfall::domain::run::RunState;
use landfall::domain::signoff::{Discount, Missing};
use landfall::domain::step::{Failure, FailureClass, StepState};
use landfall::report::{
    Context, DirectPush, Limits, Marker, answers, comment as write_comment, issue, result, status, suspended,
};

use reader::assert_only_ours;

/// The reader of markdown that the unit tests of `report` use.
#[allow(dead_code)]
#[path = "../../src/report/reader.rs"]
mod reader;

const GITLAB: Limits = Limits {
    note: 1_000_000,
    status: 255,
};

/// A text that reaches what people read: no mention, link, image, HTML or command comes of it.
pub fn comment(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let repository = RepositoryId::new("platform").expect("an id");
    let marker = Marker::report(&repository, &Origin::MergeRequest(MergeRequestNumber(7)));
    let admins = [text.to_owned()];
    let context = Context {
        file_url: &|path, line| format!("https://forge.test/platform/requests/-/blob/main/{path}#L{line}"),
        admins: &admins,
    };
    let push = Origin::Push(commit());
    let reports = standings(text).into_iter().flat_map(|standing| {
        let of_a_push = Report {
            origin: push.clone(),
            ..report(text, standing.clone())
        };
        [report(text, standing), of_a_push]
    });
    for report in reports {
        let note = write_comment(&report, GITLAB, &marker, &context);
        assert!(marker.marks(&note), "{note}");
        assert_inert(&note);
        let line = status(&report, GITLAB).description;
        assert!(
            line.chars().count() <= GITLAB.status && !line.contains(char::is_control),
            "{line:?}"
        );
        let runs: Vec<RunId> = report.runs.iter().map(|run| run.id).collect();
        assert_inert(&result(
            &report,
            &runs,
            None,
            GITLAB,
            &Marker::result(&runs),
            &context,
        ));
    }
    let head = commit();
    let paths = [text.to_owned(), text.to_owned()];
    // Never the form of a user name, which may be mentioned.
    let pusher = format!("{text} {text}");
    let push = DirectPush {
        commit: &head,
        branch: text,
        pusher: Some(&pusher),
        paths: &paths,
    };
    for issue in [
        issue(&push, GITLAB, &marker, &admins),
        suspended(&repository, text, &head, &marker),
    ] {
        assert!(!issue.title.contains(char::is_control), "{}", issue.title);
        assert_inert(&issue.body);
    }
    let told = [
        CommandAnswer::Unknown { text: text.into() },
        CommandAnswer::NothingTo { command: text.into() },
        CommandAnswer::NotAllowed {
            username: text.into(),
        },
    ];
    let told = told.map(|answer| (jiff::Timestamp::UNIX_EPOCH, answer));
    assert_inert(&answers(&told, told.len(), &marker));
}

fn assert_inert(note: &str) {
    assert_only_ours(note);
    assert_eq!(command::parse(note), [], "{note}");
}

fn commit() -> CommitId {
    CommitId::new("3f".repeat(20)).expect("a commit")
}

fn held(text: &str) -> Vec<HeldBecause> {
    vec![
        HeldBecause::OtherContent {
            paths: vec![text.into(); 9],
        },
        HeldBecause::NotSignedOff {
            missing: vec![text.into()],
        },
        HeldBecause::PlanExceeds {
            what: vec![text.into()],
        },
        HeldBecause::Clashes {
            paths: vec![text.into()],
        },
        HeldBecause::Cancelled {
            by: format!("{text} {text}"),
        },
    ]
}

fn standings(text: &str) -> Vec<Standing> {
    let missing = vec![
        Missing::Denied(text.into()),
        Missing::Discounted {
            username: text.into(),
            why: Discount::Author,
        },
        Missing::Approvals {
            needed: 2,
            counted: 1,
            because: Some(text.into()),
            who: vec![text.into(); 9],
            by_digest: true,
        },
    ];
    vec![
        Standing::Refused,
        Standing::Planning {
            trouble: Some(text.into()),
        },
        Standing::Waiting(missing),
        Standing::Ready {
            approvers: vec![text.into(), text.into()],
        },
        Standing::Held(held(text)),
        Standing::Provisioning,
        Standing::Done,
        Standing::Failed,
        Standing::Cancelled,
    ]
}

fn report(text: &str, standing: Standing) -> Report {
    let orders: RequestKey = "Project/orders".parse().expect("a key");
    let development = EnvironmentName::new("development").expect("a name");
    let resource = ResourceName::new("database/orders").expect("a name");
    let change = |action| PlannedChange {
        request: orders.clone(),
        environment: development.clone(),
        resource: resource.clone(),
        kind: ResourceKind::Database,
        action,
        properties: vec![PropertyChange {
            path: text.into(),
            before: Some(PlannedValue::Unknown(text.into())),
            after: Some(PlannedValue::Known(serde_json::json!({ text: [text] }))),
        }],
        module: None,
    };
    let actions = [Action::Create, Action::Update, Action::Replace, Action::Delete];
    let plan = Plan {
        changes: actions.map(change).into(),
    };
    let monthly = Monthly {
        request: orders.clone(),
        resource: resource.clone(),
        currency: text.into(),
        before: Some(Amount(1_000)),
        after: Some(Amount(2_500)),
    };
    let failure = || Failure::new(FailureClass::Refused, text);
    let states = [
        StepState::Pending,
        StepState::BackingOff {
            attempt: 2,
            until: jiff::Timestamp::UNIX_EPOCH,
            failure: failure(),
        },
        StepState::Failed(failure()),
        StepState::Skipped { reason: text.into() },
        StepState::Succeeded {
            external_id: text.into(),
            outputs: BTreeMap::from([(text.into(), text.into())]),
        },
    ];
    let step = |state| ReportedStep {
        resource: resource.clone(),
        kind: ResourceKind::Database,
        action: Action::Create,
        state,
    };
    let run = ReportedRun {
        id: RunId(uuid::Uuid::from_u128(1)),
        request: orders.clone(),
        environment: development.clone(),
        state: RunState::Failed,
        steps: states.map(step).into(),
        retained: vec![resource.clone()],
        gone: vec![resource.clone()],
        seconds: Some(31),
    };
    let place = Place {
        path: text.into(),
        line: 1,
        column: 1,
    };
    Report {
        origin: Origin::MergeRequest(MergeRequestNumber(7)),
        standing,
        head: commit(),
        author: Some(format!("{text} {text}")),
        changes: vec![ReportedChange {
            request: Some(orders.clone()),
            path: text.into(),
            kind: ChangeKind::Create,
            environment: Some(development.clone()),
        }],
        findings: vec![
            Finding::error(Code::InvalidValue, place.clone(), text, text),
            Finding::warning(Code::ReplacesNodes, place, text, text),
        ],
        estimate: Estimate::of(&plan, &[monthly]),
        plan: Some(plan),
        digest: Some(Digest::of(b"a plan")),
        environments: BTreeMap::from([(development.clone(), Environment::of(ProviderKind::Simulator))]),
        base_differs: true,
        paused: [development].into(),
        runs: vec![run],
        given_up: vec![text.into()],
        failing: vec![],
    }
}
