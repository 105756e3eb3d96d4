//! `sweep/<repository>`: touches every key that could be out of date, so that the end is the same with every webhook
//! lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::key::{Key, Outcome};
use crate::domain::landing::Origin;
use crate::domain::push::HeldPush;
use crate::store::{Lease, Store, Touch};

use super::{AppError, Repository, stuck};

pub(super) struct Sweeper {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Sweeper {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub(super) async fn reconcile(
        &self,
        lease: &Lease,
        repository: &Repository,
    ) -> Result<Outcome, AppError> {
        let id = &repository.id;
        // First, since what stops landings may stop what follows here.
        stuck::tell(&self.store, lease, repository).await?;
        // Known before anything is written, so that the webhooks of our own notes are told from others'.
        repository.own_user().await?;
        repository.follow_path().await?;
        let listed = repository
            .forge
            .open_merge_requests(&repository.target_branch)
            .await?;
        let mut known = self.store.open_reviews(id).await?;
        known.extend(self.store.held_reviews(id).await?);
        let pushes = self.store.open_pushes(id).await?;
        let origins: BTreeSet<Origin> = listed
            .iter()
            .map(|facts| facts.number)
            .chain(known.iter().map(|review| review.facts.number))
            .map(Origin::MergeRequest)
            .chain(pushes.iter().map(HeldPush::origin))
            .chain(self.store.retryable(id).await?)
            .collect();
        // Notes are read on note deliveries and here.
        self.store.read_notes_of(id, &origins).await?;
        let mut touches = vec![Touch::sweep(Key::Landing {
            repository: id.clone(),
        })];
        for origin in &origins {
            touches.push(Touch::sweep(Key::look_at(id, origin)));
            touches.push(Touch::sweep(Key::report(id, origin)));
        }
        touches.extend(self.store.unfinished(id).await?.into_iter().map(Touch::sweep));
        self.store.touch(&touches).await?;
        let again = self
            .clock
            .now()
            .checked_add(repository.sweep_every)
            .unwrap_or(Timestamp::MAX);
        Ok(Outcome::Again(again))
    }
}
