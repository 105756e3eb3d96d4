//! Pages for people: projects, merge requests and issues as plain HTML, with buttons for who signed in. Everything on
//! them is escaped, and nothing is scripted.

mod files;
mod html;
mod lists;
mod markdown;
mod merge_request;
mod session;

use std::sync::Arc;

use axum::extract::{FromRequest, Path, Request, State};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::auth::{Actor, Identity, REPORTER};
use super::core::{Core, allow};
use super::failure::Failure;
use super::http_backend::plain;
use super::merge_requests::Place;
use super::params::Params;
use super::state::{Project, World};
use super::{approvals, merging, notes};
use html::Page;
pub(super) use session::Sessions;

/// A page is never scripted and never framed, and its forms come back here.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who looks, and what a form that was refused has to say to them.
struct View<'a> {
    core: &'a Core,
    who: Option<Actor>,
    told: Option<String>,
    /// The page's own path, to come back to after signing in.
    here: String,
}

impl View<'_> {
    fn begin(&self, world: &World, title: &str) -> Page {
        let mut page = Page::new(title);
        page.raw("<header>");
        page.link(&format!("{}/", self.core.prefix), "Sandbox forge");
        page.raw("<span class=\"dim\">a GitLab look-alike on this machine</span>");
        match self.who.and_then(|actor| world.users.get(&actor.0)) {
            Some(user) => {
                page.begin_form(&format!("{}/-/sign_out", self.core.prefix));
                page.text(&format!("@{} ", user.username));
                page.raw("<button>Sign out</button></form>");
            }
            None => {
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                let query = query.append_pair("back", &self.here).finish();
                page.raw("<a class=\"sign\" href=\"");
                page.text(&format!("{}/-/sign_in?{query}", self.core.prefix));
                page.raw("\">Sign in</a>");
            }
        }
        page.raw("</header>");
        if let Some(told) = &self.told {
            page.element_with("p", "class", "told", told);
        }
        page
    }

    /// The path of a project's page, on whatever name of this machine the browser uses.
    fn project_address(&self, world: &World, project: &Project) -> String {
        format!("{}/{}", self.core.prefix, world.full_path(project))
    }

    fn address(&self, world: &World, project: &Project, kind: &'static str, iid: u64) -> String {
        format!("{}/-/{kind}/{iid}", self.project_address(world, project))
    }
}

/// What a path shows.
enum Subject {
    Home,
    SignIn,
    SignOut,
    Project(u64),
    /// A file: branch or commit, and path.
    Blob(u64, String),
    Commit(u64, String),
    Commits(u64, String),
    Issue(u64, u64),
    MergeRequest(Place),
    /// `approve`, `merge` and so on.
    Act(Place, String),
}

impl Subject {
    /// A private project is shown to who looks without signing in, for the sandbox is on loopback only; a signed-in
    /// person sees what they may see.
    fn find(core: &Core, who: Option<Actor>, path: &str) -> Option<Self> {
        match path {
            "" => return Some(Self::Home),
            "-/sign_in" => return Some(Self::SignIn),
            "-/sign_out" => return Some(Self::SignOut),
            _ => {}
        }
        let (project, rest) = path.split_once("/-/").unwrap_or((path, ""));
        let id = {
            let world = core.world();
            let project = world.find_project(project).filter(|_| project.contains('/'))?;
            if let Some(actor) = who {
                allow(&world, project, actor, REPORTER).ok()?;
            }
            project.id
        };
        let named = |prefix| {
            rest.strip_prefix(prefix)
                .filter(|name| !name.is_empty())
                .map(decoded)
        };
        if let Some(name) = named("blob/") {
            return Some(Self::Blob(id, name));
        }
        if let Some(name) = named("commit/") {
            return Some(Self::Commit(id, name));
        }
        if let Some(name) = named("commits/") {
            return Some(Self::Commits(id, name));
        }
        let mut parts = rest.split('/');
        let kind = parts.next().unwrap_or_default();
        let iid = parts.next().and_then(|iid| iid.parse().ok());
        match (kind, iid, parts.next()) {
            ("", None, None) => Some(Self::Project(id)),
            ("issues", Some(iid), None) => Some(Self::Issue(id, iid)),
            ("merge_requests", Some(iid), None) => Some(Self::MergeRequest(Place { project: id, iid })),
            ("merge_requests", Some(iid), Some(act)) => {
                Some(Self::Act(Place { project: id, iid }, act.to_owned()))
            }
            _ => None,
        }
    }
}

