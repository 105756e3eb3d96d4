//! The end of some runs, as a new note: an edit notifies nobody.

use crate::domain::ids::{Digest, ResourceName, RunId};
use crate::domain::plan::Action;
use crate::domain::report::{Report, ReportedRun};
use crate::domain::run::RunState;

use super::comment::{fitting, said};
use super::escape::Markup;
use super::made::{made, of_request};
use super::tables::{Detail, LeftOut, changes, duration, progress, runs as steps_table};
use super::words::{failed, where_it_is};
use super::{Context, Limits, Marker};

/// The note that tells the author how these runs ended: what was made and how to reach it, or what failed and what
/// exists nevertheless. Runs that the report does not know are not told of. `audit` is the newest digest of the audit
/// log: who keeps the note can tell whether what had been recorded by then was changed since.
#[must_use]
pub fn result(
    report: &Report,
    runs: &[RunId],
    audit: Option<&Digest>,
    limits: Limits,
    marker: &Marker,
    context: &Context<'_>,
) -> String {
    let told: Vec<&ReportedRun> = report.runs.iter().filter(|run| runs.contains(&run.id)).collect();
    fitting(limits.note, |detail| {
        at_detail(report, &told, detail, marker, context).markup(&audited(audit))
    })
}

fn at_detail(
    report: &Report,
    told: &[&ReportedRun],
    detail: Detail,
    marker: &Marker,
    context: &Context<'_>,
) -> Markup {
    let mut left_out = LeftOut::default();
    let all = |state| !told.is_empty() && told.iter().all(|run| run.state == state);
    let (done, total) = progress(told);
    let note = Markup::new().marker(marker).ours("\n");
    let author = match &report.author {
        Some(author) => Markup::new().mention(author),
        None => Markup::new().ours("To whom it concerns"),
    };

    let note = if all(RunState::Succeeded) {
        note.ours("### ✅ Done: ")
            .markup(&done_with(told, total))
            .markup(&simulated_word(report))
            .ours("\n\n")
            .markup(&author)
            .ours(if makes_something(told) {
                ", what you asked for is there"
            } else {
                ", it is done as you asked"
            })
            .markup(&took(told))
            .ours(".\n\n")
    } else if told.iter().any(|run| run.state == RunState::Failed) {
        let next = failed(told);
        note.ours("### ❌ Failed: ")
            .number(done)
            .ours(" of ")
            .count(total, "step", "steps")
            .ours(" done")
            .markup(&simulated_word(report))
            .ours("\n\n")
            .markup(&author)
            .ours(", ")
            .markup(&said(&next))
    } else if told.iter().any(|run| run.state == RunState::Cancelled) {
        note.ours("### ⏹️ Stopped: ")
            .number(done)
            .ours(" of ")
            .count(total, "step", "steps")
            .ours(" done")
            .markup(&simulated_word(report))
            .ours("\n\n")
            .markup(&author)
            .ours(", it was stopped before its end, since somebody cancelled it or a newer change of the same request landed. What was made stays, and is listed here; `/landfall retry` or the newer change goes on from there.\n\n")
    } else {
        note.ours("### ⚠️ Not ended\n\n")
            .markup(&author)
            .ours(", there is no end to tell of yet: the comment above shows where it stands.\n\n")
    };

    let made = made(told, detail, &mut left_out);
    let note = note
        .markup(&where_it_is(report))
        .markup(&made)
        .markup(&stays(told, detail));
    let note = if all(RunState::Succeeded) {
        note
    } else {
        note.markup(&steps_table(told, detail, &mut left_out))
    };
    let files = changes(report, detail, context, &mut left_out);
    note.markup(&files).markup(&left_out.sentence())
}

/// "2 resources, 1 retained".
fn done_with(told: &[&ReportedRun], total: usize) -> Markup {
    let retained: usize = told.iter().map(|run| run.retained.len()).sum();
    let retained_too = Markup::new().number(retained).ours(" retained");
    match (total, retained) {
        (0, 0) => Markup::new().ours("no resource had to change"),
        (0, _) => retained_too,
        (_, 0) => Markup::new().count(total, "resource", "resources"),
        (_, _) => Markup::new()
            .count(total, "resource", "resources")
            .ours(", ")
            .markup(&retained_too),
    }
}

/// Whether anything is there afterwards that was asked for.
fn makes_something(told: &[&ReportedRun]) -> bool {
    told.iter()
        .flat_map(|run| &run.steps)
        .any(|step| step.action != Action::Delete)
}

