//! The bodies of webhooks, in GitLab's shapes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::core::Core;
use super::git::{Commit, ZERO};
use super::state::{Issue, MergeRequest, Note, Project, World};
use super::wire;

/// Hooks write times unlike the API does.
fn hook_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn user(world: &World, id: u64) -> Value {
    world.users.get(&id).map_or(Value::Null, |user| {
        json!({
            "id": user.id, "name": user.name, "username": user.username,
            "avatar_url": null, "email": "[REDACTED]",
        })
    })
}

fn project(core: &Core, world: &World, project: &Project) -> Value {
    let path = world.full_path(project);
    let address = core.link(&path);
    let http = format!("{address}.git");
    let ssh = format!("git@{}:{path}.git", core.base.host_str().unwrap_or("localhost"));
    json!({
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "web_url": address,
        "avatar_url": null,
        "git_ssh_url": ssh,
        "git_http_url": http,
        "namespace": world.namespace_path(project.namespace),
        "visibility_level": match project.visibility.as_str() { "public" => 20, "internal" => 10, _ => 0 },
        "path_with_namespace": path,
        "default_branch": project.default_branch,
        "ci_config_path": null,
        "homepage": address,
        "url": ssh,
        "ssh_url": ssh,
        "http_url": http,
    })
}

fn repository(core: &Core, world: &World, project: &Project) -> Value {
    let path = world.full_path(project);
    json!({
        "name": project.name,
        "url": format!("git@{}:{path}.git", core.base.host_str().unwrap_or("localhost")),
        "description": project.description,
        "homepage": core.link(&path),
    })
}

fn commit(core: &Core, path: &str, commit: &Commit) -> Value {
    json!({
        "id": commit.id,
        "message": commit.message,
        "title": commit.title(),
        "timestamp": commit.committed,
        "url": core.link(&format!("{path}/-/commit/{}", commit.id)),
        "author": {"name": commit.author_name, "email": commit.author_email},
    })
}

fn labels(names: &[String], project: &Project) -> Value {
    names
        .iter()
        .map(|name| {
            json!({
                "id": null, "title": name, "color": "#6699cc", "project_id": project.id,
                "created_at": hook_time(project.created_at), "updated_at": hook_time(project.created_at),
                "template": false, "description": null, "type": "ProjectLabel", "group_id": null,
            })
        })
        .collect()
}

fn merge_request_attributes(
    core: &Core,
    world: &World,
    target: &Project,
    merge_request: &MergeRequest,
    last: Option<&Commit>,
) -> Value {
    let source = world.projects.get(&merge_request.source_project_id);
    let path = world.full_path(source.unwrap_or(target));
    let mut body = json!({
        "assignee_id": null,
        "author_id": merge_request.author_id,
        "created_at": hook_time(merge_request.created_at),
        "description": merge_request.description,
        "draft": merge_request.draft(),
        "head_pipeline_id": null,
        "id": merge_request.id,
        "iid": merge_request.iid,
        "last_edited_at": null,
        "last_edited_by_id": null,
        "merge_commit_sha": merge_request.merge_commit_sha,
        "merge_error": merge_request.merge_error,
        "merge_params": {"force_remove_source_branch": if merge_request.remove_source_branch { "1" } else { "0" }},
        "merge_status": "can_be_merged",
        "merge_user_id": merge_request.merged_by,
        "merge_when_pipeline_succeeds": false,
        "milestone_id": null,
        "source_branch": merge_request.source_branch,
        "source_project_id": merge_request.source_project_id,
        "state_id": match merge_request.state.word() { "opened" => 1, "closed" => 2, _ => 3 },
        "target_branch": merge_request.target_branch,
        "target_project_id": target.id,
        "time_estimate": 0,
        "title": merge_request.title,
        "updated_at": hook_time(merge_request.updated_at),
        "updated_by_id": null,
        "prepared_at": hook_time(merge_request.created_at),
    });
    let more = json!({
        "assignee_ids": [],
        "blocking_discussions_resolved": true,
        "detailed_merge_status": match merge_request.state.word() {
            "opened" if merge_request.draft() => "draft_status",
            "opened" => "mergeable",
            _ => "not_open",
        },
        "first_contribution": false,
        "human_time_change": null,
        "human_time_estimate": null,
        "human_total_time_spent": null,
        "labels": labels(&merge_request.labels, target),
        "last_commit": last.map(|last| commit(core, &path, last)),
        "reviewer_ids": [],
        "source": source.map(|source| project(core, world, source)),
        "state": merge_request.state.word(),
        "target": project(core, world, target),
        "time_change": 0,
        "total_time_spent": 0,
        "url": wire::merge_request_address(core, world, target, merge_request.iid),
    });
    wire::extend(&mut body, more);
    body["work_in_progress"] = json!(merge_request.draft());
    body["approval_rules"] = json!([]);
    body
}

