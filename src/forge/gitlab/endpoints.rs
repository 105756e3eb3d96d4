//! The endpoints that the `gitlab` crate does not have, has with a trap, or has twice where one will do.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab::api::{BodyError, Endpoint, QueryParams};
use http::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId};
use crate::forge::{CommitStatus, FileAction, NewCommit, NewHook, NewIssue, Thread};

use super::wire;

/// The name that our commit status goes by.
const STATUS_NAME: &str = "landfall";
/// Longest description and link of a commit status, in characters.
pub(super) const LONGEST_STATUS_TEXT: usize = 255;

/// A call that is ready to be made.
pub(super) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Call {
    fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Vec::new(),
            body: None,
        }
    }

    fn post(path: String, body: Value) -> Self {
        Self {
            method: Method::POST,
            path,
            query: Vec::new(),
            body: Some(body),
        }
    }

    /// The notes of a merge request or issue, in the order in which they were written.
    pub(super) fn notes(project: u64, on: Thread) -> Self {
        Self {
            query: vec![("order_by", "created_at".to_owned()), ("sort", "asc".to_owned())],
            ..Self::get(notes_of(project, on))
        }
    }

    /// One note.
    pub(super) fn note(project: u64, on: Thread, note: NoteId) -> Self {
        Self::get(format!("{}/{note}", notes_of(project, on)))
    }

    /// When a merge request was closed, reopened or merged.
    pub(super) fn state_events(project: u64, number: MergeRequestNumber) -> Self {
        Self::get(format!(
            "projects/{project}/merge_requests/{number}/resource_state_events"
        ))
    }

    /// The statuses that a commit shows under our name on a branch: the newest alone.
    pub(super) fn shown_statuses(project: u64, commit: &CommitId, branch: &str) -> Self {
        Self {
            query: vec![("name", STATUS_NAME.to_owned()), ("ref", branch.to_owned())],
            ..Self::get(format!("projects/{project}/repository/commits/{commit}/statuses"))
        }
    }

    /// An issue.
    pub(super) fn issue(project: u64, issue: IssueNumber) -> Self {
        Self::get(format!("projects/{project}/issues/{issue}"))
    }

    /// An issue with this title and text, open.
    pub(super) fn restore_issue(project: u64, issue: IssueNumber, words: &NewIssue) -> Self {
        Self {
            method: Method::PUT,
            ..Self::post(
                format!("projects/{project}/issues/{issue}"),
                json!({ "title": words.title, "description": words.body, "state_event": "reopen" }),
            )
        }
    }

    /// A new note.
    pub(super) fn create_note(project: u64, on: Thread, body: &str) -> Self {
        Self::post(notes_of(project, on), json!({ "body": body }))
    }

    /// Another text for a note.
    pub(super) fn update_note(project: u64, on: Thread, note: NoteId, body: &str) -> Self {
        Self {
            method: Method::PUT,
            ..Self::post(
                format!("{}/{note}", notes_of(project, on)),
                json!({ "body": body }),
            )
        }
    }

    /// The versions of a merge request.
    pub(super) fn versions(project: u64, number: MergeRequestNumber) -> Self {
        Self::get(format!("projects/{project}/merge_requests/{number}/versions"))
    }

    /// Merged merge requests, the newest merge first (GitLab 17.2): what is merged or changes while pages are read
    /// pushes something over the edge of a page, so that it is read twice, and pulls nothing over it.
    pub(super) fn merged_since(project: u64, target_branch: &str, since: Timestamp) -> Self {
        let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
        Self {
            query: vec![
                ("state", "merged".to_owned()),
                ("target_branch", target_branch.to_owned()),
                ("updated_after", since.to_string()),
                ("scope", "all".to_owned()),
                ("order_by", "merged_at".to_owned()),
                ("sort", "desc".to_owned()),
            ],
            ..Self::get(format!("projects/{project}/merge_requests"))
        }
    }

    /// Pushes, the newest first. `after` names a day that is itself left out, and the day is one of GitLab's own time zone, which we
    /// do not know: two days of margin, and whoever asked leaves out what is too old.
    pub(super) fn pushes(project: u64, since: Timestamp) -> Self {
        let day = since.to_zoned(TimeZone::UTC).date();
        let after = day
            .yesterday()
            .and_then(jiff::civil::Date::yesterday)
            .unwrap_or(day);
        Self {
            query: vec![
                ("action", "pushed".to_owned()),
                ("after", after.to_string()),
                ("sort", "desc".to_owned()),
            ],
            ..Self::get(format!("projects/{project}/events"))
        }
    }

    /// An account. The crate's one asks for less than GitLab answers.
    pub(super) fn user(user: u64) -> Self {
        Self::get(format!("users/{user}"))
    }

    /// A group, by its number or by its path, which must have been checked.
    pub(super) fn group(key: &str) -> Self {
        Self {
            query: vec![("with_projects", "false".to_owned())],
            ..Self::get(format!("groups/{key}"))
        }
    }

    /// A direct member of a group: `members/all` has those of the groups above it, and of groups that were invited.
    pub(super) fn group_member(group: u64, user: u64) -> Self {
        Self::get(format!("groups/{group}/members/{user}"))
    }

    /// A commit status. The crate's one counts bytes where GitLab counts characters.
    pub(super) fn set_status(project: u64, status: &CommitStatus) -> Self {
        let description: String = status.description.chars().take(LONGEST_STATUS_TEXT).collect();
        let mut body = json!({
            "state": wire::status_name(status.state),
            "ref": status.branch,
            "name": STATUS_NAME,
            "description": description,
        });
        // A status without its link is of more use than none.
        if let Some(url) = status
            .target_url
            .as_ref()
            .filter(|url| url.chars().count() <= LONGEST_STATUS_TEXT)
        {
            body["target_url"] = json!(url);
        }
        Self::post(format!("projects/{project}/statuses/{}", status.commit), body)
    }

    /// A webhook. The crate's one knows no signing token.
    pub(super) fn create_hook(project: u64, hook: &NewHook) -> Self {
        let secret = if hook.signing { "signing_token" } else { "token" };
        let body = json!({
            "url": hook.url.as_str(),
            "push_events": true,
            "merge_requests_events": true,
            "note_events": true,
            "enable_ssl_verification": true,
            secret: hook.secret.reveal(),
        });
        Self::post(format!("projects/{project}/hooks"), body)
    }

    /// One commit of several files. As JSON: of a form, GitLab reads at most some thousands of fields and 4 MB.
    pub(super) fn commit_files(commit: &NewCommit) -> Self {
        let actions: Vec<Value> = commit
            .files
            .iter()
            .map(|(path, action)| file_action(path, action))
            .collect();
        let body = json!({
            "branch": commit.branch,
            "commit_message": commit.message,
            "actions": actions,
            "stats": false,
        });
        Self::post(format!("projects/{}/repository/commits", commit.project), body)
    }
}

