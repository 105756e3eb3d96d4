//! Projects of a GitLab: made, looked after and deleted with a token of their own, which is not the one that reads and
//! comments on a requests repository. One method is one call (a listing: one call a page), with exceptions that say so.

use std::sync::Arc;

use gitlab::api::common::{AccessLevel as WireLevel, NameOrId, ProtectedAccessLevel, VisibilityLevel};
use gitlab::api::groups::Group;
use gitlab::api::groups::projects::GroupProjects;
use gitlab::api::projects::members::{
    AddProjectMember, AllProjectMembers, EditProjectMember, ProjectMembers, RemoveProjectMember,
};
use gitlab::api::projects::protected_branches::{ProtectBranch, ProtectedBranch, UnprotectBranch};
use gitlab::api::projects::{CreateProject, DeleteProject, EditProject, Project, Projects};
use gitlab::api::users::{CurrentUser, Users};
use url::Url;

use super::client::Client;
use super::endpoints::{self, Call};
use super::{GitLabOptionsError, base_of, built, client_with, wire};
use crate::clock::Clock;
use crate::domain::ids::{CommitId, UserId};
use crate::forge::{AccessLevel, ForgeError, NewCommit, NewProject};
use crate::http_client::Token;

/// A project as the account of the token sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupProject {
    /// GitLab's number for it.
    pub id: u64,
    /// Its full path now.
    pub path: String,
    /// `private`, `internal` or `public`.
    pub visibility: String,
    /// Who made it, where GitLab says so. No call of its API changes that.
    pub creator: Option<UserId>,
    /// Its topics.
    pub topics: Vec<String>,
    /// Whether nothing was ever pushed to it.
    pub is_empty: bool,
    /// Its default branch; nothing where it has none.
    pub default_branch: Option<String>,
    /// Its page.
    pub web_url: String,
    /// Where git finds it by HTTP.
    pub http_url: String,
    /// Where git finds it by SSH; nothing where the GitLab has no SSH.
    pub ssh_url: Option<String>,
}

/// Somebody with rights in a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectMember {
    /// GitLab's number for them.
    pub id: UserId,
    /// Their name.
    pub username: String,
    /// Their level.
    pub level: AccessLevel,
    /// Who let them in, where GitLab knows.
    pub created_by: Option<UserId>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// GitLab's number for it.
    pub id: UserId,
    /// Its name, as GitLab writes it.
    pub username: String,
    /// Whether it is neither blocked nor deactivated.
    pub active: bool,
}

/// The projects that a token has rights in.
pub struct GitLabProjects {
    client: Client,
    own_user: tokio::sync::OnceCell<UserId>,
}

impl GitLabProjects {
    /// Makes the adapter, without calling anybody.
    ///
    /// # Errors
    /// [`GitLabOptionsError`] if the address or the token cannot be one.
    pub fn new(
        base_url: &Url,
        token: Token,
        client: reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, GitLabOptionsError> {
        let base = base_of(base_url)?;
        Ok(Self {
            client: client_with(client, &base, token, clock)?,
            own_user: tokio::sync::OnceCell::new(),
        })
    }

    /// Whose token it is. One call, ever.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn own_user(&self) -> Result<UserId, ForgeError> {
        let ask = async {
            let activity = "reading the user of the provisioning token".to_owned();
            let endpoint = built(&activity, CurrentUser::builder().build())?;
            let user: wire::Account = self.client.query(activity, endpoint).await?;
            Ok(UserId(user.id))
        };
        self.own_user.get_or_try_init(|| ask).await.copied()
    }

