//! Groups and their members.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use serde_json::{Value, json};

use super::auth::{Actor, OWNER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::params::Params;
use super::state::{Group, Member, Namespace, World};
use super::users::plain_path;
use super::{reply, wire};

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let search = params.text("search").unwrap_or_default().to_lowercase();
    let found: Vec<Value> = {
        let world = core.world();
        world
            .groups
            .values()
            .filter(|group| visible(&world, group, actor))
            .filter(|group| world.group_path(group.id).to_lowercase().contains(&search))
            .map(|group| wire::group(&core, &world, group))
            .collect()
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn create(State(core): State<Arc<Core>>, actor: Actor, params: Params) -> Answer {
    let name = params.required("name")?;
    let path = params.required("path")?;
    let parent_id = params.number("parent_id")?;
    let visibility = visibility(&params)?.unwrap_or_else(|| "private".to_owned());
    if !plain_path(&path) {
        return Err(Failure::bad_request(
            "Failed to save group {:path=>[\"is invalid\"]}",
        ));
    }
    let now = core.now();
    let body = core.change(|world| {
        let full = match parent_id {
            None => path.clone(),
            Some(parent) => {
                let above = world
                    .groups
                    .get(&parent)
                    .ok_or_else(|| Failure::not_found("Group"))?;
                if group_level(world, above.id, actor) < super::auth::MAINTAINER {
                    return Err(Failure::forbidden());
                }
                format!("{}/{path}", world.group_path(parent))
            }
        };
        if world.find_group(&full).is_some() || (parent_id.is_none() && world.user_named(&path).is_some()) {
            return Err(Failure::bad_request(
                "Failed to save group {:path=>[\"has already been taken\"]}",
            ));
        }
        let id = world.next("namespace");
        let members = BTreeMap::from([(
            actor.0,
            Member {
                level: OWNER,
                expires_at: None,
                created_at: now,
                created_by: None,
            },
        )]);
        let group = Group {
            id,
            parent_id,
            path,
            name,
            visibility,
            created_at: now,
            members,
            invited: BTreeMap::new(),
        };
        world.groups.insert(id, group.clone());
        Ok(wire::group(&core, world, &group))
    })?;
    reply::created(body)
}

pub(super) async fn show(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<String>) -> Answer {
    let group = find(&core, actor, &id)?;
    let world = core.world();
    let body = world
        .groups
        .get(&group)
        .map(|group| wire::group(&core, &world, group));
    reply::ok(body.unwrap_or_default())
}

/// Another path or name: <https://docs.gitlab.com/api/groups/#update-group-attributes>. Where the old path leads to is
/// not kept here.
pub(super) async fn update(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let group = find(&core, actor, &id)?;
    let (name, path) = (params.text("name"), params.text("path"));
    if path.as_ref().is_some_and(|path| !plain_path(path)) {
        return Err(Failure::bad_request(
            "Failed to save group {:path=>[\"is invalid\"]}",
        ));
    }
    let body = core.change(|world| {
        owner(world, group, actor)?;
        let known = world
            .groups
            .get_mut(&group)
            .ok_or_else(|| Failure::not_found("Group"))?;
        known.name = name.unwrap_or_else(|| known.name.clone());
        known.path = path.unwrap_or_else(|| known.path.clone());
        let known = known.clone();
        Ok(wire::group(&core, world, &known))
    })?;
    reply::ok(body)
}

/// Gone at once, if there is nothing in it: <https://docs.gitlab.com/api/groups/#delete-a-group>.
pub(super) async fn remove(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<String>) -> Answer {
    let group = find(&core, actor, &id)?;
    core.change(|world| {
        owner(world, group, actor)?;
        let holds_something = world.groups.values().any(|other| other.parent_id == Some(group))
            || world
                .projects
                .values()
                .any(|project| project.namespace == Namespace::Group(group));
        if holds_something {
            return Err(Failure::bad_request("the sandbox deletes empty groups only"));
        }
        world.groups.remove(&group);
        Ok(())
    })?;
    reply::created(json!({"message": "202 Accepted"}))
}

/// Invites a group: <https://docs.gitlab.com/api/groups/#invite-groups>.
pub(super) async fn share(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let group = find(&core, actor, &id)?;
    let invited = params
        .number("group_id")?
        .ok_or_else(|| Failure::invalid("group_id"))?;
    let most = params.number("group_access")?.unwrap_or_default();
    let most = u8::try_from(most).map_err(|_| Failure::invalid("group_access"))?;
    let body = core.change(|world| {
        owner(world, group, actor)?;
        if !world.groups.contains_key(&invited) {
            return Err(Failure::not_found("Group"));
        }
        let known = world
            .groups
            .get_mut(&group)
            .ok_or_else(|| Failure::not_found("Group"))?;
        known.invited.insert(invited, most);
        let known = known.clone();
        Ok(wire::group(&core, world, &known))
    })?;
    reply::created(body)
}

pub(super) async fn projects(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let group = find(&core, actor, &id)?;
    let search = params.text("search").unwrap_or_default().to_lowercase();
    let found: Vec<u64> = {
        let world = core.world();
        world
            .projects
            .values()
            .filter(|project| project.namespace == Namespace::Group(group))
            .filter(|project| project.allows_private_read() || world.level(project, actor.0) > 0)
            .filter(|project| {
                [&project.name, &project.path]
                    .iter()
                    .any(|text| text.to_lowercase().contains(&search))
            })
            .map(|project| project.id)
            .collect()
    };
    let found = super::projects::listed(&core, actor, &found).await?;
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn members(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let group = find_open(&core, actor, &id)?;
    let found = {
        let world = core.world();
        list_members(&core, &world, &world.group_members(group))
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, user)): Path<(String, u64)>,
) -> Answer {
    let group = find_open(&core, actor, &id)?;
    let world = core.world();
    one_member(&core, &world, &world.group_members(group), user)
}

pub(super) async fn direct_members(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let group = find_open(&core, actor, &id)?;
    let found = {
        let world = core.world();
        let members = world
            .groups
            .get(&group)
            .map(|group| group.members.clone())
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
    let group = find_open(&core, actor, &id)?;
    let world = core.world();
    let members = world
        .groups
        .get(&group)
        .map(|group| group.members.clone())
        .unwrap_or_default();
    one_member(&core, &world, &members, user)
}

pub(super) async fn add_member(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let group = find(&core, actor, &id)?;
    let user = params
        .number("user_id")?
        .ok_or_else(|| Failure::invalid("user_id"))?;
    let level = access_level(&params)?;
    let until = expiry(&params)?;
    let now = core.now();
    let body = core.change(|world| {
        owner(world, group, actor)?;
        let record = world
            .users
            .get(&user)
            .cloned()
            .ok_or_else(|| Failure::not_found("User"))?;
        let group = world
            .groups
            .get_mut(&group)
            .ok_or_else(|| Failure::not_found("Group"))?;
        let mut member = add(&mut group.members, user, level, (now, actor))?;
        member.expires_at = until;
        group.members.insert(user, member);
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
    let group = find(&core, actor, &id)?;
    let level = access_level(&params)?;
    let body = core.change(|world| {
        owner(world, group, actor)?;
        let record = world
            .users
            .get(&user)
            .cloned()
            .ok_or_else(|| Failure::not_found("User"))?;
        let group = world
            .groups
            .get_mut(&group)
            .ok_or_else(|| Failure::not_found("Group"))?;
        let member = group
            .members
            .get_mut(&user)
            .ok_or_else(|| Failure::not_found("Member"))?;
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
    let group = find(&core, actor, &id)?;
    core.change(|world| {
        owner(world, group, actor)?;
        let group = world
            .groups
            .get_mut(&group)
            .ok_or_else(|| Failure::not_found("Group"))?;
        group
            .members
            .remove(&user)
            .ok_or_else(|| Failure::not_found("Member"))
    })?;
    reply::no_content()
}

fn find(core: &Core, actor: Actor, key: &str) -> Result<u64, Failure> {
    let world = core.world();
    match world.find_group(key) {
        Some(group) if visible(&world, group, actor) => Ok(group.id),
        _ => Err(Failure::not_found("Group")),
    }
}

/// A group whose members the user may know: whoever sees a private group only because of a project in it may not.
fn find_open(core: &Core, actor: Actor, key: &str) -> Result<u64, Failure> {
    let id = find(core, actor, key)?;
    let world = core.world();
    match world.groups.get(&id) {
        Some(group) if group.visibility != "private" || group_level(&world, id, actor) > 0 => Ok(id),
        _ => Err(Failure::forbidden()),
    }
}

fn visible(world: &World, group: &Group, actor: Actor) -> bool {
    group.visibility != "private"
        || group_level(world, group.id, actor) > 0
        || world
            .projects
            .values()
            .filter(|project| world.level(project, actor.0) > 0)
            .any(|project| match project.namespace {
                Namespace::Group(id) => world.is_within(id, group.id),
                Namespace::User(_) => false,
            })
}

/// The level a user acts with in a group; administrators act as owners.
pub(super) fn group_level(world: &World, group: u64, actor: Actor) -> u8 {
    match world.users.get(&actor.0) {
        Some(user) if user.admin => OWNER,
        _ => world
            .group_members(group)
            .get(&actor.0)
            .map_or(0, |member| member.level),
    }
}

fn owner(world: &World, group: u64, actor: Actor) -> Result<(), Failure> {
    if group_level(world, group, actor) < OWNER {
        Err(Failure::forbidden())
    } else {
        Ok(())
    }
}

pub(super) fn visibility(params: &Params) -> Result<Option<String>, Failure> {
    match params.text("visibility") {
        None => Ok(None),
        Some(word) if ["private", "internal", "public"].contains(&word.as_str()) => Ok(Some(word)),
        Some(_) => Err(Failure::error(
            http::StatusCode::BAD_REQUEST,
            "visibility does not have a valid value",
        )),
    }
}

pub(super) fn access_level(params: &Params) -> Result<u8, Failure> {
    let level = params.number("access_level")?;
    match level.and_then(|level| u8::try_from(level).ok()) {
        Some(level @ (5 | 10 | 15 | 20 | 30 | 40 | 50)) => Ok(level),
        Some(_) => Err(Failure::bad_request(
            json!({"access_level": ["is not included in the list"]}),
        )),
        None => Err(Failure::error(
            http::StatusCode::BAD_REQUEST,
            "access_level is missing",
        )),
    }
}

/// `expires_at`, a day: <https://docs.gitlab.com/api/group_members/#add-a-group-member>.
fn expiry(params: &Params) -> Result<Option<jiff::civil::Date>, Failure> {
    params
        .text("expires_at")
        .map(|day| day.parse().map_err(|_| Failure::invalid("expires_at")))
        .transpose()
}

pub(super) fn add(
    members: &mut BTreeMap<u64, Member>,
    user: u64,
    level: u8,
    (now, by): (jiff::Timestamp, Actor),
) -> Result<Member, Failure> {
    if members.contains_key(&user) {
        return Err(Failure::conflict("Member already exists"));
    }
    let member = Member {
        level,
        expires_at: None,
        created_at: now,
        created_by: Some(by.0),
    };
    members.insert(user, member);
    Ok(member)
}

pub(super) fn list_members(core: &Core, world: &World, members: &BTreeMap<u64, Member>) -> Vec<Value> {
    members
        .iter()
        .filter_map(|(id, member)| Some(wire::member(core, world, world.users.get(id)?, *member)))
        .collect()
}

pub(super) fn one_member(core: &Core, world: &World, members: &BTreeMap<u64, Member>, user: u64) -> Answer {
    match (world.users.get(&user), members.get(&user)) {
        (Some(record), Some(member)) => reply::ok(wire::member(core, world, record, *member)),
        _ => Err(Failure::not_found("")),
    }
}
