//! The issue that says that landings are not looked at any more.

use crate::domain::ids::{CommitId, RepositoryId};

use super::escape::{Markup, shown};
use super::{Issue, Marker};

/// The issue about a target branch whose history was rewritten: what happened, and what gets it going again.
#[must_use]
pub fn suspended(repository: &RepositoryId, branch: &str, head: &CommitId, marker: &Marker) -> Issue {
    let body = Markup::new()
        .marker(marker)
        .ours("\n### ⛔ Landfall has stopped looking at ")
        .code(branch, 100)
        .ours("\n\nIts history was rewritten: commit ")
        .code(head.short(), 8)
        .ours(
            " does not descend from the last commit that Landfall looked at. **Nothing is provisioned from here on**, \
             since what was signed off can no longer be told from what was not.\n\n**What to do**, one of:\n\n\
             1. Push the branch back to a commit that contains the old history.\n\
             2. If the new history is meant, look through it, and accept it on the server that runs Landfall with ",
        )
        .code(&format!("landfall adopt {repository} --commit {head}"), 200)
        .ours(". It accepts the files without provisioning anything.\n");
    Issue {
        title: shown("Landfall stopped: the target branch was rewritten", 200),
        body: body.into_string(),
    }
}
