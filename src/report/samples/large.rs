//! A report of more than fits into one note.

use super::*;

/// Plans so many resources more, one file in ten, one of twenty destroyed.
pub(in crate::report) fn enlarge(report: &mut Report, resources: usize) {
    let mut planned_changes = Vec::new();
    for n in 0..resources {
        let (action, name) = if n % 20 == 0 {
            (Action::Delete, format!("database/d{n}"))
        } else {
            (Action::Create, format!("database/c{n}"))
        };
        let properties = (0..12)
            .map(|p| known(&format!("property{p}"), None, Some(json!("value ".repeat(20)))))
            .collect();
        planned_changes.push(planned(&name, ResourceKind::Database, action, properties));
        if n % 10 == 0 {
            report.changes.push(ReportedChange {
                request: Some(orders()),
                path: format!("requests/shop/{n}.yaml"),
                kind: ChangeKind::Create,
                environment: Some(development()),
            });
        }
    }
    report.plan = Some(Plan {
        changes: planned_changes,
    });
    report.digest = Some(Digest::of(b"a large plan"));
}
