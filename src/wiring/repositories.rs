//! Repositories on a GitLab: what the provider asks of a forge, by the forge's own adapter. Neither knows the other.

use async_trait::async_trait;

use crate::domain::ids::UserId;
use crate::domain::step::{Failure, FailureClass};
use crate::forge::gitlab::projects::{GitLabProjects, GroupProject, ProjectMember};
use crate::forge::{AccessLevel, FileAction, ForgeError, NewCommit, NewProject};
use crate::provider::repository::{
    Account, Direct, Level, Membership, NewRepository, Repository, RepositoryHost, RepositoryView,
};

/// Repositories as projects of a GitLab.
pub struct OnGitLab {
    /// What the provisioning token may do there.
    pub projects: GitLabProjects,
}

fn failure(error: ForgeError) -> Failure {
    let class = match &error {
        ForgeError::RateLimited { .. } => FailureClass::Throttled,
        ForgeError::Unavailable { .. } | ForgeError::Unexpected { .. } => FailureClass::Transient,
        ForgeError::Conflict { .. } => FailureClass::Conflict,
        ForgeError::Forbidden {
            activity,
            status,
            reason,
        } => {
            let reason = format!(
                "{activity}: the forge refused ({status}: {reason}): the provisioning token needs the scope `api`, and the \
                 role Owner in the team's group"
            );
            return Failure::new(FailureClass::Refused, reason);
        }
        ForgeError::NotFound { .. } | ForgeError::Refused { .. } => FailureClass::Refused,
    };
    Failure::new(class, error.to_string())
}

fn repository(project: GroupProject) -> Repository {
    let visibility = match project.visibility.as_str() {
        "private" => "Private",
        "internal" => "Internal",
        _ => "Public",
    };
    Repository {
        id: project.id,
        path: project.path,
        visibility: visibility.to_owned(),
        creator: project.creator,
        topics: project.topics,
        is_empty: project.is_empty,
        default_branch: project.default_branch,
        web_url: project.web_url,
        clone_url_http: project.http_url,
        clone_url_ssh: project.ssh_url,
    }
}

fn level(level: AccessLevel) -> Level {
    match level {
        AccessLevel::Guest => Level::Guest,
        AccessLevel::Reporter => Level::Reporter,
        AccessLevel::Developer => Level::Developer,
        AccessLevel::Maintainer => Level::Maintainer,
        AccessLevel::Owner => Level::Owner,
    }
}

fn access_level(level: Level) -> AccessLevel {
    match level {
        Level::Guest => AccessLevel::Guest,
        Level::Reporter => AccessLevel::Reporter,
        Level::Developer => AccessLevel::Developer,
        Level::Maintainer => AccessLevel::Maintainer,
        Level::Owner => AccessLevel::Owner,
    }
}

#[async_trait]
impl RepositoryView for OnGitLab {
    async fn own_account(&self) -> Result<UserId, Failure> {
        self.projects.own_user().await.map_err(failure)
    }

    async fn by_number(&self, number: u64) -> Result<Option<Repository>, Failure> {
        let found = self.projects.by_number(number).await.map_err(failure)?;
        Ok(found.map(repository))
    }

    async fn with_topic(&self, topic: &str) -> Result<Vec<Repository>, Failure> {
        let found = self.projects.with_topic(topic).await.map_err(failure)?;
        Ok(found.into_iter().map(repository).collect())
    }

    async fn in_group(&self, group: &str, name: &str) -> Result<Option<Repository>, Failure> {
        match self.projects.in_group(group, name).await {
            Ok(found) => Ok(found.map(repository)),
            Err(ForgeError::NotFound { .. }) => {
                let reason = format!(
                    "the forge shows no group {group} to Landfall: correct the team's group in landfall.yaml, or make \
                     the account of the provisioning token an Owner of it"
                );
                Err(Failure::new(FailureClass::User, reason))
            }
            Err(error) => Err(failure(error)),
        }
    }

    async fn members(&self, repository: u64) -> Result<Vec<Membership>, Failure> {
        let own = self.projects.own_user().await.map_err(failure)?;
        let direct = self.projects.direct_members(repository).await.map_err(failure)?;
        let all = self.projects.all_members(repository).await.map_err(failure)?;
        let direct_of = |user: UserId| {
            direct
                .iter()
                .find(|member| member.id == user)
                .map(|member| Direct {
                    level: level(member.level),
                    by_us: member.created_by == Some(own),
                })
        };
        // GitLab may list somebody once for each membership: the highest counts.
        let mut members: Vec<Membership> = Vec::new();
        for ProjectMember {
            id,
            username,
            level: found,
            ..
        } in all
        {
            let found = level(found);
            match members.iter_mut().find(|member| member.user == id) {
                Some(known) => known.level = known.level.max(found),
                None => members.push(Membership {
                    user: id,
                    username,
                    level: found,
                    direct: direct_of(id),
                }),
            }
        }
        Ok(members)
    }

    async fn account(&self, username: &str) -> Result<Option<Account>, Failure> {
        let found = self.projects.account(username).await.map_err(failure)?;
        Ok(found.map(|account| Account {
            id: account.id,
            active: account.active,
        }))
    }
}

#[async_trait]
impl RepositoryHost for OnGitLab {
    async fn create(&self, new: &NewRepository) -> Result<Repository, Failure> {
        let project = NewProject {
            path: new.name.clone(),
            group: new.group.clone(),
            default_branch: new.default_branch.clone(),
            description: new.description.clone(),
            topics: new.topics.clone(),
        };
        self.projects
            .create(&project)
            .await
            .map(repository)
            .map_err(failure)
    }

    async fn make_private(&self, repository: u64) -> Result<(), Failure> {
        self.projects.make_private(repository).await.map_err(failure)
    }

    async fn protect(&self, repository: u64, branch: &str) -> Result<(), Failure> {
        self.projects.protect(repository, branch).await.map_err(failure)
    }

    async fn begin(
        &self,
        repository: u64,
        branch: &str,
        message: &str,
        (path, content): (&str, &str),
    ) -> Result<(), Failure> {
        let commit = NewCommit {
            project: repository,
            branch: branch.to_owned(),
            message: message.to_owned(),
            files: vec![(path.to_owned(), FileAction::Create(content.as_bytes().to_vec()))],
        };
        self.projects
            .commit_files(&commit)
            .await
            .map(drop)
            .map_err(failure)
    }

    async fn add_member(&self, repository: u64, user: UserId, level: Level) -> Result<(), Failure> {
        self.projects
            .add_member(repository, user, access_level(level))
            .await
            .map_err(failure)
    }

    async fn change_member(&self, repository: u64, user: UserId, level: Level) -> Result<(), Failure> {
        self.projects
            .change_member(repository, user, access_level(level))
            .await
            .map_err(failure)
    }

    async fn remove_member(&self, repository: u64, user: UserId) -> Result<(), Failure> {
        self.projects
            .remove_member(repository, user)
            .await
            .map_err(failure)
    }

    async fn delete(&self, repository: u64) -> Result<(), Failure> {
        self.projects.delete(repository).await.map_err(failure)
    }
}
