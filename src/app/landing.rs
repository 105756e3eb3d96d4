//! `landing/<repository>`: what has come onto the target branch, in order, is accepted or held. It only compares, and
//! touches what follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::ids::{BlobId, CommitId, MergeRequestNumber};
use crate::domain::key::Outcome;
use crate::domain::landing::{Group, HeldBecause, Landed, Merged, changed_paths, group, landed, matches};
use crate::domain::merge_request::{MergeRequest, MergeRequestState};
use crate::domain::review::{self, Evaluation, Review};
use crate::domain::signoff::{SignedOff, Verdict};
use crate::domain::tree::Tree;
use crate::domain::yaml;
use crate::git::{Commit, GitError};
use crate::policy::Policies;
use crate::store::{Acceptance, AcceptedFiles, Evidence, Examined, Holding, Lease, RepositoryState, Store};

use super::evaluate::evaluate;
use super::held::merged_trees;
use super::release::release;
use super::settle::{brings_nothing_more, settle};
use super::{AppError, Repository, evidence, policies, rebased};

/// How far back the forge is asked for merges that its own clock may have put before the last landing.
const OVERLAP: SignedDuration = SignedDuration::from_mins(10);

/// How many commits of one landing the forge is asked about one by one. Beyond that they are direct pushes.
const ASKED_ONE_BY_ONE: usize = 100;

pub(super) struct Lander {
    store: Store,
    clock: Arc<dyn Clock>,
    policies: Policies,
}

/// Which merge request brought each commit, and the facts of each.
#[derive(Default)]
struct MergedHistory {
    attribution: BTreeMap<CommitId, MergeRequestNumber>,
    facts: BTreeMap<MergeRequestNumber, MergeRequest>,
}

impl MergedHistory {
    fn put(&mut self, commit: &CommitId, facts: MergeRequest) {
        self.attribution.insert(commit.clone(), facts.number);
        self.facts.insert(facts.number, facts);
    }
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

impl Arrival<'_> {
    fn examined(&self) -> Examined {
        Examined {
            from: self.parent.clone(),
            to: self.last.clone(),
        }
    }

    /// Whether the branch holds what a merge request asks for and nobody has signed off yet: it came another way, and
    /// merging it changed nothing.
    fn fulfils(&self, review: &Review) -> bool {
        let accepted = self.accepted.blobs();
        review.landed.is_none()
            && !brings_nothing_more(review, &accepted)
            && review.evaluation.as_ref().is_some_and(|evaluation| {
                let mut asked = evaluation.transitions.iter();
                asked.all(|t| self.after.blob(&t.path) == t.to.as_ref())
            })
    }
}

