//! The router, and what happens around every request: who asks, faults to order, rate-limit headers, the log.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use http::{HeaderValue, StatusCode};

use super::auth::{Actor, Identity, identify, shown_query};
use super::core::Core;
use super::failure::Failure;
use super::faults::RequestAction;
use super::params::LARGEST_BODY;
use super::{
    AccessLogEntry, approvals, commits, events, files, groups, hooks, http_backend, issues, merge_requests,
    merging, notes, opening, projects, protection, state_events, statuses, trains, users, versions,
};

/// Calls a minute that the headers speak of when no limit was ordered.
const NOMINAL_LIMIT: u64 = 2000;

pub(super) fn router(core: Arc<Core>) -> Router {
    let api = people()
        .merge(project_routes())
        .merge(merge_request_routes())
        .merge(repository_routes())
        .fallback(async || Failure::not_found(""))
        .method_not_allowed_fallback(async || {
            Failure::error(StatusCode::METHOD_NOT_ALLOWED, "405 Not Allowed")
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY));
    let routes = Router::new().nest(&format!("{}/api/v4", core.prefix), api);
    routes
        .fallback(http_backend::handle)
        .layer(middleware::from_fn_with_state(Arc::clone(&core), around))
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .with_state(core)
}

fn people() -> Router<Arc<Core>> {
    Router::new()
        .route("/version", get(users::version))
        .route("/metadata", get(users::version))
        .route("/user", get(users::current))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{id}", get(users::show).put(users::update))
        .route("/users/{id}/emails", post(users::add_email))
        .route("/service_accounts", post(users::create_service_account))
        .route("/projects/{id}/access_tokens", post(users::create_project_token))
        .route("/users/{id}/block", post(users::block))
        .route("/users/{id}/unblock", post(users::unblock))
        .route("/users/{id}/personal_access_tokens", post(users::create_token))
        .route(
            "/personal_access_tokens/self",
            get(users::own_token).delete(users::revoke_own_token),
        )
        .route("/groups", get(groups::list).post(groups::create))
        .route(
            "/groups/{id}",
            get(groups::show).put(groups::update).delete(groups::remove),
        )
        .route("/groups/{id}/share", post(groups::share))
        .route("/groups/{id}/projects", get(groups::projects))
        .route(
            "/groups/{id}/members",
            get(groups::direct_members).post(groups::add_member),
        )
        .route("/groups/{id}/members/all", get(groups::members))
        .route("/groups/{id}/members/all/{user}", get(groups::member))
        .route(
            "/groups/{id}/members/{user}",
            get(groups::direct_member)
                .put(groups::update_member)
                .delete(groups::remove_member),
        )
}

fn project_routes() -> Router<Arc<Core>> {
    Router::new()
        .route("/projects", get(projects::list).post(projects::create))
        .route(
            "/projects/{id}",
            get(projects::show).put(projects::update).delete(projects::delete),
        )
        .route("/projects/{id}/fork", post(projects::fork))
        .route("/projects/{id}/transfer", put(projects::transfer))
        .route(
            "/projects/{id}/members",
            get(protection::direct_members).post(protection::add_member),
        )
        .route("/projects/{id}/members/all", get(protection::members))
        .route("/projects/{id}/members/all/{user}", get(protection::member))
        .route(
            "/projects/{id}/members/{user}",
            get(protection::direct_member)
                .put(protection::update_member)
                .delete(protection::remove_member),
        )
        .route(
            "/projects/{id}/protected_branches",
            get(protection::list).post(protection::create),
        )
        .route(
            "/projects/{id}/protected_branches/{name}",
            get(protection::show).delete(protection::delete),
        )
        .route("/projects/{id}/hooks", get(hooks::list).post(hooks::create))
        .route(
            "/projects/{id}/hooks/{hook}",
            get(hooks::show).put(hooks::update).delete(hooks::delete),
        )
        .route("/projects/{id}/hooks/{hook}/test/{trigger}", post(hooks::test))
        .route("/projects/{id}/events", get(events::list))
        .route("/projects/{id}/issues", get(issues::list).post(issues::create))
        .route(
            "/projects/{id}/issues/{iid}",
            get(issues::show).put(issues::update),
        )
        .route(
            "/projects/{id}/issues/{iid}/notes",
            get(notes::list_on_issue).post(notes::create_on_issue),
        )
        .route(
            "/projects/{id}/issues/{iid}/notes/{note}/award_emoji",
            post(notes::award_on_issue),
        )
        .route(
            "/projects/{id}/issues/{iid}/notes/{note}",
            get(notes::show_on_issue)
                .put(notes::update_on_issue)
                .delete(notes::delete_on_issue),
        )
}

