//! Opening merge requests, and taking a version of one.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::{Core, allow};
use super::deliveries;
use super::failure::{Answer, Failure};
use super::git::Commit;
use super::merge_requests::{self, Place};
use super::params::Params;
use super::payloads::MergeRequestAct;
use super::reply;
use super::state::{MergeRequest, MergeRequestState, Note, Version, World};

/// What a merge request is to be.
pub(super) struct Opening {
    pub(super) source_project: u64,
    pub(super) source_branch: String,
    pub(super) target_project: u64,
    pub(super) target_branch: String,
    /// Made from the commits where absent.
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) draft: bool,
    pub(super) labels: Vec<String>,
    pub(super) squash: Option<bool>,
    pub(super) remove_source_branch: Option<bool>,
}

/// Fetches the source branch into `refs/merge-requests/<iid>/head` and describes it. Its id is still 0.
pub(super) async fn take_version(
    core: &Core,
    target: u64,
    iid: u64,
    source: u64,
    branch: &str,
) -> Result<Version, Failure> {
    let repository = core.repository(target);
    let reference = format!("refs/merge-requests/{iid}/head");
    if source == target {
        let head = repository
            .branch(branch)
            .await?
            .ok_or_else(|| Failure::not_found("Branch"))?;
        repository.set_ref(&reference, &head).await?;
    } else {
        repository
            .fetch(
                &core.repository(source),
                &format!("refs/heads/{branch}"),
                &reference,
            )
            .await?;
    }
    let head = repository
        .resolve(&reference)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    let target_branch = {
        let world = core.world();
        let project = world.projects.get(&target);
        project
            .and_then(|project| project.merge_requests.get(&iid))
            .map(|one| one.target_branch.clone())
            .unwrap_or_default()
    };
    describe(core, target, &head, &target_branch).await
}

/// A version with this head against where the target branch stands now. Its id is still 0.
pub(super) async fn describe(core: &Core, target: u64, head: &str, branch: &str) -> Result<Version, Failure> {
    let repository = core.repository(target);
    let start = repository
        .branch(branch)
        .await?
        .unwrap_or_else(|| head.to_owned());
    let base = repository
        .merge_base(&start, head)
        .await?
        .unwrap_or_else(|| start.clone());
    Ok(Version {
        id: 0,
        head: head.to_owned(),
        real_size: repository.changed_paths(&base, head).await?.len(),
        patch_id: repository.patch_id(&base, head).await?,
        base,
        start,
        created_at: core.now(),
    })
}

/// The head commit of a merge request, for hooks.
pub(super) async fn commit_of_head(core: &Core, project: u64, iid: u64) -> Result<Option<Commit>, Failure> {
    let head = {
        let world = core.world();
        let project = world.projects.get(&project);
        project
            .and_then(|project| project.merge_requests.get(&iid))
            .map(|one| one.head().to_owned())
    };
    match head {
        Some(head) if !head.is_empty() => Ok(core.repository(project).commit(&head).await?),
        _ => Ok(None),
    }
}

/// System notes are shown and fire nothing.
pub(super) fn add_system_note(
    world: &mut World,
    project: u64,
    iid: u64,
    author_id: u64,
    body: &str,
    now: Timestamp,
) {
    let id = world.next("note");
    let project = world.projects.get_mut(&project);
    if let Some(one) = project.and_then(|project| project.merge_requests.get_mut(&iid)) {
        one.notes.push(Note {
            id,
            body: body.to_owned(),
            author_id,
            created_at: now,
            updated_at: now,
            system: true,
            internal: false,
        });
    }
}

