//! A project's repository on the forge: private, in its team's group, with a protected default branch, a first commit
//! and the collaborators that were asked for.
//!
//! What it does there goes through [`RepositoryHost`], which the forge's adapter fills. A repository is known by the
//! number that was recorded when it was made. Until then it is known by three things together: it stands at its path,
//! our own account made it, and it bears the mark of a step that began to make it. Whatever else stands there is
//! somebody else's: it is refused, never adopted. Topics and paths alone are anybody's who has rights in a group.

mod planner;
mod provider;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Scope;
use crate::domain::ids::{RepositoryId, ResourceName, UserId};
use crate::domain::plan::Resource;
use crate::domain::provenance::Provenance;
use crate::domain::step::{Failure, FailureClass};
pub use planner::RepositoryPlanner;
pub use provider::RepositoryProvider;

/// The property that says which group of the forge a repository is made in: the team's, of the accepted rules.
pub const GROUP: &str = "group";

/// The branch that a repository begins with.
const DEFAULT_BRANCH: &str = "main";

/// Somebody's rights in a repository, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// May look.
    Guest,
    /// May read the code.
    Reporter,
    /// May push branches and open merge requests.
    Developer,
    /// May merge, and push to the default branch.
    Maintainer,
    /// May do everything.
    Owner,
}

impl Level {
    /// As a request writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "Guest",
            Self::Reporter => "Reporter",
            Self::Developer => "Developer",
            Self::Maintainer => "Maintainer",
            Self::Owner => "Owner",
        }
    }

    /// The roles that a request can give.
    fn of_role(role: &str) -> Option<Self> {
        [Self::Reporter, Self::Developer, Self::Maintainer]
            .into_iter()
            .find(|level| level.as_str() == role)
    }
}

/// A repository on the forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The forge's number for it.
    pub id: u64,
    /// Its full path now.
    pub path: String,
    /// Who can see it, such as `Private`.
    pub visibility: String,
    /// Who made it, where the forge says so. Nobody can change that.
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
    pub clone_url_http: String,
    /// Where git finds it by SSH, where the forge has that.
    pub clone_url_ssh: Option<String>,
}

/// A repository to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepository {
    /// The full path of its group.
    pub group: String,
    /// Its name there.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// Its default branch.
    pub default_branch: String,
    /// Its topics.
    pub topics: Vec<String>,
}

/// Somebody with rights in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Who.
    pub user: UserId,
    /// Their name on the forge.
    pub username: String,
    /// What they may do, all their memberships taken together.
    pub level: Level,
    /// Their membership in the repository itself; nothing for those who are in by a group.
    pub direct: Option<Direct>,
}

/// A membership in the repository itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direct {
    /// What it lets them do.
    pub level: Level,
    /// Whether we let them in. Who was let in by a person stays.
    pub by_us: bool,
}

/// An account on the forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The forge's number for it.
    pub id: UserId,
    /// Whether it is neither blocked nor deactivated.
    pub active: bool,
}

/// What a planner may ask of a forge: nothing here changes anything.
#[async_trait]
pub trait RepositoryView: Send + Sync {
    /// The account that makes repositories.
    async fn own_account(&self) -> Result<UserId, Failure>;
    /// The repository of that number, wherever it was moved to since; nothing if it is gone, or out of our sight.
    async fn by_number(&self, repository: u64) -> Result<Option<Repository>, Failure>;
    /// The repositories that bear a topic, of those that we may change: topics of strangers say nothing.
    async fn with_topic(&self, topic: &str) -> Result<Vec<Repository>, Failure>;
    /// The repository of that name in a group, whoever's it is. A group that is not there is a failure.
    async fn in_group(&self, group: &str, name: &str) -> Result<Option<Repository>, Failure>;
    /// Everybody with rights in a repository.
    async fn members(&self, repository: u64) -> Result<Vec<Membership>, Failure>;
    /// The account of that name.
    async fn account(&self, username: &str) -> Result<Option<Account>, Failure>;
}

