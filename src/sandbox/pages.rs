//! Pages for people: a merge request as plain HTML. Everything on them is escaped.

use axum::extract::Request;
use axum::response::{Html, IntoResponse, Response};
use http::{Method, StatusCode, header};

use super::auth::{Actor, Identity, REPORTER};
use super::core::{Core, allow};
use super::failure::Failure;
use super::git::FileDiff;
use super::http_backend::plain;
use super::merge_requests::Place;
use super::statuses::latest;
use super::wire::time;

/// A page is never scripted and never framed.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
pre{white-space:pre-wrap;background:#f5f5f5;padding:.7rem;overflow-x:auto}\
.state{border:1px solid;border-radius:.3rem;padding:0 .4rem}td{padding-right:1.5rem}";

/// The page of a path that contains `/-/`. The sandbox is on loopback only, so a browser needs no sign-in; one
/// that sends a token sees what its user may see.
pub(super) async fn handle(core: &Core, request: &Seen, path: &str) -> Response {
    if request.method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    }
    let Some((project, iid)) = path.split_once("/-/merge_requests/") else {
        return plain(StatusCode::NOT_FOUND, "Not found");
    };
    match merge_request(core, &request.identity, project, iid).await {
        Ok(page) => {
            let headers = [
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, Html(page)).into_response()
        }
        Err(_) => plain(StatusCode::NOT_FOUND, "Not found"),
    }
}

/// What a page needs of a request.
pub(super) struct Seen {
    method: Method,
    identity: Identity,
}

impl Seen {
    pub(super) fn of(request: &Request) -> Self {
        let identity = request
            .extensions()
            .get::<Identity>()
            .cloned()
            .unwrap_or(Identity::Anonymous);
        Self {
            method: request.method().clone(),
            identity,
        }
    }
}

async fn merge_request(
    core: &Core,
    identity: &Identity,
    project: &str,
    iid: &str,
) -> Result<String, Failure> {
    let iid: u64 = iid
        .trim_end_matches('/')
        .parse()
        .map_err(|_| Failure::not_found(""))?;
    let place = {
        let world = core.world();
        let project = world
            .find_project(project)
            .ok_or_else(|| Failure::not_found("Project"))?;
        if let Some(user) = identity.user() {
            allow(&world, project, Actor(user), REPORTER)?;
        }
        Place {
            project: project.id,
            iid,
        }
    };
    let version = place.read(&core.world(), |_, one| one.versions.last().cloned())?;
    let files = match version {
        Some(version) => {
            core.repository(place.project)
                .diff(&version.base, &version.head)
                .await?
        }
        None => Vec::new(),
    };
    let world = core.world();
    place.read(&world, |project, one| {
        let name = |id: u64| {
            world
                .users
                .get(&id)
                .map(|user| user.username.clone())
                .unwrap_or_default()
        };
        let mut page = Page::new(&format!("{} (!{})", one.title, one.iid));
        page.element("h1", &one.title);
        page.element("p", &format!("{}!{}", world.full_path(project), one.iid));
        page.raw("<p><span class=\"state\">");
        page.text(if one.draft() { "draft" } else { one.state.word() });
        page.raw("</span> ");
        page.text(&format!(
            "@{} wants to merge {} into {}, {}",
            name(one.author_id),
            one.source_branch,
            one.target_branch,
            time(one.created_at)
        ));
        page.raw("</p>");
        page.element("pre", &one.description);
        page.element("h2", "Approvals");
        for approval in &one.approvals {
            page.element(
                "p",
                &format!("@{} approved, {}", name(approval.user_id), time(approval.at)),
            );
        }
        page.element("h2", "Statuses");
        page.raw("<table>");
        for status in latest(project, one.head()) {
            page.raw("<tr>");
            for cell in [
                &status.name,
                &status.status,
                &status.description.clone().unwrap_or_default(),
            ] {
                page.element("td", cell);
            }
            page.raw("</tr>");
        }
        page.raw("</table>");
        page.element("h2", "Comments");
        for note in &one.notes {
            if note.system {
                page.element(
                    "p",
                    &format!(
                        "@{} {}, {}",
                        name(note.author_id),
                        note.body,
                        time(note.created_at)
                    ),
                );
            } else {
                page.element(
                    "h3",
                    &format!("@{}, {}", name(note.author_id), time(note.created_at)),
                );
                page.element("pre", &note.body);
            }
        }
        page.element("h2", "Changes");
        for file in &files {
            page.diff(file);
        }
        page.finish()
    })
}

/// HTML under construction; text goes through `text`, and only fixed markup through `raw`.
struct Page(String);

impl Page {
    fn new(title: &str) -> Self {
        let mut page = Self(String::from(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">",
        ));
        page.element("title", title);
        page.raw("<style>");
        page.raw(STYLE);
        page.raw("</style></head><body>");
        page
    }

    fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                _ => self.0.push(letter),
            }
        }
    }

    fn element(&mut self, name: &'static str, text: &str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        self.text(text);
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    fn diff(&mut self, file: &FileDiff) {
        let what = match file.kind {
            'A' => "added",
            'D' => "deleted",
            'R' => "renamed",
            _ => "changed",
        };
        self.element("h3", &format!("{} ({what})", file.new_path));
        self.element("pre", &file.text);
    }

    fn finish(mut self) -> String {
        self.raw("</body></html>");
        self.0
    }
}
