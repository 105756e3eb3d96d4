//! The pages around a merge request: all projects, a project, an issue.

use super::View;
use super::html::{Page, shown};
use super::markdown;
use super::merge_request::{name, notes};
use crate::sandbox::auth::REPORTER;
use crate::sandbox::core::allow;
use crate::sandbox::failure::Failure;
use crate::sandbox::state::World;

pub(super) fn home(view: &View<'_>) -> String {
    let world = view.core.world();
    let mut page = view.begin(&world, "Projects");
    page.element("h1", "Projects");
    for project in world.projects.values() {
        if view
            .who
            .is_none_or(|actor| allow(&world, project, actor, REPORTER).is_ok())
        {
            page.raw("<p>");
            page.link(&view.project_address(&world, project), &world.full_path(project));
            page.raw("</p>");
        }
    }
    page.finish()
}

pub(super) fn project(view: &View<'_>, id: u64) -> Result<String, Failure> {
    let world = view.core.world();
    let project = world.project(id)?;
    let path = world.full_path(project);
    let mut page = view.begin(&world, &path);
    page.element("h1", &path);
    page.element("p", &project.description);
    page.element(
        "pre",
        &format!("git clone {}", view.core.link(&format!("{path}.git"))),
    );
    page.raw("<p>");
    let branch = &project.default_branch;
    let commits = format!("{}/-/commits/{branch}", view.project_address(&world, project));
    page.link(&commits, &format!("Commits of {branch}"));
    page.raw("</p>");
    page.element("h2", "Merge requests");
    page.raw("<table>");
    for one in project.merge_requests.values().rev() {
        let address = view.address(&world, project, "merge_requests", one.iid);
        row(
            &mut page,
            &world,
            (one.state.word(), &address, "!", one.iid),
            &one.title,
            one.author_id,
        );
        page.element("td", &shown(one.updated_at));
        page.raw("</tr>");
    }
    page.raw("</table>");
    page.element("h2", "Issues");
    page.raw("<table>");
    for issue in project.issues.values().rev() {
        let state = if issue.closed_at.is_some() {
            "closed"
        } else {
            "opened"
        };
        let address = view.address(&world, project, "issues", issue.iid);
        row(
            &mut page,
            &world,
            (state, &address, "#", issue.iid),
            &issue.title,
            issue.author_id,
        );
        page.element("td", &shown(issue.updated_at));
        page.raw("</tr>");
    }
    page.raw("</table>");
    Ok(page.finish())
}

/// The start of a row: state, number, title, author.
fn row(page: &mut Page, world: &World, place: (&str, &str, &str, u64), title: &str, author: u64) {
    let (state, address, sign, iid) = place;
    page.raw("<tr><td>");
    page.state(state);
    page.raw("</td>");
    page.element("td", &format!("{sign}{iid}"));
    page.raw("<td>");
    page.link(address, title);
    page.raw("</td>");
    page.element("td", &format!("@{}", name(world, author)));
}

pub(super) fn issue(view: &View<'_>, id: u64, iid: u64) -> Result<String, Failure> {
    let world = view.core.world();
    let project = world.project(id)?;
    let issue = project
        .issues
        .get(&iid)
        .ok_or_else(|| Failure::not_found("Issue"))?;
    let mut page = view.begin(&world, &format!("{} (#{iid})", issue.title));
    page.raw("<p class=\"dim\">");
    page.link(&view.project_address(&world, project), &world.full_path(project));
    page.text(&format!(" #{iid}"));
    page.raw("</p>");
    page.element("h1", &issue.title);
    page.raw("<p>");
    page.state(if issue.closed_at.is_some() {
        "closed"
    } else {
        "opened"
    });
    page.text(&format!(
        " by @{}, {}",
        name(&world, issue.author_id),
        shown(issue.created_at)
    ));
    page.raw("</p>");
    markdown::render(&mut page, &issue.description);
    page.element("h2", "Comments");
    notes(&mut page, &world, &issue.notes);
    Ok(page.finish())
}

pub(super) fn sign_in(view: &View<'_>, back: &str) -> String {
    let world = view.core.world();
    let mut page = view.begin(&world, "Sign in");
    page.element("h1", "Sign in");
    page.element(
        "p",
        "Paste an access token of yours once; the browser keeps a session, not the token.",
    );
    page.begin_form(&format!("{}/-/sign_in", view.core.prefix));
    page.hidden("back", back);
    page.raw("<input type=\"password\" name=\"token\" autocomplete=\"off\" required autofocus placeholder=\"glpat-…\" aria-label=\"Access token\"><button class=\"main\">Sign in</button></form>");
    page.finish()
}
