//! Projects: making, looking up, changing, forking, deleting.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::auth::{Actor, DEVELOPER, GUEST, MAINTAINER, OWNER, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::git::{PathChange, Repository, ZERO};
use super::groups::{group_level, visibility};
use super::params::Params;
use super::push::{RefChange, References};
use super::state::{Member, Namespace, Project, ProtectedBranch, World};
use super::users::plain_path;
use super::{reply, wire};

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let search = params.text("search").unwrap_or_default().to_lowercase();
    let mine = params.flag("membership")?.unwrap_or(false);
    let topics = params.list("topic").unwrap_or_default();
    let least = params.number("min_access_level")?.unwrap_or(0);
    let found: Vec<u64> = {
        let world = core.world();
        world
            .projects
            .values()
            .rev()
            .filter(|project| project.allows_private_read() || world.level(project, actor.0) > 0)
            .filter(|project| {
                // Of members only: that an administrator may do everything makes them none.
                let level = world
                    .project_members(project)
                    .get(&actor.0)
                    .map(|member| member.level);
                (!mine && least == 0) || level.is_some_and(|level| u64::from(level) >= least)
            })
            .filter(|project| {
                let has = |topic: &String| project.topics.iter().any(|own| own.eq_ignore_ascii_case(topic));
                topics.iter().all(has)
            })
            .filter(|project| world.full_path(project).to_lowercase().contains(&search))
            .map(|project| project.id)
            .collect()
    };
    let found = listed(&core, actor, &found).await?;
    reply::page(&core, &uri, &params, found)
}

fn must_be_free(world: &World, namespace: Namespace, path: &str) -> Result<(), Failure> {
    let full = format!("{}/{path}", world.namespace_path(namespace));
    if world.find_project(&full).is_none() && world.find_group(&full).is_none() {
        return Ok(());
    }
    Err(Failure::bad_request(json!({
        "project_namespace.name": ["has already been taken"],
        "name": ["has already been taken"],
        "path": ["has already been taken"],
    })))
}

fn must_be_plain(path: &str) -> Result<(), Failure> {
    if plain_path(path) {
        return Ok(());
    }
    Err(Failure::bad_request(
        json!({"path": ["can contain only letters, digits, '_', '-' and '.'."]}),
    ))
}

/// Projects as lists show them.
pub(super) async fn listed(core: &Core, actor: Actor, ids: &[u64]) -> Result<Vec<Value>, Failure> {
    let mut empty = Vec::with_capacity(ids.len());
    for id in ids {
        // One that is being made, or deleted, holds nothing.
        let refs = core.repository(*id).refs().await;
        empty.push(refs.map_or(true, |refs| refs.is_empty()));
    }
    let world = core.world();
    let listed = ids.iter().zip(empty).filter_map(|(id, empty)| {
        let project = world.projects.get(id)?;
        Some(wire::project(
            core,
            &world,
            project,
            empty,
            world.level(project, actor.0),
        ))
    });
    Ok(listed.collect())
}

/// A project that holds nothing yet.
fn fresh(
    core: &Core,
    world: &mut World,
    actor: Actor,
    namespace: Namespace,
    names: (String, String),
) -> Result<Project, Failure> {
    let (name, path) = names;
    must_be_free(world, namespace, &path)?;
    let now = core.now();
    let mut members = BTreeMap::new();
    if let Namespace::User(owner) = namespace {
        members.insert(
            owner,
            Member {
                level: OWNER,
                expires_at: None,
                created_at: now,
                created_by: None,
            },
        );
    } else if !matches!(namespace, Namespace::Group(id) if world.group_members(id).contains_key(&actor.0)) {
        members.insert(
            actor.0,
            Member {
                level: OWNER,
                expires_at: None,
                created_at: now,
                created_by: None,
            },
        );
    }
    let id = world.next("project");
    let rule = ProtectedBranch {
        id: world.next("protected_branch"),
        name: "main".to_owned(),
        push_level: MAINTAINER,
        merge_level: MAINTAINER,
        allow_force_push: false,
    };
    Ok(Project {
        id,
        namespace,
        path,
        name,
        description: String::new(),
        topics: Vec::new(),
        visibility: "private".to_owned(),
        default_branch: "main".to_owned(),
        creator_id: actor.0,
        forked_from: None,
        created_at: now,
        last_activity_at: now,
        merge_method: "merge".to_owned(),
        squash_option: "default_off".to_owned(),
        pipeline_must_succeed: false,
        remove_source_branch: true,
        archived: false,
        members,
        protected: vec![rule],
        hooks: BTreeMap::new(),
        merge_requests: BTreeMap::new(),
        issues: BTreeMap::new(),
        statuses: Vec::new(),
        events: Vec::new(),
        followed: Some(BTreeMap::new()),
        mover: None,
        merge_trains: false,
        trains: Vec::new(),
    })
}

