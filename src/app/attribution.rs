//! Which merge request brought each commit of the target branch, as far as the forge tells.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::domain::ids::{CommitId, MergeRequestNumber};
use crate::domain::landing::{Group, Merged};
use crate::domain::merge_request::{MergeRequest, MergeRequestState};
use crate::domain::review;
use crate::git::Commit;
use crate::store::RepositoryState;

use super::asking::Questions;
use super::landing::Lander;
use super::{AppError, Repository, rebased};

/// How far back the forge is asked for merges that its own clock may have put before the last landing.
const OVERLAP: SignedDuration = SignedDuration::from_mins(10);

/// Which merge request brought each commit, and the facts of each.
#[derive(Default)]
pub(super) struct MergedHistory {
    pub(super) attribution: BTreeMap<CommitId, MergeRequestNumber>,
    pub(super) facts: BTreeMap<MergeRequestNumber, MergeRequest>,
    /// All that were merged since.
    recent: Vec<MergeRequest>,
}

impl MergedHistory {
    fn put(&mut self, commit: &CommitId, facts: MergeRequest) {
        self.attribution.insert(commit.clone(), facts.number);
        self.facts.insert(facts.number, facts);
    }
}

impl Lander {
    /// Says which merged merge request brought each commit, as far as the forge knows.
    pub(super) async fn attribute(
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
        let mut ends: BTreeMap<CommitId, Vec<&MergeRequest>> = BTreeMap::new();
        for facts in &recent {
            for end in promise(facts).ends() {
                ends.entry(end).or_default().push(facts);
            }
        }
        for commit in history {
            let ended = ends.get(&commit.id).cloned().unwrap_or_default();
            if let Some(facts) = self.likeliest(repository, commit, ended).await? {
                merged.put(&commit.id, facts.clone());
            }
        }
        let mut questions = Questions::of(history, |commit| merged.attribution.contains_key(&commit.id));
        while let Some(commit) = questions.next() {
            let of_commit = repository.forge.merge_requests_of_commit(&commit.id).await?;
            let of_commit: Vec<&MergeRequest> = of_commit
                .iter()
                .filter(|facts| {
                    facts.state == MergeRequestState::Merged
                        && facts.target_branch == repository.target_branch
                })
                .collect();
            let facts = self.likeliest(repository, commit, of_commit).await?;
            questions.answer(facts.map(|facts| facts.number));
            if let Some(facts) = facts {
                merged.facts.insert(facts.number, facts.clone());
            }
        }
        merged.attribution.extend(questions.answers());
        merged.recent = recent.clone();
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

    /// What other merge requests asked for that came by the same commits.
    pub(super) async fn of_others(
        &self,
        repository: &Repository,
        group: &Group,
        merged: &MergedHistory,
    ) -> Result<BTreeSet<String>, AppError> {
        let mut paths = BTreeSet::new();
        let (Some(_), Some(last)) = (group.merge_request, group.commits.last()) else {
            return Ok(paths);
        };
        let mirror = repository.mirror().await?;
        for facts in &merged.recent {
            let Some(head) = facts
                .head
                .as_ref()
                .filter(|_| Some(facts.number) != group.merge_request)
            else {
                continue;
            };
            let review = self.store.review(&repository.id, facts.number).await?;
            let review = review.filter(|review| review.landed.is_none());
            let Some(evaluation) = review.and_then(|review| review.evaluation) else {
                continue;
            };
            // One that the mirror does not have did not come by these commits.
            if mirror.is_ancestor(head, last).await.unwrap_or(false) {
                paths.extend(evaluation.paths());
            }
        }
        Ok(paths)
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
