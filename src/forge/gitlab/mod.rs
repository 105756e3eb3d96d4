//! GitLab 18 and later, by REST. One method is one call (a listing: one call a page), with two exceptions that say
//! so; nothing is asked for when the adapter is made.

mod client;
mod endpoints;
mod listing;
pub mod projects;
pub mod webhook;
mod wire;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use gitlab::api::Endpoint;
use gitlab::api::common::SortOrder;
use gitlab::api::issues::{IssueOrderBy, IssueScope};
use gitlab::api::merge_requests::{MergeRequestOrderBy, MergeRequestScope, MergeRequestState as ListedState};
use gitlab::api::projects::Project as OneProject;
use gitlab::api::projects::hooks::{DeleteHook, Hooks};
use gitlab::api::projects::issues::{CreateIssue, EditIssue, IssueStateEvent, Issues};
use gitlab::api::projects::members::AllProjectMember;
use gitlab::api::projects::merge_requests::approvals::MergeRequestApprovals;
use gitlab::api::projects::merge_requests::{MergeRequest as OneMergeRequest, MergeRequests};
use gitlab::api::projects::repository::commits::MergeRequests as MergeRequestsOfCommit;
use gitlab::api::users::{CurrentUser, Users};
use jiff::Timestamp;
use url::Url;

use self::client::Client;
use self::endpoints::Call;
use super::{
    Account, CommitState, CommitStatus, Enough, Forge, ForgeApproval, ForgeError, Group, Hook, Issue, Limits,
    Member, MergeRequest, NewHook, NewIssue, Note, Project, PushEvent, ShownStatus, Thread, User, Version,
};
use crate::clock::Clock;
use crate::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId, UserId};
use crate::http_client::Token;

/// The user name to give for git over HTTP; the password is the token.
pub const GIT_USERNAME: &str = "oauth2";

/// The longest note that GitLab takes, in characters.
const LONGEST_NOTE: usize = 1_000_000;

/// So many bytes of all notes of one place are kept. Beyond that, long ones are kept by their beginning: whoever may
/// comment may write thousands of the longest.
const KEPT_OF_NOTES: usize = 8 << 20;
const LONG_NOTE: usize = 64 << 10;
const BEGINNING: usize = 1_000;

/// What the adapter needs to know.
pub struct GitLabOptions {
    /// Where GitLab is, a sub-path included (`https://host/gitlab`).
    pub base_url: Url,
    /// The project's number.
    pub project: u64,
    /// An access token with the scope `api` and, in the project, the role Maintainer.
    pub token: Token,
    /// From [`crate::http_client::build`].
    pub client: reqwest::Client,
    /// Tells when a pause that GitLab asked for is over.
    pub clock: Arc<dyn Clock>,
}

/// Why the options are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GitLabOptionsError {
    /// Not an address of a GitLab.
    #[error(
        "the forge's url is not usable: give `https://host` or `https://host/path`, without user, query or fragment"
    )]
    BaseUrl,
    /// No token, or one that cannot be sent.
    #[error("the forge's token is empty or holds characters that no token has")]
    Token,
}

/// A project on a GitLab.
pub struct GitLab {
    client: Client,
    base: String,
    project: u64,
    /// The project's page, as GitLab last named it: paths change, and no page below a project goes by its number.
    web_url: Mutex<Option<Url>>,
    /// Accounts that are a person's: that never changes.
    persons: Mutex<BTreeSet<UserId>>,
}

/// So many are remembered.
const MOST_PERSONS: usize = 10_000;

impl GitLab {
    /// Makes the adapter, without calling anybody.
    ///
    /// # Errors
    /// [`GitLabOptionsError`] if the address or the token cannot be one.
    pub fn new(options: GitLabOptions) -> Result<Self, GitLabOptionsError> {
        let GitLabOptions {
            base_url,
            project,
            token,
            client,
            clock,
        } = options;
        let base = base_of(&base_url)?;
        Ok(Self {
            client: client_with(client, &base, token, clock)?,
            base,
            project,
            web_url: Mutex::new(None),
            persons: Mutex::new(BTreeSet::new()),
        })
    }