/// What the provider does on a forge. Every call may be repeated, after a crash or a lost answer.
#[async_trait]
pub trait RepositoryHost: RepositoryView {
    /// Makes a private, empty repository. A name that is taken is a conflict.
    async fn create(&self, new: &NewRepository) -> Result<Repository, Failure>;
    /// Lets nobody see it but its members.
    async fn make_private(&self, repository: u64) -> Result<(), Failure>;
    /// Sees to it that nobody pushes to a branch with force, and that only Maintainers push and merge. A stricter rule
    /// stays as it is.
    async fn protect(&self, repository: u64, branch: &str) -> Result<(), Failure>;
    /// Makes the first commit of an empty repository: one file.
    async fn begin(
        &self,
        repository: u64,
        branch: &str,
        message: &str,
        file: (&str, &str),
    ) -> Result<(), Failure>;
    /// Lets somebody in.
    async fn add_member(&self, repository: u64, user: UserId, level: Level) -> Result<(), Failure>;
    /// Gives a member of the repository itself another level.
    async fn change_member(&self, repository: u64, user: UserId, level: Level) -> Result<(), Failure>;
    /// Takes a member of the repository itself out.
    async fn remove_member(&self, repository: u64, user: UserId) -> Result<(), Failure>;
    /// Deletes the repository.
    async fn delete(&self, repository: u64) -> Result<(), Failure>;
}

/// The forge of each requests repository that Landfall has a token for making repositories on.
pub type Hosts = Arc<BTreeMap<RepositoryId, Arc<dyn RepositoryHost>>>;

/// The same, for looking only.
pub type Views = Arc<BTreeMap<RepositoryId, Arc<dyn RepositoryView>>>;

/// The name that a repository bears in its request.
fn own_name(resource: &ResourceName) -> &str {
    resource.as_str().split_once('/').map_or("", |(_, name)| name)
}

/// What a request asks for of its repository.
#[derive(Debug)]
struct Wanted {
    group: String,
    name: String,
    /// Name on the forge → what they may do.
    collaborators: BTreeMap<String, Level>,
}

impl Wanted {
    fn of(scope: &Scope, resource: &Resource) -> Result<Self, Failure> {
        let Some(group) = resource.properties.get(GROUP).and_then(Value::as_str) else {
            let reason = format!(
                "the team {team} has no group in which a repository could be made: have an admin set \
                 teams.{team}.group in landfall.yaml",
                team = scope.team
            );
            return Err(Failure::new(FailureClass::User, reason));
        };
        let mut collaborators = BTreeMap::new();
        let people = resource
            .properties
            .get("collaborators")
            .and_then(Value::as_object);
        for (username, role) in people.into_iter().flatten() {
            let level = role.as_str().and_then(Level::of_role).ok_or_else(|| {
                let reason = format!("the role {role} of {username} is none that can be given");
                Failure::new(FailureClass::Internal, reason)
            })?;
            collaborators.insert(username.clone(), level);
        }
        Ok(Self {
            group: group.to_owned(),
            name: own_name(&resource.name).to_owned(),
            collaborators,
        })
    }
}

/// The forge of a scope, or what an operator has to do for there to be one.
fn forge_of<'a, T: ?Sized>(
    forges: &'a BTreeMap<RepositoryId, Arc<T>>,
    scope: &Scope,
) -> Result<&'a T, Failure> {
    forges.get(&scope.repository).map(AsRef::as_ref).ok_or_else(|| {
        let reason = format!(
            "Landfall has no token to make repositories with: whoever runs it has to set provisioning_token of the \
             repository {} in its configuration",
            scope.repository
        );
        Failure::new(FailureClass::User, reason)
    })
}

