//! What Landfall made, and how that is known: by what only Landfall, the cloud or the forge could have recorded. Names,
//! paths, tags and topics are anybody's to write and to copy; they lead to what may be ours, and prove nothing.

use std::collections::BTreeSet;
use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::ids::{RepositoryId, RequestKey, StepKey};

/// What a step puts on the thing that it begins, so that it is known again before its number is recorded. Whoever may
/// look at the thing can read it, and can copy it: it counts only beside something that cannot be copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(String);

impl Mark {
    /// As it is written there: letters, digits and hyphens.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key that marks are made with. It is in no log, no text and no provider's hands.
#[derive(Clone)]
pub struct MarkingKey([u8; 32]);

impl fmt::Debug for MarkingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkingKey")
    }
}

impl MarkingKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The mark of one step: of a repository, a request, a resource and a run. The next run has another, so that one
    /// that somebody wrote down is of no use to them later.
    #[must_use]
    pub fn mark(&self, repository: &RepositoryId, request: &RequestKey, step: &StepKey) -> Mark {
        // Any key will do for HMAC, whatever its length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return Mark::default();
        };
        // None of them holds a line break.
        mac.update(format!("landfall mark v1\n{repository}\n{request}\n{step}").as_bytes());
        let digits = hex::encode(mac.finalize().into_bytes());
        Mark(format!("landfall-{}", digits.get(..32).unwrap_or_default()))
    }
}

/// What is on record of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The cloud's or forge's own name for it, as it was recorded once it was made. An environment's network may be
    /// recorded with several requests.
    #[serde(default)]
    pub recorded: BTreeSet<String>,
    /// The marks of steps that began to make it and recorded nothing: they may have made it.
    #[serde(default)]
    pub begun: BTreeSet<Mark>,
    /// What is recorded of other resources of the kind, and so cannot be this one, whatever it bears.
    #[serde(default)]
    pub taken: BTreeSet<String>,
}

impl Provenance {
    /// Whether it was recorded as made.
    #[must_use]
    pub fn is_recorded(&self, external_id: &str) -> bool {
        self.recorded.contains(external_id)
    }

    /// Whether something that is not recorded bears the mark of a step that may have made it.
    #[must_use]
    pub fn is_begun<'a>(&self, external_id: &str, marks: impl IntoIterator<Item = &'a str>) -> bool {
        let is_known = |mark: &str| !mark.is_empty() && self.begun.iter().any(|one| one.as_str() == mark);
        !self.taken.contains(external_id) && marks.into_iter().any(is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunId;

    fn step(run: u128, resource: &str) -> StepKey {
        StepKey {
            run: RunId(uuid::Uuid::from_u128(run)),
            resource: resource.parse().unwrap(),
        }
    }

    #[test]
    fn a_mark_is_of_one_step_of_one_request_and_of_one_key() {
        let (key, other) = (MarkingKey::new([1; 32]), MarkingKey::new([2; 32]));
        let mark = |key: &MarkingKey, repository: &str, request: &str, run, resource| {
            key.mark(
                &repository.parse().unwrap(),
                &request.parse().unwrap(),
                &step(run, resource),
            )
        };
        let one = mark(&key, "requests", "Project/site", 1, "repository/site");
        assert_eq!(one, mark(&key, "requests", "Project/site", 1, "repository/site"));
        assert_eq!(one.as_str().len(), "landfall-".len() + 32);
        for another in [
            mark(&other, "requests", "Project/site", 1, "repository/site"),
            mark(&key, "other", "Project/site", 1, "repository/site"),
            mark(&key, "requests", "Project/shop", 1, "repository/site"),
            mark(&key, "requests", "Project/site", 2, "repository/site"),
            mark(&key, "requests", "Project/site", 1, "repository/other"),
        ] {
            assert_ne!(one, another);
        }
        assert_eq!(format!("{key:?}"), "MarkingKey");
    }

    #[test]
    fn a_mark_proves_nothing_about_what_is_recorded_elsewhere() {
        let mark = MarkingKey::new([1; 32]).mark(
            &"requests".parse().unwrap(),
            &"Project/site".parse().unwrap(),
            &step(1, "repository/site"),
        );
        let provenance = Provenance {
            recorded: ["7".to_owned()].into(),
            begun: [mark.clone()].into(),
            taken: ["8".to_owned()].into(),
        };
        assert!(provenance.is_recorded("7") && !provenance.is_recorded("8"));
        assert!(provenance.is_begun("9", ["something", mark.as_str()]));
        assert!(!provenance.is_begun("8", [mark.as_str()]), "it is another's");
        assert!(!provenance.is_begun("9", ["landfall-0123", ""]));
        assert!(!Provenance::default().is_begun("9", [mark.as_str(), ""]));
    }
}
