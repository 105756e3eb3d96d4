//! What a kill cut short, done before anything else: references that moved, but whose events, hooks, versions and
//! merges were not written down.
//!
//! The state says which references were followed. Whatever git holds besides is a move that nobody told of: the
//! sandbox was killed between git and the state, or git itself outlived it.

use super::core::Core;
use super::failure::Failure;
use super::merge_requests::Place;
use super::merging::complete;
use super::push::{References, moved};
use super::state::MergeRequestState;

/// Settles every project, when the sandbox starts.
pub(super) async fn settle_all(core: &Core) {
    let projects: Vec<(u64, String)> = core
        .world()
        .projects
        .values()
        .map(|project| (project.id, project.default_branch.clone()))
        .collect();
    for (project, branch) in projects {
        let _lock = core.lock(project).await;
        let repository = core.repository(project);
        if !repository.path().join("HEAD").exists()
            && let Err(error) = repository.init(&branch).await
        {
            tracing::error!(project, %error, "a repository could not be made");
            continue;
        }
        if let Err(failure) = settle(core, project).await {
            tracing::error!(project, message = %failure.body, "what moved while the sandbox was down is not told");
        }
    }
}

/// Follows what moved in one project and was not followed. Its lock must be held.
pub(super) async fn settle(core: &Core, project_id: u64) -> Result<(), Failure> {
    let (followed, actor) = {
        let world = core.world();
        let Some(project) = world.projects.get(&project_id) else {
            return Ok(());
        };
        (
            project.followed.clone(),
            project.mover.unwrap_or(project.creator_id),
        )
    };
    finish_merges(core, project_id).await?;
    let references = References::left_by(core, project_id, actor);
    let now = core.repository(project_id).refs().await?;
    match followed {
        None => references.followed(now),
        Some(followed) if followed == now => Ok(()),
        Some(followed) => references.changed(&moved(&followed, &now)).await,
    }
}

/// Completes each merge that was begun and whose target branch holds it, and forgets the others.
async fn finish_merges(core: &Core, project_id: u64) -> Result<(), Failure> {
    let begun: Vec<_> = {
        let world = core.world();
        let project = world.projects.get(&project_id);
        project
            .into_iter()
            .flat_map(|project| project.merge_requests.values())
            .filter(|one| one.state == MergeRequestState::Opened)
            .filter_map(|one| Some((one.iid, one.target_branch.clone(), one.merging.clone()?)))
            .collect()
    };
    let repository = core.repository(project_id);
    for (iid, target, merging) in begun {
        let place = Place {
            project: project_id,
            iid,
        };
        let holds = match repository.branch(&target).await? {
            Some(head) => repository.is_ancestor(&merging.tip, &head).await?,
            None => false,
        };
        if holds {
            complete(core, place, &merging).await?;
        } else {
            core.change(|world| {
                place.write(world)?.merging = None;
                Ok(())
            })?;
        }
    }
    Ok(())
}
