//! Hidden first lines, by which a note of ours is found again after a crash.

use crate::domain::ids::{CommitId, Digest, RepositoryId, RunId};
use crate::domain::landing::Origin;

/// The first line of a note or issue of ours: an HTML comment, which forges do not show. Anyone can write one, so it
/// counts only together with our own author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker(String);

impl Marker {
    /// Of the one comment of a merge request, or in the issue about a push.
    #[must_use]
    pub fn report(repository: &RepositoryId, origin: &Origin) -> Self {
        Self(format!("<!-- landfall:report {repository}/{origin} -->"))
    }

    /// Of the note that tells how these runs ended, whatever their order.
    #[must_use]
    pub fn result(runs: &[RunId]) -> Self {
        let mut ids: Vec<String> = runs.iter().map(RunId::to_string).collect();
        ids.sort();
        ids.dedup();
        let digest = Digest::of(ids.join("\n").as_bytes());
        Self(format!("<!-- landfall:result {} -->", digest.short()))
    }

    /// Of the issue about a direct push that ended with this commit.
    #[must_use]
    pub fn direct_push(repository: &RepositoryId, commit: &CommitId) -> Self {
        Self(format!("<!-- landfall:direct-push {repository}/{commit} -->"))
    }

    /// Of the issue about landings that do not go on since then.
    #[must_use]
    pub fn stuck(repository: &RepositoryId, since: jiff::Timestamp) -> Self {
        Self(format!(
            "<!-- landfall:stuck {repository}/{} -->",
            since.as_microsecond()
        ))
    }

    /// Of the one note that answers commands which are not followed.
    #[must_use]
    pub fn answers(repository: &RepositoryId, origin: &Origin) -> Self {
        Self(format!("<!-- landfall:answer {repository}/{origin} -->"))
    }

    /// Whether it names runs, whose ids nobody else ever makes.
    #[must_use]
    pub fn is_of_runs(&self) -> bool {
        self.0.starts_with("<!-- landfall:result ")
    }

    /// As it stands in the note.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the note begins with it. Further down it may be quoted.
    #[must_use]
    pub fn marks(&self, note: &str) -> bool {
        note.lines().next().is_some_and(|line| line.trim() == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MergeRequestNumber;

    #[test]
    fn a_note_is_found_by_its_first_line_only() {
        let repository = RepositoryId::new("platform").unwrap();
        let marker = Marker::report(&repository, &Origin::MergeRequest(MergeRequestNumber(7)));
        assert_eq!(marker.as_str(), "<!-- landfall:report platform/7 -->");
        assert!(marker.marks("<!-- landfall:report platform/7 -->\r\n### Done"));
        assert!(!marker.marks("look:\n<!-- landfall:report platform/7 -->"));
        assert!(!marker.marks("<!-- landfall:report platform/71 -->"));
        assert!(!marker.marks(""));
    }

    #[test]
    fn the_runs_of_a_result_have_no_order() {
        let [a, b] = [1, 2].map(|n| RunId(uuid::Uuid::from_u128(n)));
        assert_eq!(Marker::result(&[a, b]), Marker::result(&[b, a, b]));
        assert_ne!(Marker::result(&[a]), Marker::result(&[a, b]));
    }
}
