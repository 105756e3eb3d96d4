//! The plan as an admin reads it before signing: counts, what destroys, then resource by resource.

use crate::domain::plan::{Action, Plan, PlannedChange, ResourceKind};
use crate::domain::price::by_subject;
use crate::domain::report::{Report, Standing};

use super::escape::Markup;
use super::parts::parts;
use super::prices;
use super::tables::{Detail, LeftOut, SCREEN, action_word, folded_if, value};

/// The plan and the digest that is signed.
pub(super) fn plan(report: &Report, detail: Detail, left_out: &mut LeftOut) -> Markup {
    let Some(plan) = &report.plan else {
        return Markup::new();
    };
    let one = one_request(plan);
    let mut section = Markup::new().ours("**Plan**");
    if let (true, Some(change)) = (one, plan.changes.first()) {
        section = section.ours(" for ").markup(&place(change));
    }
    section = section.ours(": ").markup(&counts(plan)).ours("\n\n");
    let acting: Vec<&PlannedChange> = plan
        .changes
        .iter()
        .filter(|change| change.action != Action::NoOp)
        .collect();
    section = section
        .markup(&destructive(&acting, one, detail))
        .markup(&kept(&acting, one, detail));

    let parts = parts(&acting, one, detail, left_out);
    let shown = acting.len().min(detail.resources);
    left_out.resources += acting.len() - shown;
    let (mut lines, mut characters) = (0, 0);
    let costs = report
        .estimate
        .as_ref()
        .map(|estimate| by_subject(&estimate.entries));
    let mut table = Markup::new();
    for change in acting.into_iter().take(shown) {
        left_out.properties += change.properties.len().saturating_sub(detail.properties);
        lines += change.properties.len().clamp(1, detail.properties.max(1));
        let cost = costs
            .as_ref()
            .map(|costs| prices::cell(costs.get(&(&change.request, &change.resource)).copied()));
        let row = row(change, cost.as_ref(), one, detail);
        characters += row.characters();
        table = table.markup(&row);
        if characters > detail.whole {
            break;
        }
    }
    if shown > 0 {
        let table = Markup::new()
            .ours(match costs {
                None => "| Resource | Action | What changes |\n|---|---|---|\n",
                Some(_) => "| Resource | Action | What changes | Monthly |\n|---|---|---|---|\n",
            })
            .markup(&table)
            .ours("\n");
        let landed = matches!(
            report.standing,
            Standing::Provisioning
                | Standing::Done
                | Standing::Failed
                | Standing::Cancelled
                | Standing::Superseded { .. }
                | Standing::Overtaken(_)
                | Standing::Closed
        );
        let summary = Markup::new()
            .ours("The plan for ")
            .count(shown, "resource", "resources");
        section = section.markup(&folded_if(landed || lines > SCREEN, &summary, table));
    }
    section = section.markup(&parts);
    if let Some(estimate) = &report.estimate {
        section = section.markup(&prices::total(estimate));
    }
    if let Some(digest) = &report.digest {
        section = section
            .ours("Digest of what is signed: ")
            .code(digest.short(), 64)
            .ours(", at commit ")
            .code(report.head.short(), 8)
            .ours(".\n\n");
    }
    section
}

/// "2 to create, 1 to REPLACE, 3 unchanged".
pub(super) fn counts(plan: &Plan) -> Markup {
    let parts: Vec<Markup> = [
        (Action::Create, " to create"),
        (Action::Recreate, " **MISSING** to create again"),
        (Action::Update, " to update"),
        (Action::Replace, " to **REPLACE**"),
        (Action::Delete, " to **DELETE**"),
        (Action::Retain, " to retain"),
        (Action::NoOp, " unchanged"),
    ]
    .into_iter()
    .filter_map(|(action, words)| {
        let count = plan
            .changes
            .iter()
            .filter(|change| change.action == action)
            .count();
        (count > 0).then(|| Markup::new().number(count).ours(words))
    })
    .collect();
    if parts.is_empty() {
        return Markup::new().ours("no resource changes");
    }
    Markup::joined(&parts, ", ")
}

