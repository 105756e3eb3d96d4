//! The shapes of GitLab's API answers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::core::Core;
use super::git::{Commit, FileDiff};
use super::state::{
    Group, Hook, Issue, Member, MergeRequest, Namespace, Note, Project, ProtectedBranch, Status, UserRecord,
    Version, World,
};

/// RFC 3339 with milliseconds and `Z`, as GitLab writes times.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

pub(super) fn maybe_time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::String(time(at)))
}

/// Times of commits keep their offset in GitLab's answers.
fn commit_time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00").to_string(),
        Err(_) => text.to_owned(),
    }
}

pub(super) fn user_by_id(core: &Core, world: &World, id: u64) -> Value {
    world
        .users
        .get(&id)
        .map_or(Value::Null, |found| user(core, found))
}

fn maybe_user(core: &Core, world: &World, id: Option<u64>) -> Value {
    id.map_or(Value::Null, |id| user_by_id(core, world, id))
}

pub(super) fn user(core: &Core, user: &UserRecord) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "public_email": user.public_email,
        "name": user.name,
        "state": if user.blocked { "blocked" } else { "active" },
        "locked": false,
        "avatar_url": null,
        "web_url": core.link(&user.username),
    })
}

/// What everybody sees of somebody: <https://docs.gitlab.com/api/users/#retrieve-a-user>.
pub(super) fn profile(core: &Core, record: &UserRecord) -> Value {
    let mut body = user(core, record);
    body["bot"] = json!(record.bot);
    body
}

/// What users see of themselves, and administrators of everyone.
pub(super) fn full_user(core: &Core, record: &UserRecord) -> Value {
    let mut body = profile(core, record);
    body["email"] = json!(record.email);
    body["commit_email"] = json!(record.email);
    body["is_admin"] = json!(record.admin);
    body["created_by"] = json!(record.created_by.map(|id| json!({"id": id})));
    body["external"] = json!(false);
    body["namespace_id"] = json!(record.namespace_id);
    body["created_at"] = json!(time(record.created_at));
    body["confirmed_at"] = json!(time(record.created_at));
    body
}

pub(super) fn member(core: &Core, world: &World, record: &UserRecord, member: Member) -> Value {
    let mut body = user(core, record);
    body["access_level"] = json!(member.level);
    body["created_at"] = json!(time(member.created_at));
    body["expires_at"] = json!(member.expires_at.map(|day| day.to_string()));
    body["membership_state"] = json!("active");
    if member.created_by.is_some() {
        body["created_by"] = maybe_user(core, world, member.created_by);
    }
    body
}

pub(super) fn group(core: &Core, world: &World, group: &Group) -> Value {
    let path = world.group_path(group.id);
    json!({
        "id": group.id,
        "web_url": core.link(&format!("groups/{path}")),
        "name": group.name,
        "path": group.path,
        "description": "",
        "visibility": group.visibility,
        "full_name": path.replace('/', " / "),
        "full_path": path,
        "parent_id": group.parent_id,
        "avatar_url": null,
        "created_at": time(group.created_at),
        "project_creation_level": "developer",
        "subgroup_creation_level": "maintainer",
        "request_access_enabled": true,
    })
}

fn namespace(core: &Core, world: &World, namespace: Namespace) -> Value {
    let path = world.namespace_path(namespace);
    let (id, kind, name, parent, address) = match namespace {
        Namespace::Group(id) => {
            let group = world.groups.get(&id);
            let name = group.map(|group| group.name.clone()).unwrap_or_default();
            (
                id,
                "group",
                name,
                group.and_then(|group| group.parent_id),
                format!("groups/{path}"),
            )
        }
        Namespace::User(id) => {
            let user = world.users.get(&id);
            let name = user.map(|user| user.name.clone()).unwrap_or_default();
            (
                user.map_or(0, |user| user.namespace_id),
                "user",
                name,
                None,
                path.clone(),
            )
        }
    };
    json!({
        "id": id, "name": name, "path": path.rsplit('/').next().unwrap_or_default(), "kind": kind,
        "full_path": path, "parent_id": parent, "avatar_url": null, "web_url": core.link(&address),
    })
}

