//! Merge requests: listing, showing, editing, and whether one can be merged.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use serde_json::{Map, Value, json};

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::Core;
use super::deliveries;
use super::failure::{Answer, Failure};
use super::opening::{add_system_note, commit_of_head, describe, take_version};
use super::params::Params;
use super::payloads::MergeRequestAct;
use super::reply::{self, Paging};
use super::state::{MergeRequest, MergeRequestState, Project, Version, World};
use super::{state_events, wire};

/// Which merge request: project number and number in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) project: u64,
    pub(super) iid: u64,
}

/// The merge request that a path names, if the user may see it.
pub(super) fn find(core: &Core, actor: Actor, id: &str, iid: &str, needed: u8) -> Result<Place, Failure> {
    let project = core.project(actor, id, needed)?;
    let iid = iid.parse().map_err(|_| Failure::invalid("merge_request_iid"))?;
    let place = Place { project, iid };
    place.read(&core.world(), |_, _| ()).map(|()| place)
}

impl Place {
    /// Looks at it.
    pub(super) fn read<T>(
        self,
        world: &World,
        look: impl FnOnce(&Project, &MergeRequest) -> T,
    ) -> Result<T, Failure> {
        let project = world.project(self.project)?;
        let one = project
            .merge_requests
            .get(&self.iid)
            .ok_or_else(|| Failure::not_found(""))?;
        Ok(look(project, one))
    }

    pub(super) fn write(self, world: &mut World) -> Result<&mut MergeRequest, Failure> {
        world
            .projects
            .get_mut(&self.project)
            .and_then(|project| project.merge_requests.get_mut(&self.iid))
            .ok_or_else(|| Failure::not_found(""))
    }
}

/// GitLab's `detailed_merge_status`.
pub(super) async fn merge_status(core: &Core, place: Place) -> Result<&'static str, Failure> {
    struct Facts {
        state: MergeRequestState,
        draft: bool,
        head: String,
        target: String,
        method: String,
        pipeline: Option<&'static str>,
        source: (u64, String),
    }
    let facts = place.read(&core.world(), |project, one| Facts {
        state: one.state,
        draft: one.draft(),
        head: one.head().to_owned(),
        target: one.target_branch.clone(),
        method: project.merge_method.clone(),
        pipeline: project
            .pipeline_must_succeed
            .then(|| pipeline(project, one.head()))
            .flatten(),
        source: (one.source_project_id, one.source_branch.clone()),
    })?;
    if facts.state != MergeRequestState::Opened {
        return Ok("not_open");
    }
    let repository = core.repository(place.project);
    let Some(target) = repository.branch(&facts.target).await? else {
        return Ok("commits_status");
    };
    if core
        .repository(facts.source.0)
        .branch(&facts.source.1)
        .await?
        .is_none()
        || facts.head == target
    {
        return Ok("commits_status");
    }
    if facts.draft {
        return Ok("draft_status");
    }
    if !core.merges(place.project, &target, &facts.head).await? {
        return Ok("conflict");
    }
    if facts.method != "merge" && !repository.is_ancestor(&target, &facts.head).await? {
        return Ok("need_rebase");
    }
    Ok(facts.pipeline.unwrap_or("mergeable"))
}

/// What the statuses of the head stand in the way of, where the pipeline must succeed.
fn pipeline(project: &Project, head: &str) -> Option<&'static str> {
    let latest = super::statuses::latest(project, head);
    if latest
        .iter()
        .any(|status| ["pending", "running"].contains(&status.status.as_str()))
    {
        return Some("ci_still_running");
    }
    let fine = !latest.is_empty()
        && latest
            .iter()
            .all(|status| ["success", "skipped"].contains(&status.status.as_str()));
    (!fine).then_some("ci_must_pass")
}

