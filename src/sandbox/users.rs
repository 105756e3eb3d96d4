//! People: the current one, look-ups, and an administrator's making of users and tokens.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::auth::{Actor, MAINTAINER, credential, digest};
use super::core::{Core, insert_user};
use super::failure::{Answer, Failure};
use super::groups::{access_level, add};
use super::params::Params;
use super::state::World;
use super::{GITLAB_VERSION, Tier, reply, wire};

pub(super) async fn version(State(core): State<Arc<Core>>, _: Actor) -> Answer {
    reply::ok(json!({
        "version": GITLAB_VERSION,
        "revision": "landfall",
        "kas": {"enabled": false, "externalUrl": null, "version": null},
        "enterprise": core.options.tier == Tier::Premium,
    }))
}

pub(super) async fn current(State(core): State<Arc<Core>>, actor: Actor) -> Answer {
    let world = core.world();
    let user = world.users.get(&actor.0).ok_or_else(Failure::unauthorized)?;
    reply::ok(wire::full_user(&core, user))
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let found: Vec<Value> = {
        let world = core.world();
        let administrator = is_administrator(&world, actor);
        let username = params.text("username");
        let search = params.text("search").map(|text| text.to_lowercase());
        world
            .users
            .values()
            .filter(|user| {
                username
                    .as_ref()
                    .is_none_or(|wanted| user.username.eq_ignore_ascii_case(wanted))
            })
            .filter(|user| {
                search.as_ref().is_none_or(|wanted| {
                    // Addresses that are not shown are searched for administrators only:
                    // <https://docs.gitlab.com/api/users/#list-users>.
                    let is_wanted = |address: &str| address.to_lowercase() == *wanted;
                    user.username.to_lowercase().contains(wanted)
                        || user.name.to_lowercase().contains(wanted)
                        || user.public_email.as_deref().is_some_and(is_wanted)
                        || administrator
                            && (is_wanted(&user.email)
                                || user.more_emails.iter().any(|address| is_wanted(address)))
                })
            })
            .map(|user| {
                if administrator {
                    wire::full_user(&core, user)
                } else {
                    wire::user(&core, user)
                }
            })
            .collect()
    };
    reply::page(&core, &uri, &params, found)
}

pub(super) async fn show(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<String>) -> Answer {
    let world = core.world();
    let id: u64 = id.parse().map_err(|_| Failure::invalid("id"))?;
    let user = world.users.get(&id).ok_or_else(|| Failure::not_found("User"))?;
    let full = is_administrator(&world, actor);
    reply::ok(if full {
        wire::full_user(&core, user)
    } else {
        wire::profile(&core, user)
    })
}

/// Another address in the profile: <https://docs.gitlab.com/api/users/#update-a-user>.
pub(super) async fn update(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<u64>,
    params: Params,
) -> Answer {
    administrator(&core, actor)?;
    let body = core.change(|world| {
        let user = world
            .users
            .get_mut(&id)
            .ok_or_else(|| Failure::not_found("User"))?;
        if let Some(address) = params.text("public_email") {
            user.public_email = Some(address).filter(|address| !address.is_empty());
        }
        Ok(wire::full_user(&core, user))
    })?;
    reply::ok(body)
}

/// A further address: <https://docs.gitlab.com/api/user_email_addresses/#add-an-email-address-for-a-user>.
pub(super) async fn add_email(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<u64>,
    params: Params,
) -> Answer {
    administrator(&core, actor)?;
    let email = params.required("email")?;
    core.change(|world| {
        let user = world
            .users
            .get_mut(&id)
            .ok_or_else(|| Failure::not_found("User"))?;
        user.more_emails.push(email.clone());
        Ok(())
    })?;
    reply::created(json!({"id": 1, "email": email, "confirmed_at": wire::time(core.now())}))
}

/// An account of no person, for programs: <https://docs.gitlab.com/api/service_accounts/>.
pub(super) async fn create_service_account(
    State(core): State<Arc<Core>>,
    actor: Actor,
    params: Params,
) -> Answer {
    administrator(&core, actor)?;
    let username = params.required("username")?;
    let now = core.now();
    let body = core.change(|world| {
        let email = format!("{username}@noreply.example.test");
        let id = insert_user(world, now, &username, &username, &email, false);
        let user = world
            .users
            .get_mut(&id)
            .ok_or_else(|| Failure::not_found("User"))?;
        (user.bot, user.public_email) = (true, None);
        Ok(wire::full_user(&core, user))
    })?;
    reply::created(body)
}

