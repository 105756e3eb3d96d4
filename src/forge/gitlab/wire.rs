//! GitLab's JSON, and what it means here. Fields that are not used are not read; those that are must be right.

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId, UserId};
use crate::forge;

/// GitLab's number for minimal access, and the lowest that is of use to us.
const GUEST: u64 = 10;

#[derive(Deserialize)]
pub(super) struct User {
    id: u64,
    username: String,
}

impl From<User> for forge::User {
    fn from(user: User) -> Self {
        Self {
            id: UserId(user.id),
            username: user.username,
        }
    }
}

/// An unknown state is an error, so that nothing is decided on it.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum State {
    Opened,
    Closed,
    /// While GitLab merges it, for a moment: neither closed nor merged yet, and back to `opened` if that fails.
    Locked,
    Merged,
}

impl From<State> for forge::MergeRequestState {
    fn from(state: State) -> Self {
        match state {
            State::Opened | State::Locked => Self::Open,
            State::Closed => Self::Closed,
            State::Merged => Self::Merged,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct MergeRequest {
    iid: u64,
    state: State,
    draft: bool,
    title: String,
    author: User,
    source_branch: String,
    /// Nothing once the fork is gone.
    source_project_id: Option<u64>,
    target_branch: String,
    pub(super) target_project_id: u64,
    sha: Option<CommitId>,
    merge_commit_sha: Option<CommitId>,
    squash_commit_sha: Option<CommitId>,
    merged_at: Option<Timestamp>,
    updated_at: Timestamp,
    user_notes_count: u64,
    web_url: String,
}

impl MergeRequest {
    pub(super) fn was_merged_before(&self, time: Timestamp) -> bool {
        self.merged_at.is_some_and(|at| at < time)
    }
}

impl From<MergeRequest> for forge::MergeRequest {
    fn from(merge_request: MergeRequest) -> Self {
        Self {
            number: MergeRequestNumber(merge_request.iid),
            state: merge_request.state.into(),
            draft: merge_request.draft,
            title: merge_request.title,
            author: merge_request.author.into(),
            source_branch: merge_request.source_branch,
            from_fork: merge_request.source_project_id != Some(merge_request.target_project_id),
            target_branch: merge_request.target_branch,
            head: merge_request.sha,
            merge_commit: merge_request.merge_commit_sha,
            squash_commit: merge_request.squash_commit_sha,
            merged_at: merge_request.merged_at,
            updated_at: merge_request.updated_at,
            notes_count: merge_request.user_notes_count,
            web_url: merge_request.web_url,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Version {
    id: u64,
    /// Nothing for a branch without a commit of its own: nothing was pushed.
    head_commit_sha: Option<CommitId>,
    created_at: Timestamp,
}

impl Version {
    pub(super) fn pushed(self) -> Option<forge::Version> {
        Some(forge::Version {
            id: self.id,
            head: self.head_commit_sha?,
            created_at: self.created_at,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Approvals {
    pub(super) approved_by: Vec<Approval>,
}

#[derive(Deserialize)]
pub(super) struct Approval {
    user: User,
    /// GitLab 18 and later. An approval without a time cannot be bound to a version, so its lack is an error.
    approved_at: Timestamp,
}

impl From<Approval> for forge::ForgeApproval {
    fn from(approval: Approval) -> Self {
        Self {
            user: approval.user.into(),
            at: approval.approved_at,
            commit: None,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Member {
    id: u64,
    username: String,
    state: String,
    /// Of the membership rather than the account: `awaiting` an administrator, for one.
    membership_state: Option<String>,
    access_level: u64,
    /// Who let them in: for the user of an access token, who made the token.
    pub(super) created_by: Option<Creator>,
    /// The day on which the membership ends. GitLab takes those that have ended out once a day.
    expires_at: Option<jiff::civil::Date>,
}

impl Member {
    /// Nothing for those who have no access, or minimal access.
    pub(super) fn effective(self, today: jiff::civil::Date) -> Option<forge::Member> {
        let level = access_level(self.access_level)?;
        let active = self.state == "active"
            && self.membership_state.is_none_or(|state| state == "active")
            && self.expires_at.is_none_or(|end| end > today);
        let user = forge::User {
            id: UserId(self.id),
            username: self.username,
        };
        Some(forge::Member { user, active, level })
    }
}

/// A level between two that are known (15 planner, and whatever comes) counts as the lower one.
fn access_level(number: u64) -> Option<forge::AccessLevel> {
    match number {
        0..GUEST => None,
        GUEST..20 => Some(forge::AccessLevel::Guest),
        20..30 => Some(forge::AccessLevel::Reporter),
        30..40 => Some(forge::AccessLevel::Developer),
        40..50 => Some(forge::AccessLevel::Maintainer),
        50.. => Some(forge::AccessLevel::Owner),
    }
}

#[derive(Deserialize)]
pub(super) struct Note {
    id: u64,
    author: User,
    body: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(default)]
    system: bool,
}

impl From<Note> for forge::Note {
    fn from(note: Note) -> Self {
        Self {
            id: NoteId(note.id),
            author: note.author.into(),
            body: note.body,
            created_at: note.created_at,
            updated_at: note.updated_at,
            system: note.system,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct StateEvent {
    created_at: Timestamp,
    state: String,
}

impl StateEvent {
    /// When it was closed or reopened; nothing for a merge. A word that we do not know may be either.
    pub(super) fn closed_or_reopened(self) -> Option<Timestamp> {
        (!["merged", "locked"].contains(&self.state.as_str())).then_some(self.created_at)
    }
}

#[derive(Deserialize)]
pub(super) struct ShownStatus {
    status: String,
    description: Option<String>,
}

impl ShownStatus {
    /// Nothing for a state that is none of ours.
    pub(super) fn known(self) -> Option<forge::ShownStatus> {
        use forge::CommitState::{Failed, Pending, Running, Success};
        let state = [Pending, Running, Success, Failed]
            .into_iter()
            .find(|state| status_name(*state) == self.status)?;
        Some(forge::ShownStatus {
            state,
            description: self.description.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct PushEvent {
    pub(super) created_at: Timestamp,
    author: Option<User>,
    push_data: Option<PushData>,
}

#[derive(Deserialize)]
struct PushData {
    ref_type: String,
    /// Nothing where GitLab tells of a push of many branches at once in one event.
    #[serde(rename = "ref")]
    branch: Option<String>,
    commit_to: Option<CommitId>,
}

impl PushEvent {
    /// Nothing where GitLab does not say who pushed, or which branch: then the pusher cannot be established.
    pub(super) fn of_branch(self) -> Option<forge::PushEvent> {
        let push = self.push_data.filter(|push| push.ref_type == "branch")?;
        Some(forge::PushEvent {
            user: self.author?.into(),
            branch: push.branch?,
            after: push.commit_to,
            at: self.created_at,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct Issue {
    iid: u64,
    author: User,
    title: String,
    description: Option<String>,
    state: String,
    web_url: String,
}

impl From<Issue> for forge::Issue {
    fn from(issue: Issue) -> Self {
        Self {
            number: IssueNumber(issue.iid),
            author: issue.author.into(),
            title: issue.title,
            body: issue.description.unwrap_or_default(),
            open: issue.state == "opened",
            web_url: issue.web_url,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Hook {
    pub(super) id: u64,
    url: String,
    /// GitLab 19 and later; an older one leaves out a signing token without a word.
    #[serde(default)]
    pub(super) signing_token_present: bool,
}

impl From<Hook> for forge::Hook {
    fn from(hook: Hook) -> Self {
        Self {
            id: hook.id,
            url: hook.url,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct GroupId {
    pub(super) id: u64,
}

#[derive(Deserialize)]
pub(super) struct Group {
    id: u64,
    full_path: String,
    parent_id: Option<u64>,
}

impl From<Group> for forge::Group {
    fn from(group: Group) -> Self {
        Self {
            id: group.id,
            path: group.full_path,
            parent: group.parent_id,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Project {
    id: u64,
    path_with_namespace: String,
    http_url_to_repo: String,
    web_url: String,
    default_branch: Option<String>,
}

impl From<Project> for forge::Project {
    fn from(project: Project) -> Self {
        Self {
            id: project.id,
            path: project.path_with_namespace,
            git_url: project.http_url_to_repo,
            web_url: project.web_url,
            default_branch: project.default_branch.filter(|branch| !branch.is_empty()),
        }
    }
}

/// An account, of which GitLab tells whether it is `active`.
#[derive(Deserialize)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) username: String,
    #[serde(default)]
    state: String,
}

impl From<Account> for super::projects::Account {
    fn from(account: Account) -> Self {
        Self {
            id: UserId(account.id),
            active: account.state == "active",
            username: account.username,
        }
    }
}

/// A project as listings and its own page show it. The two marks of a deletion are of two ages of GitLab.
#[derive(Deserialize)]
pub(super) struct GroupProject {
    id: u64,
    path_with_namespace: String,
    visibility: String,
    /// Who made it. <https://docs.gitlab.com/api/projects/#retrieve-a-project>
    creator_id: Option<u64>,
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    empty_repo: bool,
    default_branch: Option<String>,
    web_url: String,
    http_url_to_repo: String,
    ssh_url_to_repo: Option<String>,
    #[serde(default)]
    marked_for_deletion_on: Option<String>,
    #[serde(default)]
    marked_for_deletion_at: Option<String>,
}

impl GroupProject {
    /// Nothing for one that is about to be deleted: it stands aside, under another path.
    pub(super) fn standing(self) -> Option<super::projects::GroupProject> {
        if self.marked_for_deletion_on.is_some() || self.marked_for_deletion_at.is_some() {
            return None;
        }
        Some(super::projects::GroupProject {
            id: self.id,
            path: self.path_with_namespace,
            visibility: self.visibility,
            creator: self.creator_id.map(UserId),
            topics: self.topics,
            is_empty: self.empty_repo,
            default_branch: self.default_branch.filter(|branch| !branch.is_empty()),
            web_url: self.web_url,
            http_url: self.http_url_to_repo,
            ssh_url: self.ssh_url_to_repo.filter(|url| !url.is_empty()),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct ProjectMember {
    id: u64,
    username: String,
    access_level: u64,
    created_by: Option<Creator>,
}

#[derive(Deserialize)]
pub(super) struct Creator {
    pub(super) id: u64,
}

/// An account as GitLab shows it; who made it is told to administrators only.
#[derive(Deserialize)]
pub(super) struct Profile {
    pub(super) username: String,
    #[serde(default)]
    pub(super) bot: bool,
    pub(super) created_by: Option<Creator>,
}

impl Profile {
    /// Whether it came with an access token of a project or a group.
    pub(super) fn is_of_a_token(&self) -> bool {
        let rest = ["project_", "group_"]
            .into_iter()
            .find_map(|kind| self.username.strip_prefix(kind));
        let parts = rest.and_then(|rest| rest.split_once("_bot"));
        parts
            .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl ProjectMember {
    /// Nothing for those who have no access, or minimal access.
    pub(super) fn with_access(self) -> Option<super::projects::ProjectMember> {
        Some(super::projects::ProjectMember {
            level: access_level(self.access_level)?,
            id: UserId(self.id),
            username: self.username,
            created_by: self.created_by.map(|creator| UserId(creator.id)),
        })
    }
}

/// GitLab's word for a level.
pub(super) fn level_of(level: forge::AccessLevel) -> gitlab::api::common::AccessLevel {
    use gitlab::api::common::AccessLevel as Wire;
    match level {
        forge::AccessLevel::Guest => Wire::Guest,
        forge::AccessLevel::Reporter => Wire::Reporter,
        forge::AccessLevel::Developer => Wire::Developer,
        forge::AccessLevel::Maintainer => Wire::Maintainer,
        forge::AccessLevel::Owner => Wire::Owner,
    }
}

/// A rule of protection. Without `allow_force_push` (before GitLab 13.12) there was no such thing.
#[derive(Deserialize)]
pub(super) struct ProtectedBranch {
    push_access_levels: Vec<BranchAccess>,
    merge_access_levels: Vec<BranchAccess>,
    #[serde(default)]
    allow_force_push: bool,
}

/// Who may: everybody of a level, or somebody by name, whom a person let in on purpose.
#[derive(Deserialize)]
struct BranchAccess {
    access_level: Option<u64>,
    user_id: Option<u64>,
    group_id: Option<u64>,
    deploy_key_id: Option<u64>,
}

impl ProtectedBranch {
    /// Whether only Maintainers, or fewer, push and merge, and nobody with force.
    pub(super) fn is_strict(&self) -> bool {
        let is_strict = |access: &BranchAccess| {
            let by_name =
                access.user_id.is_some() || access.group_id.is_some() || access.deploy_key_id.is_some();
            by_name || access.access_level.is_some_and(|level| level == 0 || level >= 40)
        };
        !self.allow_force_push
            && self
                .push_access_levels
                .iter()
                .chain(&self.merge_access_levels)
                .all(is_strict)
    }
}

#[derive(Deserialize)]
pub(super) struct Commit {
    pub(super) id: CommitId,
}

/// GitLab's name for the state of a commit status.
pub(super) fn status_name(state: forge::CommitState) -> &'static str {
    match state {
        forge::CommitState::Pending => "pending",
        forge::CommitState::Running => "running",
        forge::CommitState::Success => "success",
        forge::CommitState::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::forge::AccessLevel;

    #[rstest]
    #[case(0, None)]
    #[case(5, None)]
    #[case(10, Some(AccessLevel::Guest))]
    #[case(15, Some(AccessLevel::Guest))]
    #[case(20, Some(AccessLevel::Reporter))]
    #[case(25, Some(AccessLevel::Reporter))]
    #[case(30, Some(AccessLevel::Developer))]
    #[case(40, Some(AccessLevel::Maintainer))]
    #[case(50, Some(AccessLevel::Owner))]
    fn a_level_is_never_read_as_a_higher_one(#[case] number: u64, #[case] level: Option<AccessLevel>) {
        assert_eq!(access_level(number), level);
    }

    #[rstest]
    #[case::active("active", None, None, true)]
    #[case::awaiting("active", Some("awaiting"), None, false)]
    #[case::blocked("blocked", Some("active"), None, false)]
    #[case::unknown("on_leave", None, None, false)]
    #[case::ends_tomorrow("active", None, Some("2026-09-22"), true)]
    #[case::ends_today("active", None, Some("2026-09-21"), false)]
    fn only_an_active_account_with_an_active_membership_is_active(
        #[case] state: &str,
        #[case] membership_state: Option<&str>,
        #[case] expires_at: Option<&str>,
        #[case] active: bool,
    ) {
        let member = Member {
            id: 1,
            username: "ada".to_owned(),
            state: state.to_owned(),
            membership_state: membership_state.map(str::to_owned),
            access_level: 30,
            created_by: None,
            expires_at: expires_at.map(|day| day.parse().unwrap()),
        };
        let today = "2026-09-21".parse().unwrap();
        assert_eq!(member.effective(today).unwrap().active, active);
    }

    #[test]
    fn an_unknown_state_of_a_merge_request_is_an_error() {
        assert!(serde_json::from_str::<State>("\"frozen\"").is_err());
        let locked: State = serde_json::from_str("\"locked\"").unwrap();
        assert_eq!(
            forge::MergeRequestState::from(locked),
            forge::MergeRequestState::Open
        );
    }
}