    /// The account of that name.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn account(&self, username: &str) -> Result<Option<Account>, ForgeError> {
        let activity = format!("looking for the account {username}");
        let endpoint = built(&activity, Users::builder().username(username).build())?;
        let found: Vec<wire::Account> = self.client.list(activity, endpoint).await?;
        Ok(found
            .into_iter()
            .find(|account| account.username.eq_ignore_ascii_case(username))
            .map(Into::into))
    }

    /// The project of that number, wherever it was moved to; nothing if it is gone, is about to go, or is out of our
    /// sight.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn by_number(&self, project: u64) -> Result<Option<GroupProject>, ForgeError> {
        let activity = format!("looking for project {project}");
        let endpoint = built(&activity, Project::builder().project(project).build())?;
        match self.client.query::<wire::GroupProject>(activity, endpoint).await {
            Ok(found) => Ok(found.standing()),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The projects that bear a topic and in which we are Maintainers at least: topics of strangers say nothing.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn with_topic(&self, topic: &str) -> Result<Vec<GroupProject>, ForgeError> {
        let activity = format!("looking for projects with the topic {topic}");
        let endpoint = Projects::builder()
            .topic(topic)
            .min_access_level(WireLevel::Maintainer)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let found: Vec<wire::GroupProject> = self.client.list(activity, endpoint).await?;
        Ok(found
            .into_iter()
            .filter_map(wire::GroupProject::standing)
            .filter(|project| project.topics.iter().any(|other| other == topic))
            .collect())
    }

    /// The project of that name in a group. Not by its path: that would lead to a project which moved away, too.
    ///
    /// # Errors
    /// Those of the call; [`ForgeError::NotFound`] if there is no such group.
    pub async fn in_group(&self, group: &str, name: &str) -> Result<Option<GroupProject>, ForgeError> {
        let activity = format!("looking for {name} in the group {group}");
        if !endpoints::is_group_path(group) {
            return Err(ForgeError::NotFound { activity });
        }
        let endpoint = GroupProjects::builder()
            .group(NameOrId::from(group))
            .search(name)
            .with_shared(false)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let found: Vec<wire::GroupProject> = self.client.list(activity, endpoint).await?;
        let path = format!("{group}/{name}");
        Ok(found
            .into_iter()
            .filter_map(wire::GroupProject::standing)
            .find(|project| project.path.eq_ignore_ascii_case(&path)))
    }

    /// Makes a private project in a group. Two calls: GitLab wants the group by its number.
    ///
    /// # Errors
    /// Those of the calls; [`ForgeError::Conflict`] if its path is taken.
    pub async fn create(&self, project: &NewProject) -> Result<GroupProject, ForgeError> {
        let activity = format!("reading the group {}", project.group);
        if !endpoints::is_group_path(&project.group) {
            return Err(ForgeError::NotFound { activity });
        }
        let name = NameOrId::from(project.group.as_str());
        let group = built(&activity, Group::builder().group(name).build())?;
        let group: wire::GroupId = self.client.query(activity, group).await?;
        let activity = format!("making the project {}/{}", project.group, project.path);
        let endpoint = CreateProject::builder()
            .name(project.path.as_str())
            .path(project.path.as_str())
            .namespace_id(group.id)
            .default_branch(project.default_branch.as_str())
            .description(project.description.as_str())
            .topics(project.topics.iter().map(String::as_str))
            .visibility(VisibilityLevel::Private)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let made: wire::GroupProject = self.client.query(activity.clone(), endpoint).await?;
        made.standing().ok_or_else(|| ForgeError::Unexpected {
            activity,
            reason: "it is to be deleted again".to_owned(),
        })
    }

    /// Makes one commit of several files.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn commit_files(&self, commit: &NewCommit) -> Result<CommitId, ForgeError> {
        let activity = format!("committing to {} of project {}", commit.branch, commit.project);
        let made: wire::Commit = self.client.query(activity, Call::commit_files(commit)).await?;
        Ok(made.id)
    }

    /// Makes a project private. Doing it twice is fine.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn make_private(&self, project: u64) -> Result<(), ForgeError> {
        let activity = format!("making project {project} private");
        let endpoint = EditProject::builder()
            .project(project)
            .visibility(VisibilityLevel::Private)
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.client.run(activity, endpoint).await
    }

    /// Protects a branch: nobody pushes with force, and only Maintainers push and merge. A rule that is as strict, or
    /// stricter, stays. Two calls where there is none, three where there is a weaker one: on the Free tier, GitLab
    /// changes the levels of no rule that is there.
    ///
    /// # Errors
    /// Those of the calls.
    pub async fn protect(&self, project: u64, branch: &str) -> Result<(), ForgeError> {
        let activity = format!("reading how {branch} of project {project} is protected");
        let endpoint = ProtectedBranch::builder().project(project).name(branch).build();
        let endpoint = built(&activity, endpoint)?;
        match self
            .client
            .query::<wire::ProtectedBranch>(activity, endpoint)
            .await
        {
            Ok(rule) if rule.is_strict() => return Ok(()),
            Ok(_) => {
                let activity = format!("taking the weaker protection from {branch} of project {project}");
                let endpoint = UnprotectBranch::builder().project(project).name(branch).build();
                let endpoint = built(&activity, endpoint)?;
                self.client.run(activity, endpoint).await?;
            }
            Err(ForgeError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let activity = format!("protecting {branch} of project {project}");
        let endpoint = ProtectBranch::builder()
            .project(project)
            .name(branch)
            .push_access_level(ProtectedAccessLevel::Maintainer)
            .merge_access_level(ProtectedAccessLevel::Maintainer)
            .allow_force_push(false)
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.client.run(activity, endpoint).await
    }

    /// Who is a member of the project itself.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn direct_members(&self, project: u64) -> Result<Vec<ProjectMember>, ForgeError> {
        let activity = format!("listing the members of project {project}");
        let endpoint = built(&activity, ProjectMembers::builder().project(project).build())?;
        let listed: Vec<wire::ProjectMember> = self.client.list(activity, endpoint).await?;
        Ok(listed
            .into_iter()
            .filter_map(wire::ProjectMember::with_access)
            .collect())
    }

    /// Everybody with rights in the project, those of its groups included, each with their highest level.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn all_members(&self, project: u64) -> Result<Vec<ProjectMember>, ForgeError> {
        let activity = format!("listing everybody with rights in project {project}");
        let endpoint = built(&activity, AllProjectMembers::builder().project(project).build())?;
        let listed: Vec<wire::ProjectMember> = self.client.list(activity, endpoint).await?;
        Ok(listed
            .into_iter()
            .filter_map(wire::ProjectMember::with_access)
            .collect())
    }

    /// Lets somebody in.
    ///
    /// # Errors
    /// Those of the call; [`ForgeError::Conflict`] if they are a member already.
    pub async fn add_member(&self, project: u64, user: UserId, level: AccessLevel) -> Result<(), ForgeError> {
        let activity = format!("letting user {user} into project {project}");
        let endpoint = AddProjectMember::builder()
            .project(project)
            .user(user.0)
            .access_level(wire::level_of(level))
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.client.run(activity, endpoint).await
    }

    /// Gives a member of the project another level.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn change_member(
        &self,
        project: u64,
        user: UserId,
        level: AccessLevel,
    ) -> Result<(), ForgeError> {
        let activity = format!("changing the role of user {user} in project {project}");
        let endpoint = EditProjectMember::builder()
            .project(project)
            .user(user.0)
            .access_level(wire::level_of(level))
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.client.run(activity, endpoint).await
    }

    /// Takes a member out. Doing it twice is fine.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn remove_member(&self, project: u64, user: UserId) -> Result<(), ForgeError> {
        let activity = format!("taking user {user} out of project {project}");
        let endpoint = RemoveProjectMember::builder()
            .project(project)
            .user(user.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        fine_if_gone(self.client.run(activity, endpoint).await)
    }

    /// Deletes a project. Since GitLab 18 it can be restored for some days, under another path. Doing it twice is fine.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn delete(&self, project: u64) -> Result<(), ForgeError> {
        let activity = format!("deleting project {project}");
        let endpoint = built(&activity, DeleteProject::builder().project(project).build())?;
        fine_if_gone(self.client.run(activity, endpoint).await)
    }
}

fn fine_if_gone(done: Result<(), ForgeError>) -> Result<(), ForgeError> {
    match done {
        Err(ForgeError::NotFound { .. }) => Ok(()),
        other => other,
    }
}