/// An access token of a project: with it comes a user of its own, a member of the project:
/// <https://docs.gitlab.com/user/project/settings/project_access_tokens/#bot-users-for-projects>.
pub(super) async fn create_project_token(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(project): Path<String>,
    params: Params,
) -> Answer {
    let project = core.project(actor, &project, MAINTAINER)?;
    let name = params.required("name")?;
    let level = access_level(&params)?;
    let now = core.now();
    let body = core.change(|world| {
        let username = format!("project_{project}_bot_{}", core.fresh_id().simple());
        let email = format!("{username}@noreply.example.test");
        let id = insert_user(world, now, &username, &name, &email, false);
        let user = world
            .users
            .get_mut(&id)
            .ok_or_else(|| Failure::not_found("User"))?;
        (user.bot, user.public_email, user.created_by) = (true, None, Some(actor.0));
        let token = core.insert_token(world, id, &name);
        add(&mut world.project_mut(project)?.members, id, level, (now, actor))?;
        Ok(json!({
            "id": id, "name": name, "user_id": id, "username": username, "token": token, "scopes": ["api"],
            "access_level": level, "active": true, "revoked": false, "expires_at": null,
        }))
    })?;
    reply::created(body)
}

pub(super) async fn create(State(core): State<Arc<Core>>, actor: Actor, params: Params) -> Answer {
    administrator(&core, actor)?;
    let username = params.required("username")?;
    let name = params.required("name")?;
    let email = params.required("email")?;
    let admin = params.flag("admin")?.unwrap_or(false);
    if !plain_path(&username) {
        return Err(Failure::bad_request(
            json!({"username": ["can contain only letters, digits, '_', '-' and '.'"]}),
        ));
    }
    let now = core.now();
    let body = core.change(|world| {
        if world.user_named(&username).is_some() || world.find_group(&username).is_some() {
            return Err(Failure::conflict("Username has already been taken"));
        }
        if world
            .users
            .values()
            .any(|user| user.email.eq_ignore_ascii_case(&email))
        {
            return Err(Failure::conflict("Email has already been taken"));
        }
        let id = insert_user(world, now, &username, &name, &email, admin);
        Ok(world
            .users
            .get(&id)
            .map(|user| wire::full_user(&core, user))
            .unwrap_or_default())
    })?;
    reply::created(body)
}

pub(super) async fn block(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<u64>) -> Answer {
    set_blocked(&core, actor, id, true)
}

pub(super) async fn unblock(State(core): State<Arc<Core>>, actor: Actor, Path(id): Path<u64>) -> Answer {
    set_blocked(&core, actor, id, false)
}

fn set_blocked(core: &Core, actor: Actor, id: u64, blocked: bool) -> Answer {
    administrator(core, actor)?;
    core.change(|world| {
        let user = world
            .users
            .get_mut(&id)
            .ok_or_else(|| Failure::not_found("User"))?;
        user.blocked = blocked;
        Ok(())
    })?;
    reply::created(json!(true))
}

pub(super) async fn create_token(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<u64>,
    params: Params,
) -> Answer {
    administrator(&core, actor)?;
    let name = params.required("name")?;
    let scopes = params.list("scopes").unwrap_or_default();
    let now = core.now();
    let token = core.change(|world| {
        if !world.users.contains_key(&id) {
            return Err(Failure::not_found("User"));
        }
        Ok(core.insert_token(world, id, &name))
    })?;
    let token_id = core
        .world()
        .users
        .get(&id)
        .and_then(|user| user.tokens.last().map(|token| token.id))
        .unwrap_or_default();
    reply::created(json!({
        "id": token_id, "name": name, "revoked": false, "created_at": wire::time(now), "description": null,
        "scopes": scopes, "user_id": id, "last_used_at": null, "active": true,
        "expires_at": params.text("expires_at"), "token": token,
    }))
}

pub(super) async fn own_token(
    State(core): State<Arc<Core>>,
    actor: Actor,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let world = core.world();
    let user = world.users.get(&actor.0).ok_or_else(Failure::unauthorized)?;
    let sought = credential(&headers, &uri).map(|token| digest(&token));
    let token = user
        .tokens
        .iter()
        .find(|token| Some(&token.sha256) == sought.as_ref())
        .ok_or_else(|| Failure::not_found(""))?;
    reply::ok(json!({
        "id": token.id, "name": token.name, "revoked": false, "active": true, "scopes": ["api"],
        "created_at": wire::time(user.created_at), "user_id": user.id, "expires_at": null,
    }))
}

pub(super) async fn revoke_own_token(
    State(core): State<Arc<Core>>,
    actor: Actor,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let sought = credential(&headers, &uri).map(|token| digest(&token));
    core.change(|world| {
        let user = world.users.get_mut(&actor.0).ok_or_else(Failure::unauthorized)?;
        for token in &mut user.tokens {
            token.revoked |= Some(&token.sha256) == sought.as_ref();
        }
        Ok(())
    })?;
    reply::no_content()
}

fn is_administrator(world: &World, actor: Actor) -> bool {
    world.users.get(&actor.0).is_some_and(|user| user.admin)
}

fn administrator(core: &Core, actor: Actor) -> Result<(), Failure> {
    let world = core.world();
    if is_administrator(&world, actor) {
        Ok(())
    } else {
        Err(Failure::forbidden())
    }
}

/// A path that GitLab accepts for users, groups and projects.
pub(super) fn plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let starts_plainly = path
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let reserved = [".git", ".atom", ".", "-"].iter().any(|end| path.ends_with(end));
    starts_plainly && !reserved && path.len() <= 255 && path.bytes().all(plain) && path != "api"
}