/// The answer for a path that is neither the API's nor git's.
pub(super) async fn handle(core: &Arc<Core>, request: Request, path: &str) -> Response {
    let who = match request.extensions().get::<Identity>() {
        Some(Identity::User(id)) => Some(Actor(*id)),
        _ => core.sessions.user(&core.world(), request.headers()),
    };
    let Some(subject) = Subject::find(core, who, path.trim_end_matches('/')) else {
        return plain(StatusCode::NOT_FOUND, "Not found");
    };
    let posting = request.method() == Method::POST;
    let takes_forms = matches!(subject, Subject::SignIn | Subject::SignOut | Subject::Act(..));
    if !(posting && takes_forms || request.method() == Method::GET) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    }
    if posting && !session::is_own_form(request.headers()) {
        return plain(
            StatusCode::FORBIDDEN,
            "This form does not come from a page of this forge",
        );
    }
    let headers = request.headers().clone();
    let view = View {
        core,
        who,
        told: None,
        here: request.uri().path().to_owned(),
    };
    let Ok(params) = Params::from_request(request, &()).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "Too large");
    };
    let mut response = match answer(core, view, subject, posting, &headers, params).await {
        Ok(response) => response,
        Err(_) => plain(StatusCode::NOT_FOUND, "Not found"),
    };
    if let Some(actor) = who {
        response.extensions_mut().insert(actor);
    }
    response
}

async fn answer(
    core: &Arc<Core>,
    mut view: View<'_>,
    subject: Subject,
    posting: bool,
    headers: &HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let back = own_path(core, params.text("back").unwrap_or_default());
    match subject {
        Subject::Home => Ok(shown(StatusCode::OK, lists::home(&view))),
        Subject::Project(id) => Ok(shown(StatusCode::OK, lists::project(&view, id)?)),
        Subject::Blob(id, rest) => Ok(shown(StatusCode::OK, files::blob(&view, id, &rest).await?)),
        Subject::Commit(id, name) => Ok(shown(StatusCode::OK, files::commit(&view, id, &name).await?)),
        Subject::Commits(id, name) => Ok(shown(StatusCode::OK, files::commits(&view, id, &name).await?)),
        Subject::Issue(id, iid) => Ok(shown(StatusCode::OK, lists::issue(&view, id, iid)?)),
        Subject::MergeRequest(place) => Ok(shown(StatusCode::OK, merge_request::page(&view, place).await?)),
        Subject::SignIn if posting => {
            let token = params.text("token").unwrap_or_default();
            match core.sessions.begin(core, token.trim()) {
                Some(cookie) => Ok(with_cookie(see(&back), &cookie)),
                None => {
                    view.told = Some("This is nobody's token, or no longer.".to_owned());
                    Ok(shown(StatusCode::UNAUTHORIZED, lists::sign_in(&view, &back)))
                }
            }
        }
        Subject::SignIn => Ok(shown(StatusCode::OK, lists::sign_in(&view, &back))),
        Subject::SignOut => {
            let cookie = core.sessions.end(core, headers);
            Ok(with_cookie(see(&format!("{}/", core.prefix)), &cookie))
        }
        Subject::Act(place, act) => {
            let Some(actor) = view.who.filter(|_| posting) else {
                return Ok(plain(StatusCode::UNAUTHORIZED, "Sign in first"));
            };
            let address = view
                .here
                .trim_end_matches('/')
                .trim_end_matches(&act)
                .trim_end_matches('/')
                .to_owned();
            match carry_out(core, actor, place, &act, params).await {
                Ok(_) => Ok(see(&address)),
                Err(failure) => {
                    view.told = Some(format!(
                        "Not done. {}",
                        merge_request::refusal(core, place, &act, &failure).await
                    ));
                    view.here = address;
                    Ok(shown(failure.status, merge_request::page(&view, place).await?))
                }
            }
        }
    }
}

/// Does what the API does for the same person.
async fn carry_out(
    core: &Arc<Core>,
    actor: Actor,
    place: Place,
    act: &str,
    params: Params,
) -> Result<Response, Failure> {
    let state = State(Arc::clone(core));
    let path = Path((place.project.to_string(), place.iid.to_string()));
    match act {
        "approve" => approvals::approve(state, actor, path, params).await,
        "unapprove" => approvals::unapprove(state, actor, path).await,
        "merge" => merging::merge(state, actor, path, params).await,
        "rebase" => merging::rebase(state, actor, path).await,
        "notes" => notes::create(state, actor, path, params).await,
        _ => Err(Failure::not_found("")),
    }
}

/// The text behind a path in which anything but plain letters stands as `%` and two digits.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn shown(status: StatusCode, page: String) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Browsers send no usable `Origin` with a form where the policy is `no-referrer`.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, Html(page)).into_response()
}

fn see(address: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let value = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, value);
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// A path of this forge to go back to; anything else becomes the first page.
fn own_path(core: &Core, path: String) -> String {
    let home = format!("{}/", core.prefix);
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if path.starts_with(&home) && !path.starts_with("//") && plain {
        path
    } else {
        home
    }
}
