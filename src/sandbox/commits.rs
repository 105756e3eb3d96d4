//! Commits: listing, showing, comparing, and making one from a list of actions.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::git::{GitError, PathChange, Repository, Signature, ZERO, is_plain_path};
use super::params::Params;
use super::protection::may_push;
use super::push::{RefChange, References};
use super::{reply, wire};

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let repository = core.repository(id);
    let name = params
        .text("ref_name")
        .or(params.text("ref"))
        .unwrap_or_else(|| "HEAD".to_owned());
    let range = match name.split_once("..") {
        Some((from, to)) => {
            let from = repository
                .resolve(from)
                .await?
                .ok_or_else(|| Failure::not_found("Ref"))?;
            let to = repository
                .resolve(to)
                .await?
                .ok_or_else(|| Failure::not_found("Ref"))?;
            format!("{from}..{to}")
        }
        None => match repository.resolve(&name).await? {
            Some(commit) => commit,
            None if name == "HEAD" => return reply::page(&core, &uri, &params, Vec::new()),
            None => return Err(Failure::not_found("Ref")),
        },
    };
    let mut arguments = vec![range.as_str()];
    if params.flag("first_parent")?.unwrap_or(false) {
        arguments.push("--first-parent");
    }
    arguments.push("--");
    let path = params.text("path").filter(|path| is_plain_path(path));
    arguments.extend(path.as_deref());
    let commits = repository.log(&arguments, 10_000).await?;
    let full_path = core.path_of(id);
    let found = commits
        .iter()
        .map(|commit| wire::commit(&core, &full_path, commit))
        .collect();
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, sha)): Path<(String, String)>,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    reply::ok(body(&core, id, &sha).await?)
}

async fn body(core: &Core, id: u64, name: &str) -> Result<Value, Failure> {
    let repository = core.repository(id);
    let sha = repository
        .resolve(name)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let commit = repository
        .commit(&sha)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let mut body = wire::commit(core, &core.path_of(id), &commit);
    let status = {
        let world = core.world();
        let project = world.projects.get(&id);
        project.and_then(|project| {
            let latest = super::statuses::latest(project, &sha);
            latest.last().map(|status| status.status.clone())
        })
    };
    body["status"] = json!(status);
    body["project_id"] = json!(id);
    body["last_pipeline"] = Value::Null;
    Ok(body)
}

pub(super) async fn diff(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, sha)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let repository = core.repository(id);
    let sha = repository
        .resolve(&sha)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let commit = repository
        .commit(&sha)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let from = match commit.parents.into_iter().next() {
        Some(parent) => parent,
        None => repository.empty_tree().await?,
    };
    let files = repository.diff(&from, &sha).await?;
    reply::page(&core, &uri, &params, files.iter().map(wire::diff).collect())
}

pub(super) async fn compare(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let repository = core.repository(id);
    let from = repository
        .resolve(&params.required("from")?)
        .await?
        .ok_or_else(|| Failure::not_found("Ref"))?;
    let to = repository
        .resolve(&params.required("to")?)
        .await?
        .ok_or_else(|| Failure::not_found("Ref"))?;
    let base = if params.flag("straight")?.unwrap_or(false) {
        from.clone()
    } else {
        repository
            .merge_base(&from, &to)
            .await?
            .unwrap_or_else(|| from.clone())
    };
    let mut commits = repository.log(&[&format!("{base}..{to}"), "--"], 1000).await?;
    commits.reverse();
    let path = core.path_of(id);
    let listed: Vec<Value> = commits
        .iter()
        .map(|commit| wire::commit(&core, &path, commit))
        .collect();
    let diffs: Vec<Value> = repository
        .diff(&base, &to)
        .await?
        .iter()
        .map(wire::diff)
        .collect();
    reply::ok(json!({
        "commit": listed.last(),
        "commits": listed,
        "diffs": diffs,
        "compare_timeout": false,
        "compare_same_ref": from == to,
        "web_url": core.link(&format!("{path}/-/compare/{from}...{to}")),
    }))
}

pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, DEVELOPER)?;
    let branch = params.required("branch")?;
    let message = params.required("commit_message")?;
    let repository = core.repository(id);
    if !repository.valid_branch_name(&branch).await? {
        return Err(Failure::bad_request("The branch name is not valid"));
    }
    let _lock = core.lock(id).await;
    {
        let world = core.world();
        let project = world.project(id)?;
        if !may_push(project, &branch, world.level(project, actor.0), false) {
            return Err(Failure::bad_request(
                "You are not allowed to push into this branch",
            ));
        }
    }
    let old = repository.branch(&branch).await?;
    let start = params.text("start_branch").or(params.text("start_sha"));
    let base = match (&old, &start) {
        (Some(_), Some(start)) if *start != branch => {
            return Err(Failure::bad_request(format!(
                "A branch called '{branch}' already exists. Switch to that branch in order to make changes"
            )));
        }
        (Some(old), _) => Some(old.clone()),
        (None, Some(start)) => Some(
            repository
                .resolve(start)
                .await?
                .ok_or_else(|| Failure::bad_request("Invalid reference name"))?,
        ),
        (None, None) if repository.refs().await?.is_empty() => None,
        (None, None) => {
            return Err(Failure::bad_request(
                "You can only create or edit files when you are on a branch",
            ));
        }
    };
    let actions = params.objects("actions");
    let changes = changes(&repository, base.as_deref(), &actions).await?;
    let index = repository
        .path()
        .join(format!("index-{}", core.fresh_id().simple()));
    let tree = match repository.change_tree(base.as_deref(), &changes, &index).await {
        Ok(tree) => tree,
        Err(GitError::Failed { .. }) => return Err(Failure::bad_request("invalid path")),
        Err(error) => return Err(error.into()),
    };
    let committer = core.signature(actor.0);
    let author = Signature {
        name: params
            .text("author_name")
            .unwrap_or_else(|| committer.name.clone()),
        email: params
            .text("author_email")
            .unwrap_or_else(|| committer.email.clone()),
        seconds: committer.seconds,
    };
    let parents: Vec<&str> = base.iter().map(String::as_str).collect();
    let commit = repository
        .commit_tree(&tree, &parents, &message, &author, &committer)
        .await?;
    let name = format!("refs/heads/{branch}");
    let old = old.unwrap_or_else(|| ZERO.to_owned());
    let references = References::begin(&core, id, actor.0).await?;
    repository.update_ref(&name, &commit, &old).await?;
    let change = RefChange {
        name,
        old,
        new: commit.clone(),
    };
    references.changed(&[change]).await?;
    reply::created(body(&core, id, &commit).await?)
}

/// Turns GitLab's actions into changes of a tree, and refuses what does not fit it.
async fn changes(
    repository: &Repository,
    base: Option<&str>,
    actions: &[Params],
) -> Result<Vec<PathChange>, Failure> {
    let mut changes = Vec::new();
    for action in actions {
        let path = action.required("file_path")?;
        if !is_plain_path(&path) {
            return Err(Failure::bad_request("invalid path"));
        }
        let existing = existing(repository, base, &path).await?;
        let taken = || Failure::bad_request("A file with this name already exists");
        let absent = || Failure::bad_request("A file with this name doesn't exist");
        match action.required("action")?.as_str() {
            "create" => {
                if existing.is_some() {
                    return Err(taken());
                }
                let blob = repository
                    .write_blob(&content(action)?.unwrap_or_default())
                    .await?;
                let executable = action.flag("execute_filemode")?.unwrap_or(false);
                let mode = if executable { "100755" } else { "100644" };
                changes.push(PathChange {
                    path,
                    to: Some((mode.to_owned(), blob)),
                });
            }
            "update" => {
                let (mode, _) = existing.ok_or_else(absent)?;
                let blob = repository
                    .write_blob(&content(action)?.unwrap_or_default())
                    .await?;
                changes.push(PathChange {
                    path,
                    to: Some((mode, blob)),
                });
            }
            "delete" => {
                existing.ok_or_else(absent)?;
                changes.push(PathChange { path, to: None });
            }
            "move" => {
                let previous = action.required("previous_path")?;
                let from = self::existing(repository, base, &previous).await?;
                let (mode, blob) = from.ok_or_else(absent)?;
                if existing.is_some() {
                    return Err(taken());
                }
                let blob = match content(action)? {
                    Some(content) => repository.write_blob(&content).await?,
                    None => blob,
                };
                changes.push(PathChange {
                    path: previous,
                    to: None,
                });
                changes.push(PathChange {
                    path,
                    to: Some((mode, blob)),
                });
            }
            "chmod" => {
                let (_, blob) = existing.ok_or_else(absent)?;
                let executable = action.flag("execute_filemode")?.unwrap_or(false);
                let mode = if executable { "100755" } else { "100644" };
                changes.push(PathChange {
                    path,
                    to: Some((mode.to_owned(), blob)),
                });
            }
            _ => {
                return Err(Failure::error(
                    StatusCode::BAD_REQUEST,
                    "actions[0][action] does not have a valid value",
                ));
            }
        }
    }
    Ok(changes)
}

async fn existing(
    repository: &Repository,
    base: Option<&str>,
    path: &str,
) -> Result<Option<(String, String)>, Failure> {
    let Some(base) = base else { return Ok(None) };
    let entries = repository.tree(base, path, false).await?;
    let found = entries
        .into_iter()
        .find(|entry| entry.path == path && entry.kind == "blob");
    Ok(found.map(|entry| (entry.mode, entry.id)))
}

fn content(action: &Params) -> Result<Option<Vec<u8>>, Failure> {
    let Some(text) = action.text("content") else {
        return Ok(None);
    };
    if action.text("encoding").as_deref() == Some("base64") {
        return STANDARD
            .decode(text)
            .map(Some)
            .map_err(|_| Failure::invalid("content"));
    }
    Ok(Some(text.into_bytes()))
}
