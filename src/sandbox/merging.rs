//! Merging and rebasing, with real git.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::json;

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::Core;
use super::deliveries;
use super::failure::{Answer, Failure};
use super::git::{Repository, ZERO};
use super::merge_requests::{self, Place, merge_status};
use super::opening::{add_system_note, commit_of_head};
use super::params::Params;
use super::payloads::MergeRequestAct;
use super::protection::{may_merge, may_push};
use super::push::{RefChange, References};
use super::state::{MergeRequestState, Merging};
use super::{reply, state_events};

/// What there is to merge, read once under the lock.
pub(super) struct Job {
    head: String,
    source_branch: String,
    target_branch: String,
    method: String,
    squash: bool,
    remove_source_branch: bool,
    title: String,
    author: u64,
    reference: String,
}

pub(super) async fn merge(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let work = Arc::clone(&core);
    // A caller that leaves must not leave half a merge behind.
    let done = tokio::spawn(async move { accept(&work, actor, place, &params).await }).await;
    done.map_err(|_| Failure::message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"))??;
    reply::ok(merge_requests::body(&core, place).await?)
}

/// Merges if everything allows it.
async fn accept(core: &Core, actor: Actor, place: Place, params: &Params) -> Result<(), Failure> {
    let _lock = core.lock(place.project).await;
    let job = Job::read(core, actor, place, params)?;
    match merge_status(core, place).await? {
        "mergeable" => {}
        "conflict" => {
            return Err(Failure::message(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Branch cannot be merged",
            ));
        }
        _ => {
            return Err(Failure::message(
                StatusCode::METHOD_NOT_ALLOWED,
                "405 Method Not Allowed",
            ));
        }
    }
    if params.text("sha").is_some_and(|sha| sha != job.head) {
        return Err(Failure::conflict(format!(
            "SHA does not match HEAD of source branch: {}",
            job.head
        )));
    }
    let repository = core.repository(place.project);
    let target = repository
        .branch(&job.target_branch)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    let merging = job.carry_out(core, actor, &repository, &target, params).await?;
    land(core, place, &job.target_branch, &target, &merging).await
}

/// Moves the target branch from where it stands to what a merge has made, and does what follows.
pub(super) async fn land(
    core: &Core,
    place: Place,
    target_branch: &str,
    from: &str,
    merging: &Merging,
) -> Result<(), Failure> {
    let references = References::begin(core, place.project, merging.by).await?;
    core.change(|world| {
        place.write(world)?.merging = Some(merging.clone());
        Ok(())
    })?;
    let reference = format!("refs/heads/{target_branch}");
    let repository = core.repository(place.project);
    repository.update_ref(&reference, &merging.tip, from).await?;
    let mut changes = vec![RefChange {
        name: reference,
        old: from.to_owned(),
        new: merging.tip.clone(),
    }];
    changes.extend(complete(core, place, merging).await?);
    references.changed(&changes).await
}

/// Does what is left of a merge once the target branch holds it, and answers the branch that it removed.
pub(super) async fn complete(
    core: &Core,
    place: Place,
    merging: &Merging,
) -> Result<Option<RefChange>, Failure> {
    let removed = if merging.remove_source_branch {
        remove_source_branch(core, place).await?
    } else {
        None
    };
    let last = commit_of_head(core, place.project, place.iid).await?;
    let now = core.now();
    core.change(|world| {
        let one = place.write(world)?;
        one.state = MergeRequestState::Merged;
        one.merged_at = Some(now);
        one.merged_by = Some(merging.by);
        one.updated_at = now;
        one.merge_commit_sha.clone_from(&merging.merge_commit);
        one.squash_commit_sha.clone_from(&merging.squash_commit);
        one.merged_commit_sha = Some(merging.tip.clone());
        one.merging = None;
        state_events::add(world, place, merging.by, "merged", now);
        add_system_note(world, place.project, place.iid, merging.by, "merged", now);
        let act = MergeRequestAct::plain(merging.by, "merge");
        deliveries::merge_request(core, world, place.project, place.iid, last.as_ref(), &act);
        Ok(())
    })?;
    Ok(removed)
}

impl Job {
    /// Reads what there is to merge, if the user may.
    pub(super) fn read(core: &Core, actor: Actor, place: Place, params: &Params) -> Result<Self, Failure> {
        let squash = params.flag("squash")?;
        let remove = params.flag("should_remove_source_branch")?;
        let world = core.world();
        place.read(&world, |project, one| {
            if !may_merge(project, &one.target_branch, world.level(project, actor.0)) {
                return Err(Failure::unauthorized());
            }
            Ok(Self {
                head: one.head().to_owned(),
                source_branch: one.source_branch.clone(),
                target_branch: one.target_branch.clone(),
                method: project.merge_method.clone(),
                squash: match project.squash_option.as_str() {
                    "always" => true,
                    "never" => false,
                    _ => squash.unwrap_or(one.squash),
                },
                remove_source_branch: remove.unwrap_or(one.remove_source_branch),
                title: one.title.clone(),
                author: one.author_id,
                reference: format!("{}!{}", world.full_path(project), one.iid),
            })
        })?
    }

    /// Makes the commits that the project's merge method asks for.
    pub(super) async fn carry_out(
        &self,
        core: &Core,
        actor: Actor,
        repository: &Repository,
        target: &str,
        params: &Params,
    ) -> Result<Merging, Failure> {
        let committer = core.signature(actor.0);
        let conflict = || Failure::message(StatusCode::UNPROCESSABLE_ENTITY, "Branch cannot be merged");
        let tree = repository
            .merge_tree(target, &self.head)
            .await?
            .ok_or_else(conflict)?;
        let base = repository.merge_base(target, &self.head).await?;
        let range = format!("{target}..{}", self.head);
        let single = repository.count(&range).await? == 1;
        let mut tip = self.head.clone();
        let mut squash_commit = None;
        if self.squash && !(single && self.method != "merge") {
            let message = params
                .text("squash_commit_message")
                .unwrap_or_else(|| self.title.clone());
            let (tree, parent) = match (&base, self.method.as_str()) {
                (Some(base), "merge") => (format!("{}^{{tree}}", self.head), base.clone()),
                _ => (tree.clone(), target.to_owned()),
            };
            let author = core.signature(self.author);
            let commit = repository
                .commit_tree(&tree, &[&parent], &line(&message), &author, &committer)
                .await?;
            squash_commit = Some(commit.clone());
            tip = commit;
        }
        if squash_commit.is_none()
            && self.method != "merge"
            && !repository.is_ancestor(target, &self.head).await?
        {
            // Only on a train: anything else had to be rebased before.
            let from = base.as_deref().unwrap_or(target);
            let rebased = repository.rebase(target, from, &self.head, &committer).await?;
            tip = rebased.ok_or_else(conflict)?;
            squash_commit = self.squash.then(|| tip.clone());
        }
        if self.method == "ff" {
            return Ok(Merging {
                tip,
                merge_commit: None,
                squash_commit,
                by: actor.0,
                remove_source_branch: self.remove_source_branch,
            });
        }
        let message = params
            .text("merge_commit_message")
            .unwrap_or_else(|| self.message());
        let commit = repository
            .commit_tree(&tree, &[target, &tip], &line(&message), &committer, &committer)
            .await?;
        Ok(Merging {
            tip: commit.clone(),
            merge_commit: Some(commit),
            squash_commit,
            by: actor.0,
            remove_source_branch: self.remove_source_branch,
        })
    }

    /// GitLab's usual message of a merge commit.
    fn message(&self) -> String {
        format!(
            "Merge branch '{}' into '{}'\n\n{}\n\nSee merge request {}",
            self.source_branch, self.target_branch, self.title, self.reference
        )
    }
}

fn line(message: &str) -> String {
    format!("{}\n", message.trim_end())
}

/// Deletes the source branch, unless it is in a fork, protected, gone, or no longer what was merged.
async fn remove_source_branch(core: &Core, place: Place) -> Result<Option<RefChange>, Failure> {
    let found = place.read(&core.world(), |project, one| {
        let branch = &one.source_branch;
        let kept = one.source_project_id != place.project
            || project.protection(branch).is_some()
            || project.default_branch == *branch;
        (!kept).then(|| {
            (
                format!("refs/heads/{branch}"),
                branch.clone(),
                one.head().to_owned(),
            )
        })
    })?;
    let Some((name, branch, head)) = found else {
        return Ok(None);
    };
    let repository = core.repository(place.project);
    let Some(old) = repository.branch(&branch).await?.filter(|old| *old == head) else {
        return Ok(None);
    };
    repository.update_ref(&name, ZERO, &old).await?;
    Ok(Some(RefChange {
        name,
        old,
        new: ZERO.to_owned(),
    }))
}

/// Puts the source branch on top of the target branch. GitLab answers 202 and works on; here it is done then.
pub(super) async fn rebase(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, DEVELOPER)?;
    let (source, branch, target_branch, state) = place.read(&core.world(), |_, one| {
        (
            one.source_project_id,
            one.source_branch.clone(),
            one.target_branch.clone(),
            one.state,
        )
    })?;
    if state != MergeRequestState::Opened || source != place.project {
        return Err(Failure::forbidden());
    }
    let _lock = core.lock(place.project).await;
    {
        let world = core.world();
        let project = world.project(source)?;
        if !may_push(project, &branch, world.level(project, actor.0), true) {
            return Err(Failure::forbidden());
        }
    }
    let repository = core.repository(place.project);
    let old = repository
        .branch(&branch)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    let target = repository
        .branch(&target_branch)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    let base = repository
        .merge_base(&target, &old)
        .await?
        .unwrap_or_else(|| target.clone());
    let rebased = repository
        .rebase(&target, &base, &old, &core.signature(actor.0))
        .await?;
    let failed = rebased.is_none();
    core.change(|world| {
        let words = "Rebase failed: Rebase locally, resolve all conflicts, then push the branch.";
        place.write(world)?.merge_error = failed.then(|| words.to_owned());
        Ok(())
    })?;
    if let Some(new) = rebased.filter(|new| *new != old) {
        let name = format!("refs/heads/{branch}");
        let references = References::begin(&core, place.project, actor.0).await?;
        repository.update_ref(&name, &new, &old).await?;
        references.changed(&[RefChange { name, old, new }]).await?;
    }
    Ok(axum::response::IntoResponse::into_response((
        StatusCode::ACCEPTED,
        axum::Json(json!({"rebase_in_progress": true})),
    )))
}
