//! The one comment of a merge request, or in the issue about a push, edited in place: verdict first, then what to do next, then why.

use crate::domain::landing::HeldBecause;
use crate::domain::report::{Report, Standing};
use crate::domain::signoff::Missing;

use super::escape::Markup;
use super::plan::plan;
use super::tables::{Detail, LeftOut, changes, findings, runs};
use super::words::{Next, approve, next, sign, where_it_is};
use super::{Context, Limits, Marker};

/// The comment, within the forge's limit. What does not fit is left out step by step, values first, and the comment
/// says what; the verdict stays, and findings go last.
#[must_use]
pub fn comment(report: &Report, limits: Limits, marker: &Marker, context: &Context<'_>) -> String {
    fitting(limits.note, |detail| at_detail(report, detail, marker, context))
}

/// The first rendering, from the fullest on, that is within so many characters.
pub(super) fn fitting(longest: usize, render: impl Fn(Detail) -> Markup) -> String {
    let mut least = Markup::new();
    for level in Detail::levels() {
        least = render(Detail {
            whole: longest,
            ..level
        });
        if least.characters() <= longest {
            return least.into_string();
        }
    }
    // A limit that no forge has: whole lines, so that no code or link is cut open.
    least.first_lines(longest).into_string()
}

fn at_detail(report: &Report, detail: Detail, marker: &Marker, context: &Context<'_>) -> Markup {
    let mut left_out = LeftOut::default();
    let work = runs(&report.runs.iter().collect::<Vec<_>>(), detail, &mut left_out);
    let findings = findings(report, detail, context, &mut left_out);
    let changes = changes(report, detail, context, &mut left_out);
    let plan = plan(report, detail, &mut left_out);
    Markup::new()
        .marker(marker)
        .ours("\n### ")
        .ours(sign(&report.standing))
        .ours(report.standing.word())
        .ours("\n\n")
        .markup(&said(&next(report, context.admins)))
        .markup(&where_it_is(report))
        .markup(&left_out.sentence())
        .markup(&work)
        .markup(&findings)
        .markup(&changes)
        .markup(&plan)
        .markup(&footer(report))
}

/// The sentence and its points.
pub(super) fn said(next: &Next) -> Markup {
    let mut said = Markup::new().markup(&next.sentence).ours("\n\n");
    for point in &next.points {
        said = said.ours("- ").markup(point).ours("\n");
    }
    if next.points.is_empty() {
        said
    } else {
        said.ours("\n")
    }
}

