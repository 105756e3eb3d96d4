//! What is left once history is examined: merge requests that are merged and whose commits were not recognised, and
//! those that are held although another one brought the same.

use jiff::Timestamp;

use crate::domain::ids::CommitId;
use crate::domain::landing::{Accepted, HeldBecause};
use crate::domain::review::{Landed, Review};
use crate::store::{Lease, Store};

use super::{AppError, Repository};

/// Records what became of them, and answers those that are to be looked at, oldest merge first. `head` is the commit
/// that the target branch was examined up to.
pub(super) async fn settle(
    store: &Store,
    lease: &Lease,
    repository: &Repository,
    head: &CommitId,
    now: Timestamp,
) -> Result<Vec<Review>, AppError> {
    let (held, adrift) = (
        store.held_reviews(&repository.id).await?,
        store.adrift_reviews(&repository.id).await?,
    );
    if held.is_empty() && adrift.is_empty() {
        return Ok(vec![]);
    }
    let accepted = store.accepted(&repository.id).await?.blobs();
    for review in held {
        // Another merge request brought the same, and was signed off.
        if let Some(Landed::Held {
            commit,
            because: HeldBecause::NotSignedOff { .. },
            ..
        }) = review.landed.clone()
            && brings_nothing_more(&review, &accepted)
        {
            let landed = Landed::Nothing { commit };
            store
                .record_landed(lease, &repository.id, review, landed, now)
                .await?;
        }
    }
    let mirror = repository.mirror().await?;
    let mut late = Vec::new();
    for review in adrift {
        let facts = &review.facts;
        let ends = [&facts.merge_commit, &facts.squash_commit, &facts.head];
        let Some(commit) = ends.into_iter().flatten().next().cloned() else {
            continue;
        };
        // Not there yet, or not in the mirror: it may come still.
        if !mirror.is_ancestor(&commit, head).await.unwrap_or(false) {
            continue;
        }
        if brings_nothing_more(&review, &accepted) {
            let landed = Landed::Nothing { commit };
            store
                .record_landed(lease, &repository.id, review, landed, now)
                .await?;
        } else {
            late.push(review);
        }
    }
    late.sort_by_key(|review| review.facts.merged_at);
    Ok(late)
}

/// Whether everything that a merge request asks for is accepted already.
pub(super) fn brings_nothing_more(review: &Review, accepted: &Accepted) -> bool {
    review.evaluation.as_ref().is_some_and(|evaluation| {
        let asked = &evaluation.transitions;
        asked.iter().all(|t| accepted.get(&t.path) == t.to.as_ref())
    })
}