/// The namespace that a parameter names, if the user may make projects there.
fn namespace(core: &Core, actor: Actor, params: &Params, keys: [&str; 2]) -> Result<Namespace, Failure> {
    let world = core.world();
    let Some(key) = keys.iter().find_map(|key| params.text(key)) else {
        return Ok(Namespace::User(actor.0));
    };
    if let Some(group) = world.find_group(&key) {
        if group_level(&world, group.id, actor) >= DEVELOPER {
            return Ok(Namespace::Group(group.id));
        }
        return Err(Failure::bad_request(json!({"namespace": ["is not valid"]})));
    }
    let own = world
        .users
        .get(&actor.0)
        .is_some_and(|user| user.namespace_id.to_string() == key || user.username.eq_ignore_ascii_case(&key));
    if own {
        Ok(Namespace::User(actor.0))
    } else {
        Err(Failure::not_found("Namespace"))
    }
}

pub(super) async fn create(State(core): State<Arc<Core>>, actor: Actor, params: Params) -> Answer {
    let (name, path) = match (params.text("name"), params.text("path")) {
        (None, None) => {
            return Err(Failure::error(
                StatusCode::BAD_REQUEST,
                "name, path are missing, at least one parameter must be provided",
            ));
        }
        (Some(name), Some(path)) => (name, path),
        (None, Some(path)) => (path.clone(), path),
        (Some(name), None) => {
            let path = name.to_lowercase().replace(
                |letter: char| !letter.is_ascii_alphanumeric() && letter != '_',
                "-",
            );
            (name, path)
        }
    };
    must_be_plain(&path)?;
    let namespace = namespace(&core, actor, &params, ["namespace_id", "namespace_path"])?;
    let settings = Settings::read(&params)?;
    let readme = params.flag("initialize_with_readme")?.unwrap_or(false);
    let branch = settings
        .default_branch
        .clone()
        .unwrap_or_else(|| "main".to_owned());
    if !Repository::at(core.repository_directory())
        .valid_branch_name(&branch)
        .await?
    {
        return Err(Failure::bad_request(json!({"default_branch": ["is invalid"]})));
    }
    let id = core.change(|world| {
        let mut project = fresh(&core, world, actor, namespace, (name.clone(), path))?;
        settings.apply(&mut project);
        for rule in &mut project.protected {
            rule.name.clone_from(&branch);
        }
        let id = project.id;
        world.projects.insert(id, project);
        Ok(id)
    })?;
    let _lock = core.lock(id).await;
    let repository = core.repository(id);
    repository.init(&branch).await?;
    if readme {
        let blob = repository.write_blob(format!("# {name}\n").as_bytes()).await?;
        let change = PathChange {
            path: "README.md".to_owned(),
            to: Some(("100644".to_owned(), blob)),
        };
        let index = repository
            .path()
            .join(format!("index-{}", core.fresh_id().simple()));
        let tree = repository.change_tree(None, &[change], &index).await?;
        let who = core.signature(actor.0);
        let commit = repository
            .commit_tree(&tree, &[], "Initial commit\n", &who, &who)
            .await?;
        let reference = format!("refs/heads/{branch}");
        let references = References::begin(&core, id, actor.0).await?;
        repository.update_ref(&reference, &commit, ZERO).await?;
        let change = RefChange {
            name: reference,
            old: ZERO.to_owned(),
            new: commit,
        };
        references.changed(&[change]).await?;
    }
    answer(&core, actor, id, StatusCode::CREATED).await
}

pub(super) async fn show(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<String>) -> Answer {
    let id = core.project(actor, &id, GUEST)?;
    answer(&core, actor, id, StatusCode::OK).await
}

async fn answer(core: &Core, actor: Actor, id: u64, status: StatusCode) -> Answer {
    let empty = core.repository(id).refs().await?.is_empty();
    let world = core.world();
    let project = world.project(id)?;
    let body = wire::project(core, &world, project, empty, world.level(project, actor.0));
    if status == StatusCode::CREATED {
        reply::created(body)
    } else {
        reply::ok(body)
    }
}

pub(super) async fn update(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, MAINTAINER)?;
    let settings = Settings::read(&params)?;
    let repository = core.repository(id);
    if let Some(branch) = &settings.default_branch {
        if repository.branch(branch).await?.is_none() {
            return Err(Failure::bad_request(
                json!({"base": [format!("Could not set the default branch. Do you have a branch named '{branch}' in your repository?")]}),
            ));
        }
        repository
            .run(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")])
            .await?;
    }
    let path = params.text("path");
    if let Some(path) = &path {
        must_be_plain(path)?;
    }
    core.change(|world| {
        let namespace = world.projects.get(&id).map(|project| project.namespace);
        if let (Some(path), Some(namespace)) = (&path, namespace) {
            must_be_free(world, namespace, path)?;
        }
        let project = world.project_mut(id)?;
        settings.apply(project);
        if let Some(path) = path {
            project.path = path;
        }
        Ok(())
    })?;
    answer(&core, actor, id, StatusCode::OK).await
}