/// The repository that is recorded as made for a resource, wherever it was moved to since; nothing if there is none.
async fn find(
    forge: &(impl RepositoryView + ?Sized),
    provenance: &Provenance,
) -> Result<Option<Repository>, Failure> {
    for number in &provenance.recorded {
        let number = number.parse().map_err(|_| {
            let reason = format!("what is recorded of it, {number}, is no number of a repository");
            Failure::new(FailureClass::Internal, reason)
        })?;
        if let Some(found) = forge.by_number(number).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The same, or the one that a step made and did not live to record; and nothing else stands at the path of one that is
/// still to be made.
async fn find_or_free(
    forge: &(impl RepositoryView + ?Sized),
    provenance: &Provenance,
    wanted: &Wanted,
) -> Result<Option<Repository>, Failure> {
    if let Some(found) = find(forge, provenance).await? {
        return Ok(Some(found));
    }
    let Some(other) = forge.in_group(&wanted.group, &wanted.name).await? else {
        return moved(forge, provenance).await;
    };
    if is_begun(forge, provenance, &other).await? {
        return Ok(Some(other));
    }
    let maker = match other.creator {
        Some(user) => format!("made by user {user}"),
        None => "the forge does not say by whom".to_owned(),
    };
    let reason = format!(
        "a project stands there that Landfall did not record making for this request: {} (project {}, {maker}). Ask for another name, or \
         have its owners rename or delete it",
        other.path, other.id
    );
    Err(Failure::new(FailureClass::User, reason))
}

/// Whether one of our steps made a repository that is not recorded: it bears the step's mark, which can be copied, and
/// our account made it, which cannot.
async fn is_begun(
    forge: &(impl RepositoryView + ?Sized),
    provenance: &Provenance,
    found: &Repository,
) -> Result<bool, Failure> {
    let topics = found.topics.iter().map(String::as_str);
    if !provenance.is_begun(&found.id.to_string(), topics) {
        return Ok(false);
    }
    Ok(found.creator == Some(forge.own_account().await?))
}

/// What a step began and somebody moved away before it was recorded is not made a second time.
async fn moved(
    forge: &(impl RepositoryView + ?Sized),
    provenance: &Provenance,
) -> Result<Option<Repository>, Failure> {
    for mark in &provenance.begun {
        for found in forge.with_topic(mark.as_str()).await? {
            if is_begun(forge, provenance, &found).await? {
                let reason = format!(
                    "it was begun, and moved before it was recorded: {} (project {}). Have its owners move it back, or \
                     delete it",
                    found.path, found.id
                );
                return Err(Failure::new(FailureClass::Refused, reason));
            }
        }
    }
    Ok(None)
}

/// The accounts of the collaborators. Names that are nobody's are told all at once.
async fn accounts(
    forge: &(impl RepositoryView + ?Sized),
    wanted: &Wanted,
) -> Result<BTreeMap<String, UserId>, Failure> {
    let mut accounts = BTreeMap::new();
    let mut missing = Vec::new();
    for username in wanted.collaborators.keys() {
        match forge.account(username).await? {
            Some(account) if account.active => {
                accounts.insert(username.clone(), account.id);
            }
            Some(_) => missing.push(format!("the account {username} is not active on the forge")),
            None => missing.push(format!("there is no account {username} on the forge")),
        }
    }
    if missing.is_empty() {
        return Ok(accounts);
    }
    let reason = format!(
        "{}: correct the name in collaborators, or take it out until the account is there",
        missing.join(", and ")
    );
    Err(Failure::new(FailureClass::User, reason))
}

/// What is to be done about somebody's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// They have them.
    Fine,
    /// They are let in.
    Add,
    /// Their membership gets another level.
    Change,
    /// They are taken out.
    Remove,
}

/// What is to be done about a collaborator. Rights that somebody has by a group, or as an owner, are not ours to take.
fn rights(membership: Option<&Membership>, wanted: Level) -> Rights {
    let Some(membership) = membership else {
        return Rights::Add;
    };
    match membership.direct {
        None if membership.level >= wanted => Rights::Fine,
        None => Rights::Add,
        Some(direct) if direct.level == wanted || direct.level == Level::Owner => Rights::Fine,
        // By a group they may do as much, and the forge gives nobody less than that.
        Some(direct) if membership.level > direct.level && membership.level >= wanted => Rights::Fine,
        Some(_) => Rights::Change,
    }
}

/// What is to be done about somebody who is not asked for (any more).
fn rights_of_other(membership: &Membership) -> Rights {
    match membership.direct {
        Some(Direct { by_us: true, .. }) => Rights::Remove,
        _ => Rights::Fine,
    }
}

/// The members by what they are to the request: `wanted` has the numbers of all who are asked for.
fn others<'a>(
    members: &'a [Membership],
    wanted: &'a BTreeMap<String, UserId>,
) -> impl Iterator<Item = &'a Membership> {
    members
        .iter()
        .filter(|member| !wanted.values().any(|id| *id == member.user))
}