pub(super) fn project(core: &Core, world: &World, project: &Project, empty: bool, level: u8) -> Value {
    let path = world.full_path(project);
    let owner = world.namespace_path(project.namespace);
    let address = core.link(&path);
    let api = core.link(&format!("api/v4/projects/{}", project.id));
    let access = if level == 0 {
        Value::Null
    } else {
        json!({"access_level": level, "notification_level": 3})
    };
    let mut body = json!({
        "id": project.id,
        "description": project.description,
        "name": project.name,
        "name_with_namespace": format!("{} / {}", owner.replace('/', " / "), project.name),
        "path": project.path,
        "path_with_namespace": path,
        "created_at": time(project.created_at),
        "default_branch": project.default_branch,
        "tag_list": project.topics,
        "topics": project.topics,
        "ssh_url_to_repo": format!("git@{}:{path}.git", core.base.host_str().unwrap_or("localhost")),
        "http_url_to_repo": format!("{address}.git"),
        "web_url": address,
        "readme_url": null,
        "forks_count": world.projects.values().filter(|other| other.forked_from == Some(project.id)).count(),
        "avatar_url": null,
        "star_count": 0,
        "last_activity_at": time(project.last_activity_at),
        "namespace": namespace(core, world, project.namespace),
        "container_registry_enabled": false,
        "_links": {
            "self": api,
            "issues": format!("{api}/issues"),
            "merge_requests": format!("{api}/merge_requests"),
            "repo_branches": format!("{api}/repository/branches"),
            "events": format!("{api}/events"),
            "members": format!("{api}/members"),
        },
        "packages_enabled": false,
        "empty_repo": empty,
        "archived": project.archived,
    });
    let more = json!({
        "visibility": project.visibility,
        "creator_id": project.creator_id,
        "forked_from_project": project.forked_from.and_then(|id| world.projects.get(&id)).map(|from| json!({
            "id": from.id, "name": from.name, "path": from.path, "path_with_namespace": world.full_path(from),
        })),
        "issues_enabled": true,
        "merge_requests_enabled": true,
        "jobs_enabled": true,
        "merge_method": project.merge_method,
        "squash_option": project.squash_option,
        "only_allow_merge_if_pipeline_succeeds": project.pipeline_must_succeed,
        "only_allow_merge_if_all_discussions_are_resolved": false,
        "allow_merge_on_skipped_pipeline": null,
        "remove_source_branch_after_merge": project.remove_source_branch,
        "merge_pipelines_enabled": project.merge_trains,
        "merge_trains_enabled": project.merge_trains,
        "permissions": {"project_access": access, "group_access": null},
        "open_issues_count": project.issues.values().filter(|issue| issue.closed_at.is_none()).count(),
    });
    extend(&mut body, more);
    body
}

pub(super) fn level_name(level: u8) -> &'static str {
    match level {
        0 => "No one",
        60 => "Instance admins",
        50 => "Owners",
        40 => "Maintainers",
        _ => "Developers + Maintainers",
    }
}

pub(super) fn protected_branch(rule: &ProtectedBranch) -> Value {
    let level = |level: u8| {
        json!([{
            "id": rule.id,
            "access_level": level,
            "access_level_description": level_name(level),
            "deploy_key_id": null, "user_id": null, "group_id": null,
        }])
    };
    json!({
        "id": rule.id,
        "name": rule.name,
        "push_access_levels": level(rule.push_level),
        "merge_access_levels": level(rule.merge_level),
        "allow_force_push": rule.allow_force_push,
        "unprotect_access_levels": [],
        "code_owner_approval_required": false,
        "inherited": false,
    })
}

pub(super) fn hook(project_id: u64, hook: &Hook, now: Timestamp) -> Value {
    let disabled = hook.disabled_until.is_some_and(|until| until > now);
    let mut body = json!({
        "id": hook.id,
        "url": hook.url,
        "name": hook.name,
        "description": null,
        "created_at": time(hook.created_at),
        "alert_status": if hook.failures >= 40 { "disabled" } else if disabled { "temporarily_disabled" } else { "executable" },
        "disabled_until": maybe_time(hook.disabled_until),
        "url_variables": [],
        "custom_headers": [],
        "project_id": project_id,
        "enable_ssl_verification": true,
        "repository_update_events": false,
        "push_events_branch_filter": hook.push_events_branch_filter,
        "branch_filter_strategy": "wildcard",
        "custom_webhook_template": null,
        "token_present": hook.token.is_some(),
        "signing_token_present": hook.signing_token.is_some(),
    });
    for (flag, on) in &hook.flags {
        body[flag] = json!(on);
    }
    body
}