/// What is lost stands before everything else, and never in a fold.
fn destructive(acting: &[&PlannedChange], one: bool, detail: Detail) -> Markup {
    let destructive: Vec<&&PlannedChange> = acting
        .iter()
        .filter(|change| matches!(change.action, Action::Replace | Action::Delete))
        .collect();
    if destructive.is_empty() {
        return Markup::new();
    }
    let mut list = Markup::new();
    for change in destructive.iter().take(detail.destructive) {
        list = list
            .ours("- ⚠️ ")
            .ours(action_word(change.action))
            .ours(" ")
            .markup(&subject(change, one))
            .ours(match (change.action, change.kind.is_stateful()) {
                (Action::Replace, true) => ": it is destroyed and made anew, and it holds data.\n",
                (Action::Replace, false) => ": it is destroyed and made anew.\n",
                (_, true) if change.takes_final_snapshot() => {
                    ": it holds data; a snapshot is taken first, and stays.\n"
                }
                (_, true) => ": it holds data, and no snapshot is taken.\n",
                (_, false) => ".\n",
            });
    }
    let more = destructive.len().saturating_sub(detail.destructive);
    if more > 0 {
        list = list
            .ours("- ⚠️ and ")
            .number(more)
            .ours(" more that would be destroyed.\n");
    }
    list.ours("\n")
}

/// What is not asked for any more and is kept, and what is taken back: neither is seen in what changes.
fn kept(acting: &[&PlannedChange], one: bool, detail: Detail) -> Markup {
    let kept = |change: &&&PlannedChange| change.action == Action::Retain || change.takes_back();
    let kept: Vec<&&PlannedChange> = acting.iter().filter(kept).collect();
    if kept.is_empty() {
        return Markup::new();
    }
    let mut list = Markup::new();
    for change in kept.iter().take(detail.destructive) {
        list = list.ours("- 📌 ").markup(&subject(change, one)).ours(if change.takes_back() {
            " was retained and is taken back.\n"
        } else if change.kind == ResourceKind::Network {
            " belongs to the environment, whose requests share it: it stays.\n"
        } else {
            " is retained (`deletionPolicy`): it stays as it is, is listed, goes on costing, and is changed by nothing any more.\n"
        });
    }
    let more = kept.len().saturating_sub(detail.destructive);
    if more > 0 {
        list = list.ours("- 📌 and ").number(more).ours(" more that stay.\n");
    }
    list.ours("\n")
}

/// Whether it is all about one request in one environment, which then need not be repeated.
fn one_request(plan: &Plan) -> bool {
    plan.changes
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if (&a.request, &a.environment) == (&b.request, &b.environment)))
}

fn place(change: &PlannedChange) -> Markup {
    Markup::new()
        .code(&change.request.to_string(), 100)
        .ours(" in ")
        .code(change.environment.as_str(), 60)
}

pub(super) fn subject(change: &PlannedChange, one: bool) -> Markup {
    let subject = Markup::new().code(change.resource.as_str(), 120);
    if one {
        subject
    } else {
        subject.ours(" of ").markup(&place(change))
    }
}

fn row(change: &PlannedChange, cost: Option<&Markup>, one: bool, detail: Detail) -> Markup {
    let mut cell: Vec<Markup> = change
        .properties
        .iter()
        .take(detail.properties)
        .map(|property| {
            let path = Markup::new().prose(&property.path, 120).ours(": ");
            match (&property.before, &property.after) {
                (None, Some(after)) => path.markup(&value(after, detail.text)),
                (Some(before), Some(after)) => path
                    .markup(&value(before, detail.text))
                    .ours(" → ")
                    .markup(&value(after, detail.text)),
                (Some(before), None) => path.markup(&value(before, detail.text)).ours(" → *removed*"),
                (None, None) => path.ours("*unknown*"),
            }
        })
        .collect();
    let more = change.properties.len().saturating_sub(detail.properties);
    if more > 0 {
        cell.push(
            Markup::new()
                .count(more, "property", "properties")
                .ours(" not shown"),
        );
    }
    let row = Markup::new()
        .ours("| ")
        .markup(&subject(change, one))
        .ours(" | ")
        .ours(action_word(change.action))
        .ours(" | ")
        .markup(&Markup::joined(&cell, "<br>"))
        .ours(" |");
    match cost {
        None => row.ours("\n"),
        Some(cost) => row.ours(" ").markup(cost).ours(" |\n"),
    }
}
