//! `landing/<repository>`: what has come onto the target branch, in order, is accepted or held. It only compares, and
//! touches what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::ids::{BlobId, CommitId};
use crate::domain::key::Outcome;
use crate::domain::landing::{Group, HeldBecause, Landed, changed_paths, group, landed, matches};
use crate::domain::merge_request::MergeRequest;
use crate::domain::review::{self, Evaluation, Review};
use crate::domain::signoff::{SignedOff, Verdict};
use crate::domain::tree::Tree;
use crate::domain::yaml;
use crate::git::{Commit, GitError};
use crate::policy::Policies;
use crate::store::{Acceptance, AcceptedFiles, Evidence, Examined, Holding, Lease, Store};

use super::attribution::MergedHistory;
use super::evaluate::evaluate;
use super::held::merged_trees;
use super::release::release;
use super::settle::{brings_nothing_more, settle};
use super::{AppError, Repository, evidence, policies};

pub(super) struct Lander {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    policies: Policies,
}

/// What a group of commits did, and what is known of it.
pub(super) struct Arrival<'a> {
    pub(super) repository: &'a Repository,
    pub(super) parent: &'a CommitId,
    pub(super) last: &'a CommitId,
    pub(super) before: Tree,
    pub(super) after: Tree,
    pub(super) accepted: AcceptedFiles,
    pub(super) landed: Vec<Landed>,
    /// Paths that other merge requests brought by the same commits, and that are judged as theirs.
    pub(super) of_others: BTreeSet<String>,
    /// Whether the mark of what was examined is past it already.
    pub(super) is_late: bool,
}

impl Arrival<'_> {
    fn examined(&self) -> Examined {
        Examined {
            from: self.parent.clone(),
            to: self.last.clone(),
        }
    }

    /// Looks up what stood and stands at some paths, whether they changed or not.
    async fn look_up(&mut self, paths: &BTreeSet<String>) -> Result<(), AppError> {
        let mirror = self.repository.mirror().await?;
        self.before
            .entries
            .extend(mirror.at(self.parent, paths).await?.entries);
        self.after
            .entries
            .extend(mirror.at(self.last, paths).await?.entries);
        Ok(())
    }

    /// What landed with a merge request: all but what others asked for and it did not.
    fn landed_with(&self, signed: &Evaluation) -> Vec<Landed> {
        let own = signed.paths();
        let landed = self.landed.iter();
        landed
            .filter(|one| own.contains(&one.path) || !self.of_others.contains(&one.path))
            .cloned()
            .collect()
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
        if state.suspended.is_none() {
            // What was merged below the mark comes first: it may have been adopted since.
            self.settle(lease, repository, &examined).await?;
            if head == examined {
                return Ok(Outcome::Done);
            }
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
        let whole = history.last().is_some_and(|last| last.id == head);
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
        // Of a long line, the rest.
        let wait = wait.or_else(|| (!whole).then(|| self.clock.now()));
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
        for adrift in settle(&self.store, lease, repository, head, self.clock.now()).await? {
            self.land_late(lease, repository, head, adrift).await?;
        }
        Ok(())
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
        let mut unexplained = Vec::new();
        for commit in history {
            if !merged.attribution.contains_key(&commit.id) {
                unexplained.push(commit.id.clone());
            }
        }
        if unexplained.is_empty() {
            return Ok((history.len(), None));
        }
        let seen = self
            .store
            .first_seen(lease, &repository.id, &unexplained, now)
            .await?;
        for (place, commit) in history.iter().enumerate() {
            let Some(first_seen) = seen.get(&commit.id) else {
                continue;
            };
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
        let facts = group.merge_request.and_then(|number| merged.facts.get(&number));
        let (before, after, beyond) = match repository.mirror().await?.differences(parent, last).await {
            Ok((before, after)) => (before, after, None),
            // Nobody knows what it brings: it is held as what it is, and what comes after it goes on.
            Err(error @ GitError::TooMany { .. }) => {
                (Tree::default(), Tree::default(), Some(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        let landed = landed(&before, &after, &accepted.blobs());
        let arrival = Arrival {
            repository,
            parent,
            last,
            before,
            after,
            accepted,
            landed,
            of_others: self.of_others(repository, group, merged).await?,
            is_late: false,
        };
        if let Some(what) = beyond {
            let review = match facts {
                Some(facts) => {
                    Some(self.known(repository, facts).await?).filter(|review| !is_accepted(review))
                }
                None => None,
            };
            return self
                .hold(lease, &arrival, review, HeldBecause::Beyond { what })
                .await;
        }
        match facts {
            Some(facts) => self.land_merge_request(lease, arrival, facts).await,
            None if arrival.landed.is_empty() => self.pass(lease, &arrival, None).await,
            None => self.hold(lease, &arrival, None, HeldBecause::DirectPush).await,
        }
    }

    /// A merge request as it is known, with the facts of now.
    async fn known(&self, repository: &Repository, facts: &MergeRequest) -> Result<Review, AppError> {
        Ok(match self.store.review(&repository.id, facts.number).await? {
            Some(known) => Review {
                facts: facts.clone(),
                ..known
            },
            None => Review::new(facts.clone()),
        })
    }

    pub(super) async fn land_merge_request(
        &self,
        lease: &Lease,
        mut arrival: Arrival<'_>,
        facts: &MergeRequest,
    ) -> Result<(), AppError> {
        let mut review = self.known(arrival.repository, facts).await?;
        if let Some(evaluation) = &review.evaluation {
            arrival.look_up(&evaluation.paths()).await?;
        }
        let arrival = &mut arrival;
        if arrival.landed.is_empty() && !arrival.is_late && !arrival.fulfils(&review) {
            return self.pass(lease, arrival, Some(review)).await;
        }
        if is_accepted(&review) {
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
        let landed = arrival.landed_with(&signed);
        if let Err(because) = matches(&signed.transitions, &landed, &arrival.after, &blobs) {
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
    async fn look_again(
        &self,
        arrival: &mut Arrival<'_>,
        review: &mut Review,
    ) -> Result<Evaluation, AppError> {
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
        arrival.look_up(&evaluation.paths()).await?;
        evaluation.base_differs |= {
            let blobs = arrival.accepted.blobs();
            evaluation
                .transitions
                .iter()
                .any(|t| arrival.before.blob(&t.path) != blobs.get(&t.path))
        };
        let (store, policies) = (&self.store, &self.policies);
        let accepted = &arrival.accepted;
        policies::ask(
            store,
            policies,
            repository,
            accepted,
            policies::Asker::MergeRequest(&review.facts),
            arrival.last,
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
            examined: (!arrival.is_late).then(|| arrival.examined()),
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
        if let (Some(review), true) = (&review, arrival.is_late) {
            let landed = review::Landed::Held {
                commit: arrival.last.clone(),
                because,
                before: Some(arrival.parent.clone()),
            };
            return self
                .record_late(lease, arrival.repository, review.clone(), landed)
                .await;
        }
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

fn is_accepted(review: &Review) -> bool {
    matches!(review.landed, Some(review::Landed::Accepted { .. }))
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
