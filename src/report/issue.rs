//! The issue about content that was pushed to the target branch directly.

use crate::domain::ids::CommitId;

use super::comment::fitting;
use super::escape::{Markup, shown};
use super::words::people;
use super::{Limits, Marker};

/// What was pushed.
#[derive(Debug, Clone)]
pub struct DirectPush<'a> {
    /// The newest commit of it.
    pub commit: &'a CommitId,
    /// The target branch.
    pub branch: &'a str,
    /// Who pushed, by their user name on the forge, if that is known.
    pub pusher: Option<&'a str>,
    /// The governed paths that it changed.
    pub paths: &'a [String],
}

/// An issue to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// One line.
    pub title: String,
    /// Markdown, with the marker in its first line.
    pub body: String,
}

/// The issue that says that a direct push is held, and what to do. It says nothing that anybody signs: whoever may edit
/// issues may change it. Findings and plan stand in a note.
#[must_use]
pub fn issue(push: &DirectPush<'_>, limits: Limits, marker: &Marker, admins: &[String]) -> Issue {
    Issue {
        // Forges read references in titles too; a commit's digits are one, and a welcome one.
        title: shown(
            &format!(
                "Held: commit {} came without a merge request",
                push.commit.short()
            ),
            200,
        ),
        body: fitting(limits.note, |detail| {
            body(push, detail.changes.min(100), marker, admins)
        }),
    }
}

fn body(push: &DirectPush<'_>, most_paths: usize, marker: &Marker, admins: &[String]) -> Markup {
    let who = match push.pusher {
        Some(username) => Markup::new().mention(username),
        None => Markup::new().ours("Somebody"),
    };
    let mut body = Markup::new()
        .marker(marker)
        .ours("\n### ⛔ Held: pushed without a merge request\n\n")
        .markup(&who)
        .ours(" pushed commit ")
        .code(push.commit.short(), 8)
        .ours(" to ")
        .code(push.branch, 100)
        .ours(" directly. **Nothing was provisioned**, and nothing will be until it is signed off. Findings, plan and what has become of it stand in Landfall's comment below.\n\n")
        .ours("**What to do**, one of:\n\n")
        .ours("1. ")
        .markup(&people(admins, " or "))
        .ours(" (not who pushed it, nor whose commits it holds) may release it as it is, if the comment below offers a command for it, by writing that command as a comment here.\n")
        .ours("2. Revert the commit, and open a merge request with the same change: it gets a plan and a sign-off of its own.\n");
    let shown = push.paths.len().min(most_paths);
    body = body
        .ours("\n**")
        .count(push.paths.len(), "file", "files")
        .ours("**\n\n");
    for path in push.paths.iter().take(shown) {
        body = body.ours("- ").code(path, 200).ours("\n");
    }
    if shown < push.paths.len() {
        body = body
            .ours("- and ")
            .number(push.paths.len() - shown)
            .ours(" more\n");
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, GITLAB, HOSTILE, context};
    use super::*;
    use crate::domain::ids::RepositoryId;

    fn push<'a>(commit: &'a CommitId, paths: &'a [String]) -> DirectPush<'a> {
        DirectPush {
            commit,
            branch: "main",
            pusher: Some("linus"),
            paths,
        }
    }

    fn opened(push: &DirectPush<'_>) -> Issue {
        let repository = RepositoryId::new("platform").unwrap();
        let marker = Marker::direct_push(&repository, push.commit);
        issue(push, GITLAB, &marker, context().admins)
    }

    #[test]
    fn a_direct_push_is_told_to_who_pushed() {
        let report = samples::waiting();
        let paths = vec!["requests/shop/orders.yaml".to_owned()];
        let told = opened(&push(&report.head, &paths));
        assert!(told.body.contains("@linus pushed commit"));
        insta::assert_snapshot!("issue", format!("{}\n\n{}", told.title, told.body));
        let nobody = opened(&DirectPush {
            pusher: None,
            ..push(&report.head, &paths)
        });
        assert!(nobody.body.contains("Somebody pushed commit"));
    }

    #[test]
    fn a_hostile_push_does_nothing() {
        let report = samples::waiting();
        for text in HOSTILE {
            let paths = vec![(*text).to_owned(); 3];
            let pusher = format!("{text} {text}");
            let hostile = DirectPush {
                branch: text,
                pusher: Some(&pusher),
                ..push(&report.head, &paths)
            };
            samples::assert_only_ours(&opened(&hostile).body);
        }
    }

    #[test]
    fn ten_thousand_files_fit() {
        let report = samples::waiting();
        let paths: Vec<String> = (0..10_000).map(|n| format!("requests/shop/{n}.yaml")).collect();
        let body = opened(&push(&report.head, &paths)).body;
        assert!(body.contains("and 9900 more"), "{body}");
    }
}
