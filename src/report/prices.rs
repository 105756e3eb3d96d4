//! What a plan costs a month, as an admin reads it before signing.

use crate::domain::price::{Amount, Estimate, Monthly};

use super::escape::Markup;

/// The longest amount or currency that is shown.
const LONGEST: usize = 40;

/// One row's cell: `+61.50 EUR` for what is new, `61.50 → 123.00 EUR` for what changes.
pub(super) fn cell(monthly: Option<&Monthly>) -> Markup {
    let Some(monthly) = monthly else {
        return Markup::new().ours("*not known*");
    };
    let shown = |text: String| Markup::new().code(&format!("{text} {}", monthly.currency), LONGEST);
    match (monthly.before, monthly.after) {
        (Some(Amount::ZERO), Some(after)) => shown(format!("+{after}")),
        (Some(before), Some(Amount::ZERO)) => shown(format!("−{before}")),
        (Some(before), Some(after)) if before == after => shown(after.to_string()),
        (Some(before), Some(after)) => shown(format!("{before} → {after}")),
        _ => Markup::new().ours("*not known*"),
    }
}

/// The sum and its difference, with what is not in it.
pub(super) fn total(estimate: &Estimate) -> Markup {
    let sums: Vec<Markup> = estimate
        .totals
        .iter()
        .map(|(currency, total)| {
            let sum = Markup::new().code(&format!("{} {currency}", total.after), LONGEST);
            let difference = if total.after >= total.before {
                format!("+{}", Amount(total.after.0 - total.before.0))
            } else {
                format!("−{}", Amount(total.before.0 - total.after.0))
            };
            sum.ours(" (").code(&difference, LONGEST).ours(")")
        })
        .collect();
    let mut sentence = Markup::new().ours("**Monthly estimate**: ");
    if estimate.unknown > 0 {
        sentence = sentence.ours("at least ");
    }
    sentence = sentence
        .markup(&Markup::joined(&sums, " and "))
        .ours(", by the prices of `landfall.yaml`, without disks and traffic");
    if estimate.unknown > 0 {
        sentence = sentence
            .ours("; ")
            .count(estimate.unknown, "resource has", "resources have")
            .ours(" no price there");
    }
    sentence.ours(".\n\n")
}
