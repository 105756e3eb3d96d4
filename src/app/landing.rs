//! `landing/<repository>`: what has come onto the target branch, in order, is accepted or held. It only compares, and
//! touches what follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::ids::{BlobId, CommitId, MergeRequestNumber};
use crate::domain::key::Outcome;
use crate::domain::landing::{Group, HeldBecause, Landed, Merged, group, landed, matches};
use crate::domain::merge_request::{MergeRequest, MergeRequestState};
use crate::domain::review::{self, Evaluation, Review};
use crate::domain::signoff::{SignedOff, Verdict};
use crate::domain::tree::Tree;
use crate::domain::yaml;
use crate::git::{Commit, GitError};
use crate::store::{Acceptance, AcceptedFiles, Holding, Lease, RepositoryState, Store};

use super::evaluate::evaluate;
use super::release::release;
use super::review::trees;
use super::{AppError, Repository, evidence};

/// How far back the forge is asked for merges that its own clock may have put before the last landing.
const OVERLAP: SignedDuration = SignedDuration::from_mins(10);

/// How many commits of one landing the forge is asked about one by one. Beyond that they are direct pushes.
const ASKED_ONE_BY_ONE: usize = 100;

pub(super) struct Lander {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// What a group of commits did, and what is known of it.
struct Arrival<'a> {
    repository: &'a Repository,
    parent: &'a CommitId,
    last: &'a CommitId,
    before: Tree,
    after: Tree,
    accepted: AcceptedFiles,
    landed: Vec<Landed>,
}

impl Lander {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub(super) async fn reconcile(
        &self,
        lease: &Lease,
        repository: &Repository,
    ) -> Result<Outcome, AppError> {
        let state = self.store.repository(&repository.id).await?;
        let Some(examined) = state.examined.clone() else {
            return Ok(Outcome::Done);
        };
        let head = repository
            .mirror()
            .await?
            .fetch(&repository.target_branch, &[])
            .await?
            .target;
        if head == examined && state.suspended.is_none() {
            release(&self.store, lease, repository, &head, self.clock.now()).await?;
            return Ok(Outcome::Done);
        }
        let history = match repository
            .mirror()
            .await?
            .first_parent_history(&examined, &head)
            .await
        {
            Ok(history) => {
                if state.suspended.is_some() {
                    self.store
                        .resume(lease, &repository.id, &head, self.clock.now())
                        .await?;
                }
                history
            }
            Err(GitError::NotADescendant { .. }) if state.suspended.is_some() => return Ok(Outcome::Done),
            Err(GitError::NotADescendant { .. }) => {
                self.store
                    .suspend(lease, &repository.id, &examined, &head, self.clock.now())
                    .await?;
                return Ok(Outcome::Done);
            }
            Err(error) => return Err(error.into()),
        };
        let (merged, attribution) = self.attribute(repository, &state, &history).await?;
        if let Some(wait) = self
            .wait_for_forge(lease, repository, &history, &attribution)
            .await?
        {
            return Ok(Outcome::Again(wait));
        }
        let commits: Vec<CommitId> = history.iter().map(|commit| commit.id.clone()).collect();
        let mut parent = examined;
        for group in group(&commits, &attribution) {
            let Some(last) = group.commits.last().cloned() else {
                continue;
            };
            self.land(lease, repository, &parent, &group, &merged).await?;
            parent = last;
        }
        release(&self.store, lease, repository, &parent, self.clock.now()).await?;
        Ok(Outcome::Done)
    }

    /// Says which merged merge request brought each commit, as far as the forge knows.
    async fn attribute(
        &self,
        repository: &Repository,
        state: &RepositoryState,
        history: &[Commit],
    ) -> Result<
        (
            BTreeMap<MergeRequestNumber, MergeRequest>,
            BTreeMap<CommitId, MergeRequestNumber>,
        ),
        AppError,
    > {
        let since = state
            .merged_until
            .checked_sub(OVERLAP)
            .unwrap_or(state.merged_until);
        let recent = repository
            .forge
            .merged_since(&repository.target_branch, since)
            .await?;
        let mut merged: BTreeMap<MergeRequestNumber, MergeRequest> =
            recent.into_iter().map(|facts| (facts.number, facts)).collect();
        let mut attribution = BTreeMap::new();
        for commit in history {
            let by = merged
                .values()
                .find(|facts| promise(facts).ended_with(&commit.id));
            if let Some(facts) = by {
                attribution.insert(commit.id.clone(), facts.number);
            }
        }
        let unexplained = history
            .iter()
            .filter(|c| !attribution.contains_key(&c.id))
            .take(ASKED_ONE_BY_ONE);
        let mut asked = Vec::new();
        for commit in unexplained {
            let facts = repository
                .forge
                .merge_requests_of_commit(&commit.id)
                .await?
                .into_iter()
                .find(|facts| {
                    facts.state == MergeRequestState::Merged
                        && facts.target_branch == repository.target_branch
                });
            if let Some(facts) = facts {
                asked.push((commit.id.clone(), facts));
            }
        }
        for (commit, facts) in asked {
            attribution.insert(commit, facts.number);
            merged.insert(facts.number, facts);
        }
        Ok((merged, attribution))
    }