/// What a merge-request hook tells besides the merge request itself.
pub(super) struct MergeRequestAct<'a> {
    pub(super) actor: u64,
    pub(super) action: &'a str,
    /// The head before, on an `update` that changed code.
    pub(super) oldrev: Option<&'a str>,
    /// The `changes` object.
    pub(super) changes: Value,
    /// Set when GitLab itself acted: `approvals_reset_on_push`.
    pub(super) system_action: Option<&'a str>,
}

impl<'a> MergeRequestAct<'a> {
    pub(super) fn plain(actor: u64, action: &'a str) -> Self {
        Self {
            actor,
            action,
            oldrev: None,
            changes: json!({}),
            system_action: None,
        }
    }
}

/// The body of a `Merge Request Hook`.
pub(super) fn merge_request(
    core: &Core,
    world: &World,
    target: &Project,
    merge_request: &MergeRequest,
    last: Option<&Commit>,
    act: &MergeRequestAct<'_>,
) -> Value {
    let mut attributes = merge_request_attributes(core, world, target, merge_request, last);
    attributes["action"] = json!(act.action);
    attributes["actioned_at"] = json!(wire::time(core.now()));
    attributes["system"] = json!(act.system_action.is_some());
    if let Some(action) = act.system_action {
        attributes["system_action"] = json!(action);
    }
    if let Some(oldrev) = act.oldrev {
        attributes["oldrev"] = json!(oldrev);
    }
    json!({
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": user(world, act.actor),
        "project": project(core, world, target),
        "object_attributes": attributes,
        "labels": labels(&merge_request.labels, target),
        "changes": act.changes,
        "repository": repository(core, world, target),
    })
}

fn note_attributes(project: &Project, on: (&str, u64), note: &Note, action: &str, url: &str) -> Value {
    json!({
        "attachment": null,
        "author_id": note.author_id,
        "change_position": null,
        "commit_id": null,
        "created_at": hook_time(note.created_at),
        "discussion_id": format!("{:040x}", note.id),
        "id": note.id,
        "internal": note.internal,
        "line_code": null,
        "note": note.body,
        "noteable_id": on.1,
        "noteable_type": on.0,
        "original_position": null,
        "position": null,
        "project_id": project.id,
        "resolved_at": null,
        "resolved_by_id": null,
        "resolved_by_push": null,
        "st_diff": null,
        "system": note.system,
        "type": null,
        "updated_at": hook_time(note.updated_at),
        "updated_by_id": null,
        "description": note.body,
        "url": format!("{url}#note_{}", note.id),
        "action": action,
    })
}

/// The body of a `Note Hook` on a merge request. The user is always the note's author, also on an edit.
pub(super) fn merge_request_note(
    core: &Core,
    world: &World,
    target: &Project,
    merge_request: &MergeRequest,
    last: Option<&Commit>,
    note: &Note,
    action: &str,
) -> Value {
    let url = wire::merge_request_address(core, world, target, merge_request.iid);
    json!({
        "object_kind": "note",
        "event_type": if note.internal { "confidential_note" } else { "note" },
        "user": user(world, note.author_id),
        "project_id": target.id,
        "project": project(core, world, target),
        "object_attributes": note_attributes(target, ("MergeRequest", merge_request.id), note, action, &url),
        "repository": repository(core, world, target),
        "merge_request": merge_request_attributes(core, world, target, merge_request, last),
    })
}

/// The body of a `Note Hook` on an issue.
pub(super) fn issue_note(
    core: &Core,
    world: &World,
    of: &Project,
    issue: &Issue,
    note: &Note,
    action: &str,
) -> Value {
    let url = core.link(&format!("{}/-/issues/{}", world.full_path(of), issue.iid));
    json!({
        "object_kind": "note",
        "event_type": if note.internal { "confidential_note" } else { "note" },
        "user": user(world, note.author_id),
        "project_id": of.id,
        "project": project(core, world, of),
        "object_attributes": note_attributes(of, ("Issue", issue.id), note, action, &url),
        "repository": repository(core, world, of),
        "issue": issue_attributes(of, issue, &url),
    })
}

