//! Reports of requests that end: deleted, failed, or cancelled half-way.

use super::*;

/// The request goes: one resource with a last snapshot, one for good, one stays; and one comes back.
pub(super) fn with_deletion(standing: Standing) -> Report {
    let mut report = with_plan(standing);
    report.changes[0].kind = ChangeKind::Delete;
    let snapshot = known("finalSnapshot", None, Some(json!(true)));
    let taken_back = known("retained", Some(json!(true)), Some(json!(false)));
    let mut missing = planned("storage/lost", ResourceKind::Storage, Action::Recreate, vec![]);
    missing.request = "Project/returns".parse().unwrap();
    let mut back = planned(
        "storage/kept",
        ResourceKind::Storage,
        Action::Update,
        vec![taken_back],
    );
    back.request = missing.request.clone();
    report.plan = Some(Plan {
        changes: vec![
            planned(
                "database/orders",
                ResourceKind::Database,
                Action::Delete,
                vec![snapshot],
            ),
            planned("storage/receipts", ResourceKind::Storage, Action::Delete, vec![]),
            planned(
                "virtual-machine/web",
                ResourceKind::VirtualMachine,
                Action::Retain,
                vec![],
            ),
            missing,
            back,
        ],
    });
    report
}

/// Somebody stopped it: one resource is there, one was broken off, one not begun.
pub(in crate::report) fn cancelled() -> Report {
    let broken_off = Failure::new(
        FailureClass::Refused,
        "database/orders was cancelled before it was done",
    );
    let skipped = StepState::Skipped {
        reason: "dana cancelled it".into(),
    };
    let steps = vec![
        machine(),
        step(
            "database/orders",
            ResourceKind::Database,
            StepState::Failed(broken_off),
        ),
        step("storage/receipts", ResourceKind::Storage, skipped),
    ];
    with_run(Standing::Cancelled, RunState::Cancelled, Some(31), steps)
}

/// The end of a deletion.
pub(in crate::report) fn deleted() -> Report {
    let deleted = |name, kind, outputs: &[(&str, &str)]| ReportedStep {
        action: Action::Delete,
        ..step(name, kind, succeeded("x-1", outputs))
    };
    let steps = vec![
        deleted(
            "database/orders",
            ResourceKind::Database,
            &[("snapshot", "db-0002-final")],
        ),
        deleted("storage/receipts", ResourceKind::Storage, &[]),
    ];
    let mut report = with_run(Standing::Done, RunState::Succeeded, Some(9), steps);
    report.plan = with_deletion(Standing::Done).plan;
    report.changes[0].kind = ChangeKind::Delete;
    report.runs[0].retained = vec![resource("virtual-machine/web")];
    report.runs[0].gone = vec![resource("storage/lost")];
    report
}

pub(in crate::report) fn failed() -> Report {
    let failure = Failure::new(
        FailureClass::Refused,
        "quota exceeded: 20 of 20 databases in eu-west-1 (request 0badc0ffee)",
    );
    let skipped = StepState::Skipped {
        reason: "database/orders failed".into(),
    };
    with_run(
        Standing::Failed,
        RunState::Failed,
        Some(31),
        vec![
            machine(),
            step(
                "database/orders",
                ResourceKind::Database,
                StepState::Failed(failure),
            ),
            step("storage/receipts", ResourceKind::Storage, skipped),
        ],
    )
}