/// What is not asked for any more and is there nevertheless, and what was gone already.
fn stays(told: &[&ReportedRun], detail: Detail) -> Markup {
    let line = |run: &ReportedRun, resource: &ResourceName, words: &'static str| {
        Markup::new()
            .ours("- 📌 ")
            .code(resource.as_str(), 120)
            .markup(&of_request(run))
            .ours(words)
    };
    let lines = told.iter().flat_map(|run| {
        let retained = run.retained.iter().map(|resource| {
            line(
                run,
                resource,
                " is retained: it goes on costing, and a request of the same kind and name takes it back.\n",
            )
        });
        let gone = run
            .gone
            .iter()
            .map(|resource| line(run, resource, " was gone already.\n"));
        retained.chain(gone)
    });
    let lines: Vec<Markup> = lines.take(detail.steps).collect();
    if lines.is_empty() {
        Markup::new()
    } else {
        Markup::joined(&lines, "").ours("\n")
    }
}

fn audited(head: Option<&Digest>) -> Markup {
    match head {
        Some(head) => Markup::new().ours("\nAudit: ").code(head.as_str(), 64).ours("\n"),
        None => Markup::new(),
    }
}

fn simulated_word(report: &Report) -> Markup {
    Markup::new().ours(match (report.is_simulated(), report.has_repository()) {
        (false, _) => "",
        (true, false) => " (simulated)",
        (true, true) => " (simulated, but for the repository)",
    })
}

/// "after 1 min 5 s": the longest of the runs, since they go side by side.
fn took(told: &[&ReportedRun]) -> Markup {
    match told.iter().filter_map(|run| run.seconds).max() {
        Some(seconds) => Markup::new().ours(", after ").markup(&duration(seconds)),
        None => Markup::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, GITLAB, HOSTILE, context};
    use super::*;

    fn told(report: &Report) -> String {
        let runs: Vec<RunId> = report.runs.iter().map(|run| run.id).collect();
        let head = Digest::of(b"the newest record");
        result(
            report,
            &runs,
            Some(&head),
            GITLAB,
            &Marker::result(&runs),
            &context(),
        )
    }

    #[test]
    fn the_end_is_told_to_the_author() {
        let stopped = samples::cancelled();
        for (name, report, heading) in [
            ("done", samples::done(), "### ✅ Done: 3 resources (simulated)"),
            (
                "failed",
                samples::failed(),
                "### ❌ Failed: 1 of 3 steps done (simulated)",
            ),
            ("stopped", stopped, "### ⏹️ Stopped"),
        ] {
            let note = told(&report);
            assert_eq!(
                note.lines().next(),
                Some(Marker::result(&[report.runs[0].id]).as_str())
            );
            assert!(note.contains(heading), "{note}");
            assert!(note.contains("\n@ada, "), "the author is notified: {note}");
            assert!(note.contains("vm-0001"), "what exists is named: {note}");
            insta::assert_snapshot!(format!("result_{name}"), note);
        }
    }

    #[test]
    fn the_end_of_a_deletion_says_what_stays() {
        let note = told(&samples::deleted());
        for words in [
            "2 resources, 1 retained",
            "db-0002-final",
            "is retained",
            "was gone already",
        ] {
            assert!(note.contains(words), "{words} is missing: {note}");
        }
        assert!(!note.contains("is there"), "{note}");
        insta::assert_snapshot!("result_deleted", note);
    }

    #[test]
    fn a_failure_names_step_reason_and_the_way_on() {
        let note = told(&samples::failed());
        for words in [
            "database/orders",
            "the cloud refused",
            "quota exceeded",
            "/landfall retry",
            "vm-0001",
        ] {
            assert!(note.contains(words), "{words} is missing: {note}");
        }
    }

    #[test]
    fn no_run_is_no_success() {
        let note = result(
            &samples::done(),
            &[],
            None,
            GITLAB,
            &Marker::result(&[]),
            &context(),
        );
        assert!(!note.contains('✅'), "{note}");
    }

    #[test]
    fn a_hostile_cloud_mentions_nobody() {
        for text in HOSTILE {
            for mut report in [samples::failed(), samples::done()] {
                samples::poison(&mut report, text);
                samples::assert_only_ours(&told(&report));
            }
        }
    }

    #[test]
    fn a_huge_run_fits() {
        let mut report = samples::failed();
        let step = report.runs[0].steps[0].clone();
        report.runs[0].steps.extend(std::iter::repeat_n(step, 10_000));
        let runs = [report.runs[0].id];
        let limits = Limits {
            note: 65_536,
            ..GITLAB
        };
        let note = result(&report, &runs, None, limits, &Marker::result(&runs), &context());
        assert!(note.chars().count() <= 65_536);
        assert!(note.contains("quota exceeded") && note.contains("Not shown"));
    }
}
