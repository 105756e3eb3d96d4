//! `review/<repository>/<merge request>`: facts are read anew, and said what they come to.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::ids::{CommitId, MergeRequestNumber};
use crate::domain::key::Outcome;
use crate::domain::landing::Origin;
use crate::domain::merge_request::{MergeRequest, MergeRequestState, Thread};
use crate::domain::review::{Evaluation, Planning, Review};
use crate::domain::tree::Tree;
use crate::forge::{AccessLevel, ForgeError};
use crate::git::GitError;
use crate::policy::Policies;
use crate::store::{AcceptedFiles, Lease, Store};

use super::evaluate::{Trees, evaluate};
use super::evidence::Brought;
use super::plans::Plans;
use super::policies::Asker;
use super::{AppError, Repository, contribution, evidence, notes, others, policies};

/// How long the forge may take to show a pushed head in git, before it is asked again.
const GIT_LAG: SignedDuration = SignedDuration::from_millis(500);

/// Looks at what is asked for: by merge requests here, by pushes that were held in `push`.
pub(super) struct Reviewer {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) plans: Plans,
    pub(super) policies: Policies,
}

impl Reviewer {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, plans: Plans, policies: Policies) -> Self {
        Self {
            store,
            clock,
            plans,
            policies,
        }
    }

    pub(super) async fn reconcile(
        &self,
        lease: &Lease,
        repository: &Repository,
        number: MergeRequestNumber,
    ) -> Result<Outcome, AppError> {
        let known = self.store.review(&repository.id, number).await?;
        let facts = match repository.forge.merge_request(number).await {
            Ok(facts) => facts,
            Err(ForgeError::NotFound { .. }) if known.is_none() => return Ok(Outcome::Done),
            Err(error) => return Err(error.into()),
        };
        if facts.target_branch != repository.target_branch {
            // Retargeted away: what was approved is void, and what comes back is looked at anew.
            if let Some(known) = known {
                self.give_up(lease, repository, Review { facts, ..known }).await?;
            }
            return Ok(Outcome::Done);
        }
        let review = match known {
            Some(known) => Review { facts, ..known },
            None => Review::new(facts),
        };
        match review.facts.state {
            MergeRequestState::Closed => {
                self.give_up(lease, repository, review).await?;
                Ok(Outcome::Done)
            }
            MergeRequestState::Merged => {
                let plan_anew = self.obey(lease, repository, &review.facts).await?;
                let outcome = self
                    .review_held(lease, repository, review.clone(), plan_anew)
                    .await?;
                self.store
                    .record_merged(lease, &repository.id, &review, self.clock.now())
                    .await?;
                Ok(outcome)
            }
            MergeRequestState::Open => self.review_open(lease, repository, review).await,
        }
    }

    /// Reads its notes, and obeys what is new in them. Answers whether somebody wants the plan made anew.
    async fn obey(
        &self,
        lease: &Lease,
        repository: &Repository,
        facts: &MergeRequest,
    ) -> Result<bool, AppError> {
        let (origin, on) = (
            Origin::MergeRequest(facts.number),
            Thread::MergeRequest(facts.number),
        );
        let place = notes::Place {
            origin: &origin,
            on,
            may_have_notes: facts.notes_count > 0,
        };
        notes::obey(&self.store, lease, repository, &place, self.clock.now()).await
    }

    /// Closed, or gone elsewhere: plans are discarded, and nothing that was given counts any more.
    async fn give_up(&self, lease: &Lease, repository: &Repository, review: Review) -> Result<(), AppError> {
        if let Some(evaluation) = &review.evaluation {
            self.discard(repository, evaluation).await?;
        }
        let voided_at = Some(review.facts.updated_at);
        let review = Review {
            evaluation: None,
            judged: None,
            voided_at,
            ..review
        };
        Ok(self
            .store
            .record_review(lease, &repository.id, &review, self.clock.now())
            .await?)
    }

    pub(super) async fn discard(
        &self,
        repository: &Repository,
        evaluation: &Evaluation,
    ) -> Result<(), AppError> {
        let accepted = self.store.accepted(&repository.id).await?;
        let rules = accepted.current_rules();
        self.plans.discard(&repository.id, rules, evaluation).await
    }

    async fn review_open(
        &self,
        lease: &Lease,
        repository: &Repository,
        mut review: Review,
    ) -> Result<Outcome, AppError> {
        let number = review.facts.number;
        let Some(head) = review.facts.head.clone() else {
            return Ok(Outcome::Done);
        };
        let fetched = repository
            .mirror()
            .await?
            .fetch(&repository.target_branch, &[number])
            .await?;
        if fetched.heads.get(&number) != Some(&head) {
            let again = self.clock.now().checked_add(GIT_LAG).unwrap_or(Timestamp::MAX);
            return Ok(Outcome::Again(again));
        }
        // What was examined, never the bare head of the target branch: that may hold what nobody signed, or this very
        // merge request already.
        let state = self.store.repository(&repository.id).await?;
        let target = state
            .examined
            .filter(|_| state.suspended.is_none())
            .unwrap_or(fetched.target);
        let accepted = self.store.accepted(&repository.id).await?;
        let (mut trees, brought) = trees(repository, &target, &head).await?;
        if trees.is_large() && !is_developer(repository, &review.facts).await? {
            trees.beyond = Some(format!(
                "more than {} from somebody who is no active member of this project",
                Trees::LARGE
            ));
        }
        let mut evaluation = evaluate(repository, &accepted, &trees).await?;
        others::name(&self.store, repository, &accepted, number, &mut evaluation).await?;
        if self.obey(lease, repository, &review.facts).await?
            && let Some(before) = &mut review.evaluation
        {
            self.discard(repository, before).await?;
            before.planning = Planning::None;
        }
        // Asked each time: pushes that came and went, and were not told of, leave the head as it was.
        let newest = evidence::Newest {
            head: &head,
            signature: evaluation.signature(),
            brought: &brought,
        };
        review.versions =
            evidence::versions(&self.store, repository, &review.facts, &review.versions, newest).await?;
        let again = self.plan(repository, &accepted, &review, &mut evaluation).await?;
        let (store, policies) = (&self.store, &self.policies);
        policies::ask(
            store,
            policies,
            repository,
            &accepted,
            Asker::MergeRequest(&review.facts),
            &head,
            &mut evaluation,
        )
        .await?;
        let before = review.evaluation.as_ref().and_then(Evaluation::digest);
        if before.is_some() && before != evaluation.digest() {
            review.voided_at = review.voided_at.max(Some(review.facts.updated_at));
        }
        let rules = accepted.current_rules();
        evidence::judge(&self.store, repository, rules, &mut review, &evaluation).await?;
        review.evaluation = Some(evaluation);
        self.store
            .record_review(lease, &repository.id, &review, self.clock.now())
            .await?;
        // A landing that came meanwhile found no review to touch, if this is the first one.
        if self.store.accepted(&repository.id).await?.blobs() != accepted.blobs() {
            return Ok(Outcome::Again(self.clock.now()));
        }
        Ok(again.map_or(Outcome::Done, Outcome::Again))
    }

    /// Makes the plan, or keeps the one there is where its inputs are the same. Answers when to look again.
    pub(super) async fn plan(
        &self,
        repository: &Repository,
        accepted: &AcceptedFiles,
        review: &Review,
        evaluation: &mut Evaluation,
    ) -> Result<Option<Timestamp>, AppError> {
        let before = review.evaluation.as_ref();
        let rules = accepted.current_rules();
        let id = &repository.id;
        let tokens = self.plans.take_over(id, rules, before, evaluation).await?;
        let (Some(rules), Some(tokens)) = (rules, tokens) else {
            return Ok(None);
        };
        let planned_before = before
            .is_some_and(|before| matches!(before.planning, Planning::Ready(_) | Planning::Pending { .. }));
        if !planned_before && !is_developer(repository, &review.facts).await? {
            evaluation.planning = Planning::Blocked {
                reason: format!(
                    "{} is not an active member of this project with the role Developer or above, so no plan is made. \
                     A member can open a merge request with the same change.",
                    review.facts.author.username
                ),
            };
            return Ok(None);
        }
        self.plans.make(id, rules, &tokens, evaluation).await
    }
}

