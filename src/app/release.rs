//! What is held because nobody had signed it off can be signed off still, by its digest: as long as the target branch
//! holds it, and nothing newer was accepted on its paths.

use jiff::Timestamp;

use crate::domain::ids::CommitId;
use crate::domain::key::Key;
use crate::domain::landing::{HeldBecause, Origin, matches};
use crate::domain::push::HeldPush;
use crate::domain::review::{Landed, Review};
use crate::domain::signoff::Verdict;
use crate::policy::Policies;
use crate::store::{Acceptance, Evidence, Lease, Store, Touch};

use super::landing::contents;
use super::policies::Asker;
use super::push::{judge, look};
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
        let origin = Origin::MergeRequest(review.facts.number);
        if !store.command_approvals(&repository.id, &origin).await?.is_empty() {
            release_one(store, policies, lease, repository, head, review, now).await?;
        }
    }
    for push in store.open_pushes(&repository.id).await? {
        if push.is_signed_off() && !release_push(store, policies, lease, repository, head, &push, now).await?
        {
            // It is not as it was when it was looked at.
            let key = Key::look_at(&repository.id, &push.origin());
            store.touch(&[Touch::fact(key)]).await?;
        }
    }
    Ok(())
}

/// Accepts a push that was signed off, if all is still as it was. Answers whether it did.
async fn release_push(
    store: &Store,
    policies: &Policies,
    lease: &Lease,
    repository: &Repository,
    head: &CommitId,
    push: &HeldPush,
    now: Timestamp,
) -> Result<bool, AppError> {
    let accepted = store.accepted(&repository.id).await?;
    let target = repository.mirror().await?.tree(head).await?;
    let tree = repository.mirror().await?.tree(&push.commit).await?;
    let newer = store.held_after(&repository.id, &push.commit).await?;
    if push.superseded(&target, &accepted.blobs(), &newer).is_some() {
        return Ok(false);
    }
    // Anew, under the rules and against the content that are accepted now; the plan stays if it comes to the same.
    let (mut evaluation, _) = look(repository, &accepted, push, target).await?;
    let Some(shown) = push
        .evaluation
        .as_ref()
        .filter(|shown| shown.is_like(&evaluation))
    else {
        return Ok(false);
    };
    evaluation.take_planning(shown.planning.clone());
    let mut push = push.clone();
    let Verdict::SignedOff(signed) = judge(
        store,
        policies,
        repository,
        &accepted,
        &mut push,
        &tree,
        &mut evaluation,
    )
    .await?
    else {
        return Ok(false);
    };
    let contents = contents(repository, &evaluation).await?;
    push.evaluation = Some(evaluation.clone());
    let commit = push.commit.clone();
    let acceptance = Acceptance {
        evidence: Evidence::Push(Box::new(push)),
        evaluation,
        commit,
        examined: None,
        contents,
    };
    store
        .accept(lease, &repository.id, acceptance, &signed, now)
        .await?;
    Ok(true)
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
    let asker = Asker::MergeRequest(&review.facts);
    policies::ask(
        store,
        policies,
        repository,
        &accepted,
        asker,
        &tree,
        &mut evaluation,
    )
    .await?;
    if evaluation.is_refused() {
        return Ok(());
    }
    // Approvals were given for a merge that had not happened yet: now only the digest says what is meant.
    evaluation.base_differs = true;
    let rules = accepted.current_rules();
    let verdict = evidence::judge(store, repository, rules, &mut review, &evaluation).await?;
    if let Verdict::SignedOff(signed) = verdict {
        let contents = contents(repository, &evaluation).await?;
        let acceptance = Acceptance {
            evidence: Evidence::Review(Box::new(review)),
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
