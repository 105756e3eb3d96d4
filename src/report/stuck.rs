//! The issue that says that landings do not go on.

use jiff::Timestamp;

use super::escape::{Markup, shown};
use super::{Issue, Marker};

/// The longest reason, in characters.
const REASON: usize = 1_000;

/// Why landings do not go on.
#[derive(Debug, Clone)]
pub struct Stuck<'a> {
    /// The target branch.
    pub branch: &'a str,
    /// Since when.
    pub since: Timestamp,
    /// What happens, in the words of whoever refuses.
    pub reason: &'a str,
    /// Whether it is no longer tried.
    pub dead: bool,
}

/// What is stuck, for how long and why, for the admins and whoever runs Landfall.
#[must_use]
pub fn stuck(stuck: &Stuck<'_>, marker: &Marker, admins: &[String]) -> Issue {
    let mentioned: Vec<Markup> = admins
        .iter()
        .take(10)
        .map(|name| Markup::new().mention(name))
        .collect();
    let to_whom = if mentioned.is_empty() {
        Markup::new()
    } else {
        Markup::joined(&mentioned, ", ").ours(": ")
    };
    let tried = if stuck.dead {
        "Landfall has given up until something new lands there."
    } else {
        "Landfall tries again every few minutes."
    };
    let since = stuck.since.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let body = Markup::new()
        .marker(marker)
        .ours("\n### ⛔ Landings do not go on\n\n")
        .markup(&to_whom)
        .ours("since ")
        .code(&since, 40)
        .ours(", Landfall cannot look at what lands on ")
        .code(stuck.branch, 100)
        .ours(". **What is merged meanwhile is not provisioned**; nothing of it is lost, and it follows in order once this is mended. ")
        .ours(tried)
        .ours("\n\nWhat happens: ")
        .prose(stuck.reason, REASON)
        .ours("\n\n**What to do:** whoever runs Landfall sees to what is said here; its log says more. This issue is closed once landings go on.\n");
    Issue {
        title: shown("Landfall is stuck: landings do not go on", 200),
        body: body.into_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, HOSTILE};
    use super::*;
    use crate::domain::ids::RepositoryId;

    fn told(reason: &str, branch: &str, admins: &[String]) -> Issue {
        let since = "2026-09-21T14:00:00Z".parse().unwrap();
        let marker = Marker::stuck(&RepositoryId::new("platform").unwrap(), since);
        let words = Stuck {
            branch,
            since,
            reason,
            dead: false,
        };
        stuck(&words, &marker, admins)
    }

    #[test]
    fn admins_are_told_what_is_stuck_and_why() {
        let admins = ["ada".to_owned(), "members of acme/platform".to_owned()];
        let told = told(
            "listing what was merged into main: the forge refused our token (403: insufficient_scope)",
            "main",
            &admins,
        );
        insta::assert_snapshot!("stuck", format!("{}\n\n{}", told.title, told.body));
    }

    #[test]
    fn a_hostile_reason_does_nothing() {
        for text in HOSTILE {
            samples::assert_only_ours(&told(text, text, &[]).body);
        }
    }
}