    /// A push is seen before the forge has marked the merge request as merged: a commit that nothing explains yet is
    /// given some time.
    async fn wait_for_forge(
        &self,
        lease: &Lease,
        repository: &Repository,
        history: &[Commit],
        attribution: &BTreeMap<CommitId, MergeRequestNumber>,
    ) -> Result<Option<Timestamp>, AppError> {
        let Some(unexplained) = history
            .iter()
            .find(|commit| !attribution.contains_key(&commit.id))
        else {
            return Ok(None);
        };
        let now = self.clock.now();
        let first_seen = self
            .store
            .first_seen(lease, &repository.id, &unexplained.id, now)
            .await?;
        let until = first_seen
            .checked_add(repository.attribution_grace)
            .unwrap_or(Timestamp::MAX);
        Ok((now < until).then_some(until))
    }

    async fn land(
        &self,
        lease: &Lease,
        repository: &Repository,
        parent: &CommitId,
        group: &Group,
        merged: &BTreeMap<MergeRequestNumber, MergeRequest>,
    ) -> Result<(), AppError> {
        let Some(last) = group.commits.last() else {
            return Ok(());
        };
        // Read for each group: the one before may have changed what is accepted, and the rules.
        let accepted = self.store.accepted(&repository.id).await?;
        let before = repository.mirror().await?.tree(parent).await?;
        let after = repository.mirror().await?.tree(last).await?;
        let landed = landed(&before, &after, &accepted.blobs());
        let arrival = Arrival {
            repository,
            parent,
            last,
            before,
            after,
            accepted,
            landed,
        };
        match group.merge_request.and_then(|number| merged.get(&number)) {
            Some(facts) => self.land_merge_request(lease, &arrival, facts).await,
            None if arrival.landed.is_empty() => self.pass(lease, &arrival, None).await,
            None => self.hold(lease, &arrival, None, HeldBecause::DirectPush).await,
        }
    }

    async fn land_merge_request(
        &self,
        lease: &Lease,
        arrival: &Arrival<'_>,
        facts: &MergeRequest,
    ) -> Result<(), AppError> {
        let repository = arrival.repository;
        let known = self.store.review(&repository.id, facts.number).await?;
        let mut review = match known {
            Some(known) => Review {
                facts: facts.clone(),
                ..known
            },
            None => Review::new(facts.clone()),
        };
        if arrival.landed.is_empty() {
            return self.pass(lease, arrival, Some(review)).await;
        }
        if matches!(review.landed, Some(review::Landed::Accepted { .. })) {
            // Its sign-off is used up: what comes under its name again, nobody signed.
            return self.hold(lease, arrival, None, HeldBecause::DirectPush).await;
        }
        self.look_again(arrival, &mut review).await?;
        let Some(evaluation) = review.evaluation.clone() else {
            let missing = vec!["it was merged before Landfall had looked at it".to_owned()];
            return self
                .hold(
                    lease,
                    arrival,
                    Some(review),
                    HeldBecause::NotSignedOff { missing },
                )
                .await;
        };
        if evaluation.is_refused() {
            return self
                .hold(lease, arrival, Some(review), HeldBecause::Refused)
                .await;
        }
        match self.judge(arrival, &mut review, &evaluation).await? {
            Ok(signed) => self.accept(lease, arrival, review, &evaluation, &signed).await,
            Err(because) => self.hold(lease, arrival, Some(review), because).await,
        }
    }

