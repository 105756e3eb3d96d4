//! The commit status: one line beside the merge button.

use crate::domain::report::{Report, Standing};
use crate::domain::signoff::Missing;

use super::Limits;
use super::escape::shown;
use super::tables::progress;
use super::words::{errors, first_failure, past};

/// What kind of line it is. A courtesy that blocks the button: the gate is at the landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusState {
    /// Somebody's move.
    Pending,
    /// Landfall is at work.
    Running,
    /// May be merged, or is done.
    Success,
    /// May not be merged, or went wrong.
    Failed,
}

/// A commit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What kind of line.
    pub state: StatusState,
    /// The line, within the forge's limit. Text, not markdown.
    pub description: String,
}

/// The status of the head of a merge request.
#[must_use]
pub fn status(report: &Report, limits: Limits) -> Status {
    let word = report.standing.word();
    let simulated = if report.is_simulated() { " (simulated)" } else { "" };
    let runs: Vec<_> = report.runs.iter().collect();
    let (done, total) = progress(&runs);
    let (state, description) = match &report.standing {
        Standing::Nothing => (StatusState::Success, word.to_owned()),
        Standing::Draft => (
            StatusState::Pending,
            format!("{word}: nobody is asked to sign off yet"),
        ),
        Standing::Refused => (
            StatusState::Failed,
            match errors(report) {
                0 => word.to_owned(),
                1 => format!("{word}: 1 finding to fix"),
                several => format!("{word}: {several} findings to fix"),
            },
        ),
        Standing::Planning { trouble: None } => {
            (StatusState::Pending, format!("{word}: the plan is being made"))
        }
        Standing::Planning {
            trouble: Some(trouble),
        } => (StatusState::Pending, format!("{word}: {trouble}")),
        Standing::Waiting(missing) => (StatusState::Pending, waiting(word, missing)),
        Standing::Ready { approvers } => (
            StatusState::Success,
            format!("{word}: signed off by {}", approvers.join(", ")),
        ),
        Standing::Held(because) => (
            StatusState::Failed,
            match because.first() {
                Some(because) => format!("{word}, nothing was provisioned: {because}"),
                None => format!("{word}, nothing was provisioned"),
            },
        ),
        Standing::Provisioning => (
            StatusState::Running,
            format!("{word}{simulated}: {done} of {total} steps done"),
        ),
        Standing::Done if total == 0 => (StatusState::Success, format!("{word}: no resource had to change")),
        Standing::Done => (
            StatusState::Success,
            format!("{word}{simulated}: {done} of {total} steps done"),
        ),
        Standing::Failed => (
            StatusState::Failed,
            match first_failure(&runs) {
                Some((_, step, failure)) => format!(
                    "{word}{simulated}: {} could not be {}, {}",
                    step.resource,
                    past(step.action),
                    failure.class.words()
                ),
                None => format!("{word}{simulated}: {done} of {total} steps done"),
            },
        ),
        Standing::Cancelled => (StatusState::Failed, format!("{word}: `/landfall retry` goes on")),
        Standing::Superseded { .. } => (
            StatusState::Pending,
            format!("{word}: a newer change goes on from here"),
        ),
        Standing::Overtaken(_) => (
            StatusState::Failed,
            format!("{word}: it cannot be released any more"),
        ),
        Standing::Closed => (StatusState::Pending, format!("{word} without a merge")),
    };
    Status {
        state,
        description: shown(&description, limits.status),
    }
}

fn waiting(word: &str, missing: &[Missing]) -> String {
    let first = missing.iter().find_map(|missing| match missing {
        Missing::NoRules => Some("no rules were ever accepted here".to_owned()),
        Missing::NothingToSign => Some("nothing is left to sign".to_owned()),
        Missing::Denied(reason) => Some(format!("a policy denies it: {reason}")),
        Missing::Approvals {
            needed, counted, who, ..
        } if who.is_empty() => Some(format!("{counted} of {needed}, from an admin")),
        Missing::Approvals {
            needed, counted, who, ..
        } => Some(format!("{counted} of {needed}, from {}", who.join(", "))),
        Missing::NotShown | Missing::Discounted { .. } => None,
    });
    match first {
        Some(first) => format!("{word}: {first}"),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, GITLAB};
    use super::*;

    #[test]
    fn every_standing_has_its_line() {
        let mut lines = String::new();
        for (name, report) in samples::every_standing() {
            let Status { state, description } = status(&report, GITLAB);
            assert!(description.starts_with(report.standing.word()), "{name}");
            lines.push_str(&format!("{name}: {state:?}: {description}\n"));
        }
        insta::assert_snapshot!("status", lines);
    }

    #[test]
    fn only_what_may_be_merged_or_is_done_succeeds() {
        for (name, report) in samples::every_standing() {
            let fine = matches!(
                report.standing,
                Standing::Ready { .. } | Standing::Done | Standing::Nothing
            );
            assert_eq!(
                status(&report, GITLAB).state == StatusState::Success,
                fine,
                "{name}"
            );
        }
    }

    #[test]
    fn a_line_is_one_line_within_the_limit() {
        let mut report = samples::waiting();
        report.standing = Standing::Planning {
            trouble: Some("a\n\u{202e}b ".repeat(200)),
        };
        let line = status(&report, GITLAB).description;
        assert!((250..=255).contains(&line.chars().count()));
        assert!(
            !line.contains(['\n', '\u{202e}']) && line.ends_with('…'),
            "{line}"
        );
    }
}