/// A merge request as the API shows it.
pub(super) async fn body(core: &Core, place: Place) -> Result<Value, Failure> {
    let status = merge_status(core, place).await?;
    let world = core.world();
    place.read(&world, |project, one| {
        wire::merge_request(core, &world, project, one, status)
    })
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, REPORTER)?;
    let after = params.time("updated_after")?;
    let before = params.time("updated_before")?;
    let created_after = params.time("created_after")?;
    let created_before = params.time("created_before")?;
    let merged_after = params.time("merged_after")?;
    let author = params.number("author_id")?;
    let state = params.text("state").unwrap_or_else(|| "all".to_owned());
    let target = params.text("target_branch");
    let source = params.text("source_branch");
    let iids = params.list("iids");
    let labels = params.list("labels").unwrap_or_default();
    let order = params.text("order_by").unwrap_or_else(|| "created_at".to_owned());
    let rising = params.text("sort").as_deref() == Some("asc");
    let mut found: Vec<(jiff::Timestamp, u64)> = {
        let world = core.world();
        let project = world.project(project)?;
        project
            .merge_requests
            .values()
            .filter(|one| state == "all" || one.state.word() == state)
            .filter(|one| after.is_none_or(|after| one.updated_at >= after))
            .filter(|one| before.is_none_or(|before| one.updated_at <= before))
            .filter(|one| created_after.is_none_or(|after| one.created_at >= after))
            .filter(|one| created_before.is_none_or(|before| one.created_at <= before))
            .filter(|one| merged_after.is_none_or(|after| one.merged_at.is_some_and(|at| at >= after)))
            .filter(|one| author.is_none_or(|author| one.author_id == author))
            .filter(|one| target.as_ref().is_none_or(|wanted| one.target_branch == *wanted))
            .filter(|one| source.as_ref().is_none_or(|wanted| one.source_branch == *wanted))
            .filter(|one| {
                iids.as_ref()
                    .is_none_or(|wanted| wanted.contains(&one.iid.to_string()))
            })
            .filter(|one| labels.iter().all(|label| one.labels.contains(label)))
            .map(|one| {
                let key = match order.as_str() {
                    "updated_at" => one.updated_at,
                    "merged_at" => one.merged_at.unwrap_or(one.created_at),
                    _ => one.created_at,
                };
                (key, one.iid)
            })
            .collect()
    };
    found.sort_unstable();
    if !rising {
        found.reverse();
    }
    let paging = Paging::read(&params)?;
    let mut bodies = Vec::new();
    for (_, iid) in paging.cut(&found) {
        bodies.push(body(&core, Place { project, iid: *iid }).await?);
    }
    paging.answer(&core, &uri, found.len(), bodies)
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let place = find(&core, actor, &id, &iid, REPORTER)?;
    reply::ok(body(&core, place).await?)
}

/// The merge requests that a commit belongs to: by version, by merge or squash commit, or by being reachable.
pub(super) async fn of_commit(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, sha)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, REPORTER)?;
    let repository = core.repository(project);
    let commit = repository
        .resolve(&sha)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let candidates: Vec<(u64, bool, String, String)> = {
        let world = core.world();
        let project = world.project(project)?;
        let named = |one: &MergeRequest| {
            [
                &one.merge_commit_sha,
                &one.squash_commit_sha,
                &one.merged_commit_sha,
            ]
            .into_iter()
            .any(|named| named.as_ref() == Some(&commit))
        };
        project
            .merge_requests
            .values()
            .filter_map(|one| {
                let version = one.versions.last()?;
                Some((one.iid, named(one), version.base.clone(), version.head.clone()))
            })
            .collect()
    };
    let mut bodies = Vec::new();
    for (iid, named, base, head) in candidates {
        let holds = named
            || (repository.is_ancestor(&commit, &head).await?
                && !repository.is_ancestor(&commit, &base).await?);
        if holds {
            bodies.push(body(&core, Place { project, iid }).await?);
        }
    }
    reply::page(&core, &uri, &params, bodies)
}