impl Lander {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, policies: Policies) -> Self {
        Self {
            store,
            clock,
            policies,
        }
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
            self.settle(lease, repository, &head).await?;
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
        let merged = self.attribute(repository, &state, &examined, &history).await?;
        let (ready, wait) = self.ready(lease, repository, &history, &merged).await?;
        let commits: Vec<CommitId> = history
            .iter()
            .take(ready)
            .map(|commit| commit.id.clone())
            .collect();
        let groups = if history
            .first()
            .is_none_or(|first| first.parents.first() == Some(&examined))
        {
            group(&commits, &merged.attribution)
        } else if ready == history.len() {
            // The branch went over to another line: only its head was ever its head.
            let merge_request = commits
                .last()
                .and_then(|last| merged.attribution.get(last))
                .copied();
            vec![Group {
                merge_request,
                commits,
            }]
        } else {
            vec![]
        };
        let mut parent = examined;
        for group in groups {
            let Some(last) = group.commits.last().cloned() else {
                continue;
            };
            self.land(lease, repository, &parent, &group, &merged).await?;
            parent = last;
        }
        self.settle(lease, repository, &parent).await?;
        Ok(wait.map_or(Outcome::Done, Outcome::Again))
    }

    /// What is left once history is examined: what is held and was signed by digest since, and merge requests that
    /// were merged and not recognised.
    async fn settle(&self, lease: &Lease, repository: &Repository, head: &CommitId) -> Result<(), AppError> {
        release(
            &self.store,
            &self.policies,
            lease,
            repository,
            head,
            self.clock.now(),
        )
        .await?;
        settle(&self.store, lease, repository, head, self.clock.now()).await
    }

    /// Says which merged merge request brought each commit, as far as the forge knows.
    async fn attribute(
        &self,
        repository: &Repository,
        state: &RepositoryState,
        examined: &CommitId,
        history: &[Commit],
    ) -> Result<MergedHistory, AppError> {
        let since = state
            .merged_until
            .checked_sub(OVERLAP)
            .unwrap_or(state.merged_until);
        let recent = repository
            .forge
            .merged_since(&repository.target_branch, since)
            .await?;
        let mut merged = MergedHistory::default();
        for commit in history {
            let ended: Vec<&MergeRequest> = recent
                .iter()
                .filter(|facts| promise(facts).ended_with(&commit.id))
                .collect();
            if let Some(facts) = self.likeliest(repository, commit, ended).await? {
                merged.put(&commit.id, facts.clone());
            }
        }
        let unexplained: Vec<&Commit> = history
            .iter()
            .filter(|c| !merged.attribution.contains_key(&c.id))
            .take(ASKED_ONE_BY_ONE)
            .collect();
        for commit in unexplained {
            let of_commit = repository.forge.merge_requests_of_commit(&commit.id).await?;
            let of_commit: Vec<&MergeRequest> = of_commit
                .iter()
                .filter(|facts| {
                    facts.state == MergeRequestState::Merged
                        && facts.target_branch == repository.target_branch
                })
                .collect();
            if let Some(facts) = self.likeliest(repository, commit, of_commit).await? {
                merged.put(&commit.id, facts.clone());
            }
        }
        for (place, commit) in history.iter().enumerate() {
            let number = merged.attribution.get(&commit.id);
            let Some(facts) = number.and_then(|number| merged.facts.get(number)).cloned() else {
                continue;
            };
            let before = rebased::came_before(repository, examined, history, place, &facts).await?;
            for commit in before.iter().rev() {
                if merged.attribution.contains_key(&commit.id) {
                    break;
                }
                merged.attribution.insert(commit.id.clone(), facts.number);
            }
        }
        Ok(merged)
    }

    /// Of several merge requests that one commit belongs to, the one that the forge made it for; among equals, one
    /// that was signed off.
    async fn likeliest<'a>(
        &self,
        repository: &Repository,
        commit: &Commit,
        candidates: Vec<&'a MergeRequest>,
    ) -> Result<Option<&'a MergeRequest>, AppError> {
        let made_for = |facts: &&&MergeRequest| {
            [&facts.merge_commit, &facts.squash_commit]
                .into_iter()
                .any(|c| c.as_ref() == Some(&commit.id))
        };
        // The forge calls what was contained in another one merged by the same commit.
        let joined = |facts: &&&MergeRequest| {
            facts
                .head
                .as_ref()
                .is_some_and(|head| commit.parents.contains(head))
        };
        let made = candidates.iter().filter(made_for);
        if let Some(facts) = made.clone().find(joined).or_else(|| made.clone().next()) {
            return Ok(Some(facts));
        }
        if candidates.len() > 1 {
            for facts in &candidates {
                let review = self.store.review(&repository.id, facts.number).await?;
                if review
                    .is_some_and(|review| matches!(review.judged, Some(review::Judged::SignedOff { .. })))
                {
                    return Ok(Some(facts));
                }
            }
        }
        Ok(candidates.first().copied())
    }

    /// How many commits can be landed now, and when to look at the rest. A push is seen before the forge has marked
    /// the merge request as merged: a commit that nothing explains yet is given some time.
    async fn ready(
        &self,
        lease: &Lease,
        repository: &Repository,
        history: &[Commit],
        merged: &MergedHistory,
    ) -> Result<(usize, Option<Timestamp>), AppError> {
        let now = self.clock.now();
        for (place, commit) in history.iter().enumerate() {
            if merged.attribution.contains_key(&commit.id) {
                continue;
            }
            let first_seen = self
                .store
                .first_seen(lease, &repository.id, &commit.id, now)
                .await?;
            let until = first_seen
                .checked_add(repository.forge_lag)
                .unwrap_or(Timestamp::MAX);
            if now < until {
                return Ok((place, Some(until)));
            }
        }
        Ok((history.len(), None))
    }

    async fn land(
        &self,
        lease: &Lease,
        repository: &Repository,
        parent: &CommitId,
        group: &Group,
        merged: &MergedHistory,
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
        match group.merge_request.and_then(|number| merged.facts.get(&number)) {
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
        if arrival.landed.is_empty() && !arrival.fulfils(&review) {
            return self.pass(lease, arrival, Some(review)).await;
        }
        if matches!(review.landed, Some(review::Landed::Accepted { .. })) {
            // Its sign-off is used up: what comes under its name again, nobody signed.
            return self.hold(lease, arrival, None, HeldBecause::DirectPush).await;
        }
        let Some(signed) = review.evaluation.clone() else {
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
        if signed.is_refused() {
            return self
                .hold(lease, arrival, Some(review), HeldBecause::Refused)
                .await;
        }
        let blobs = arrival.accepted.blobs();
        if let Err(because) = matches(&signed.transitions, &arrival.landed, &arrival.after, &blobs) {
            return self.hold(lease, arrival, Some(review), because).await;
        }
        let evaluation = self.look_again(arrival, &mut review).await?;
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

    /// Works out anew what the merge request does, against what is accepted now and under the rules of now. The plan
    /// that was shown stays if it comes to the same.
    async fn look_again(&self, arrival: &Arrival<'_>, review: &mut Review) -> Result<Evaluation, AppError> {
        let (repository, number) = (arrival.repository, review.facts.number);
        let head = review.facts.head.clone().ok_or_else(|| {
            AppError::Inconsistent(format!("merge request {number} is merged and has no head"))
        })?;
        let (trees, brought) = merged_trees(repository, review, arrival.parent, &head).await?;
        let mut evaluation = evaluate(repository, &arrival.accepted, &trees).await?;
        let newest = evidence::Newest {
            head: &head,
            signature: evaluation.signature(),
            brought: &brought,
        };
        review.versions =
            evidence::versions(&self.store, repository, &review.facts, &review.versions, newest).await?;
        if let Some(shown) = review.evaluation_like(&evaluation) {
            evaluation.take_planning(shown.planning.clone());
        }
        evaluation.base_differs |= {
            let blobs = arrival.accepted.blobs();
            evaluation
                .transitions
                .iter()
                .any(|t| arrival.before.blob(&t.path) != blobs.get(&t.path))
        };
        let (store, policies) = (&self.store, &self.policies);
        let (accepted, after) = (&arrival.accepted, &arrival.after);
        policies::ask(
            store,
            policies,
            repository,
            accepted,
            policies::Asker::MergeRequest(&review.facts),
            after,
            &mut evaluation,
        )
        .await?;
        review.evaluation = Some(evaluation.clone());
        Ok(evaluation)
    }

    /// The gate, asked about what has landed, under the rules accepted just before and with the roles of now.
    async fn judge(
        &self,
        arrival: &Arrival<'_>,
        review: &mut Review,
        evaluation: &Evaluation,
    ) -> Result<Result<SignedOff, HeldBecause>, AppError> {
        let rules = arrival.accepted.current_rules();
        let verdict = evidence::judge(&self.store, arrival.repository, rules, review, evaluation).await?;
        Ok(match verdict {
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
            evidence: Evidence::Review(Box::new(review)),
            evaluation: evaluation.clone(),
            commit: arrival.last.clone(),
            examined: Some(arrival.examined()),
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
            examined: arrival.examined(),
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
                &arrival.examined(),
                &changed_paths(&arrival.before, &arrival.after),
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
