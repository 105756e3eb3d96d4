//! What does not go on: by kind for whoever watches over Landfall, and landings in an issue, which is closed once they
//! go on.

use std::fmt;

use jiff::Timestamp;

use crate::domain::key::Key;
use crate::forge::{ForgeError, NewIssue};
use crate::report::{self as text, Marker};
use crate::store::{Lease, Store, StuckKey};

use super::report::admins;
use super::{AppError, Repository};

/// Opens the issue, or closes it.
pub(super) async fn tell(store: &Store, lease: &Lease, repository: &Repository) -> Result<(), AppError> {
    let id = &repository.id;
    let landing = Key::Landing {
        repository: id.clone(),
    };
    match (store.stuck_key(&landing).await?, store.stuck_issue(id).await?) {
        (Some(stuck), None) => {
            let marker = Marker::stuck(id, stuck.since);
            // Made before a crash, perhaps: this is rare.
            let made = repository.forge.own_issues_with(marker.as_str()).await?;
            let number = match made.into_iter().next() {
                Some(made) => made.number,
                None => {
                    let words = text::Stuck {
                        branch: &repository.target_branch,
                        since: stuck.since,
                        reason: &stuck.reason,
                        dead: stuck.dead,
                    };
                    let issue = text::stuck(&words, &marker, &admins(&store.accepted(id).await?));
                    let new = NewIssue {
                        title: issue.title,
                        body: issue.body,
                    };
                    repository.forge.create_issue(&new).await?.number
                }
            };
            Ok(store.record_stuck_issue(lease, id, Some(number)).await?)
        }
        (None, Some(issue)) => {
            match repository.forge.close_issue(issue).await {
                // Somebody deleted it.
                Err(ForgeError::NotFound { .. }) => {}
                closed => closed?,
            }
            Ok(store.record_stuck_issue(lease, id, None).await?)
        }
        _ => Ok(()),
    }
}

/// Work of one kind, of one repository, that does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckWork {
    /// `kind/repository`, or the kind alone: no name of anything that people ask for.
    pub kind: String,
    /// How many keys.
    pub count: usize,
    /// Since when the first of them.
    pub since: Timestamp,
}

impl fmt::Display for StuckWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(f, "{}, {} since {since}", self.kind, self.count)
    }
}

/// Keys by their kinds, in the order of the first of each.
pub(super) fn by_kind(keys: &[StuckKey]) -> Vec<StuckWork> {
    let mut kinds: Vec<StuckWork> = Vec::new();
    for StuckKey { key, since, .. } in keys {
        let mut parts = key.split('/');
        let kind = match (parts.next().unwrap_or_default(), parts.next()) {
            // What follows is the run itself.
            ("run", _) => "run".to_owned(),
            (kind, Some(repository)) => format!("{kind}/{repository}"),
            (kind, None) => kind.to_owned(),
        };
        match kinds.iter_mut().find(|known| known.kind == kind) {
            Some(known) => {
                known.count += 1;
                known.since = known.since.min(*since);
            }
            None => kinds.push(StuckWork {
                kind,
                count: 1,
                since: *since,
            }),
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stuck_is_told_by_kind_and_not_by_name() {
        let stuck = |key: &str, minute: i8| StuckKey {
            key: key.into(),
            since: format!("2026-09-21T14:{minute:02}:00Z").parse().unwrap(),
            reason: "a secret".into(),
            dead: false,
        };
        assert_eq!(by_kind(&[]), []);
        let told = by_kind(&[
            stuck("landing/platform", 7),
            stuck("request/platform/Project/spaceship", 9),
            stuck("request/platform/Project/shop", 8),
            stuck("run/0198c5a0-0000-7000-8000-000000000001", 1),
            stuck("seal", 2),
        ]);
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "landing/platform, 1 since 2026-09-21T14:07:00Z",
                "request/platform, 2 since 2026-09-21T14:08:00Z",
                "run, 1 since 2026-09-21T14:01:00Z",
                "seal, 1 since 2026-09-21T14:02:00Z",
            ]
        );
    }
}
