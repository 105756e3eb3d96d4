//! The parts of a comment: findings, changes, steps. Each is shown as far as the forge's limit lets it, and tells what
//! it left out.

use crate::domain::change::ChangeKind;
use crate::domain::finding::{Finding, Severity};
use crate::domain::output::called;
use crate::domain::plan::{Action, PlannedValue};
use crate::domain::report::{Report, ReportedRun, ReportedStep};
use crate::domain::run::RunState;
use crate::domain::step::StepState;
use crate::domain::tree::{Role, role};

use super::Context;
use super::escape::Markup;

/// How much is shown: the most entries of each part, and the longest text from outside in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail {
    pub(super) findings: usize,
    pub(super) changes: usize,
    pub(super) resources: usize,
    pub(super) properties: usize,
    pub(super) destructive: usize,
    pub(super) steps: usize,
    pub(super) text: usize,
    /// The most characters of one part: past this the whole is too long in any case.
    pub(super) whole: usize,
}

impl Detail {
    const ALL: Self = Self {
        findings: usize::MAX,
        changes: usize::MAX,
        resources: usize::MAX,
        properties: usize::MAX,
        destructive: usize::MAX,
        steps: usize::MAX,
        text: 400,
        whole: usize::MAX,
    };

    /// From everything to the least: first values go, then entries, findings last.
    pub(super) fn levels() -> impl Iterator<Item = Self> {
        let few = Self {
            changes: 50,
            resources: 0,
            properties: 0,
            destructive: 50,
            steps: 50,
            text: 200,
            ..Self::ALL
        };
        let least = Self {
            changes: 0,
            destructive: 10,
            steps: 10,
            ..few
        };
        [
            Self::ALL,
            Self {
                properties: 8,
                text: 200,
                ..Self::ALL
            },
            Self {
                properties: 3,
                text: 120,
                ..Self::ALL
            },
            Self {
                properties: 0,
                text: 200,
                ..Self::ALL
            },
            Self {
                changes: 500,
                destructive: 500,
                steps: 500,
                resources: 500,
                ..few
            },
            few,
            least,
            Self {
                findings: 200,
                ..least
            },
            Self {
                findings: 50,
                ..least
            },
            Self {
                findings: 10,
                destructive: 3,
                steps: 3,
                text: 80,
                ..least
            },
            Self {
                findings: 3,
                destructive: 0,
                steps: 0,
                text: 60,
                ..least
            },
        ]
        .into_iter()
    }
}

/// What did not fit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeftOut {
    pub(super) findings: usize,
    pub(super) changes: usize,
    pub(super) resources: usize,
    pub(super) properties: usize,
    pub(super) steps: usize,
}

impl LeftOut {
    /// A sentence that says so; nothing if all is there.
    pub(super) fn sentence(&self) -> Markup {
        let parts: Vec<Markup> = [
            (self.findings, "finding", "findings"),
            (self.changes, "file", "files"),
            (self.resources, "resource", "resources"),
            (self.properties, "property", "properties"),
            (self.steps, "step", "steps"),
        ]
        .into_iter()
        .filter(|(count, _, _)| *count > 0)
        .map(|(count, one, many)| Markup::new().count(count, one, many))
        .collect();
        if parts.is_empty() {
            return Markup::new();
        }
        let mut sentence = Markup::new()
            .ours("✂️ Not shown, since it would not fit into one comment: ")
            .markup(&Markup::joined(&parts, ", "))
            .ours(".");
        if self.resources > 0 || self.properties > 0 {
            sentence = sentence.ours(
                " The digest names the whole plan, also what is not shown: if it is too much to judge, split the merge request.",
            );
        }
        sentence.ours("\n\n")
    }
}

/// A table's row, or any list that is folded when it is longer than a screen.
pub(super) fn folded_if(long: bool, summary: &Markup, body: Markup) -> Markup {
    if body.is_empty() {
        return body;
    }
    if long {
        Markup::new()
            .ours("<details><summary>")
            .markup(summary)
            .ours("</summary>\n\n")
            .markup(&body)
            .ours("</details>\n\n")
    } else {
        body
    }
}

/// More rows than this are folded.
pub(super) const SCREEN: usize = 20;

/// A file, linked to its line where one is known.
pub(super) fn file(path: &str, line: u32, label_line: bool, context: &Context<'_>) -> Markup {
    let label = if label_line {
        Markup::new().code(&format!("{path}:{line}"), 200)
    } else {
        Markup::new().code(path, 200)
    };
    Markup::new().link(&label, &(context.file_url)(path, line))
}

