//! A merge request that is merged and held is looked at again for as long as it can be released: under the rules and
//! against the content of now, since nobody signs off what it would have done once.

use crate::domain::ids::CommitId;
use crate::domain::landing::{HeldBecause, matches};
use crate::domain::review::{Evaluation, Landed, Planning, Review};
use crate::git::GitError;
use crate::store::{AcceptedFiles, Lease, Store};

use super::evaluate::{Trees, evaluate};
use super::evidence::Brought;
use super::policies::Asker;
use super::review::{Reviewer, trees};
use super::{AppError, Repository, evidence, policies};
use crate::domain::key::Outcome;

/// What a held merge request comes to now.
pub(super) enum Look {
    /// This, and who had a hand in it.
    Evaluated(Box<Evaluation>, Brought),
    /// It cannot be released any more.
    Superseded(HeldBecause),
}

/// Works out what a held merge request would do now. `target` is what the target branch holds. Nothing where it is held
/// for what no release can mend.
pub(super) async fn look(
    store: &Store,
    repository: &Repository,
    accepted: &AcceptedFiles,
    review: &Review,
    target: &CommitId,
) -> Result<Option<Look>, AppError> {
    let (Some(before), Some(head)) = (review.releasable(), &review.facts.head) else {
        return Ok(None);
    };
    let (theirs, brought) = merged_trees(repository, review, before, head).await?;
    let target = theirs.at(repository, target).await?;
    let trees = Trees { target, ..theirs };
    let mut evaluation = evaluate(repository, accepted, &trees).await?;
    // Approvals were given for a merge that had not happened yet: now only the digest says what is meant.
    evaluation.base_differs = true;
    if !evaluation.is_refused() {
        let landed = store.held_paths(&repository.id, review.facts.number).await?;
        let blobs = accepted.blobs();
        if let Err(because) = matches(&evaluation.transitions, &landed, &trees.target, &blobs) {
            return Ok(Some(Look::Superseded(because)));
        }
    }
    Ok(Some(Look::Evaluated(Box::new(evaluation), brought)))
}

/// The trees of a merge request that is merged: its head may never have been fetched.
pub(super) async fn merged_trees(
    repository: &Repository,
    review: &Review,
    before: &CommitId,
    head: &CommitId,
) -> Result<(Trees, Brought), AppError> {
    match trees(repository, before, head).await {
        Err(AppError::Git(GitError::Missing { .. })) => {
            let mirror = repository.mirror().await?;
            mirror
                .fetch(&repository.target_branch, &[review.facts.number])
                .await?;
            trees(repository, before, head).await
        }
        looked_at => looked_at,
    }
}

impl Reviewer {
    /// Looks at a merge request that is held: its findings, its plan and what the gate says are those of now.
    pub(super) async fn review_held(
        &self,
        lease: &Lease,
        repository: &Repository,
        mut review: Review,
        plan_anew: bool,
    ) -> Result<Outcome, AppError> {
        let state = self.store.repository(&repository.id).await?;
        let Some(examined) = state.examined.filter(|_| state.suspended.is_none()) else {
            return Ok(Outcome::Done);
        };
        let accepted = self.store.accepted(&repository.id).await?;
        let look = look(&self.store, repository, &accepted, &review, &examined).await?;
        let (mut evaluation, brought) = match look {
            None => return Ok(Outcome::Done),
            Some(Look::Evaluated(evaluation, brought)) => (*evaluation, brought),
            Some(Look::Superseded(because)) => {
                if let Some(evaluation) = &review.evaluation {
                    self.discard(repository, evaluation).await?;
                }
                if let Some(Landed::Held { commit, before, .. }) = review.landed.clone() {
                    let landed = Landed::Held {
                        commit,
                        because,
                        before,
                    };
                    self.store
                        .record_landed(lease, &repository.id, review, landed, self.clock.now())
                        .await?;
                }
                return Ok(Outcome::Done);
            }
        };
        if let Some(before) = review.evaluation.as_mut().filter(|_| plan_anew) {
            self.discard(repository, before).await?;
            before.planning = Planning::None;
        }
        let newest = evidence::Newest {
            head: &evaluation.head,
            signature: evaluation.signature(),
            brought: &brought,
        };
        review.versions =
            evidence::versions(&self.store, repository, &review.facts, &review.versions, newest).await?;
        let again = self.plan(repository, &accepted, &review, &mut evaluation).await?;
        policies::ask(
            &self.store,
            &self.policies,
            repository,
            &accepted,
            Asker::MergeRequest(&review.facts),
            &examined,
            &mut evaluation,
        )
        .await?;
        let rules = accepted.current_rules();
        evidence::judge(&self.store, repository, rules, &mut review, &evaluation).await?;
        review.evaluation = Some(evaluation);
        self.store
            .record_review(lease, &repository.id, &review, self.clock.now())
            .await?;
        Ok(again.map_or(Outcome::Done, Outcome::Again))
    }
}