pub(super) async fn delete(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<String>) -> Answer {
    let id = core.project(actor, &id, OWNER)?;
    let _lock = core.lock(id).await;
    core.change(|world| {
        world
            .projects
            .remove(&id)
            .ok_or_else(|| Failure::not_found("Project"))
    })?;
    let path = core.repository(id).path().to_owned();
    if let Err(error) = tokio::fs::remove_dir_all(&path).await {
        tracing::warn!(%error, project = id, "a deleted project left its repository behind");
    }
    Ok(axum::response::IntoResponse::into_response((
        StatusCode::ACCEPTED,
        axum::Json(json!({"message": "202 Accepted"})),
    )))
}

/// A project under another group: its number, its maker and its topics stay.
/// <https://docs.gitlab.com/api/projects/#transfer-a-project-to-a-new-namespace>
pub(super) async fn transfer(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, OWNER)?;
    let target = namespace(&core, actor, &params, ["namespace", "namespace_id"])?;
    core.change(|world| {
        let path = world.project(id)?.path.clone();
        must_be_free(world, target, &path)?;
        world.project_mut(id)?.namespace = target;
        Ok(())
    })?;
    answer(&core, actor, id, StatusCode::OK).await
}

pub(super) async fn fork(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let from = core.project(actor, &id, REPORTER)?;
    let target = namespace(&core, actor, &params, ["namespace_id", "namespace_path"])?;
    let (new, branch) = core.change(|world| {
        let origin = world
            .projects
            .get(&from)
            .cloned()
            .ok_or_else(|| Failure::not_found("Project"))?;
        let path = params.text("path").unwrap_or_else(|| origin.path.clone());
        let name = params.text("name").unwrap_or_else(|| origin.name.clone());
        if !plain_path(&path) {
            return Err(Failure::bad_request(json!({"path": ["is invalid"]})));
        }
        let mut project = fresh(&core, world, actor, target, (name, path))?;
        project.forked_from = Some(from);
        // What a fork starts with nobody pushed.
        project.followed = None;
        project.visibility.clone_from(&origin.visibility);
        project.default_branch.clone_from(&origin.default_branch);
        for rule in &mut project.protected {
            rule.name.clone_from(&origin.default_branch);
        }
        let answer = (project.id, origin.default_branch);
        world.projects.insert(project.id, project);
        Ok(answer)
    })?;
    let repository = core.repository(new);
    repository.init(&branch).await?;
    repository
        .fetch(&core.repository(from), "refs/heads/*", "refs/heads/*")
        .await?;
    repository
        .fetch(&core.repository(from), "refs/tags/*", "refs/tags/*")
        .await?;
    answer(&core, actor, new, StatusCode::CREATED).await
}

/// What may be set on a project; absent means unchanged.
struct Settings {
    name: Option<String>,
    description: Option<String>,
    topics: Option<Vec<String>>,
    visibility: Option<String>,
    default_branch: Option<String>,
    merge_method: Option<String>,
    squash_option: Option<String>,
    pipeline_must_succeed: Option<bool>,
    remove_source_branch: Option<bool>,
    merge_trains: Option<bool>,
}

impl Settings {
    fn read(params: &Params) -> Result<Self, Failure> {
        let one_of = |key: &str, words: &[&str]| match params.text(key) {
            None => Ok(None),
            Some(word) if words.contains(&word.as_str()) => Ok(Some(word)),
            Some(_) => Err(Failure::error(
                StatusCode::BAD_REQUEST,
                &format!("{key} does not have a valid value"),
            )),
        };
        Ok(Self {
            name: params.text("name"),
            description: params.text("description"),
            topics: params.list("topics"),
            visibility: visibility(params)?,
            default_branch: params.text("default_branch"),
            merge_method: one_of("merge_method", &["merge", "rebase_merge", "ff"])?,
            squash_option: one_of("squash_option", &["never", "always", "default_on", "default_off"])?,
            pipeline_must_succeed: params.flag("only_allow_merge_if_pipeline_succeeds")?,
            remove_source_branch: params.flag("remove_source_branch_after_merge")?,
            merge_trains: params.flag("merge_trains_enabled")?,
        })
    }

    fn apply(&self, project: &mut Project) {
        let set = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut project.name, &self.name);
        set(&mut project.description, &self.description);
        set(&mut project.visibility, &self.visibility);
        if let Some(topics) = &self.topics {
            project.topics.clone_from(topics);
        }
        set(&mut project.default_branch, &self.default_branch);
        set(&mut project.merge_method, &self.merge_method);
        set(&mut project.squash_option, &self.squash_option);
        project.pipeline_must_succeed = self
            .pipeline_must_succeed
            .unwrap_or(project.pipeline_must_succeed);
        project.remove_source_branch = self.remove_source_branch.unwrap_or(project.remove_source_branch);
        project.merge_trains = self.merge_trains.unwrap_or(project.merge_trains);
    }
}
