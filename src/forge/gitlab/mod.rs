//! GitLab 18 and later, by REST. One method is one call (a listing: one call a page), with two exceptions that say
//! so; nothing is asked for when the adapter is made.

mod answers;
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