/// Opens a merge request. The target project's lock must be held.
pub(super) async fn open(core: &Core, actor: Actor, opening: Opening) -> Result<u64, Failure> {
    let unprocessable = |words: String| Failure::message(StatusCode::UNPROCESSABLE_ENTITY, json!([words]));
    let target = opening.target_project;
    if opening.source_project == target && opening.source_branch == opening.target_branch {
        return Err(unprocessable(
            "You can't use same project/branch for source and target".to_owned(),
        ));
    }
    let source_repository = core.repository(opening.source_project);
    if source_repository.branch(&opening.source_branch).await?.is_none() {
        return Err(Failure::bad_request(json!([format!(
            "Source branch \"{}\" does not exist",
            opening.source_branch
        )])));
    }
    let repository = core.repository(target);
    if repository.branch(&opening.target_branch).await?.is_none() {
        return Err(Failure::bad_request(json!([format!(
            "Target branch \"{}\" does not exist",
            opening.target_branch
        )])));
    }
    let iid = {
        let world = core.world();
        let project = world.project(target)?;
        let twin = project.merge_requests.values().find(|one| {
            one.state == MergeRequestState::Opened
                && one.source_project_id == opening.source_project
                && one.source_branch == opening.source_branch
                && one.target_branch == opening.target_branch
        });
        if let Some(twin) = twin {
            let words = format!(
                "Another open merge request already exists for this source branch: !{}",
                twin.iid
            );
            return Err(Failure::conflict(json!([words])));
        }
        project
            .merge_requests
            .keys()
            .next_back()
            .map_or(1, |last| last + 1)
    };
    let reference = format!("refs/merge-requests/{iid}/head");
    let branch = format!("refs/heads/{}", opening.source_branch);
    repository.fetch(&source_repository, &branch, &reference).await?;
    let head = repository
        .resolve(&reference)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    let version = describe(core, target, &head, &opening.target_branch).await?;
    let range = format!("{}..{head}", version.base);
    let commits = repository.log(&[&range, "--"], 2).await?;
    let mut title = opening.title.clone().unwrap_or_else(|| match commits.as_slice() {
        [only] => only.title().to_owned(),
        _ => humanize(&opening.source_branch),
    });
    if opening.draft && !title.to_ascii_lowercase().starts_with("draft:") {
        title = format!("Draft: {title}");
    }
    let last = repository.commit(&head).await?;
    let now = core.now();
    core.change(|world| {
        let id = world.next("merge_request");
        let version_id = world.next("version");
        let project = world.project_mut(target)?;
        project.last_activity_at = now;
        let one = MergeRequest {
            id,
            iid,
            project_id: target,
            source_project_id: opening.source_project,
            source_branch: opening.source_branch,
            target_branch: opening.target_branch,
            title,
            description: opening.description.unwrap_or_default(),
            author_id: actor.0,
            state: MergeRequestState::Opened,
            labels: opening.labels,
            squash: opening.squash.unwrap_or(project.squash_option == "default_on"),
            remove_source_branch: opening
                .remove_source_branch
                .unwrap_or(project.remove_source_branch),
            created_at: now,
            updated_at: now,
            closed_at: None,
            closed_by: None,
            merged_at: None,
            merged_by: None,
            merge_commit_sha: None,
            squash_commit_sha: None,
            merged_commit_sha: None,
            merge_error: None,
            merging: None,
            versions: vec![Version {
                id: version_id,
                ..version
            }],
            approvals: Vec::new(),
            notes: Vec::new(),
            state_events: Vec::new(),
        };
        project.merge_requests.insert(iid, one);
        let act = MergeRequestAct::plain(actor.0, "open");
        deliveries::merge_request(core, world, target, iid, last.as_ref(), &act);
        Ok(iid)
    })
}

fn humanize(branch: &str) -> String {
    let words = branch.replace(['-', '_', '/'], " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or(words)
}

pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let source = core.project(actor, &id, REPORTER)?;
    let target = match params.number("target_project_id")? {
        None => source,
        Some(target) => core.project(actor, &target.to_string(), REPORTER)?,
    };
    {
        let world = core.world();
        let project = world.project(source)?;
        allow(&world, project, actor, DEVELOPER)?;
        if world.level(project, actor.0) < DEVELOPER {
            return Err(Failure::forbidden());
        }
        if source != target && project.forked_from != Some(target) {
            return Err(Failure::message(
                StatusCode::UNPROCESSABLE_ENTITY,
                json!(["Source project is not a fork of the target project"]),
            ));
        }
    }
    let opening = Opening {
        source_project: source,
        source_branch: params.required("source_branch")?,
        target_project: target,
        target_branch: params.required("target_branch")?,
        title: Some(params.required("title")?),
        description: params.text("description"),
        draft: false,
        labels: params.list("labels").unwrap_or_default(),
        squash: params.flag("squash")?,
        remove_source_branch: params.flag("remove_source_branch")?,
    };
    let iid = {
        let _lock = core.lock(target).await;
        open(&core, actor, opening).await?
    };
    reply::created(merge_requests::body(&core, Place { project: target, iid }).await?)
}
