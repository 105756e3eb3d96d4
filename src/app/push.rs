//! `push/<repository>/<commit>`: content that came without a merge request is evaluated and planned like one's, and can
//! be released by its digest until it is superseded. What is signed off is accepted by the landing.

use crate::domain::ids::CommitId;
use crate::domain::key::{Key, Outcome};
use crate::domain::merge_request::Thread;
use crate::domain::push::{HeldPush, PushEnd};
use crate::domain::review::{Evaluation, Planning};
use crate::domain::signoff::Verdict;
use crate::policy::Policies;
use crate::store::{AcceptedFiles, Lease, Store, Touch};

use super::evaluate::{Trees, evaluate};
use super::evidence::Brought;
use super::policies::Asker;
use super::review::{Reviewer, trees};
use super::{AppError, Repository, evidence, notes, policies};

impl Reviewer {
    /// Looks at a push that was held.
    pub(super) async fn reconcile_push(
        &self,
        lease: &Lease,
        repository: &Repository,
        commit: &CommitId,
    ) -> Result<Outcome, AppError> {
        let Some(push) = self.store.held_push(&repository.id, commit).await? else {
            return Ok(Outcome::Done);
        };
        let plan_anew = self.obey_on_push(lease, repository, &push).await?;
        let state = self.store.repository(&repository.id).await?;
        match state.examined.filter(|_| state.suspended.is_none()) {
            Some(examined) if push.end.is_none() => {
                self.review_push(lease, repository, push, &examined, plan_anew)
                    .await
            }
            _ => {
                let report = Key::report(&repository.id, &push.origin());
                self.store.touch(&[Touch::fact(report)]).await?;
                Ok(Outcome::Done)
            }
        }
    }

    async fn obey_on_push(
        &self,
        lease: &Lease,
        repository: &Repository,
        push: &HeldPush,
    ) -> Result<bool, AppError> {
        let Some(issue) = self.store.issue_of_push(&repository.id, &push.commit).await? else {
            return Ok(false);
        };
        let place = notes::Place {
            origin: &push.origin(),
            on: Thread::Issue(issue),
            may_have_notes: true,
        };
        notes::obey(&self.store, lease, repository, &place, self.clock.now()).await
    }

    async fn review_push(
        &self,
        lease: &Lease,
        repository: &Repository,
        mut push: HeldPush,
        examined: &CommitId,
        plan_anew: bool,
    ) -> Result<Outcome, AppError> {
        let mirror = repository.mirror().await?;
        mirror.fetch(&repository.target_branch, &[]).await?;
        let target = mirror.at(examined, &push.paths()).await?;
        let accepted = self.store.accepted(&repository.id).await?;
        let rules = accepted.current_rules();
        let newer = self.store.held_after(&repository.id, &push.commit).await?;
        if let Some(why) = push.superseded(&target, &accepted.blobs(), &newer) {
            if let Some(evaluation) = &push.evaluation {
                self.plans.discard(&repository.id, rules, evaluation).await?;
            }
            push.end = Some(PushEnd::Superseded(why));
            self.record_push(lease, repository, &push).await?;
            return Ok(Outcome::Done);
        }
        let (mut evaluation, brought) = look(repository, &accepted, &push, examined).await?;
        evidence::push_seen(&self.store, repository, &mut push, &brought).await?;
        if push.evaluation.is_none() {
            // People are told before a plan is waited for.
            push.evaluation = Some(evaluation.clone());
            self.record_push(lease, repository, &push).await?;
        }
        if let Some(before) = push.evaluation.as_mut().filter(|_| plan_anew) {
            self.plans.discard(&repository.id, rules, before).await?;
            before.planning = Planning::None;
        }
        let before = push.evaluation.as_ref();
        let tokens = self
            .plans
            .take_over(&repository.id, rules, before, &mut evaluation)
            .await?;
        let again = match (rules, tokens) {
            (Some(rules), Some(tokens)) => {
                let id = &repository.id;
                self.plans.make(id, rules, &tokens, &mut evaluation).await?
            }
            _ => None,
        };
        let (store, policies) = (&self.store, &self.policies);
        judge(store, policies, repository, &accepted, &mut push, &mut evaluation).await?;
        push.evaluation = Some(evaluation);
        self.record_push(lease, repository, &push).await?;
        Ok(again.map_or(Outcome::Done, Outcome::Again))
    }

    async fn record_push(
        &self,
        lease: &Lease,
        repository: &Repository,
        push: &HeldPush,
    ) -> Result<(), AppError> {
        let now = self.clock.now();
        Ok(self.store.record_push(lease, &repository.id, push, now).await?)
    }
}

/// Policies and the gate, asked about a push that was held.
pub(super) async fn judge(
    store: &Store,
    policies: &Policies,
    repository: &Repository,
    accepted: &AcceptedFiles,
    push: &mut HeldPush,
    evaluation: &mut Evaluation,
) -> Result<Verdict, AppError> {
    let (asker, commit) = (Asker::Push(push), &push.commit);
    policies::ask(store, policies, repository, accepted, asker, commit, evaluation).await?;
    evidence::judge_push(store, repository, accepted.current_rules(), push, evaluation).await
}

/// What a push would do, against what is accepted and what the target branch holds at a commit, and whose commits it brought.
/// Nobody reviewed the way there, so only a digest that names the whole difference can sign it.
pub(super) async fn look(
    repository: &Repository,
    accepted: &AcceptedFiles,
    push: &HeldPush,
    target: &CommitId,
) -> Result<(Evaluation, Brought), AppError> {
    let (pushed, brought) = trees(repository, &push.before, &push.commit).await?;
    let target = pushed.at(repository, target).await?;
    let trees = Trees { target, ..pushed };
    let mut evaluation = evaluate(repository, accepted, &trees).await?;
    evaluation.base_differs = true;
    Ok((evaluation, brought))
}
