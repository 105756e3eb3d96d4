//! What some runs made, changed or removed: each resource by its name in the cloud, what there is to know of it, and how
//! it is reached.

use std::collections::BTreeMap;

use crate::domain::output::{Meaning, Output, called, in_order};
use crate::domain::plan::Action;
use crate::domain::report::{ReportedRun, ReportedStep};
use crate::domain::step::StepState;

use super::escape::Markup;
use super::tables::{Detail, LeftOut};
use super::words::past;

/// The longest thing to copy, in characters: a command that is cut does something else, or nothing.
const LONGEST: usize = 2000;
/// The longest sentence of a provider's.
const NOTE: usize = 500;

/// A resource that a step came to its end with.
struct Made<'a> {
    run: &'a ReportedRun,
    step: &'a ReportedStep,
    external_id: &'a str,
    outputs: &'a BTreeMap<String, String>,
}

/// What exists now (or does no longer): a table, and how to reach what is in it.
pub(super) fn made(told: &[&ReportedRun], detail: Detail, left_out: &mut LeftOut) -> Markup {
    let all: Vec<Made<'_>> = told
        .iter()
        .flat_map(|run| run.steps.iter().map(move |step| (*run, step)))
        .filter_map(|(run, step)| match &step.state {
            StepState::Succeeded { external_id, outputs } => Some(Made {
                run,
                step,
                external_id,
                outputs,
            }),
            _ => None,
        })
        .collect();
    if all.is_empty() {
        return Markup::new();
    }
    left_out.resources += all.len().saturating_sub(detail.steps);
    let one = one_request(told);
    let mut table =
        Markup::new().ours("| Resource | What | Name in the cloud | Outputs |\n|---|---|---|---|\n");
    let mut ways = Markup::new();
    for made in all.iter().take(detail.steps) {
        table = table.markup(&row(made, one, detail, left_out));
        ways = ways.markup(&made.ways(one));
        if table.characters() + ways.characters() > detail.whole {
            break;
        }
    }
    let table = table.ours("\n");
    if ways.is_empty() {
        table
    } else {
        table.ours("**How to reach it**\n\n").markup(&ways).ours("\n")
    }
}

/// Whether it is all of one request in one environment, which then need not be repeated.
fn one_request(told: &[&ReportedRun]) -> bool {
    told.windows(2)
        .all(|pair| matches!(pair, [a, b] if (&a.request, &a.environment) == (&b.request, &b.environment)))
}

/// " of `Project/shop` in `dev`".
pub(super) fn of_request(run: &ReportedRun) -> Markup {
    Markup::new()
        .ours(" of ")
        .code(&run.request.to_string(), 100)
        .ours(" in ")
        .code(run.environment.as_str(), 60)
}

fn row(made: &Made<'_>, one: bool, detail: Detail, left_out: &mut LeftOut) -> Markup {
    let longest = detail.text.max(200);
    let value = |output: &Output<'_>| {
        Markup::new()
            .prose(output.name, 60)
            .ours(": ")
            .code(output.value, longest)
    };
    let outputs = in_order(made.outputs);
    let values: Vec<Markup> = outputs
        .iter()
        .filter(|output| output.meaning == Meaning::Value)
        .map(value)
        .collect();
    left_out.properties += values.len().saturating_sub(detail.properties);
    let shown: Vec<Markup> = values.into_iter().take(detail.properties).collect();
    Markup::new()
        .ours("| ")
        .markup(&made.subject(one))
        .ours(" | ")
        .ours(past(made.step.action))
        .ours(" | ")
        .markup(&made.name(&outputs))
        .ours(" | ")
        .markup(&Markup::joined(&shown, "<br>"))
        .ours(" |\n")
}

