//! Files, trees and branches.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::git::{TreeEntry, ZERO};
use super::params::Params;
use super::protection::{may_merge, may_push};
use super::push::{RefChange, References};
use super::{reply, wire};

/// A file at a commit.
struct Found {
    reference: String,
    commit: String,
    last_commit: String,
    entry: TreeEntry,
    content: Vec<u8>,
}

async fn find(core: &Core, actor: Actor, id: &str, path: &str, params: &Params) -> Result<Found, Failure> {
    let id = core.project(actor, id, REPORTER)?;
    let repository = core.repository(id);
    let reference = params.text("ref").unwrap_or_else(|| "HEAD".to_owned());
    let commit = repository
        .resolve(&reference)
        .await?
        .ok_or_else(|| Failure::not_found("Commit"))?;
    let (entry, content) = repository
        .file(&commit, path)
        .await?
        .ok_or_else(|| Failure::not_found("File"))?;
    let last = repository.log(&[&commit, "--", path], 1).await?;
    let last_commit = last
        .into_iter()
        .next()
        .map_or_else(|| commit.clone(), |commit| commit.id);
    Ok(Found {
        reference,
        commit,
        last_commit,
        entry,
        content,
    })
}

impl Found {
    fn file_name(&self) -> &str {
        self.entry.path.rsplit('/').next().unwrap_or_default()
    }

    fn with_headers(&self, mut response: Response) -> Response {
        let digest = hex::encode(Sha256::digest(&self.content));
        for (name, value) in [
            ("x-gitlab-blob-id", self.entry.id.as_str()),
            ("x-gitlab-commit-id", self.commit.as_str()),
            ("x-gitlab-content-sha256", digest.as_str()),
            ("x-gitlab-encoding", "base64"),
            ("x-gitlab-file-name", self.file_name()),
            ("x-gitlab-file-path", self.entry.path.as_str()),
            ("x-gitlab-last-commit-id", self.last_commit.as_str()),
            ("x-gitlab-ref", self.reference.as_str()),
            ("x-gitlab-size", &self.content.len().to_string()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, path)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let found = find(&core, actor, &id, &path, &params).await?;
    let body = json!({
        "file_name": found.file_name(),
        "file_path": found.entry.path,
        "size": found.content.len(),
        "encoding": "base64",
        "content_sha256": hex::encode(Sha256::digest(&found.content)),
        "ref": found.reference,
        "blob_id": found.entry.id,
        "commit_id": found.commit,
        "last_commit_id": found.last_commit,
        "execute_filemode": found.entry.mode == "100755",
        "content": STANDARD.encode(&found.content),
    });
    Ok(found.with_headers(axum::Json(body).into_response()))
}

pub(super) async fn raw(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, path)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let found = find(&core, actor, &id, &path, &params).await?;
    let mut response = found.content.clone().into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
        .headers_mut()
        .insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    Ok(found.with_headers(response))
}

pub(super) async fn tree(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let repository = core.repository(id);
    let name = params.text("ref").unwrap_or_else(|| "HEAD".to_owned());
    let commit = repository
        .resolve(&name)
        .await?
        .ok_or_else(|| Failure::not_found("Tree"))?;
    let path = params.text("path").unwrap_or_default();
    let path = path.trim_matches('/');
    let under = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let recursive = params.flag("recursive")?.unwrap_or(false);
    let entries = repository.tree(&commit, &under, recursive).await?;
    if entries.is_empty() && !path.is_empty() {
        return Err(Failure::not_found("invalid revision or path"));
    }
    let found = entries
        .iter()
        .filter(|entry| entry.path != path)
        .map(|entry| {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            json!({"id": entry.id, "name": name, "type": entry.kind, "path": entry.path, "mode": entry.mode})
        })
        .collect();
    reply::page(&core, &uri, &params, found)
}

async fn branch_body(core: &Core, actor: Actor, id: u64, name: &str, head: &str) -> Result<Value, Failure> {
    let commit = core.repository(id).commit(head).await?;
    let path = core.path_of(id);
    let world = core.world();
    let project = world.project(id)?;
    let level = world.level(project, actor.0);
    let rule = project.protection(name);
    Ok(json!({
        "name": name,
        "commit": commit.map(|commit| wire::commit(core, &path, &commit)),
        "merged": false,
        "protected": rule.is_some(),
        "developers_can_push": rule.is_some_and(|rule| rule.push_level == DEVELOPER),
        "developers_can_merge": rule.is_some_and(|_| may_merge(project, name, DEVELOPER)),
        "can_push": may_push(project, name, level, false),
        "default": project.default_branch == name,
        "web_url": core.link(&format!("{path}/-/tree/{name}")),
    }))
}

pub(super) async fn branches(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let search = params.text("search").unwrap_or_default();
    let refs = core.repository(id).refs().await?;
    let mut found = Vec::new();
    for (name, head) in &refs {
        if let Some(name) = name
            .strip_prefix("refs/heads/")
            .filter(|name| name.contains(&search))
        {
            found.push(branch_body(&core, actor, id, name, head).await?);
        }
    }
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn branch(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let head = core
        .repository(id)
        .branch(&name)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    reply::ok(branch_body(&core, actor, id, &name, &head).await?)
}

pub(super) async fn create_branch(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, DEVELOPER)?;
    let name = params.required("branch")?;
    let repository = core.repository(id);
    if !repository.valid_branch_name(&name).await? {
        return Err(Failure::bad_request("Branch name is invalid"));
    }
    let commit = repository.resolve(&params.required("ref")?).await?;
    let new = commit.ok_or_else(|| Failure::bad_request("Invalid reference name"))?;
    let _lock = core.lock(id).await;
    if repository.branch(&name).await?.is_some() {
        return Err(Failure::bad_request("Branch already exists"));
    }
    let reference = format!("refs/heads/{name}");
    let references = References::begin(&core, id, actor.0).await?;
    repository.update_ref(&reference, &new, ZERO).await?;
    let change = RefChange {
        name: reference,
        old: ZERO.to_owned(),
        new: new.clone(),
    };
    references.changed(&[change]).await?;
    reply::created(branch_body(&core, actor, id, &name, &new).await?)
}

pub(super) async fn delete_branch(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let id = core.project(actor, &id, DEVELOPER)?;
    let protected = core
        .world()
        .projects
        .get(&id)
        .is_some_and(|project| project.protection(&name).is_some());
    if protected {
        return Err(Failure::forbidden());
    }
    let repository = core.repository(id);
    let _lock = core.lock(id).await;
    let old = repository
        .branch(&name)
        .await?
        .ok_or_else(|| Failure::not_found("Branch"))?;
    let reference = format!("refs/heads/{name}");
    let references = References::begin(&core, id, actor.0).await?;
    repository.update_ref(&reference, ZERO, &old).await?;
    let change = RefChange {
        name: reference,
        old,
        new: ZERO.to_owned(),
    };
    references.changed(&[change]).await?;
    reply::no_content()
}
