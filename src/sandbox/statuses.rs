//! Commit statuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::params::Params;
use super::state::{Project, Status};
use super::{reply, trains, wire};

/// The newest status of each name on a commit.
pub(super) fn latest<'a>(project: &'a Project, sha: &str) -> Vec<&'a Status> {
    let mut by_name = BTreeMap::new();
    for status in project.statuses.iter().filter(|status| status.sha == sha) {
        by_name.insert((status.reference.as_str(), status.name.as_str()), status);
    }
    by_name.into_values().collect()
}

pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, sha)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, DEVELOPER)?;
    let state = params.required("state")?;
    if !["pending", "running", "success", "failed", "canceled", "skipped"].contains(&state.as_str()) {
        return Err(Failure::error(
            StatusCode::BAD_REQUEST,
            "state does not have a valid value",
        ));
    }
    let description = params.text("description");
    if description
        .as_ref()
        .is_some_and(|text| text.chars().count() > 255)
    {
        return Err(Failure::bad_request(
            json!({"description": ["is too long (maximum is 255 characters)"]}),
        ));
    }
    let target_url = params.text("target_url");
    if target_url
        .as_ref()
        .is_some_and(|text| url::Url::parse(text).is_err())
    {
        return Err(Failure::bad_request(
            json!({"target_url": ["is blocked: Only allowed schemes are http, https"]}),
        ));
    }
    let coverage = match params.text("coverage") {
        None => None,
        Some(text) => Some(text.parse::<f64>().map_err(|_| Failure::invalid("coverage"))?),
    };
    let repository = core.repository(id);
    let commit = repository
        .resolve(&sha)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let reference = match params.text("ref") {
        Some(reference) => reference,
        None => branch_of(&core, id, &commit).await?,
    };
    let name = params
        .text("name")
        .or(params.text("context"))
        .unwrap_or_else(|| "default".to_owned());
    let now = core.now();
    let body = core.change(|world| {
        let fresh = world.next("status");
        let project = world.project_mut(id)?;
        let open = project.statuses.iter_mut().find(|known| {
            known.sha == commit
                && known.reference == reference
                && known.name == name
                && ["pending", "running"].contains(&known.status.as_str())
        });
        let started_at = (state != "pending").then_some(now);
        let finished_at = (state != "pending" && state != "running").then_some(now);
        let status = match open {
            Some(known) => {
                if let Some(event) = refused_event(&known.status, &state) {
                    return Err(Failure::bad_request(format!(
                        "Cannot transition status via :{event} from :{} (Reason(s): Status cannot transition via \"{event}\")",
                        known.status
                    )));
                }
                known.status = state;
                known.description = description.or(known.description.take());
                known.target_url = target_url.or(known.target_url.take());
                known.started_at = known.started_at.or(started_at);
                known.finished_at = finished_at;
                known.coverage = coverage.or(known.coverage);
                known.clone()
            }
            None => {
                let status = Status {
                    id: fresh,
                    sha: commit,
                    reference,
                    name,
                    status: state,
                    description,
                    target_url,
                    coverage,
                    author_id: actor.0,
                    created_at: now,
                    started_at,
                    finished_at,
                };
                project.statuses.push(status.clone());
                status
            }
        };
        Ok(wire::status(&core, world, &status))
    })?;
    {
        // It may be what a car waited for.
        let _lock = core.lock(id).await;
        trains::advance(&core, id).await?;
    }
    reply::created(body)
}

/// The event that GitLab's state machine refuses for a status that is `from`, pending or running, and is to be `to`:
/// nothing stands still, and nothing that runs goes back to waiting or is skipped.
fn refused_event(from: &str, to: &str) -> Option<&'static str> {
    match (from, to) {
        (_, "pending") => Some("enqueue"),
        ("running", "running") => Some("run"),
        ("running", "skipped") => Some("skip"),
        _ => None,
    }
}

/// Without a `ref`, GitLab takes a branch that the commit is the head of.
async fn branch_of(core: &Core, id: u64, commit: &str) -> Result<String, Failure> {
    let refs = core.repository(id).refs().await?;
    let found = refs
        .iter()
        .find(|(name, head)| name.starts_with("refs/heads/") && *head == commit);
    match found.and_then(|(name, _)| name.strip_prefix("refs/heads/")) {
        Some(branch) => Ok(branch.to_owned()),
        None => Err(Failure::not_found("References for commit")),
    }
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, sha)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let commit = core
        .repository(id)
        .resolve(&sha)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let all = params.flag("all")?.unwrap_or(false);
    let reference = params.text("ref");
    let name = params.text("name");
    let found: Vec<Value> = {
        let world = core.world();
        let project = world.project(id)?;
        let statuses: Vec<&Status> = if all {
            project
                .statuses
                .iter()
                .filter(|status| status.sha == commit)
                .collect()
        } else {
            latest(project, &commit)
        };
        statuses
            .into_iter()
            .filter(|status| {
                reference
                    .as_ref()
                    .is_none_or(|wanted| status.reference == *wanted)
            })
            .filter(|status| name.as_ref().is_none_or(|wanted| status.name == *wanted))
            .map(|status| wire::status(&core, &world, status))
            .collect()
    };
    reply::page(&core, &uri, &params, found)
}