impl Made<'_> {
    fn subject(&self, one: bool) -> Markup {
        let subject = Markup::new().code(self.step.resource.as_str(), 120);
        if one {
            subject
        } else {
            subject.markup(&of_request(self.run))
        }
    }

    /// Its name in the cloud, linked to a page about it where one is known.
    fn name(&self, outputs: &[Output<'_>]) -> Markup {
        let name = called(self.external_id, self.outputs);
        if self.step.action == Action::Delete || name.is_empty() {
            return Markup::new().ours("–");
        }
        let name = Markup::new().code(name, 200);
        match outputs.iter().find(|output| output.meaning == Meaning::Page) {
            Some(page) => Markup::new().link(&name, page.value),
            None => name,
        }
    }

    fn ways(&self, one: bool) -> Markup {
        let mut ways = Markup::new();
        for output in in_order(self.outputs) {
            let said = match output.meaning {
                Meaning::Way(words) => Markup::new().ours(words).code(output.value, LONGEST),
                Meaning::Note => Markup::new().ours("⚠️ ").sentence(output.value, NOTE),
                Meaning::Name | Meaning::Page | Meaning::Value | Meaning::Internal => continue,
            };
            ways = ways
                .ours("- ")
                .markup(&self.subject(one))
                .ours(": ")
                .markup(&said)
                .ours("\n");
        }
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{HOSTILE, assert_only_ours, read};
    use super::super::samples;
    use super::*;

    const CONSOLE: &str = "https://forge.test/home?region=eu-west-1#/stacks/stackinfo?stackId=arn%3Aaws";
    const COMMAND: &str = "aws secretsmanager get-secret-value --secret-id 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!db-1' --query SecretString --output text --region eu-west-1";

    /// The note about a database on AWS, whose last output is this.
    fn shown(name: &str, value: &str) -> String {
        let mut report = samples::done();
        let step = &mut report.runs[0].steps[1];
        step.state = samples::succeeded(
            "arn:aws:cloudformation:eu-west-1:123456789012:stack/landfall-web-shop/6ded",
            &[
                ("stack", "landfall-web-shop"),
                ("console", CONSOLE),
                ("clientSecurityGroup", "sg-1"),
                ("passwordCommand", COMMAND),
                ("port", "5432"),
                ("endpoint", "orders.rds.amazonaws.com"),
                (name, value),
            ],
        );
        let runs: Vec<&ReportedRun> = report.runs.iter().collect();
        let detail = Detail::levels().next().unwrap();
        made(&runs, detail, &mut LeftOut::default()).into_string()
    }

    #[test]
    fn a_database_on_aws_says_where_it_is_and_how_it_is_reached() {
        let shown = shown("keyArn", "arn:aws:kms:1");
        for said in [
            format!(
                "| created | [`landfall-web-shop`]({CONSOLE}) | endpoint: `orders.rds.amazonaws.com`<br>port: `5432`<br>keyArn: `arn:aws:kms:1` |"
            ),
            "- `database/orders`: it takes connections over TLS, from members of the security group `sg-1`\n"
                .into(),
            format!("- `database/orders`: its user and password are shown by `{COMMAND}`\n"),
        ] {
            assert!(shown.contains(&said), "{said}\n{shown}");
        }
        assert!(
            !shown.contains("arn:aws:cloudformation"),
            "an ARN is no name: {shown}"
        );
        assert_eq!(read(&shown).links, [CONSOLE]);
    }

    #[test]
    fn what_was_not_checked_is_a_sentence_and_what_is_for_programs_is_not_shown() {
        let noted = shown("notChecked", "its nodes were not looked at");
        assert!(
            noted.contains("- `database/orders`: ⚠️ its nodes were not looked at\n"),
            "{noted}"
        );
        assert!(!shown("certificateAuthority", "LS0tLS1CRUdJTg==").contains("LS0t"));
    }

    #[test]
    fn no_output_does_anything() {
        let names = [
            "stack",
            "console",
            "path",
            "webUrl",
            "endpoint",
            "clientSecurityGroup",
            "kubeconfig",
            "notChecked",
        ];
        for text in HOSTILE {
            for name in names {
                let shown = shown(name, text);
                // An address of theirs may be linked, where a page is told; it is percent-encoded.
                if !text.contains("https://") {
                    assert_only_ours(&shown);
                }
                assert!(read(&shown).other.is_empty(), "{name}: {shown}");
            }
            assert_only_ours(&self::shown("x", text));
        }
    }
}
