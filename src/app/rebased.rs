//! Commits that the forge made itself by rebasing what it merged, as merge trains do: nobody pushed them, and the forge
//! knows the last of them only.

use crate::domain::ids::{CommitId, MergeRequestNumber};
use crate::domain::merge_request::MergeRequest;
use crate::git::{Commit, GitError};

use super::{AppError, Repository};

/// The commits that came before `history[place]` in the same rebase of this merge request. A rebase leaves as many
/// commits as it was given; where it left out some, too many are taken for its own, and what does not belong to it
/// holds all of it.
pub(super) async fn came_before<'a>(
    repository: &Repository,
    examined: &CommitId,
    history: &'a [Commit],
    place: usize,
    facts: &MergeRequest,
) -> Result<&'a [Commit], AppError> {
    let (Some(last), Some(head)) = (history.get(place), &facts.head) else {
        return Ok(&[]);
    };
    let named = [&facts.merge_commit, &facts.squash_commit];
    if *head == last.id || named.into_iter().any(|named| named.as_ref() == Some(&last.id)) {
        return Ok(&[]);
    }
    let own = match own_commits(repository, examined, head, facts.number).await {
        // More than anybody can answer for: it is refused in any case.
        Err(AppError::Git(GitError::TooMany { .. })) => return Ok(&[]),
        own => own?,
    };
    if own.iter().any(|commit| commit.id == last.id) {
        return Ok(&[]);
    }
    let rebased = own.iter().filter(|commit| commit.parents.len() < 2).count();
    let from = (place + 1).saturating_sub(rebased);
    Ok(history.get(from..place).unwrap_or_default())
}

/// What a merge request brings, as it was pushed.
async fn own_commits(
    repository: &Repository,
    target: &CommitId,
    head: &CommitId,
    number: MergeRequestNumber,
) -> Result<Vec<Commit>, AppError> {
    let mirror = repository.mirror().await?;
    let base = match mirror.merge_base(target, head).await {
        Err(GitError::Missing { .. }) => {
            mirror.fetch(&repository.target_branch, &[number]).await?;
            mirror.merge_base(target, head).await?
        }
        answer => answer?,
    };
    Ok(mirror
        .commits_between(base.as_ref().unwrap_or(target), head)
        .await?)
}