fn notes_of(project: u64, on: Thread) -> String {
    match on {
        Thread::MergeRequest(number) => format!("projects/{project}/merge_requests/{number}/notes"),
        Thread::Issue(number) => format!("projects/{project}/issues/{number}/notes"),
    }
}

fn file_action(path: &str, action: &FileAction) -> Value {
    let (name, content) = match action {
        FileAction::Create(content) => ("create", content),
        FileAction::Update(content) => ("update", content),
        FileAction::Delete => return json!({ "action": "delete", "file_path": path }),
    };
    json!({ "action": name, "file_path": path, "encoding": "base64", "content": STANDARD.encode(content) })
}

impl Endpoint for Call {
    fn method(&self) -> Method {
        self.method.clone()
    }

    fn endpoint(&self) -> Cow<'static, str> {
        self.path.clone().into()
    }

    fn parameters(&self) -> QueryParams<'_> {
        let mut parameters = QueryParams::default();
        parameters.extend(self.query.iter().map(|(name, value)| (*name, value.as_str())));
        parameters
    }

    fn body(&self) -> Result<Option<(&'static str, Vec<u8>)>, BodyError> {
        let Some(body) = &self.body else { return Ok(None) };
        Ok(Some(("application/json", serde_json::to_vec(body)?)))
    }
}

/// Whether GitLab takes this for a group's full path. Not for a number either: it would be read as a group's id.
pub(super) fn is_group_path(path: &str) -> bool {
    let good = |segment: &str| {
        segment
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    path.split('/').all(good) && !path.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("platform", true)]
    #[case("acme/platform_team/x.y-z", true)]
    #[case("", false)]
    #[case("42", false)]
    #[case("..", false)]
    #[case("acme/../admin", false)]
    #[case("acme//admin", false)]
    #[case("acme?x=1", false)]
    #[case("%2e%2e", false)]
    fn a_group_path_cannot_lead_elsewhere(#[case] path: &str, #[case] good: bool) {
        assert_eq!(is_group_path(path), good);
    }

    #[test]
    fn pushes_are_asked_for_from_two_days_before() {
        let call = Call::pushes(7, "2026-03-01T00:30:00Z".parse().unwrap());
        assert!(
            call.query.contains(&("after", "2026-02-27".to_owned())),
            "{:?}",
            call.query
        );
    }
}
