//! What is held because nobody had signed it off can be signed off still, by its digest: as long as the target branch
//! holds it, and nothing newer was accepted on its paths. A release is a decision of its own, under the rules and against
//! the content of now.

use jiff::Timestamp;

use crate::domain::ids::CommitId;
use crate::domain::key::Key;
use crate::domain::landing::Origin;
use crate::domain::push::HeldPush;
use crate::domain::review::{Landed, Review};
use crate::domain::signoff::Verdict;
use crate::policy::Policies;
use crate::store::{Acceptance, Evidence, Lease, Store, Touch};

use super::held::{Look, look as look_at_held};
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
        if review.releasable().is_some()
            && review.is_signed_off()
            && !release_one(store, policies, lease, repository, head, &review, now).await?
        {
            // It is not as it was when it was looked at.
            let key = Key::look_at(&repository.id, &Origin::MergeRequest(review.facts.number));
            store.touch(&[Touch::fact(key)]).await?;
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
    let target = repository.mirror().await?.at(head, &push.paths()).await?;
    let newer = store.held_after(&repository.id, &push.commit).await?;
    if push.superseded(&target, &accepted.blobs(), &newer).is_some() {
        return Ok(false);
    }
    // Anew, under the rules and against the content that are accepted now; the plan stays if it comes to the same.
    let (mut evaluation, _) = look(repository, &accepted, push, head).await?;
    let Some(shown) = push
        .evaluation
        .as_ref()
        .filter(|shown| shown.is_like(&evaluation))
    else {
        return Ok(false);
    };
    evaluation.take_planning(shown.planning.clone());
    let mut push = push.clone();
    let Verdict::SignedOff(signed) =
        judge(store, policies, repository, &accepted, &mut push, &mut evaluation).await?
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

/// Accepts a merge request that was held and is signed off by its digest, if all is still as it was shown. Answers
/// whether it did.
async fn release_one(
    store: &Store,
    policies: &Policies,
    lease: &Lease,
    repository: &Repository,
    head: &CommitId,
    review: &Review,
    now: Timestamp,
) -> Result<bool, AppError> {
    let Some(Landed::Held { commit, .. }) = &review.landed else {
        return Ok(false);
    };
    let accepted = store.accepted(&repository.id).await?;
    let looked = look_at_held(store, repository, &accepted, review, head).await?;
    let Some(Look::Evaluated(mut evaluation, _)) = looked else {
        return Ok(false);
    };
    let Some(shown) = review.evaluation_like(&evaluation) else {
        return Ok(false);
    };
    evaluation.take_planning(shown.planning.clone());
    let asker = Asker::MergeRequest(&review.facts);
    policies::ask(
        store,
        policies,
        repository,
        &accepted,
        asker,
        head,
        &mut evaluation,
    )
    .await?;
    let mut review = review.clone();
    let rules = accepted.current_rules();
    let verdict = evidence::judge(store, repository, rules, &mut review, &evaluation).await?;
    let Verdict::SignedOff(signed) = verdict else {
        return Ok(false);
    };
    let contents = contents(repository, &evaluation).await?;
    let commit = commit.clone();
    review.evaluation = Some((*evaluation).clone());
    let acceptance = Acceptance {
        evidence: Evidence::Review(Box::new(review)),
        evaluation: *evaluation,
        commit,
        examined: None,
        contents,
    };
    store
        .accept(lease, &repository.id, acceptance, &signed, now)
        .await?;
    Ok(true)
}