    async fn group_of(&self, activity: String, key: &str) -> Result<Option<Group>, ForgeError> {
        match self.client.query::<wire::Group>(activity, Call::group(key)).await {
            Ok(group) => Ok(Some(group.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remember_web_url(&self, web_url: &str) {
        let Some(url) = Url::parse(web_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
        else {
            return;
        };
        *self.web_url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    fn seen(&self, merge_request: wire::MergeRequest) -> MergeRequest {
        let merge_request = MergeRequest::from(merge_request);
        if let Some((project, _)) = merge_request.web_url.rsplit_once("/-/merge_requests/") {
            self.remember_web_url(project);
        }
        merge_request
    }

    /// The merge requests of a listing. One that cannot be read is left out: it is nobody else's trouble.
    async fn merge_requests(
        &self,
        activity: String,
        endpoint: impl Endpoint + Sync,
        mut enough: impl FnMut(&[wire::MergeRequest]) -> bool + Send,
    ) -> Result<Vec<MergeRequest>, ForgeError> {
        let mut listed = Vec::new();
        self.client
            .walk(activity, endpoint, |page: Vec<wire::MergeRequest>| {
                let enough = enough(&page);
                listed.extend(page);
                if enough {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .await?;
        Ok(self.all_seen(listed))
    }

    /// What was listed, each once: a page can repeat what moved while the one before was read.
    fn all_seen(&self, listed: Vec<wire::MergeRequest>) -> Vec<MergeRequest> {
        let mut merge_requests: Vec<_> = listed
            .into_iter()
            .filter(|merge_request| merge_request.target_project_id == self.project)
            .map(|merge_request| self.seen(merge_request))
            .collect();
        merge_requests.sort_by_key(|merge_request| merge_request.number);
        merge_requests.dedup_by_key(|merge_request| merge_request.number);
        merge_requests
    }
}

/// A GitLab's address without a slash at its end.
fn base_of(url: &Url) -> Result<String, GitLabOptionsError> {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(GitLabOptionsError::BaseUrl);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn client_with(
    client: reqwest::Client,
    base: &str,
    token: Token,
    clock: Arc<dyn Clock>,
) -> Result<Client, GitLabOptionsError> {
    if token.now().is_empty() {
        return Err(GitLabOptionsError::Token);
    }
    Client::new(client, base.to_owned(), token, clock).map_err(|_| GitLabOptionsError::Token)
}

/// The builders of the crate fail only where a field was forgotten.
fn built<T, E: std::fmt::Display>(activity: &str, endpoint: Result<T, E>) -> Result<T, ForgeError> {
    endpoint.map_err(|error| ForgeError::Unexpected {
        activity: activity.to_owned(),
        reason: format!("the call could not be made up: {error}"),
    })
}

/// What is kept of a long note: by its mark it is nothing that a shorter one could be.
fn beginning(body: &str) -> String {
    body.chars().take(BEGINNING).chain(" […]".chars()).collect()
}

fn words(on: Thread) -> String {
    match on {
        Thread::MergeRequest(number) => format!("merge request !{number}"),
        Thread::Issue(number) => format!("issue #{number}"),
    }
}

/// GitLab refuses to move a status to the state that it has, as in "Cannot transition status via :run from :running".
fn has_state_already(reason: &str, state: CommitState) -> bool {
    reason
        .split_once("Cannot transition status via")
        .and_then(|(_, rest)| rest.split_once("from :"))
        .is_some_and(|(_, from)| {
            let end = from.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(from.len());
            from.get(..end) == Some(wire::status_name(state))
        })
}

#[async_trait]
impl Forge for GitLab {
    async fn own_user(&self) -> Result<User, ForgeError> {
        let activity = "reading our own user".to_owned();
        let endpoint = built(&activity, CurrentUser::builder().build())?;
        Ok(self.client.query::<wire::User>(activity, endpoint).await?.into())
    }

    async fn merge_request(&self, number: MergeRequestNumber) -> Result<MergeRequest, ForgeError> {
        let activity = format!("reading merge request !{number}");
        let endpoint = OneMergeRequest::builder()
            .project(self.project)
            .merge_request(number.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        Ok(self.seen(self.client.query(activity, endpoint).await?))
    }

    async fn open_merge_requests(&self, target_branch: &str) -> Result<Vec<MergeRequest>, ForgeError> {
        let activity = format!("listing the open merge requests into {target_branch}");
        let endpoint = MergeRequests::builder()
            .project(self.project)
            .state(ListedState::Opened)
            .target_branch(target_branch)
            .scope(MergeRequestScope::All)
            .order_by(MergeRequestOrderBy::CreatedAt)
            .sort(SortOrder::Ascending)
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.merge_requests(activity, endpoint, |_| false).await
    }

    async fn merged_since(
        &self,
        target_branch: &str,
        since: Timestamp,
    ) -> Result<Vec<MergeRequest>, ForgeError> {
        let activity = format!("listing what was merged into {target_branch}");
        let call = Call::merged_since(self.project, target_branch, since);
        // The newest merge comes first: what is behind the first older one was merged before, whatever was said in it
        // since.
        let older = |page: &[wire::MergeRequest]| page.iter().any(|one| one.was_merged_before(since));
        let mut merged = self.merge_requests(activity, call, older).await?;
        merged.sort_by_key(|merge_request| {
            (
                merge_request.merged_at.unwrap_or(merge_request.updated_at),
                merge_request.number,
            )
        });
        Ok(merged)
    }

    async fn merge_requests_of_commit(&self, commit: &CommitId) -> Result<Vec<MergeRequest>, ForgeError> {
        let activity = format!("listing the merge requests of commit {}", commit.short());
        let endpoint = MergeRequestsOfCommit::builder()
            .project(self.project)
            .sha(commit.as_str())
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.merge_requests(activity, endpoint, |_| false).await
    }

    async fn versions(&self, number: MergeRequestNumber) -> Result<Vec<Version>, ForgeError> {
        let activity = format!("listing the versions of merge request !{number}");
        let listed: Vec<wire::Version> = self
            .client
            .list(activity, Call::versions(self.project, number))
            .await?;
        let mut versions: Vec<_> = listed.into_iter().filter_map(wire::Version::pushed).collect();
        versions.sort_by_key(|version| version.id);
        versions.dedup_by_key(|version| version.id);
        Ok(versions)
    }

    async fn approvals(&self, number: MergeRequestNumber) -> Result<Vec<ForgeApproval>, ForgeError> {
        let activity = format!("reading the approvals of merge request !{number}");
        let endpoint = MergeRequestApprovals::builder()
            .project(self.project)
            .merge_request(number.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let approvals: wire::Approvals = self.client.query(activity, endpoint).await?;
        Ok(approvals.approved_by.into_iter().map(Into::into).collect())
    }

    async fn member(&self, user: UserId) -> Result<Option<Member>, ForgeError> {
        let activity = format!("reading the role of user {user}");
        let endpoint = AllProjectMember::builder()
            .project(self.project)
            .user(user.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        match self.client.query::<wire::Member>(activity, endpoint).await {
            Ok(member) => Ok(member.effective(self.client.today())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Two calls for the user of an access token.
    async fn account(&self, user: UserId) -> Result<Option<Account>, ForgeError> {
        let person = Account {
            bot: false,
            owner: None,
        };
        let known = |persons: &mut BTreeSet<UserId>| persons.contains(&user);
        if known(&mut self.persons.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(person));
        }
        let activity = format!("reading user {user}");
        let profile: wire::Profile = match self.client.query(activity, Call::user(user.0)).await {
            Ok(profile) => profile,
            Err(ForgeError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !profile.bot {
            let mut persons = self.persons.lock().unwrap_or_else(PoisonError::into_inner);
            if persons.len() >= MOST_PERSONS {
                persons.clear();
            }
            persons.insert(user);
            return Ok(Some(person));
        }
        let is_of_a_token = profile.is_of_a_token();
        let mut owner = profile.created_by;
        if owner.is_none() && is_of_a_token {
            let activity = format!("reading whose bot user {user} is");
            let endpoint = AllProjectMember::builder()
                .project(self.project)
                .user(user.0)
                .build();
            let endpoint = built(&activity, endpoint)?;
            owner = match self.client.query::<wire::Member>(activity, endpoint).await {
                Ok(member) => member.created_by,
                Err(ForgeError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(Some(Account {
            bot: true,
            owner: owner.filter(|_| is_of_a_token).map(|creator| UserId(creator.id)),
        }))
    }

    /// GitLab finds addresses that are shown in a profile; for an administrator's token all of them.
    async fn users_with_email(&self, address: &str) -> Result<Vec<User>, ForgeError> {
        let activity = "looking whose an e-mail address is".to_owned();
        let endpoint = built(&activity, Users::builder().search(address).build())?;
        let found: Vec<wire::User> = self.client.list(activity, endpoint).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    async fn group_at(&self, path: &str) -> Result<Option<Group>, ForgeError> {
        if !endpoints::is_group_path(path) {
            return Ok(None);
        }
        let found = self
            .group_of(format!("looking for the group {path}"), &path.replace('/', "%2F"))
            .await?;
        // GitLab leads from the path that a group once had to where it is now.
        Ok(found.filter(|group| group.path.eq_ignore_ascii_case(path)))
    }

    async fn group(&self, id: u64) -> Result<Option<Group>, ForgeError> {
        self.group_of(format!("reading group {id}"), &id.to_string())
            .await
    }

    /// A private group tells of its members only to members: with a token whose user is none, this is
    /// [`ForgeError::Forbidden`] where the project lies in that group, and nothing elsewhere.
    async fn direct_member(&self, group: u64, user: UserId) -> Result<Option<Member>, ForgeError> {
        let activity = format!("reading whether user {user} is a member of group {group}");
        match self
            .client
            .query::<wire::Member>(activity, Call::group_member(group, user.0))
            .await
        {
            Ok(member) => Ok(member.effective(self.client.today())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn last_closed_or_reopened(
        &self,
        number: MergeRequestNumber,
    ) -> Result<Option<Timestamp>, ForgeError> {
        let activity = format!("reading when merge request !{number} was closed or reopened");
        let listed: Vec<wire::StateEvent> = self
            .client
            .list(activity, Call::state_events(self.project, number))
            .await?;
        Ok(listed
            .into_iter()
            .filter_map(wire::StateEvent::closed_or_reopened)
            .max())
    }

    async fn note(&self, on: Thread, note: NoteId) -> Result<Option<Note>, ForgeError> {
        let activity = format!("reading note {note} of {}", words(on));
        let call = Call::note(self.project, on, note);
        match self.client.query::<wire::Note>(activity, call).await {
            Ok(note) => Ok(Some(note.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn notes(&self, on: Thread) -> Result<Vec<Note>, ForgeError> {
        let activity = format!("listing the notes of {}", words(on));
        let (mut notes, mut kept): (Vec<Note>, usize) = (Vec::new(), 0);
        let see = |page: Vec<wire::Note>| {
            for mut note in page.into_iter().map(Note::from) {
                if note.body.len() > LONG_NOTE && kept + note.body.len() > KEPT_OF_NOTES {
                    note.body = beginning(&note.body);
                }
                kept += note.body.len();
                notes.push(note);
            }
            ControlFlow::Continue(())
        };
        self.client
            .walk(activity, Call::notes(self.project, on), see)
            .await?;
        notes.sort_by_key(|note| (note.created_at, note.id));
        notes.dedup_by_key(|note| note.id);
        Ok(notes)
    }

    async fn create_note(&self, on: Thread, body: &str) -> Result<Note, ForgeError> {
        let activity = format!("writing a note on {}", words(on));
        let call = Call::create_note(self.project, on, body);
        Ok(self.client.query::<wire::Note>(activity, call).await?.into())
    }

    async fn update_note(&self, on: Thread, note: NoteId, body: &str) -> Result<Note, ForgeError> {
        let activity = format!("changing note {note} on {}", words(on));
        let call = Call::update_note(self.project, on, note, body);
        Ok(self.client.query::<wire::Note>(activity, call).await?.into())
    }

    async fn set_status(&self, status: &CommitStatus) -> Result<(), ForgeError> {
        let activity = format!("showing a status on commit {}", status.commit.short());
        match self
            .client
            .run(activity, Call::set_status(self.project, status))
            .await
        {
            Err(ForgeError::Refused { reason, .. } | ForgeError::Conflict { reason, .. })
                if has_state_already(&reason, status.state) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    async fn shown_status(&self, commit: &CommitId, branch: &str) -> Result<Option<ShownStatus>, ForgeError> {
        let activity = format!("reading the status of commit {}", commit.short());
        let call = Call::shown_statuses(self.project, commit, branch);
        match self.client.list::<wire::ShownStatus>(activity, call).await {
            Ok(listed) => Ok(listed.into_iter().next().and_then(wire::ShownStatus::known)),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pushes_since(&self, since: Timestamp) -> Result<Vec<PushEvent>, ForgeError> {
        self.pushes_until(since, &|_| false).await
    }

    async fn pushes_until(
        &self,
        since: Timestamp,
        enough: &Enough<'_>,
    ) -> Result<Vec<PushEvent>, ForgeError> {
        let since = since.as_second();
        let mut pushes: Vec<PushEvent> = Vec::new();
        let see = |page: Vec<wire::PushEvent>| {
            // The newest comes first, and GitLab knows days only.
            let all = page.iter().any(|event| event.created_at.as_second() < since);
            let of_branches = page.into_iter().filter_map(wire::PushEvent::of_branch);
            pushes.extend(of_branches.filter(|push| push.at.as_second() >= since));
            if all || enough(&pushes) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (activity, since) = ("listing the pushes".to_owned(), Timestamp::from_second(since));
        let call = Call::pushes(self.project, since.unwrap_or(Timestamp::MIN));
        self.client.walk(activity, call, see).await?;
        pushes.sort_by_key(|push| push.at);
        Ok(pushes)
    }

    async fn create_issue(&self, issue: &NewIssue) -> Result<Issue, ForgeError> {
        let activity = "opening an issue".to_owned();
        let endpoint = CreateIssue::builder()
            .project(self.project)
            .title(issue.title.as_str())
            .description(issue.body.as_str())
            .build();
        let endpoint = built(&activity, endpoint)?;
        Ok(self.client.query::<wire::Issue>(activity, endpoint).await?.into())
    }

    async fn issue(&self, issue: IssueNumber) -> Result<Option<Issue>, ForgeError> {
        let activity = format!("reading issue #{issue}");
        match self
            .client
            .query::<wire::Issue>(activity, Call::issue(self.project, issue))
            .await
        {
            Ok(issue) => Ok(Some(issue.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn restore_issue(&self, issue: IssueNumber, words: &NewIssue) -> Result<(), ForgeError> {
        let activity = format!("putting issue #{issue} right");
        let call = Call::restore_issue(self.project, issue, words);
        self.client.run(activity, call).await
    }

    async fn close_issue(&self, issue: IssueNumber) -> Result<(), ForgeError> {
        let activity = format!("closing issue #{issue}");
        let endpoint = EditIssue::builder()
            .project(self.project)
            .issue(issue.0)
            .state_event(IssueStateEvent::Close)
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.client.run(activity, endpoint).await
    }

    /// Looks through our issues until one is found: GitLab's own search leaves out what looks like an HTML tag, as markers do.
    async fn own_issues_with(&self, marker: &str) -> Result<Vec<Issue>, ForgeError> {
        let activity = "listing our issues".to_owned();
        let endpoint = Issues::builder()
            .project(self.project)
            .scope(IssueScope::CreatedByMe)
            .order_by(IssueOrderBy::CreatedAt)
            .sort(SortOrder::Descending)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let mut issues: Vec<Issue> = Vec::new();
        let see = |page: Vec<wire::Issue>| {
            let page = page.into_iter().map(Issue::from);
            issues.extend(page.filter(|issue| issue.body.contains(marker)));
            if issues.is_empty() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        self.client.walk(activity, endpoint, see).await?;
        issues.sort_by_key(|issue| std::cmp::Reverse(issue.number));
        issues.dedup_by_key(|issue| issue.number);
        Ok(issues)
    }

    async fn hooks(&self) -> Result<Vec<Hook>, ForgeError> {
        let activity = "listing the webhooks".to_owned();
        let endpoint = built(&activity, Hooks::builder().project(self.project).build())?;
        let listed: Vec<wire::Hook> = self.client.list(activity, endpoint).await?;
        Ok(listed.into_iter().map(Into::into).collect())
    }

    /// A GitLab before 19 makes the hook but leaves a signing token out; then the hook is removed again, by a
    /// second call.
    async fn create_hook(&self, hook: &NewHook) -> Result<Hook, ForgeError> {
        let activity = "registering a webhook".to_owned();
        let made: wire::Hook = self
            .client
            .query(activity.clone(), Call::create_hook(self.project, hook))
            .await?;
        if hook.signing && !made.signing_token_present {
            let endpoint = DeleteHook::builder()
                .project(self.project)
                .hook_id(made.id)
                .build();
            let endpoint = built(&activity, endpoint)?;
            self.client
                .run(
                    format!("removing webhook {}, which does not sign", made.id),
                    endpoint,
                )
                .await?;
            let reason =
                "this GitLab has no signing tokens, they came with 19.0: use a plain secret token".to_owned();
            return Err(ForgeError::Unexpected { activity, reason });
        }
        Ok(made.into())
    }

    async fn project(&self) -> Result<Project, ForgeError> {
        let activity = format!("reading project {}", self.project);
        let endpoint = built(&activity, OneProject::builder().project(self.project).build())?;
        let project = Project::from(self.client.query::<wire::Project>(activity, endpoint).await?);
        self.remember_web_url(&project.web_url);
        Ok(project)
    }

    fn limits(&self) -> Limits {
        Limits {
            note: LONGEST_NOTE,
            status_description: endpoints::LONGEST_STATUS_TEXT,
        }
    }

    /// Before GitLab has named the project's page once, this is the page itself, by number: GitLab redirects that
    /// one, but nothing below it.
    fn file_url(&self, commit: &CommitId, path: &str, line: u32) -> String {
        let project = self
            .web_url
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let fallback = || format!("{}/projects/{}", self.base, self.project);
        let Some(mut url) = project else { return fallback() };
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments
                    .pop_if_empty()
                    .extend(["-", "blob", commit.as_str()])
                    .extend(path.split('/'));
            }
            Err(()) => return fallback(),
        }
        if line > 0 {
            url.set_fragment(Some(&format!("L{line}")));
        }
        url.into()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::secret::Secret;
    use crate::http_client::{self, HttpClientOptions};

    fn options(base_url: &str, token: &str) -> GitLabOptions {
        GitLabOptions {
            base_url: base_url.parse().unwrap(),
            project: 15,
            token: Secret::new(token).into(),
            client: http_client::build(&HttpClientOptions::default()).unwrap(),
            clock: Arc::new(SystemClock),
        }
    }

    #[rstest]
    #[case("https://gitlab.example.com", "t", None)]
    #[case("https://gitlab.example.com/gitlab/", "t", None)]
    #[case(
        "https://user:pass@gitlab.example.com",
        "t",
        Some(GitLabOptionsError::BaseUrl)
    )]
    #[case(
        "https://gitlab.example.com/?private_token=x",
        "t",
        Some(GitLabOptionsError::BaseUrl)
    )]
    #[case("ssh://gitlab.example.com", "t", Some(GitLabOptionsError::BaseUrl))]
    #[case("https://gitlab.example.com", "", Some(GitLabOptionsError::Token))]
    #[case("https://gitlab.example.com", "a\nb", Some(GitLabOptionsError::Token))]
    fn options_are_checked(
        #[case] url: &str,
        #[case] token: &str,
        #[case] error: Option<GitLabOptionsError>,
    ) {
        assert_eq!(GitLab::new(options(url, token)).err(), error);
    }

    #[test]
    fn a_file_is_linked_below_the_page_that_gitlab_named() {
        let gitlab = GitLab::new(options("https://host/gitlab", "t")).unwrap();
        let commit = CommitId::new("a".repeat(40)).unwrap();
        assert_eq!(
            gitlab.file_url(&commit, "requests/shop/orders.yaml", 3),
            "https://host/gitlab/projects/15"
        );
        gitlab.remember_web_url("javascript:alert(1)");
        gitlab.remember_web_url("https://host/gitlab/acme/requests");
        assert_eq!(
            gitlab.file_url(&commit, "requests/shop/a b#c?d%é.yaml", 3),
            format!(
                "https://host/gitlab/acme/requests/-/blob/{commit}/requests/shop/a%20b%23c%3Fd%25%C3%A9.yaml#L3"
            )
        );
    }

    #[rstest]
    #[case(
        "Cannot transition status via :run from :running (Reason(s): …)",
        CommitState::Running,
        true
    )]
    #[case(
        "Cannot transition status via :enqueue from :pending",
        CommitState::Pending,
        true
    )]
    #[case(
        "Cannot transition status via :enqueue from :running (…)",
        CommitState::Pending,
        false
    )]
    #[case("ref is invalid", CommitState::Running, false)]
    fn the_same_status_again_is_no_refusal(
        #[case] words: &str,
        #[case] state: CommitState,
        #[case] same: bool,
    ) {
        assert_eq!(has_state_already(words, state), same);
    }
}
