//! Issues.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use serde_json::{Value, json};

use super::auth::{Actor, GUEST, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::params::Params;
use super::state::{Issue, World};
use super::{deliveries, payloads, reply, wire};

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, GUEST)?;
    let state = params.text("state").unwrap_or_else(|| "all".to_owned());
    let search = params.text("search").unwrap_or_default().to_lowercase();
    let labels = params.list("labels").unwrap_or_default();
    let iids = params.list("iids");
    let author = params.number("author_id")?;
    let after = params.time("updated_after")?;
    let rising = params.text("sort").as_deref() == Some("asc");
    let found: Vec<Value> = {
        let world = core.world();
        let project = world.project(id)?;
        let mut found: Vec<&Issue> = project
            .issues
            .values()
            .filter(|issue| match state.as_str() {
                "opened" => issue.closed_at.is_none(),
                "closed" => issue.closed_at.is_some(),
                _ => true,
            })
            .filter(|issue| {
                issue.title.to_lowercase().contains(&search)
                    || issue.description.to_lowercase().contains(&search)
            })
            .filter(|issue| labels.iter().all(|label| issue.labels.contains(label)))
            .filter(|issue| {
                iids.as_ref()
                    .is_none_or(|wanted| wanted.contains(&issue.iid.to_string()))
            })
            .filter(|issue| author.is_none_or(|author| issue.author_id == author))
            .filter(|issue| after.is_none_or(|after| issue.updated_at >= after))
            .collect();
        if !rising {
            found.reverse();
        }
        found
            .into_iter()
            .map(|issue| wire::issue(&core, &world, project, issue))
            .collect()
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, u64)>,
) -> Answer {
    let id = core.project(actor, &id, GUEST)?;
    let world = core.world();
    reply::ok(body(&core, &world, id, iid)?)
}

fn body(core: &Core, world: &World, id: u64, iid: u64) -> Result<Value, Failure> {
    let project = world.project(id)?;
    let issue = project
        .issues
        .get(&iid)
        .ok_or_else(|| Failure::not_found("Issue"))?;
    Ok(wire::issue(core, world, project, issue))
}

fn tell(
    core: &Core,
    world: &mut World,
    id: u64,
    iid: u64,
    actor: Actor,
    action: &str,
) -> Result<Value, Failure> {
    let hook = {
        let project = world.project(id)?;
        let issue = project
            .issues
            .get(&iid)
            .ok_or_else(|| Failure::not_found("Issue"))?;
        payloads::issue(core, world, project, issue, actor.0, action)
    };
    deliveries::queue(core, world, id, "issues_events", &hook);
    body(core, world, id, iid)
}

pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, GUEST)?;
    let title = params.required("title")?;
    let now = core.now();
    let body = core.change(|world| {
        let number = world.next("issue");
        let project = world.project_mut(id)?;
        let iid = project.issues.keys().next_back().map_or(1, |last| last + 1);
        let issue = Issue {
            id: number,
            iid,
            title,
            description: params.text("description").unwrap_or_default(),
            author_id: actor.0,
            labels: params.list("labels").unwrap_or_default(),
            closed_at: None,
            closed_by: None,
            created_at: now,
            updated_at: now,
            notes: Vec::new(),
        };
        project.issues.insert(iid, issue);
        tell(&core, world, id, iid, actor, "open")
    })?;
    reply::created(body)
}

pub(super) async fn update(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, u64)>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, GUEST)?;
    let event = params.text("state_event");
    let now = core.now();
    let body = core.change(|world| {
        let level = world
            .projects
            .get(&id)
            .map_or(0, |project| world.level(project, actor.0));
        let issue = world
            .projects
            .get_mut(&id)
            .and_then(|project| project.issues.get_mut(&iid))
            .ok_or_else(|| Failure::not_found("Issue"))?;
        if issue.author_id != actor.0 && level < REPORTER {
            return Err(Failure::forbidden());
        }
        let action = match event.as_deref() {
            None => "update",
            Some("close") => {
                issue.closed_at = Some(now);
                issue.closed_by = Some(actor.0);
                "close"
            }
            Some("reopen") => {
                issue.closed_at = None;
                issue.closed_by = None;
                "reopen"
            }
            Some(_) => return Err(Failure::bad_request(json!({"state": ["is invalid"]}))),
        };
        if let Some(title) = params.text("title") {
            issue.title = title;
        }
        if let Some(description) = params.text("description") {
            issue.description = description;
        }
        if let Some(labels) = params.list("labels") {
            issue.labels = labels;
        }
        issue.updated_at = now;
        tell(&core, world, id, iid, actor, action)
    })?;
    reply::ok(body)
}
