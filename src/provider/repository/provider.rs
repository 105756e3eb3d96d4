//! The acting half: makes a repository what its request asks for, in steps of which each looks first. A forge answers at
//! once, so nothing is ever waited for.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{
    DEFAULT_BRANCH, Hosts, NewRepository, Repository, Rights, Wanted, accounts, find, find_or_free, forge_of,
    others, rights, rights_of_other,
};
use crate::domain::plan::Action;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Order, Progress, Provider, Token};

/// Makes repositories on forges.
#[derive(Clone)]
pub struct RepositoryProvider {
    forges: Hosts,
}

impl RepositoryProvider {
    /// One that acts on these forges.
    #[must_use]
    pub fn new(forges: Hosts) -> Self {
        Self { forges }
    }

    async fn make(&self, order: &Order) -> Result<Repository, Failure> {
        if !matches!(order.action, Action::Create | Action::Recreate | Action::Update) {
            let reason = format!(
                "{:?} of {} is nothing that can be started",
                order.action, order.resource.name
            );
            return Err(Failure::new(FailureClass::Internal, reason));
        }
        let forge = forge_of(&self.forges, &order.scope)?;
        let wanted = Wanted::of(&order.scope, &order.resource)?;
        // Asked before anything is made: nothing is left half done because of a name.
        let accounts = accounts(forge, &wanted).await?;
        let found = match order.action {
            // What was never recorded cannot be what the update was signed for.
            Action::Update => find(forge, &order.provenance).await?,
            _ => find_or_free(forge, &order.provenance, &wanted).await?,
        };
        let repository = match found {
            Some(found) => found,
            None if order.action != Action::Update => forge.create(&new(order, &wanted)).await?,
            None => {
                let reason = format!("{} is not there any more: plan again", order.resource.name);
                return Err(Failure::new(FailureClass::Conflict, reason));
            }
        };
        if repository.visibility != "Private" {
            forge.make_private(repository.id).await?;
        }
        let branch = repository.default_branch.as_deref().unwrap_or(DEFAULT_BRANCH);
        // Before the first commit: what is in it was never open to a push.
        forge.protect(repository.id, branch).await?;
        if repository.is_empty {
            let (message, readme) = beginning(order, &wanted);
            forge
                .begin(repository.id, branch, &message, ("README.md", &readme))
                .await?;
        }
        let members = forge.members(repository.id).await?;
        for (username, level) in &wanted.collaborators {
            let Some(id) = accounts.get(username) else {
                continue;
            };
            let membership = members.iter().find(|member| member.user == *id);
            match rights(membership, *level) {
                Rights::Add => forge.add_member(repository.id, *id, *level).await?,
                Rights::Change => forge.change_member(repository.id, *id, *level).await?,
                Rights::Fine | Rights::Remove => {}
            }
        }
        for other in others(&members, &accounts).filter(|other| rights_of_other(other) == Rights::Remove) {
            forge.remove_member(repository.id, other.user).await?;
        }
        Ok(repository)
    }

    async fn remove(&self, order: &Order) -> Result<(), Failure> {
        let forge = forge_of(&self.forges, &order.scope)?;
        match find(forge, &order.provenance).await? {
            Some(repository) => forge.delete(repository.id).await,
            None => Ok(()),
        }
    }
}

fn new(order: &Order, wanted: &Wanted) -> NewRepository {
    let scope = &order.scope;
    NewRepository {
        group: wanted.group.clone(),
        name: wanted.name.clone(),
        description: format!(
            "{} of the team {}. Made by Landfall, which knows it by its number.",
            scope.request, scope.team
        ),
        default_branch: DEFAULT_BRANCH.into(),
        topics: vec![order.mark.to_string()],
    }
}

/// The first commit: its message and its README.
fn beginning(order: &Order, wanted: &Wanted) -> (String, String) {
    let scope = &order.scope;
    let message = format!("Begin {}\n\nLandfall-Step: {}\n", wanted.name, order.key);
    let readme = format!(
        "# {name}\n\nThe repository of `{request}`, a project of the team `{team}`.\n\nLandfall made it, as the team \
         asked for in the requests repository `{requests}`: in a file below `requests/{team}/`. Who is let in, and \
         whether this repository stays, is written there: change it with a merge request.\n\nThe branch \
         `{DEFAULT_BRANCH}` is protected: nobody pushes to it with force, and Maintainers merge.\n",
        name = wanted.name,
        request = scope.request,
        team = scope.team,
        requests = scope.repository,
    );
    (message, readme)
}

fn outputs(repository: &Repository) -> BTreeMap<String, String> {
    let mut outputs: BTreeMap<String, String> = [
        ("webUrl", &repository.web_url),
        ("cloneUrlHttp", &repository.clone_url_http),
        ("path", &repository.path),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .into();
    if let Some(url) = &repository.clone_url_ssh {
        outputs.insert("cloneUrlSsh".to_owned(), url.clone());
    }
    outputs
}

#[async_trait]
impl Provider for RepositoryProvider {
    async fn start(&self, order: &Order) -> Progress {
        match self.make(order).await {
            Ok(repository) => Progress::Succeeded {
                external_id: repository.id.to_string(),
                outputs: outputs(&repository),
            },
            Err(failure) => Progress::Failed(failure),
        }
    }

    /// Nothing is ever waited for, so a token is one that we did not give.
    async fn poll(&self, tokens: &[Token]) -> Result<Vec<(Token, Progress)>, Failure> {
        let unknown = Failure::new(
            FailureClass::Internal,
            "repositories are made without any waiting",
        );
        Ok(tokens
            .iter()
            .map(|token| (token.clone(), Progress::Failed(unknown.clone())))
            .collect())
    }

    async fn cancel(&self, _: &Token) -> Result<(), Failure> {
        Ok(())
    }

    async fn destroy(&self, order: &Order) -> Progress {
        match self.remove(order).await {
            Ok(()) => Progress::Succeeded {
                external_id: String::new(),
                outputs: BTreeMap::new(),
            },
            Err(failure) => Progress::Failed(failure),
        }
    }
}
