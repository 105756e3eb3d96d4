//! Who may do what in a project: its members, and its protected branches.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use serde_json::{Value, json};

use super::auth::{Actor, GUEST, MAINTAINER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::groups::{access_level, add, list_members, one_member};
use super::params::Params;
use super::state::{Namespace, Project, ProtectedBranch, World};
use super::{reply, wire};

pub(super) async fn members(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, GUEST)?;
    let found = {
        let world = core.world();
        let members = world
            .projects
            .get(&project)
            .map(|project| world.project_members(project))
            .unwrap_or_default();
        list_members(&core, &world, &members)
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, user)): Path<(String, u64)>,
) -> Answer {
    let project = core.project(actor, &id, GUEST)?;
    let world = core.world();
    let members = world
        .projects
        .get(&project)
        .map(|project| world.project_members(project))
        .unwrap_or_default();
    one_member(&core, &world, &members, user)
}

pub(super) async fn direct_members(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, GUEST)?;
    let found = {
        let world = core.world();
        let members = world
            .projects
            .get(&project)
            .map(|project| project.members.clone())
            .unwrap_or_default();
        list_members(&core, &world, &members)
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn direct_member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, user)): Path<(String, u64)>,
) -> Answer {
    let project = core.project(actor, &id, GUEST)?;
    let world = core.world();
    let members = world
        .projects
        .get(&project)
        .map(|project| project.members.clone())
        .unwrap_or_default();
    one_member(&core, &world, &members, user)
}

pub(super) async fn add_member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, MAINTAINER)?;
    let user = params
        .number("user_id")?
        .ok_or_else(|| Failure::invalid("user_id"))?;
    let level = access_level(&params)?;
    let now = core.now();
    let body = core.change(|world| {
        not_above(world, project, actor, level)?;
        let record = world
            .users
            .get(&user)
            .cloned()
            .ok_or_else(|| Failure::not_found("User"))?;
        not_below(world, project, user, level)?;
        let members = &mut find(world, project)?.members;
        let member = add(members, user, level, (now, actor))?;
        Ok(wire::member(&core, world, &record, member))
    })?;
    reply::created(body)
}

pub(super) async fn update_member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, user)): Path<(String, u64)>,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, MAINTAINER)?;
    let level = access_level(&params)?;
    let body = core.change(|world| {
        not_above(world, project, actor, level)?;
        let record = world
            .users
            .get(&user)
            .cloned()
            .ok_or_else(|| Failure::not_found("User"))?;
        not_below(world, project, user, level)?;
        let member = find(world, project)?
            .members
            .get_mut(&user)
            .ok_or_else(|| Failure::not_found(""))?;
        member.level = level;
        let member = *member;
        Ok(wire::member(&core, world, &record, member))
    })?;
    reply::ok(body)
}

pub(super) async fn remove_member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, user)): Path<(String, u64)>,
) -> Answer {
    let needed = if user == actor.0 { GUEST } else { MAINTAINER };
    let project = core.project(actor, &id, needed)?;
    core.change(|world| {
        find(world, project)?
            .members
            .remove(&user)
            .ok_or_else(|| Failure::not_found(""))
    })?;
    reply::no_content()
}

/// Nobody hands out more than they have.
fn not_above(world: &World, project: u64, actor: Actor, level: u8) -> Result<(), Failure> {
    let own = world
        .projects
        .get(&project)
        .map_or(0, |project| world.level(project, actor.0));
    if level > own {
        Err(Failure::forbidden())
    } else {
        Ok(())
    }
}

/// Nobody has less in a project than in its group.
fn not_below(world: &World, project: u64, user: u64, level: u8) -> Result<(), Failure> {
    let group = match world.projects.get(&project).map(|project| project.namespace) {
        Some(Namespace::Group(group)) => group,
        _ => return Ok(()),
    };
    match world.group_members(group).get(&user) {
        Some(inherited) if inherited.level > level => {
            let level = wire::level_name(inherited.level).trim_end_matches('s');
            let path = world.group_path(group);
            Err(Failure::bad_request(json!({
                "access_level": [format!(
                    "should be greater than or equal to {level} inherited membership from group {path}"
                )]
            })))
        }
        _ => Ok(()),
    }
}

fn find(world: &mut World, project: u64) -> Result<&mut Project, Failure> {
    world.project_mut(project)
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, super::auth::DEVELOPER)?;
    let found: Vec<Value> = {
        let world = core.world();
        world
            .projects
            .get(&project)
            .map(|project| project.protected.iter().map(wire::protected_branch).collect())
            .unwrap_or_default()
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let project = core.project(actor, &id, super::auth::DEVELOPER)?;
    let world = core.world();
    let rule = world
        .projects
        .get(&project)
        .and_then(|project| project.protected.iter().find(|rule| rule.name == name))
        .ok_or_else(|| Failure::not_found(""))?;
    reply::ok(wire::protected_branch(rule))
}

pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let project = core.project(actor, &id, MAINTAINER)?;
    let name = params.required("name")?;
    let push_level = branch_level(&params, "push_access_level")?;
    let merge_level = branch_level(&params, "merge_access_level")?;
    let allow_force_push = params.flag("allow_force_push")?.unwrap_or(false);
    let body = core.change(|world| {
        if find(world, project)?
            .protected
            .iter()
            .any(|rule| rule.name == name)
        {
            return Err(Failure::conflict(format!(
                "Protected branch '{name}' already exists"
            )));
        }
        let id = world.next("protected_branch");
        let rule = ProtectedBranch {
            id,
            name,
            push_level,
            merge_level,
            allow_force_push,
        };
        let body = wire::protected_branch(&rule);
        find(world, project)?.protected.push(rule);
        Ok(body)
    })?;
    reply::created(body)
}

fn branch_level(params: &Params, key: &str) -> Result<u8, Failure> {
    match params.number(key)? {
        None => Ok(MAINTAINER),
        Some(level @ (0 | 30 | 40 | 60)) => u8::try_from(level).map_err(|_| Failure::invalid(key)),
        Some(_) => Err(Failure::error(
            http::StatusCode::BAD_REQUEST,
            &format!("{key} does not have a valid value"),
        )),
    }
}

pub(super) async fn delete(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, name)): Path<(String, String)>,
) -> Answer {
    let project = core.project(actor, &id, MAINTAINER)?;
    core.change(|world| {
        let protected = &mut find(world, project)?.protected;
        let at = protected
            .iter()
            .position(|rule| rule.name == name)
            .ok_or_else(|| Failure::not_found(""))?;
        protected.remove(at);
        Ok(())
    })?;
    reply::no_content()
}

/// Whether a user of this level may push to a branch; `forced` means that commits would be lost.
pub(super) fn may_push(project: &Project, branch: &str, level: u8, forced: bool) -> bool {
    match project.protection(branch) {
        None => level >= super::auth::DEVELOPER,
        Some(rule) => rule.push_level > 0 && level >= rule.push_level && (!forced || rule.allow_force_push),
    }
}

/// Whether a user of this level may merge into a branch.
pub(super) fn may_merge(project: &Project, branch: &str, level: u8) -> bool {
    match project.protection(branch) {
        None => level >= super::auth::DEVELOPER,
        Some(rule) => {
            let merge = rule.merge_level > 0 && level >= rule.merge_level;
            merge || (rule.push_level > 0 && level >= rule.push_level)
        }
    }
}