fn reference(world: &World, project: &Project, mark: char, iid: u64) -> Value {
    let short = format!("{mark}{iid}");
    json!({"short": short, "relative": short, "full": format!("{}{short}", world.full_path(project))})
}

pub(super) fn merge_request_address(core: &Core, world: &World, project: &Project, iid: u64) -> String {
    core.link(&format!("{}/-/merge_requests/{iid}", world.full_path(project)))
}

/// A merge request; `status` is its `detailed_merge_status`.
pub(super) fn merge_request(
    core: &Core,
    world: &World,
    project: &Project,
    merge_request: &MergeRequest,
    status: &str,
) -> Value {
    let draft = merge_request.draft();
    let version = merge_request.versions.last();
    let mut body = json!({
        "id": merge_request.id,
        "iid": merge_request.iid,
        "project_id": project.id,
        "title": merge_request.title,
        "description": merge_request.description,
        "state": merge_request.state.word(),
        "created_at": time(merge_request.created_at),
        "updated_at": time(merge_request.updated_at),
        "merged_by": maybe_user(core, world, merge_request.merged_by),
        "merge_user": maybe_user(core, world, merge_request.merged_by),
        "merged_at": maybe_time(merge_request.merged_at),
        "closed_by": maybe_user(core, world, merge_request.closed_by),
        "closed_at": maybe_time(merge_request.closed_at),
        "target_branch": merge_request.target_branch,
        "source_branch": merge_request.source_branch,
        "user_notes_count": merge_request.notes.iter().filter(|note| !note.system).count(),
        "upvotes": 0,
        "downvotes": 0,
        "author": user_by_id(core, world, merge_request.author_id),
        "assignees": [],
        "assignee": null,
        "reviewers": [],
        "source_project_id": merge_request.source_project_id,
        "target_project_id": project.id,
        "labels": merge_request.labels,
        "draft": draft,
        "imported": false,
        "imported_from": "none",
        "work_in_progress": draft,
    });
    let more = json!({
        "milestone": null,
        "merge_when_pipeline_succeeds": false,
        "merge_status": match status {
            "conflict" | "commits_status" => "cannot_be_merged",
            "checking" => "checking",
            _ => "can_be_merged",
        },
        "detailed_merge_status": status,
        "merge_after": null,
        "sha": version.map(|version| version.head.clone()),
        "merge_commit_sha": merge_request.merge_commit_sha,
        "squash_commit_sha": merge_request.squash_commit_sha,
        "discussion_locked": null,
        "should_remove_source_branch": merge_request.remove_source_branch.then_some(true),
        "force_remove_source_branch": merge_request.remove_source_branch,
        "prepared_at": time(merge_request.created_at),
        "reference": format!("!{}", merge_request.iid),
        "references": reference(world, project, '!', merge_request.iid),
        "web_url": merge_request_address(core, world, project, merge_request.iid),
        "time_stats": {"time_estimate": 0, "total_time_spent": 0, "human_time_estimate": null, "human_total_time_spent": null},
        "squash": merge_request.squash,
        "squash_on_merge": merge_request.squash || project.squash_option == "always",
        "task_completion_status": {"count": 0, "completed_count": 0},
        "has_conflicts": status == "conflict",
        "blocking_discussions_resolved": true,
        "approvals_before_merge": null,
    });
    extend(&mut body, more);
    body["changes_count"] = version.map_or(Value::Null, |version| json!(version.real_size.to_string()));
    body["subscribed"] = json!(true);
    body["latest_build_started_at"] = Value::Null;
    body["latest_build_finished_at"] = Value::Null;
    body["first_deployed_to_production_at"] = Value::Null;
    body["pipeline"] = Value::Null;
    body["head_pipeline"] = Value::Null;
    body["diff_refs"] = version.map_or(
        Value::Null,
        |version| json!({"base_sha": version.base, "head_sha": version.head, "start_sha": version.start}),
    );
    body["merge_error"] = json!(merge_request.merge_error);
    body["first_contribution"] = json!(false);
    body
}