/// What is to be said about the files, what refuses first.
pub(super) fn findings(
    report: &Report,
    detail: Detail,
    context: &Context<'_>,
    left_out: &mut LeftOut,
) -> Markup {
    let mut sorted: Vec<&Finding> = report.findings.iter().collect();
    sorted.sort_by_key(|finding| (finding.severity, &finding.place));
    left_out.findings = sorted.len().saturating_sub(detail.findings);
    if sorted.is_empty() {
        return Markup::new();
    }
    let mut list = Markup::new()
        .ours("**")
        .count(sorted.len(), "finding", "findings")
        .ours("**\n\n");
    let mut characters = 0;
    for finding in sorted.into_iter().take(detail.findings) {
        let mut item = Markup::new()
            .ours(match finding.severity {
                Severity::Error => "- ❌ ",
                Severity::Warning => "- ⚠️ ",
            })
            .markup(&file(&finding.place.path, finding.place.line, true, context))
            .ours(" ")
            .sentence(&finding.message, detail.text)
            .ours(" (`")
            .ours(finding.code.as_str())
            .ours("`)");
        if !finding.hint.trim().is_empty() {
            item = item.ours("<br>💡 ").sentence(&finding.hint, detail.text);
        }
        characters += item.characters();
        list = list.markup(&item).ours("\n");
        if characters > detail.whole {
            break;
        }
    }
    list.ours("\n")
}

/// What the merge request changes, file by file.
pub(super) fn changes(
    report: &Report,
    detail: Detail,
    context: &Context<'_>,
    left_out: &mut LeftOut,
) -> Markup {
    left_out.changes = report.changes.len().saturating_sub(detail.changes);
    if report.changes.is_empty() || detail.changes == 0 {
        return Markup::new();
    }
    let mut table = Markup::new().ours("| Request | Change | Environment | File |\n|---|---|---|---|\n");
    let mut characters = 0;
    for change in report.changes.iter().take(detail.changes) {
        let request = match &change.request {
            Some(key) => Markup::new().code(&key.to_string(), 100),
            None if role(&change.path) == Role::Rules => Markup::new().ours("the rules"),
            None => Markup::new().ours("no request"),
        };
        let environment = match &change.environment {
            Some(name) => Markup::new().code(name.as_str(), 60),
            None => Markup::new().ours("–"),
        };
        // A deleted file has no line to link to.
        let path = if change.kind == ChangeKind::Delete {
            Markup::new().code(&change.path, 200)
        } else {
            file(&change.path, 1, false, context)
        };
        let row = Markup::new()
            .ours("| ")
            .markup(&request)
            .ours(match change.kind {
                ChangeKind::Create => " | create | ",
                ChangeKind::Update => " | update | ",
                ChangeKind::Delete => " | **DELETE** | ",
                ChangeKind::Move => " | move | ",
            })
            .markup(&environment)
            .ours(" | ")
            .markup(&path)
            .ours(" |\n");
        characters += row.characters();
        table = table.markup(&row);
        if characters > detail.whole {
            break;
        }
    }
    let summary = Markup::new().count(report.changes.len(), "changed file", "changed files");
    folded_if(report.changes.len() > SCREEN, &summary, table.ours("\n"))
}

/// The runs that follow from the landing, step by step.
pub(super) fn runs(runs: &[&ReportedRun], detail: Detail, left_out: &mut LeftOut) -> Markup {
    let mut all = Markup::new();
    let mut room = detail.steps;
    let mut characters = 0;
    for run in runs {
        let shown = run.steps.len().min(room);
        left_out.steps += run.steps.len() - shown;
        if shown == 0 {
            continue;
        }
        room -= shown;
        let (done, total) = progress(&[run]);
        let mut heading = Markup::new()
            .code(&run.request.to_string(), 100)
            .ours(" in ")
            .code(run.environment.as_str(), 60)
            .ours(": ")
            .number(done)
            .ours(" of ")
            .count(total, "step", "steps")
            .ours(" done");
        if run.state == RunState::Cancelled {
            heading = heading.ours(", stopped");
        }
        if let Some(seconds) = run.seconds {
            heading = heading.ours(" after ").markup(&duration(seconds));
        }
        let mut table = Markup::new().ours("| Resource | Step | State |\n|---|---|---|\n");
        for step in run.steps.iter().take(shown) {
            let row = Markup::new()
                .ours("| ")
                .code(step.resource.as_str(), 120)
                .ours(" | ")
                .ours(action_word(step.action))
                .ours(" | ")
                .markup(&state(step, detail.text))
                .ours(" |\n");
            characters += row.characters();
            table = table.markup(&row);
            if characters > detail.whole {
                break;
            }
        }
        // A summary is HTML, which markdown in it would not survive: the heading stays outside.
        let summary = Markup::new().count(shown, "step", "steps");
        all =
            all.markup(&heading)
                .ours("\n\n")
                .markup(&folded_if(shown > SCREEN, &summary, table.ours("\n")));
    }
    all
}