/// The commands that do something where the merge request stands.
fn footer(report: &Report) -> Markup {
    let plan = Markup::new().ours("`/landfall plan` plans anew");
    let retry = Markup::new().ours("`/landfall retry` does what is left");
    let cancel = Markup::new().ours("`/landfall cancel` stops at the next safe point");
    let help = Markup::new().ours("`/landfall help` lists the commands");
    let sign = report
        .digest
        .as_ref()
        .map(|digest| approve(digest.short()).ours(" signs off what is shown here"));
    let commands: Vec<Markup> = match &report.standing {
        Standing::Nothing
        | Standing::Closed
        | Standing::Done
        | Standing::Superseded { .. }
        | Standing::Overtaken(_) => vec![help],
        Standing::Provisioning => vec![cancel, help],
        Standing::Draft | Standing::Refused | Standing::Planning { .. } | Standing::Ready { .. } => {
            vec![plan, help]
        }
        Standing::Waiting(missing) => {
            let asked = missing
                .iter()
                .any(|missing| matches!(missing, Missing::Approvals { .. }))
                && !missing
                    .iter()
                    .any(|missing| matches!(missing, Missing::Denied(_)));
            let sign = sign.filter(|_| asked);
            [Some(plan), sign, Some(help)].into_iter().flatten().collect()
        }
        Standing::Held(because) if because.iter().any(HeldBecause::may_be_retried) => vec![retry, help],
        Standing::Held(_) => [sign, Some(help)].into_iter().flatten().collect(),
        Standing::Failed | Standing::Cancelled => vec![retry, help],
    };
    Markup::new()
        .ours("---\n\nAs a comment of its own: ")
        .markup(&Markup::joined(&commands, " · "))
        .ours(".\n")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, GITLAB, HOSTILE, context, read};
    use super::*;
    use crate::domain::finding::{Code, Finding, Place};
    use crate::domain::ids::EnvironmentName;
    use crate::domain::rules::{Environment, ProviderKind};

    fn shown(report: &Report) -> String {
        comment(report, GITLAB, &samples::marker(), &context())
    }

    #[test]
    fn every_standing_reads_well() {
        for (name, report) in samples::every_standing() {
            insta::assert_snapshot!(format!("comment_{name}"), shown(&report));
        }
    }

    #[test]
    fn every_standing_says_what_to_do_next() {
        for (name, report) in samples::every_standing() {
            let comment = shown(&report);
            let lines: Vec<&str> = comment.lines().collect();
            assert!(samples::marker().marks(&comment), "{name}: {comment}");
            assert!(lines[1].starts_with("### "), "{name}");
            assert!(lines[1].ends_with(report.standing.word()), "{name}");
            let sentence = lines[3];
            assert!(
                sentence.ends_with('.') && sentence.len() > 40,
                "{name}: {sentence}"
            );
            assert_eq!(comment.contains("**Simulated**"), report.is_simulated(), "{name}");
            assert!(comment.contains("`/landfall help`"), "{name}");
            // A forge takes such a line for one of its own commands, and we for one of ours.
            assert!(
                !lines.iter().any(|line| line.trim_start().starts_with('/')),
                "{name}"
            );
        }
    }

    #[test]
    fn a_hostile_merge_request_is_shown_and_does_nothing() {
        let report = samples::hostile();
        let comment = shown(&report);
        insta::assert_snapshot!("comment_hostile", comment);
        samples::assert_only_ours(&comment);
        for (name, mut report) in samples::every_standing() {
            for text in HOSTILE {
                samples::poison(&mut report, text);
                let comment = shown(&report);
                samples::assert_only_ours(&comment);
                assert!(samples::marker().marks(&comment), "{name}");
            }
        }
    }

    #[test]
    fn an_account_is_named_and_what_it_is_called_does_nothing() {
        let mut report = samples::waiting();
        let mut place = Environment::of(ProviderKind::Aws);
        place.account = Some("123456789012".into());
        place.region = Some("eu-west-1".into());
        let name: EnvironmentName = "production".parse().unwrap();
        report.environments.insert(name.clone(), place);
        let comment = shown(&report);
        let said = "\n> ☁️ **AWS**: `production` is account `123456789012` in region `eu-west-1`.\n";
        assert!(
            comment.contains(said) && comment.contains("**Simulated**"),
            "{comment}"
        );
        for text in HOSTILE {
            let mut place = Environment::of(ProviderKind::Aws);
            place.account = Some((*text).into());
            place.region = Some((*text).into());
            report.environments.insert(name.clone(), place);
            samples::assert_only_ours(&shown(&report));
        }
    }

    #[test]
    fn a_long_plan_is_folded_and_what_destroys_is_not() {
        let mut report = samples::waiting();
        samples::enlarge(&mut report, 30);
        let comment = shown(&report);
        let fold = comment.find("<details>").unwrap();
        assert!(
            comment.find("**DELETE** `database/d0`").unwrap() < fold,
            "{comment}"
        );
        assert!(
            !comment.contains("Not shown"),
            "a fold hides, it does not leave out"
        );
    }

    #[test]
    fn ten_thousand_resources_fit_into_any_forge() {
        let mut report = samples::refused();
        samples::enlarge(&mut report, 10_000);
        for limit in [1_000_000, 65_536, 30_000, 5_000] {
            let limits = Limits {
                note: limit,
                ..GITLAB
            };
            let comment = super::comment(&report, limits, &samples::marker(), &context());
            assert!(comment.chars().count() <= limit, "{limit}");
            assert!(samples::marker().marks(&comment));
            assert!(comment.contains("### ❌ Refused"), "{limit}");
            assert!(comment.contains("Not shown"), "{limit}");
            assert!(comment.contains("Digest of what is signed"), "{limit}");
            for finding in &report.findings {
                assert!(
                    comment.contains(&format!("{}:{}", finding.place.path, finding.place.line)),
                    "{limit}"
                );
            }
            let read = read(&comment);
            assert_eq!(read.opened, read.closed, "a fold stays open at {limit}");
        }
    }

    #[test]
    fn ten_thousand_findings_keep_the_verdict_and_the_first() {
        let mut report = samples::refused();
        report.findings = (1..=10_000)
            .map(|line| {
                let place = Place {
                    path: "requests/shop/a.yaml".into(),
                    line,
                    column: 1,
                };
                Finding::error(Code::InvalidValue, place, "word ".repeat(100), "")
            })
            .collect();
        for limit in [65_536, 2_000] {
            let limits = Limits {
                note: limit,
                ..GITLAB
            };
            let comment = super::comment(&report, limits, &samples::marker(), &context());
            assert!(comment.chars().count() <= limit);
            assert!(comment.contains("### ❌ Refused"));
            assert!(comment.contains("`requests/shop/a.yaml:1`"));
            assert!(comment.contains("findings"), "says how many are not shown");
        }
    }

    #[test]
    fn no_limit_is_too_small() {
        for limit in [0, 1, 60, 200] {
            let limits = Limits {
                note: limit,
                ..GITLAB
            };
            let comment = super::comment(&samples::hostile(), limits, &samples::marker(), &context());
            assert!(comment.chars().count() <= limit);
        }
    }
}