fn merge_request_routes() -> Router<Arc<Core>> {
    Router::new()
        .route(
            "/projects/{id}/merge_requests",
            get(merge_requests::list).post(opening::create),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}",
            get(merge_requests::show).put(merge_requests::update),
        )
        .route("/projects/{id}/merge_requests/{iid}/merge", put(merging::merge))
        .route("/projects/{id}/merge_requests/{iid}/rebase", put(merging::rebase))
        .route("/projects/{id}/merge_trains", get(trains::list))
        .route("/projects/{id}/merge_trains/{branch}", get(trains::of_branch))
        .route(
            "/projects/{id}/merge_trains/merge_requests/{iid}",
            get(trains::show).post(trains::create),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/versions",
            get(versions::list),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/versions/{version}",
            get(versions::show),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/commits",
            get(versions::commits),
        )
        .route("/projects/{id}/merge_requests/{iid}/diffs", get(versions::diffs))
        .route(
            "/projects/{id}/merge_requests/{iid}/changes",
            get(versions::changes),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/approvals",
            get(approvals::show),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/approve",
            post(approvals::approve),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/unapprove",
            post(approvals::unapprove),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/reset_approvals",
            put(approvals::reset),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/resource_state_events",
            get(state_events::list),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/notes/{note}/award_emoji",
            post(notes::award),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/notes",
            get(notes::list).post(notes::create),
        )
        .route(
            "/projects/{id}/merge_requests/{iid}/notes/{note}",
            get(notes::show).put(notes::update).delete(notes::delete),
        )
}

fn repository_routes() -> Router<Arc<Core>> {
    Router::new()
        .route("/projects/{id}/statuses/{sha}", post(statuses::create))
        .route(
            "/projects/{id}/repository/commits",
            get(commits::list).post(commits::create),
        )
        .route("/projects/{id}/repository/commits/{sha}", get(commits::show))
        .route("/projects/{id}/repository/commits/{sha}/diff", get(commits::diff))
        .route(
            "/projects/{id}/repository/commits/{sha}/statuses",
            get(statuses::list),
        )
        .route(
            "/projects/{id}/repository/commits/{sha}/merge_requests",
            get(merge_requests::of_commit),
        )
        .route("/projects/{id}/repository/compare", get(commits::compare))
        .route("/projects/{id}/repository/files/{path}", get(files::show))
        .route("/projects/{id}/repository/files/{path}/raw", get(files::raw))
        .route("/projects/{id}/repository/tree", get(files::tree))
        .route(
            "/projects/{id}/repository/branches",
            get(files::branches).post(files::create_branch),
        )
        .route(
            "/projects/{id}/repository/branches/{name}",
            get(files::branch).delete(files::delete_branch),
        )
}

async fn around(State(core): State<Arc<Core>>, mut request: Request, next: Next) -> Response {
    let identity = identify(&core.world(), request.headers(), request.uri());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query = shown_query(request.uri());
    request.extensions_mut().insert(identity.clone());
    let (limit, observed) = count(&core, &identity);
    let action = match core.faults.limit() {
        Some(allowed) if observed > allowed => Some(RequestAction::RateLimited {
            retry_after: std::time::Duration::from_secs(seconds_left(&core)),
        }),
        _ => {
            let caller = username(&core, identity.user());
            core.faults.request_action(&method, &path, caller.as_deref())
        }
    };
    let mut response = match action {
        None => next.run(request).await,
        Some(RequestAction::Status(status)) => ordered(status),
        Some(RequestAction::LostAnswer(status)) => {
            next.run(request).await;
            ordered(status)
        }
        Some(RequestAction::Delay(for_long)) => {
            wait(for_long).await;
            next.run(request).await
        }
        Some(RequestAction::RateLimited { retry_after }) => {
            let mut response = (StatusCode::TOO_MANY_REQUESTS, "Retry later\n").into_response();
            set(&mut response, "retry-after", retry_after.as_secs());
            response
        }
    };
    let refused = response.status() == StatusCode::TOO_MANY_REQUESTS;
    set(&mut response, "ratelimit-limit", limit);
    set(&mut response, "ratelimit-observed", observed);
    set(
        &mut response,
        "ratelimit-remaining",
        if refused {
            0
        } else {
            limit.saturating_sub(observed)
        },
    );
    let left = seconds_left(&core);
    set(
        &mut response,
        "ratelimit-reset",
        core.now().as_second().unsigned_abs() + left,
    );
    let request_id = core.fresh_id().to_string();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let visitor = response.extensions().get::<Actor>().map(|actor| actor.0);
    let user = username(&core, identity.user().or(visitor));
    let status = response.status().as_u16();
    let entry = AccessLogEntry {
        at: core.now(),
        user,
        method: method.to_string(),
        path,
        query,
        status,
    };
    core.log().push(entry);
    response
}

fn username(core: &Core, id: Option<u64>) -> Option<String> {
    core.world().users.get(&id?).map(|user| user.username.clone())
}

fn ordered(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let words = format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error")
    );
    Failure::message(status, words).into_response()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a delay that was ordered is about real time on a real connection"
)]
async fn wait(for_long: std::time::Duration) {
    tokio::time::sleep(for_long).await;
}

/// Counts a call in its user's current minute.
fn count(core: &Core, identity: &Identity) -> (u64, u64) {
    let minute = core.now().as_second().div_euclid(60);
    let mut calls = core
        .calls
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let entry = calls.entry(identity.user()).or_insert((minute, 0));
    if entry.0 != minute {
        *entry = (minute, 0);
    }
    entry.1 += 1;
    (core.faults.limit().unwrap_or(NOMINAL_LIMIT), entry.1)
}

fn seconds_left(core: &Core) -> u64 {
    60 - core.now().as_second().rem_euclid(60).unsigned_abs()
}

fn set(response: &mut Response, name: &'static str, value: u64) {
    response.headers_mut().insert(name, HeaderValue::from(value));
}
