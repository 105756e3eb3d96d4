//! A project's webhooks: registering, changing, testing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::auth::{Actor, MAINTAINER};
use super::core::Core;
use super::deliveries::{self, KINDS, signing_key};
use super::failure::{Answer, Failure};
use super::git::ZERO;
use super::params::Params;
use super::payloads::{self, MergeRequestAct, Pushed};
use super::state::{Hook, Project, World};
use super::{reply, wire};

/// Every flag that GitLab knows; only those in `KINDS` are ever sent.
const FLAGS: &[&str] = &[
    "push_events",
    "issues_events",
    "confidential_issues_events",
    "merge_requests_events",
    "tag_push_events",
    "note_events",
    "confidential_note_events",
    "job_events",
    "pipeline_events",
    "wiki_page_events",
    "deployment_events",
    "feature_flag_events",
    "releases_events",
    "milestone_events",
    "emoji_events",
    "resource_access_token_events",
];

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    let found: Vec<Value> = {
        let world = core.world();
        let project = world.project(id)?;
        project
            .hooks
            .values()
            .map(|hook| wire::hook(id, hook, core.now()))
            .collect()
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, hook)): Path<(String, u64)>,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    let world = core.world();
    let found = world
        .projects
        .get(&id)
        .and_then(|project| project.hooks.get(&hook));
    reply::ok(wire::hook(
        id,
        found.ok_or_else(|| Failure::not_found(""))?,
        core.now(),
    ))
}

pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    let url = params.required("url")?;
    let now = core.now();
    let body = core.change(|world| {
        let mut hook = Hook {
            id: 0,
            url: String::new(),
            name: None,
            token: None,
            signing_token: None,
            created_at: now,
            flags: FLAGS
                .iter()
                .map(|flag| ((*flag).to_owned(), *flag == "push_events"))
                .collect::<BTreeMap<_, _>>(),
            push_events_branch_filter: None,
            failures: 0,
            disabled_until: None,
        };
        set(&mut hook, &params, Some(url))?;
        hook.id = world.next("hook");
        let body = wire::hook(id, &hook, now);
        project(world, id)?.hooks.insert(hook.id, hook);
        Ok(body)
    })?;
    reply::created(body)
}

pub(super) async fn update(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, hook)): Path<(String, u64)>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    let now = core.now();
    let body = core.change(|world| {
        let known = project(world, id)?
            .hooks
            .get_mut(&hook)
            .ok_or_else(|| Failure::not_found(""))?;
        let mut changed = known.clone();
        set(&mut changed, &params, params.text("url"))?;
        changed.failures = 0;
        changed.disabled_until = None;
        *known = changed;
        Ok(wire::hook(id, known, now))
    })?;
    reply::ok(body)
}

pub(super) async fn delete(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, hook)): Path<(String, u64)>,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    core.change(|world| {
        project(world, id)?
            .hooks
            .remove(&hook)
            .ok_or_else(|| Failure::not_found(""))
    })?;
    reply::no_content()
}

fn project(world: &mut World, id: u64) -> Result<&mut Project, Failure> {
    world.project_mut(id)
}

fn set(hook: &mut Hook, params: &Params, url: Option<String>) -> Result<(), Failure> {
    let text = |key: &str| params.text(key).map(|text| (!text.is_empty()).then_some(text));
    if let Some(url) = url {
        let fine = Url::parse(&url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
        if !fine {
            return Err(Failure::message(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid url given",
            ));
        }
        hook.url = url;
    }
    if let Some(token) = text("signing_token") {
        if token.as_deref().is_some_and(|token| signing_key(token).is_none()) {
            return Err(Failure::bad_request(json!({
                "signing_token": ["must be whsec_ and the Base64 of 32 bytes"],
            })));
        }
        hook.signing_token = token;
    }
    if let Some(token) = text("token") {
        hook.token = token;
    }
    if let Some(name) = text("name") {
        hook.name = name;
    }
    if let Some(filter) = text("push_events_branch_filter") {
        hook.push_events_branch_filter = filter;
    }
    for flag in FLAGS {
        if let Some(on) = params.flag(flag)? {
            hook.flags.insert((*flag).to_owned(), on);
        }
    }
    Ok(())
}

/// Sends a sample of an event, made from what the project holds.
pub(super) async fn test(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, hook, trigger)): Path<(String, u64, String)>,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    let flag = KINDS
        .iter()
        .map(|(flag, _)| *flag)
        .find(|flag| *flag == trigger)
        .ok_or_else(|| Failure::error(StatusCode::BAD_REQUEST, "trigger does not have a valid value"))?;
    let default = core
        .world()
        .projects
        .get(&id)
        .map(|project| project.default_branch.clone())
        .unwrap_or_default();
    let repository = core.repository(id);
    let head = repository.branch(&default).await?;
    let last = match &head {
        Some(head) => repository.commit(head).await?,
        None => None,
    };
    let reference = format!("refs/heads/{default}");
    core.change(|world| {
        let project = world.project(id)?;
        if !project.hooks.contains_key(&hook) {
            return Err(Failure::not_found(""));
        }
        let nothing = |what: &str| {
            Failure::message(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("Ensure the project has {what}."),
            )
        };
        let newest = project.merge_requests.values().next_back();
        let body = match flag {
            "merge_requests_events" => {
                let one = newest.ok_or_else(|| nothing("merge requests"))?;
                let act = MergeRequestAct::plain(actor.0, "open");
                payloads::merge_request(&core, world, project, one, last.as_ref(), &act)
            }
            "note_events" => {
                let one = newest.ok_or_else(|| nothing("notes"))?;
                let note = one
                    .notes
                    .iter()
                    .rev()
                    .find(|note| !note.system)
                    .ok_or_else(|| nothing("notes"))?;
                payloads::merge_request_note(&core, world, project, one, last.as_ref(), note, "create")
            }
            "issues_events" => {
                let issue = project
                    .issues
                    .values()
                    .next_back()
                    .ok_or_else(|| nothing("issues"))?;
                payloads::issue(&core, world, project, issue, actor.0, "open")
            }
            _ => {
                let after = head.as_deref().ok_or_else(|| nothing("at least one commit"))?;
                let pushed = Pushed {
                    reference: &reference,
                    before: ZERO,
                    after,
                    commits: &[],
                    total: 0,
                };
                payloads::push(&core, world, project, actor.0, &pushed)
            }
        };
        let event_id = core.fresh_id().to_string();
        deliveries::queue_one(&core, world, id, hook, flag, &body, &event_id);
        Ok(())
    })?;
    reply::created(json!({"message": "201 Created"}))
}
