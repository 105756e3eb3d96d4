//! The page of a merge request, good enough to review and merge by hand.

use super::View;
use super::html::{Page, shown};
use super::markdown;
use crate::sandbox::auth::DEVELOPER;
use crate::sandbox::core::Core;
use crate::sandbox::failure::Failure;
use crate::sandbox::git::FileDiff;
use crate::sandbox::merge_requests::{Place, merge_status};
use crate::sandbox::protection::may_merge;
use crate::sandbox::state::{MergeRequest, MergeRequestState, Note, Project, World};
use crate::sandbox::statuses::latest;
use http::StatusCode;

pub(super) async fn page(view: &View<'_>, place: Place) -> Result<String, Failure> {
    let core = view.core;
    let version = place.read(&core.world(), |_, one| one.versions.last().cloned())?;
    let files = match version {
        Some(version) => {
            core.repository(place.project)
                .diff(&version.base, &version.head)
                .await?
        }
        None => Vec::new(),
    };
    let status = merge_status(core, place).await?;
    let world = core.world();
    place.read(&world, |project, one| {
        let mut page = view.begin(&world, &format!("{} (!{})", one.title, one.iid));
        head(view, &mut page, &world, project, one);
        if one.state == MergeRequestState::Opened {
            acts(view, &mut page, &world, project, one, status);
        }
        if !one.description.is_empty() {
            markdown::render(&mut page, &one.description);
        }
        facts(&mut page, &world, project, one);
        page.element("h2", "Comments");
        notes(&mut page, &world, &one.notes);
        if view.who.is_some() {
            page.begin_form(&format!("{}/notes", view.address(&world, project, "merge_requests", one.iid)));
            page.raw("<textarea name=\"body\" rows=\"3\" required aria-label=\"Comment\"></textarea><button>Comment</button></form>");
        }
        changes(&mut page, &files);
        page.finish()
    })
}

fn head(view: &View<'_>, page: &mut Page, world: &World, project: &Project, one: &MergeRequest) {
    page.raw("<p class=\"dim\">");
    page.link(&view.project_address(world, project), &world.full_path(project));
    page.text(&format!(" !{}", one.iid));
    page.raw("</p>");
    page.element("h1", &one.title);
    page.raw("<p>");
    page.state(one.state.word());
    if one.draft() {
        page.raw(" <span class=\"state\">draft</span>");
    }
    page.text(&format!(
        " @{} wants to merge {} into {}, {}",
        name(world, one.author_id),
        one.source_branch,
        one.target_branch,
        shown(one.created_at)
    ));
    page.raw("</p>");
}

/// What the visitor may do, guarded by the commit that they look at.
fn acts(
    view: &View<'_>,
    page: &mut Page,
    world: &World,
    project: &Project,
    one: &MergeRequest,
    status: &'static str,
) {
    let Some(actor) = view.who else {
        page.element_with(
            "p",
            "class",
            "dim",
            "Sign in with your token to approve, merge or comment.",
        );
        return;
    };
    let level = world.level(project, actor.0);
    let address = view.address(world, project, "merge_requests", one.iid);
    let button = |page: &mut Page, act: &'static str, class: &'static str, words: &'static str| {
        page.begin_form(&format!("{address}/{act}"));
        page.hidden("sha", one.head());
        page.element_with("button", "class", class, words);
        page.raw("</form>");
    };
    page.raw("<div class=\"acts\">");
    if level >= DEVELOPER {
        if one.approvals.iter().any(|approval| approval.user_id == actor.0) {
            button(page, "unapprove", "", "Withdraw approval");
        } else {
            button(page, "approve", "main", "Approve");
        }
    }
    let may = may_merge(project, &one.target_branch, level);
    if may && status == "mergeable" {
        button(page, "merge", "main", "Merge");
    }
    if level >= DEVELOPER && status == "need_rebase" {
        button(page, "rebase", "", "Rebase");
    }
    page.raw("</div>");
    if !may {
        let words = format!("You may not merge into {}.", one.target_branch);
        page.element_with("p", "class", "dim", &words);
    } else if status != "mergeable" {
        page.element_with(
            "p",
            "class",
            "dim",
            &format!("Cannot be merged now: {}.", obstacle(status)),
        );
    }
}

/// What a `detailed_merge_status` means to who wants to merge.
fn obstacle(status: &str) -> &str {
    match status {
        "not_open" => "it is not open",
        "commits_status" => "there is nothing to merge, or a branch is gone",
        "draft_status" => "it is a draft, take \"Draft:\" out of its title",
        "conflict" => "it conflicts with the target branch, rebase it in a clone and push it again",
        "need_rebase" => "it is behind the target branch, and this project wants it rebased first",
        "ci_still_running" => "a status is pending, and this project waits for it",
        "ci_must_pass" => "its statuses have to be there and succeed first",
        other => other,
    }
}

/// Why a button did nothing, in more words than the API has for it.
pub(super) async fn refusal(core: &Core, place: Place, act: &str, failure: &Failure) -> String {
    if act == "merge"
        && failure.status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(status) = merge_status(core, place).await
    {
        return format!("It cannot be merged: {}.", obstacle(status));
    }
    if failure.status == StatusCode::UNAUTHORIZED {
        return match act {
            "approve" => "You approved it already, or may not approve.".to_owned(),
            _ => "You may not do that.".to_owned(),
        };
    }
    let message = failure.body["message"].as_str();
    message.map_or_else(|| failure.body.to_string(), str::to_owned)
}

/// Approvals, and the statuses of the head.
fn facts(page: &mut Page, world: &World, project: &Project, one: &MergeRequest) {
    page.element("h2", "Approvals");
    if one.approvals.is_empty() {
        page.element_with("p", "class", "dim", "Nobody approved yet.");
    }
    for approval in &one.approvals {
        page.by(&name(world, approval.user_id), "approved", approval.at);
    }
    page.element("h2", "Statuses");
    let statuses = latest(project, one.head());
    if statuses.is_empty() {
        page.element_with("p", "class", "dim", "None on this commit.");
    }
    page.raw("<table>");
    for status in statuses {
        page.raw("<tr><td>");
        page.state(&status.status);
        page.raw("</td>");
        page.element("td", &status.name);
        page.element("td", status.description.as_deref().unwrap_or_default());
        page.raw("</tr>");
    }
    page.raw("</table>");
}

/// Comments, oldest first.
pub(super) fn notes(page: &mut Page, world: &World, notes: &[Note]) {
    if notes.is_empty() {
        page.element_with("p", "class", "dim", "None.");
    }
    for note in notes {
        let who = name(world, note.author_id);
        if note.system {
            page.by(&who, &note.body, note.created_at);
        } else {
            let edited = note.updated_at != note.created_at;
            let what = if edited {
                "commented, and edited it"
            } else {
                "commented"
            };
            page.by(&who, what, note.created_at);
            markdown::render(page, &note.body);
        }
    }
}

pub(super) fn changes(page: &mut Page, files: &[FileDiff]) {
    page.element("h2", "Changes");
    for file in files {
        page.diff(file);
    }
}

pub(super) fn name(world: &World, id: u64) -> String {
    world
        .users
        .get(&id)
        .map(|user| user.username.clone())
        .unwrap_or_default()
}