pub(super) fn version(merge_request: &MergeRequest, version: &Version) -> Value {
    json!({
        "id": version.id,
        "head_commit_sha": version.head,
        "base_commit_sha": version.base,
        "start_commit_sha": version.start,
        "created_at": time(version.created_at),
        "merge_request_id": merge_request.id,
        "state": "collected",
        "real_size": version.real_size.to_string(),
        "patch_id_sha": version.patch_id,
    })
}

/// A note on the thing of this kind, id and number.
pub(super) fn note(core: &Core, world: &World, project_id: u64, on: (&str, u64, u64), note: &Note) -> Value {
    let (kind, id, iid) = on;
    json!({
        "id": note.id,
        "type": null,
        "body": note.body,
        "author": user_by_id(core, world, note.author_id),
        "created_at": time(note.created_at),
        "updated_at": time(note.updated_at),
        "system": note.system,
        "noteable_id": id,
        "noteable_type": kind,
        "project_id": project_id,
        "resolvable": false,
        "confidential": note.internal,
        "internal": note.internal,
        "imported": false,
        "imported_from": "none",
        "noteable_iid": iid,
        "commands_changes": {},
    })
}

pub(super) fn issue(core: &Core, world: &World, project: &Project, issue: &Issue) -> Value {
    json!({
        "id": issue.id,
        "iid": issue.iid,
        "project_id": project.id,
        "title": issue.title,
        "description": issue.description,
        "state": if issue.closed_at.is_some() { "closed" } else { "opened" },
        "created_at": time(issue.created_at),
        "updated_at": time(issue.updated_at),
        "closed_at": maybe_time(issue.closed_at),
        "closed_by": maybe_user(core, world, issue.closed_by),
        "labels": issue.labels,
        "milestone": null,
        "assignees": [],
        "assignee": null,
        "author": user_by_id(core, world, issue.author_id),
        "type": "ISSUE",
        "user_notes_count": issue.notes.iter().filter(|note| !note.system).count(),
        "merge_requests_count": 0,
        "upvotes": 0,
        "downvotes": 0,
        "due_date": null,
        "confidential": false,
        "discussion_locked": null,
        "issue_type": "issue",
        "web_url": core.link(&format!("{}/-/issues/{}", world.full_path(project), issue.iid)),
        "references": reference(world, project, '#', issue.iid),
        "has_tasks": false,
        "task_completion_status": {"count": 0, "completed_count": 0},
    })
}

pub(super) fn status(core: &Core, world: &World, status: &Status) -> Value {
    json!({
        "id": status.id,
        "sha": status.sha,
        "ref": status.reference,
        "status": status.status,
        "name": status.name,
        "target_url": status.target_url,
        "description": status.description,
        "created_at": time(status.created_at),
        "started_at": maybe_time(status.started_at),
        "finished_at": maybe_time(status.finished_at),
        "allow_failure": false,
        "coverage": status.coverage,
        "pipeline_id": null,
        "author": user_by_id(core, world, status.author_id),
    })
}

pub(super) fn commit(core: &Core, path: &str, commit: &Commit) -> Value {
    json!({
        "id": commit.id,
        "short_id": commit.id.get(..8),
        "created_at": commit_time(&commit.committed),
        "parent_ids": commit.parents,
        "title": commit.title(),
        "message": commit.message,
        "author_name": commit.author_name,
        "author_email": commit.author_email,
        "authored_date": commit_time(&commit.authored),
        "committer_name": commit.committer_name,
        "committer_email": commit.committer_email,
        "committed_date": commit_time(&commit.committed),
        "trailers": {},
        "extended_trailers": {},
        "web_url": core.link(&format!("{path}/-/commit/{}", commit.id)),
    })
}

pub(super) fn diff(file: &FileDiff) -> Value {
    json!({
        "diff": file.text,
        "collapsed": false,
        "too_large": false,
        "new_path": file.new_path,
        "old_path": file.old_path,
        "a_mode": file.old_mode.trim_start_matches(':'),
        "b_mode": file.new_mode,
        "new_file": file.kind == 'A',
        "renamed_file": file.kind == 'R',
        "deleted_file": file.kind == 'D',
        "generated_file": false,
    })
}

/// Adds the fields of one object to another.
pub(super) fn extend(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_milliseconds_and_z() {
        let at: jiff::Timestamp = "2026-03-04T05:06:07.5+02:00".parse().unwrap();
        assert_eq!(super::time(at), "2026-03-04T03:06:07.500Z");
    }
}
