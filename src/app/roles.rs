//! Who holds which role now: as the accepted rules name them, by themselves or by a group of the forge.

use std::collections::BTreeSet;

use crate::domain::ids::UserId;
use crate::domain::policy::{Approvers, Demands, Role};
use crate::domain::rules::{AccessLevel, Doubt, Group, RoleHolders, Rules};
use crate::domain::signoff::RoleNow;
use crate::forge::ForgeError;

use super::{AppError, Repository};

/// What someone may do now; nothing for who is no member. Besides the admins, those are looked up whose approval a
/// policy asks for.
pub(super) async fn role_now(
    repository: &Repository,
    rules: Option<&Rules>,
    demands: &Demands,
    user: UserId,
) -> Result<Option<RoleNow>, AppError> {
    let Some(member) = repository.forge.member(user).await? else {
        return Ok(None);
    };
    let mut doubt = None;
    let admin = match rules {
        Some(rules) => holds(repository, &rules.admins, user, &mut doubt).await?,
        None => false,
    };
    let mut also = BTreeSet::new();
    let asked: BTreeSet<&Approvers> = demands.requirements.iter().map(|one| &one.from).collect();
    for who in asked {
        let is_one = match (who, rules) {
            (Approvers::Role(role), Some(rules)) => {
                holds(repository, holders(rules, *role), user, &mut doubt).await?
            }
            (Approvers::Group(path), Some(rules)) => match rules.group(path) {
                Some(group) => is_in_group(repository, group, user, &mut doubt).await?,
                None => false,
            },
            (_, None) => false,
        };
        if is_one {
            also.insert(who.clone());
        }
    }
    Ok(Some(RoleNow {
        username: member.user.username,
        active_developer: member.active && member.level >= AccessLevel::Developer,
        admin,
        also,
        doubt,
    }))
}

/// Who holds a role.
fn holders(rules: &Rules, role: Role) -> &RoleHolders {
    match role {
        Role::Admin => &rules.admins,
        Role::Developer => &rules.developers,
        Role::ProjectManager => &rules.project_managers,
    }
}

/// The roles that someone holds now.
pub(super) async fn roles_of(
    repository: &Repository,
    rules: &Rules,
    user: UserId,
) -> Result<Vec<Role>, AppError> {
    let mut roles = Vec::new();
    for role in [Role::Admin, Role::Developer, Role::ProjectManager] {
        if holds(repository, holders(rules, role), user, &mut None).await? {
            roles.push(role);
        }
    }
    Ok(roles)
}

async fn holds(
    repository: &Repository,
    holders: &RoleHolders,
    user: UserId,
    doubt: &mut Option<Doubt>,
) -> Result<bool, AppError> {
    if holders.users.contains_key(&user) {
        return Ok(true);
    }
    for group in &holders.groups {
        if is_in_group(repository, group, user, doubt).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many groups above one are looked at: more than GitLab lets lie in each other.
const MOST_LEVELS: usize = 21;

/// Whether someone counts as a member of a group now. A group that is not, beyond doubt, the one that was accepted, and
/// one whose members we may not see, have none that count: others may sign off still.
async fn is_in_group(
    repository: &Repository,
    group: &Group,
    user: UserId,
    doubt: &mut Option<Doubt>,
) -> Result<bool, AppError> {
    match member_of(repository, group, user).await {
        Ok(Ok(is_one)) => Ok(is_one),
        Ok(Err(why)) => {
            tracing::warn!(repository = %repository.id, group = group.path, "{why}");
            doubt.get_or_insert(why);
            Ok(false)
        }
        Err(ForgeError::Forbidden { .. }) => {
            let path = group.path.clone();
            doubt.get_or_insert(Doubt::Unseen { path });
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn member_of(
    repository: &Repository,
    group: &Group,
    user: UserId,
) -> Result<Result<bool, Doubt>, ForgeError> {
    let path = group.path.clone();
    let Some(id) = group.id else {
        return Ok(Err(Doubt::Unpinned { path }));
    };
    let forge = &repository.forge;
    let Some(found) = forge.group(id).await? else {
        return Ok(Err(Doubt::Gone { path, id }));
    };
    let moved = !found.path.eq_ignore_ascii_case(&path);
    // Where it was only renamed, its path leads nowhere.
    if moved && forge.group_at(&path).await?.is_some_and(|other| other.id != id) {
        return Ok(Err(Doubt::Another { path, id }));
    }
    let mut at = Some(found);
    for _ in 0..MOST_LEVELS {
        let Some(one) = at else { break };
        let member = forge.direct_member(one.id, user).await?;
        if member.is_some_and(|member| member.active && member.level >= group.from) {
            return Ok(Ok(true));
        }
        at = match one.parent.filter(|_| group.inherited) {
            Some(parent) => forge.group(parent).await?,
            None => None,
        };
    }
    Ok(Ok(false))
}