pub(super) async fn update(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let place = find(&core, actor, &id, &iid, REPORTER)?;
    let (author, state, old_target) = place.read(&core.world(), |_, one| {
        (one.author_id, one.state, one.target_branch.clone())
    })?;
    if author != actor.0 {
        core.project(actor, &id, DEVELOPER)?;
    }
    let event = params.text("state_event");
    match (event.as_deref(), state) {
        (None, _)
        | (Some("close"), MergeRequestState::Opened)
        | (Some("reopen"), MergeRequestState::Closed) => {}
        (Some("close" | "reopen"), _) => {
            return Err(Failure::bad_request(json!({"state": ["cannot transition"]})));
        }
        (Some(_), _) => {
            return Err(Failure::error(
                http::StatusCode::BAD_REQUEST,
                "state_event does not have a valid value",
            ));
        }
    }
    if params.text("title").is_some_and(|title| title.trim().is_empty()) {
        return Err(Failure::bad_request(json!({"title": ["can't be blank"]})));
    }
    let _lock = core.lock(place.project).await;
    let target = params
        .text("target_branch")
        .filter(|target| *target != old_target);
    let retargeted = match &target {
        None => None,
        Some(target) => {
            if state != MergeRequestState::Opened {
                return Err(Failure::bad_request(
                    json!({"target_branch": ["cannot be changed"]}),
                ));
            }
            if core.repository(place.project).branch(target).await?.is_none() {
                return Err(Failure::bad_request(json!([format!(
                    "Target branch \"{target}\" does not exist"
                )])));
            }
            let head = place.read(&core.world(), |_, one| one.head().to_owned())?;
            Some(describe(&core, place.project, &head, target).await?)
        }
    };
    // Pushes to it while it was closed are a version once it is open again.
    let reopened = match event.as_deref() {
        Some("reopen") => reopened_version(&core, place).await?,
        _ => None,
    };
    let last = commit_of_head(&core, place.project, place.iid).await?;
    let change = Change {
        params: &params,
        target,
        retargeted: retargeted.or(reopened),
        event: event.as_deref(),
    };
    let labels = params.list("labels");
    let squash = params.flag("squash")?;
    let remove = params.flag("remove_source_branch")?;
    let now = core.now();
    core.change(|world| {
        let version_id = world.next("version");
        let one = place.write(world)?;
        one.squash = squash.unwrap_or(one.squash);
        one.remove_source_branch = remove.unwrap_or(one.remove_source_branch);
        let mut changes = change.texts(one, version_id);
        if let Some(labels) = labels {
            one.labels = labels;
        }
        let action = match change.event {
            Some("close") => {
                one.state = MergeRequestState::Closed;
                one.closed_at = Some(now);
                one.closed_by = Some(actor.0);
                "close"
            }
            Some("reopen") => {
                one.state = MergeRequestState::Opened;
                one.closed_at = None;
                one.closed_by = None;
                "reopen"
            }
            _ => "update",
        };
        let previous = wire::time(one.updated_at);
        one.updated_at = now;
        changes.insert(
            "updated_at".to_owned(),
            json!({"previous": previous, "current": wire::time(now)}),
        );
        let words = match (action, &change.target) {
            ("close", _) => "closed".to_owned(),
            ("reopen", _) => "reopened".to_owned(),
            (_, Some(target)) => format!("changed target branch from `{old_target}` to `{target}`"),
            _ => "changed the merge request".to_owned(),
        };
        if action != "update" {
            state_events::add(world, place, actor.0, &words, now);
        }
        add_system_note(world, place.project, place.iid, actor.0, &words, now);
        let act = MergeRequestAct {
            changes: Value::Object(changes),
            ..MergeRequestAct::plain(actor.0, action)
        };
        deliveries::merge_request(&core, world, place.project, place.iid, last.as_ref(), &act);
        Ok(())
    })?;
    reply::ok(body(&core, place).await?)
}

/// What a merge request holds that is opened again, if its branch is still there.
async fn reopened_version(core: &Core, place: Place) -> Result<Option<Version>, Failure> {
    let (source, branch) = place.read(&core.world(), |_, one| {
        (one.source_project_id, one.source_branch.clone())
    })?;
    if core.repository(source).branch(&branch).await?.is_none() {
        return Ok(None);
    }
    let version = take_version(core, place.project, place.iid, source, &branch).await?;
    Ok(Some(version))
}

/// An edit, worked out before the state is touched.
struct Change<'a> {
    params: &'a Params,
    target: Option<String>,
    retargeted: Option<Version>,
    event: Option<&'a str>,
}

impl Change<'_> {
    /// Sets title, description and target, and says what changed in the words of a hook.
    fn texts(&self, one: &mut MergeRequest, version_id: u64) -> Map<String, Value> {
        let mut changes = Map::new();
        let draft = one.draft();
        let mut set = |key: &str, field: &mut String, value: Option<String>| {
            if let Some(value) = value.filter(|value| value != field) {
                changes.insert(key.to_owned(), json!({"previous": field, "current": value}));
                *field = value;
            }
        };
        set("title", &mut one.title, self.params.text("title"));
        set(
            "description",
            &mut one.description,
            self.params.text("description"),
        );
        set("target_branch", &mut one.target_branch, self.target.clone());
        if draft != one.draft() {
            changes.insert(
                "draft".to_owned(),
                json!({"previous": draft, "current": one.draft()}),
            );
        }
        if let Some(version) = self.retargeted.clone() {
            one.versions.push(Version {
                id: version_id,
                ..version
            });
        }
        changes
    }
}
