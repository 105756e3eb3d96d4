//! Versions of a merge request, its commits and its diff.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use serde_json::{Value, json};

use super::auth::{Actor, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::merge_requests::{self, Place};
use super::params::Params;
use super::state::Version;
use super::{reply, wire};

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let found: Vec<Value> = place.read(&core.world(), |_, one| {
        one.versions
            .iter()
            .rev()
            .map(|version| wire::version(one, version))
            .collect()
    })?;
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid, version)): Path<(String, String, String)>,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let wanted: u64 = version.parse().map_err(|_| Failure::invalid("version_id"))?;
    let (version, mut body) = place
        .read(&core.world(), |_, one| {
            one.versions
                .iter()
                .find(|version| version.id == wanted)
                .map(|version| (version.clone(), wire::version(one, version)))
        })?
        .ok_or_else(|| Failure::not_found(""))?;
    body["commits"] = Value::Array(commits_of(&core, place, &version).await?);
    body["diffs"] = Value::Array(diffs_of(&core, place, &version).await?);
    reply::ok(body)
}

fn last_version(core: &Core, place: Place) -> Result<Version, Failure> {
    place
        .read(&core.world(), |_, one| one.versions.last().cloned())?
        .ok_or_else(|| Failure::not_found("Version"))
}

async fn commits_of(core: &Core, place: Place, version: &Version) -> Result<Vec<Value>, Failure> {
    let range = format!("{}..{}", version.base, version.head);
    let commits = core.repository(place.project).log(&[&range, "--"], 1000).await?;
    let path = core.path_of(place.project);
    Ok(commits
        .iter()
        .map(|commit| wire::commit(core, &path, commit))
        .collect())
}

async fn diffs_of(core: &Core, place: Place, version: &Version) -> Result<Vec<Value>, Failure> {
    let files = core
        .repository(place.project)
        .diff(&version.base, &version.head)
        .await?;
    Ok(files.iter().map(wire::diff).collect())
}

pub(super) async fn commits(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let version = last_version(&core, place)?;
    reply::page(&core, &uri, &params, commits_of(&core, place, &version).await?)
}

pub(super) async fn diffs(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let version = last_version(&core, place)?;
    reply::page(&core, &uri, &params, diffs_of(&core, place, &version).await?)
}

pub(super) async fn changes(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let version = last_version(&core, place)?;
    let mut body = merge_requests::body(&core, place).await?;
    body["changes"] = Value::Array(diffs_of(&core, place, &version).await?);
    body["overflow"] = json!(false);
    reply::ok(body)
}
