//! What was merged below what is examined already: it came together with another merge request, or the repository was
//! adopted since.

use std::collections::BTreeSet;

use crate::domain::ids::CommitId;
use crate::domain::landing::HeldBecause;
use crate::domain::review::{Landed, Review};
use crate::git::LocalCopy;
use crate::store::Lease;

use super::landing::{Arrival, Lander};
use super::{AppError, Repository};

impl Lander {
    /// Judges a merge request as at any landing, though its commits are below the mark and its content is not accepted.
    pub(super) async fn land_late(
        &self,
        lease: &Lease,
        repository: &Repository,
        head: &CommitId,
        review: Review,
    ) -> Result<(), AppError> {
        let mirror = repository.mirror().await?;
        let facts = review.facts.clone();
        let ends = [&facts.merge_commit, &facts.squash_commit, &facts.head];
        let commit = ends.into_iter().flatten().next().unwrap_or(head).clone();
        let known = review.evaluation.as_ref();
        let known = known.filter(|known| Some(&known.head) == facts.head.as_ref());
        let parent = landed_on(&*mirror, &review, &commit).await?;
        let (Some(known), Some(parent)) = (known, parent) else {
            let landed = Landed::Held {
                commit,
                because: HeldBecause::NotRecognised,
                before: None,
            };
            return self.record_late(lease, repository, review, landed).await;
        };
        let paths = known.paths();
        let arrival = Arrival {
            repository,
            parent: &parent,
            last: head,
            before: mirror.at(&parent, &paths).await?,
            after: mirror.at(head, &paths).await?,
            accepted: self.store.accepted(&repository.id).await?,
            landed: vec![],
            of_others: BTreeSet::new(),
            is_late: true,
        };
        self.land_merge_request(lease, arrival, &facts).await
    }

    pub(super) async fn record_late(
        &self,
        lease: &Lease,
        repository: &Repository,
        review: Review,
        landed: Landed,
    ) -> Result<(), AppError> {
        let (id, now) = (&repository.id, self.clock.now());
        Ok(self.store.record_landed(lease, id, review, landed, now).await?)
    }
}

/// The commit that a merge request landed on, as far as that can be told. Where it was fast-forwarded to, that is the
/// first one below its own commits.
async fn landed_on(
    mirror: &dyn LocalCopy,
    review: &Review,
    commit: &CommitId,
) -> Result<Option<CommitId>, AppError> {
    let facts = &review.facts;
    if facts.merge_commit.is_some() || facts.squash_commit.is_some() {
        return Ok(mirror.first_parent(commit).await?);
    }
    let versions = review.versions.iter();
    let own: BTreeSet<&CommitId> = versions
        .filter_map(|version| version.content.as_ref())
        .flat_map(|content| &content.commits)
        .collect();
    let mut at = Some(commit.clone());
    for _ in 0..=own.len() {
        match at {
            Some(commit) if own.contains(&commit) => at = mirror.first_parent(&commit).await?,
            below => return Ok(below.filter(|below| below != commit)),
        }
    }
    Ok(None)
}