/// More distinct e-mail addresses than that in one merge request are not the work of a team.
const MOST_ADDRESSES: usize = 1_000;

/// The trees of a merge request, and what its commits bring. What is beyond a bound is no error: it is
/// said in the trees, and refuses them.
pub(super) async fn trees(
    repository: &Repository,
    target: &CommitId,
    head: &CommitId,
) -> Result<(Trees, Brought), AppError> {
    let mirror = repository.mirror().await?;
    let mut trees = Trees {
        head_commit: head.clone(),
        base: Tree::default(),
        head: Tree::default(),
        target: Tree::default(),
        unknown: None,
        beyond: None,
    };
    let Some(base) = within(&mut trees.unknown, mirror.merge_base(target, head).await)? else {
        return Ok((trees, Brought::default()));
    };
    let base = base.unwrap_or_else(|| target.clone());
    if let Some((before, after)) = within(&mut trees.unknown, mirror.differences(&base, head).await)? {
        (trees.base, trees.head) = (before, after);
        trees.target = trees.at(repository, target).await?;
    }
    let commits = mirror.commits_between(&base, head).await;
    let commits = within(&mut trees.beyond, commits)?.unwrap_or_default();
    let content = if trees.unknown.is_none() && trees.beyond.is_none() {
        contribution::content(repository, &trees, &commits).await?
    } else {
        None
    };
    let mut brought = Brought {
        emails: commits
            .iter()
            .flat_map(|commit| commit.emails.iter().cloned())
            .collect(),
        content,
        commits: commits.into_iter().map(|commit| commit.id).collect(),
    };
    if brought.emails.len() > MOST_ADDRESSES {
        brought.emails.clear();
        trees.beyond = Some(format!(
            "more than {MOST_ADDRESSES} e-mail addresses in its commits"
        ));
    }
    Ok((trees, brought))
}

/// The answer, or nothing where it is beyond a bound, which is noted.
fn within<T>(beyond: &mut Option<String>, answer: Result<T, GitError>) -> Result<Option<T>, AppError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error @ GitError::TooMany { .. }) => {
            *beyond = Some(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn is_developer(repository: &Repository, facts: &MergeRequest) -> Result<bool, AppError> {
    let member = repository.forge.member(facts.author.id).await?;
    Ok(member.is_some_and(|member| member.active && member.level >= AccessLevel::Developer))
}