fn issue_attributes(of: &Project, issue: &Issue, url: &str) -> Value {
    json!({
        "id": issue.id,
        "iid": issue.iid,
        "title": issue.title,
        "description": issue.description,
        "assignee_ids": [],
        "assignee_id": null,
        "author_id": issue.author_id,
        "project_id": of.id,
        "created_at": hook_time(issue.created_at),
        "updated_at": hook_time(issue.updated_at),
        "closed_at": issue.closed_at.map(hook_time),
        "milestone_id": null,
        "relative_position": null,
        "confidential": false,
        "state": if issue.closed_at.is_some() { "closed" } else { "opened" },
        "state_id": if issue.closed_at.is_some() { 2 } else { 1 },
        "labels": labels(&issue.labels, of),
        "type": "Issue",
        "url": url,
    })
}

/// The body of an `Issue Hook`.
pub(super) fn issue(
    core: &Core,
    world: &World,
    of: &Project,
    issue: &Issue,
    actor: u64,
    action: &str,
) -> Value {
    let url = core.link(&format!("{}/-/issues/{}", world.full_path(of), issue.iid));
    let mut attributes = issue_attributes(of, issue, &url);
    attributes["action"] = json!(action);
    json!({
        "object_kind": "issue",
        "event_type": "issue",
        "user": user(world, actor),
        "project": project(core, world, of),
        "object_attributes": attributes,
        "labels": labels(&issue.labels, of),
        "changes": {},
        "repository": repository(core, world, of),
    })
}

/// A commit of a push, with the paths that it touched.
pub(super) struct PushedCommit {
    pub(super) commit: Commit,
    pub(super) paths: Vec<(char, String)>,
}

/// What was pushed: one reference.
pub(super) struct Pushed<'a> {
    pub(super) reference: &'a str,
    pub(super) before: &'a str,
    pub(super) after: &'a str,
    /// Oldest first, at most 20.
    pub(super) commits: &'a [PushedCommit],
    pub(super) total: usize,
}

/// The body of a `Push Hook` or a `Tag Push Hook`.
pub(super) fn push(core: &Core, world: &World, to: &Project, actor: u64, pushed: &Pushed<'_>) -> Value {
    let path = world.full_path(to);
    let pusher = world.users.get(&actor);
    let kind = if pushed.reference.starts_with("refs/tags/") {
        "tag_push"
    } else {
        "push"
    };
    let commits: Vec<Value> = pushed
        .commits
        .iter()
        .map(|one| {
            let mut body = commit(core, &path, &one.commit);
            let touched = |wanted: &[char]| -> Vec<&str> {
                one.paths
                    .iter()
                    .filter(|(kind, _)| wanted.contains(kind))
                    .map(|(_, path)| path.as_str())
                    .collect()
            };
            body["added"] = json!(touched(&['A']));
            body["modified"] = json!(touched(&['M', 'T']));
            body["removed"] = json!(touched(&['D']));
            body
        })
        .collect();
    let mut of_repository = repository(core, world, to);
    of_repository["git_http_url"] = json!(core.link(&format!("{path}.git")));
    of_repository["git_ssh_url"] = of_repository["url"].clone();
    of_repository["visibility_level"] = json!(match to.visibility.as_str() {
        "public" => 20,
        "internal" => 10,
        _ => 0,
    });
    json!({
        "object_kind": kind,
        "event_name": kind,
        "before": pushed.before,
        "after": pushed.after,
        "ref": pushed.reference,
        "ref_protected": pushed.reference.strip_prefix("refs/heads/").is_some_and(|name| to.protection(name).is_some()),
        "checkout_sha": (pushed.after != ZERO).then_some(pushed.after),
        "message": null,
        "user_id": actor,
        "user_name": pusher.map(|user| user.name.clone()),
        "user_username": pusher.map(|user| user.username.clone()),
        "user_email": null,
        "user_avatar": null,
        "project_id": to.id,
        "project": project(core, world, to),
        "commits": commits,
        "total_commits_count": pushed.total,
        "push_options": {},
        "repository": of_repository,
    })
}