/// How many steps are done, of how many.
pub(super) fn progress(runs: &[&ReportedRun]) -> (usize, usize) {
    let steps = || runs.iter().flat_map(|run| &run.steps);
    let done = steps().filter(|step| matches!(step.state, StepState::Succeeded { .. }));
    (done.count(), steps().count())
}

/// Where a step stands, in words. Neither tokens nor times: the comment would change at every poll.
fn state(step: &ReportedStep, longest: usize) -> Markup {
    let markup = Markup::new();
    match &step.state {
        StepState::Pending => markup.ours("waits for its turn"),
        StepState::Started { attempt } => attempt_suffix(markup.ours("🚧 at work"), *attempt),
        StepState::Waiting { attempt, .. } => {
            let markup = attempt_suffix(markup.ours("🚧 the cloud is at work"), *attempt);
            match step.state.at_work().unwrap_or_default() {
                "" => markup,
                at_work => markup.ours(": ").prose(at_work, longest),
            }
        }
        StepState::BackingOff { attempt, failure, .. } => markup
            .ours("🔁 is tried again by itself, after ")
            .ours(failure.class.words())
            .ours(" (attempt ")
            .number(*attempt)
            .ours("): ")
            .prose(&failure.reason, longest),
        StepState::Succeeded { external_id, .. }
            if step.action == Action::Delete || external_id.is_empty() =>
        {
            markup.ours("✅ done")
        }
        StepState::Succeeded { external_id, outputs } => {
            markup.ours("✅ done: ").code(called(external_id, outputs), 200)
        }
        StepState::Failed(failure) => markup
            .ours("❌ failed, ")
            .ours(failure.class.words())
            .ours(": ")
            .prose(&failure.reason, longest),
        StepState::Skipped { reason } => markup.ours("⏭️ not begun: ").prose(reason, longest),
    }
}

fn attempt_suffix(markup: Markup, attempt: u32) -> Markup {
    if attempt > 1 {
        markup.ours(" (attempt ").number(attempt).ours(")")
    } else {
        markup
    }
}

/// What is done to a resource: what destroys stands out.
pub(super) fn action_word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Recreate => "create, since it is **MISSING**",
        Action::Update => "update",
        Action::Replace => "**REPLACE**",
        Action::Delete => "**DELETE**",
        Action::Retain => "retain",
        Action::NoOp => "nothing",
    }
}

/// A value of a plan.
pub(super) fn value(value: &PlannedValue, longest: usize) -> Markup {
    match value {
        PlannedValue::Known(serde_json::Value::String(text)) if reads_as_itself(text) => {
            Markup::new().code(text, longest)
        }
        PlannedValue::Known(other) => Markup::new().code(&other.to_string(), longest),
        PlannedValue::Unknown(symbol) => Markup::new()
            .ours("*known afterwards* (")
            .prose(symbol, longest)
            .ours(")"),
    }
}

/// Whether a string needs no quotes: `"2"` and 2 differ, and so do values with other line breaks.
fn reads_as_itself(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(['\n', '\r', '\t'])
        && text.trim() == text
        && serde_json::from_str::<serde_json::Value>(text).is_err()
}

/// A length of time, in the two largest units.
pub(super) fn duration(seconds: i64) -> Markup {
    let seconds = seconds.max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let markup = Markup::new();
    match (hours, minutes) {
        (0, 0) => markup.number(rest).ours(" s"),
        (0, _) => markup.number(minutes).ours(" min ").number(rest).ours(" s"),
        _ => markup.number(hours).ours(" h ").number(minutes).ours(" min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_look_different() {
        let shown = |json| value(&PlannedValue::Known(json), 50).into_string();
        assert_eq!(shown(serde_json::json!("small")), "`small`");
        assert_eq!(shown(serde_json::json!(2)), "`2`");
        assert_eq!(shown(serde_json::json!("2")), "`\"2\"`");
        assert_eq!(shown(serde_json::json!("")), "`\"\"`");
        assert_eq!(shown(serde_json::json!("a\nb")), "`\"a\\nb\"`");
        let unknown = PlannedValue::Unknown("the cloud's choice".into());
        assert_eq!(
            value(&unknown, 50).into_string(),
            "*known afterwards* (the cloud's choice)"
        );
    }

    #[test]
    fn a_time_is_told_in_two_units() {
        for (seconds, words) in [
            (-3, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (65, "1 min 5 s"),
            (3600, "1 h 0 min"),
            (100_000, "27 h 46 min"),
        ] {
            assert_eq!(duration(seconds).into_string(), words);
        }
    }
}