    /// Works out anew what a merge request does whose last push nobody had looked at before it was merged. A push that
    /// changed nothing keeps the plan.
    async fn look_again(&self, arrival: &Arrival<'_>, review: &mut Review) -> Result<(), AppError> {
        let (repository, number) = (arrival.repository, review.facts.number);
        let Some(head) = review.facts.head.clone() else {
            return Ok(());
        };
        let Some(before) = review
            .evaluation
            .clone()
            .filter(|evaluation| evaluation.head != head)
        else {
            return Ok(());
        };
        let mirror = repository.mirror().await?;
        let fetched = mirror.fetch(&repository.target_branch, &[number]).await?;
        if fetched.heads.get(&number) != Some(&head) {
            return Ok(());
        }
        let (trees, emails) = trees(repository, arrival.parent, &head).await?;
        let mut evaluation = evaluate(repository, &arrival.accepted, &trees).await?;
        let pushes = evidence::known_pushes(&self.store, repository, &review.facts).await?;
        let newest = Some((&head, evaluation.signature(), emails));
        review.versions = evidence::versions(repository, number, &review.versions, newest, &pushes).await?;
        if evaluation.signature() == before.signature() && evaluation.requests == before.requests {
            evaluation.planning = before.planning;
        }
        review.evaluation = Some(evaluation);
        Ok(())
    }

    /// The gate, asked about what has landed, under the rules accepted just before and with the roles of now.
    async fn judge(
        &self,
        arrival: &Arrival<'_>,
        review: &mut Review,
        evaluation: &Evaluation,
    ) -> Result<Result<SignedOff, HeldBecause>, AppError> {
        let repository = arrival.repository;
        let number = review.facts.number;
        let blobs = arrival.accepted.blobs();
        if let Err(because) = matches(&evaluation.transitions, &arrival.landed, &arrival.after, &blobs) {
            return Ok(Err(because));
        }
        let pushes = evidence::known_pushes(&self.store, repository, &review.facts).await?;
        review.versions = evidence::versions(repository, number, &review.versions, None, &pushes).await?;
        let mut evaluation = evaluation.clone();
        evaluation.base_differs |= evaluation
            .transitions
            .iter()
            .any(|t| arrival.before.blob(&t.path) != blobs.get(&t.path));
        let shown = self.store.shown(&repository.id, number).await?;
        let commands = self.store.command_approvals(&repository.id, number).await?;
        let rules = arrival.accepted.rules.as_ref().map(|(_, rules)| rules);
        let judgement =
            evidence::judge(repository, rules, review, &evaluation, shown.as_ref(), &commands).await?;
        review.approvals = judgement.approvals;
        review.judged = Some(judgement.judged);
        Ok(match judgement.verdict {
            Verdict::SignedOff(signed) => Ok(signed),
            Verdict::Missing(missing) => {
                let missing = missing.iter().map(ToString::to_string).collect();
                Err(HeldBecause::NotSignedOff { missing })
            }
        })
    }

    async fn accept(
        &self,
        lease: &Lease,
        arrival: &Arrival<'_>,
        review: Review,
        evaluation: &Evaluation,
        signed: &SignedOff,
    ) -> Result<(), AppError> {
        let contents = contents(arrival.repository, evaluation).await?;
        let acceptance = Acceptance {
            review,
            evaluation: evaluation.clone(),
            commit: arrival.last.clone(),
            is_landing: true,
            contents,
        };
        Ok(self
            .store
            .accept(
                lease,
                &arrival.repository.id,
                acceptance,
                signed,
                self.clock.now(),
            )
            .await?)
    }

    async fn hold(
        &self,
        lease: &Lease,
        arrival: &Arrival<'_>,
        review: Option<Review>,
        because: HeldBecause,
    ) -> Result<(), AppError> {
        let holding = Holding {
            review,
            commit: arrival.last.clone(),
            landed: arrival.landed.clone(),
            because,
        };
        Ok(self
            .store
            .hold(lease, &arrival.repository.id, holding, self.clock.now())
            .await?)
    }

    async fn pass(
        &self,
        lease: &Lease,
        arrival: &Arrival<'_>,
        review: Option<Review>,
    ) -> Result<(), AppError> {
        Ok(self
            .store
            .pass(
                lease,
                &arrival.repository.id,
                arrival.last,
                review,
                self.clock.now(),
            )
            .await?)
    }
}

fn promise(facts: &MergeRequest) -> Merged {
    Merged {
        number: facts.number,
        merge_commit: facts.merge_commit.clone(),
        squash_commit: facts.squash_commit.clone(),
        head: facts.head.clone(),
    }
}

/// The bytes of every blob that an evaluation leads to.
pub(super) async fn contents(
    repository: &Repository,
    evaluation: &Evaluation,
) -> Result<BTreeMap<BlobId, Vec<u8>>, AppError> {
    let mut contents = BTreeMap::new();
    for blob in evaluation.transitions.iter().filter_map(|t| t.to.as_ref()) {
        let bytes = repository.mirror().await?.blob(blob, yaml::LARGEST_FILE).await?;
        let bytes = bytes.ok_or_else(|| AppError::Inconsistent(format!("blob {blob} is too large")))?;
        contents.insert(blob.clone(), bytes);
    }
    Ok(contents)
}
