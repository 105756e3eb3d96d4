//! What is held because nobody had signed it off can be signed off still, by its digest: as long as the target branch
//! holds it, and nothing newer was accepted on its paths.

use jiff::Timestamp;

use crate::domain::ids::CommitId;
use crate::domain::landing::{HeldBecause, matches};
use crate::domain::review::{Landed, Review};
use crate::domain::signoff::Verdict;
use crate::policy::Policies;
use crate::store::{Acceptance, Lease, Store};

use super::landing::contents;
use super::{AppError, Repository, evidence, policies};

/// Looks through what is held for what somebody has signed by command, and accepts what the gate lets through. `head`
/// is the commit that the target branch was examined up to.
pub(super) async fn release(
    store: &Store,
    policies: &Policies,
    lease: &Lease,
    repository: &Repository,
    head: &CommitId,
    now: Timestamp,
) -> Result<(), AppError> {
    for review in store.held_reviews(&repository.id).await? {
        let number = review.facts.number;
        if !store.command_approvals(&repository.id, number).await?.is_empty() {
            release_one(store, policies, lease, repository, head, review, now).await?;
        }
    }
    Ok(())
}

async fn release_one(
    store: &Store,
    policies: &Policies,
    lease: &Lease,
    repository: &Repository,
    head: &CommitId,
    mut review: Review,
    now: Timestamp,
) -> Result<(), AppError> {
    let Some(Landed::Held {
        commit,
        because: HeldBecause::NotSignedOff { .. },
    }) = review.landed.clone()
    else {
        return Ok(());
    };
    let Some(mut evaluation) = review.evaluation.clone() else {
        return Ok(());
    };
    let accepted = store.accepted(&repository.id).await?;
    let tree = repository.mirror().await?.tree(head).await?;
    if matches(&evaluation.transitions, &[], &tree, &accepted.blobs()).is_err() {
        // Superseded: the branch, or what is accepted, has moved on.
        return Ok(());
    }
    let facts = &review.facts;
    policies::ask(
        store,
        policies,
        repository,
        &accepted,
        facts,
        &tree,
        &mut evaluation,
    )
    .await?;
    if evaluation.is_refused() {
        return Ok(());
    }
    // Approvals were given for a merge that had not happened yet: now only the digest says what is meant.
    evaluation.base_differs = true;
    let number = review.facts.number;
    let shown = store.shown(&repository.id, number).await?;
    let commands = store.command_approvals(&repository.id, number).await?;
    let rules = accepted.rules.as_ref().map(|(_, rules)| rules);
    let judgement = evidence::judge(
        repository,
        rules,
        &mut review,
        &evaluation,
        shown.as_ref(),
        &commands,
    )
    .await?;
    review.approvals = judgement.approvals;
    review.judged = Some(judgement.judged);
    if let Verdict::SignedOff(signed) = judgement.verdict {
        let contents = contents(repository, &evaluation).await?;
        let acceptance = Acceptance {
            review,
            evaluation,
            commit,
            examined: None,
            contents,
        };
        store
            .accept(lease, &repository.id, acceptance, &signed, now)
            .await?;
    }
    Ok(())
}
