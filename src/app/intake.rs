//! A delivery becomes keys to look at: a hint, never a fact. It is stored before it is answered.

use crate::domain::ids::{Digest, RepositoryId};
use crate::domain::key::Key;
use crate::domain::merge_request::Thread;
use crate::forge::{Delivery, Event};
use crate::store::{DeliveryRecord, Push, Recorded, Store, StoreError};

use super::Repository;

/// The keys that an event says to look at.
#[must_use]
pub fn keys(repository: &RepositoryId, target_branch: &str, event: &Event) -> Vec<Key> {
    let repository = repository.clone();
    match event {
        Event::MergeRequest { number } | Event::Note { number, .. } => {
            vec![Key::Review {
                repository,
                merge_request: *number,
            }]
        }
        // Landing reads what is merged by itself.
        Event::Merged { .. } => vec![Key::Landing { repository }],
        Event::Push(push) if push.branch == target_branch => vec![Key::Landing { repository }],
        // A pushed source branch is told of as its merge request's event, too.
        // The store knows which push an issue is about.
        Event::Push(_) | Event::Ignored { .. } | Event::IssueNote { .. } => vec![],
        Event::Unknown => vec![Key::Sweep { repository }],
    }
}

/// Stores a verified delivery and touches its keys, in one transaction.
///
/// # Errors
/// The store's: nothing is answered with success then.
pub async fn receive(
    store: &Store,
    repository: &Repository,
    delivery: &Delivery,
    body: &[u8],
    now: jiff::Timestamp,
) -> Result<Recorded, StoreError> {
    // What we wrote ourselves tells us nothing. Who is wrong about that is put right by the sweep.
    let own = matches!(
        &delivery.event,
        Event::Note { author, .. } | Event::IssueNote { author, .. } if repository.is_own(*author)
    );
    let record = DeliveryRecord {
        id: delivery.id.clone(),
        kind: delivery.kind.clone(),
        keys: if own {
            vec![]
        } else {
            keys(&repository.id, &repository.target_branch, &delivery.event)
        },
        digest: Digest::of(body),
        at: now,
        push: match &delivery.event {
            Event::Push(push) => push.after.clone().map(|after| Push {
                user: push.user.clone(),
                branch: push.branch.clone(),
                after,
            }),
            _ => None,
        },
        note_on: match &delivery.event {
            Event::Note { number, .. } if !own => Some(Thread::MergeRequest(*number)),
            Event::IssueNote { issue, .. } if !own => Some(Thread::Issue(*issue)),
            _ => None,
        },
    };
    store.record_delivery(&repository.id, &record).await
}
