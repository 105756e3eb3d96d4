//! What came without a merge request.

use super::{approvals, refused, with, with_plan};
use crate::domain::ids::CommitId;
use crate::domain::landing::{HeldBecause, Origin};
use crate::domain::push::Superseded;
use crate::domain::report::{Report, Standing};
use crate::domain::signoff::{Discount, Missing};

pub(super) fn pushed() -> Origin {
    Origin::Push(CommitId::new("3f".repeat(20)).unwrap())
}

/// The standings of a push.
pub(in crate::report) fn of_a_push() -> Vec<(&'static str, Report)> {
    let discounted = Missing::Discounted {
        username: "linus".into(),
        why: Discount::Pusher,
    };
    let paths = vec!["requests/shop/orders.yaml".to_owned()];
    [
        (
            "push_waiting",
            with_plan(Standing::Waiting(vec![approvals(0, 1, true), discounted])),
        ),
        ("push_refused", refused()),
        (
            "push_ready",
            with_plan(Standing::Ready {
                approvers: vec!["Grace Hopper".into()],
            }),
        ),
        (
            "push_held",
            Report {
                digest: None,
                ..with_plan(Standing::Held(vec![HeldBecause::Observed]))
            },
        ),
        (
            "push_overtaken",
            Report {
                digest: None,
                ..with_plan(Standing::Overtaken(Superseded::Newer { paths: paths.clone() }))
            },
        ),
        (
            "push_accepted_by_hand",
            with(Standing::Overtaken(Superseded::Accepted { paths })),
        ),
    ]
    .map(|(name, report)| {
        let report = Report {
            origin: pushed(),
            author: Some("linus".into()),
            ..report
        };
        (name, report)
    })
    .into()
}
