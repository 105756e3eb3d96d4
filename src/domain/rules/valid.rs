//! From rules as they were written, in which nothing was found, to rules that can be used.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::raw::{
    RawAmount, RawAmounts, RawAws, RawEnvironment, RawGroup, RawHolders, RawNetwork, RawPerson, RawPrices,
    RawRules, RawSizes, RawTypes,
};
use super::{
    AccessLevel, Aws, Environment, Group, Limits, Network, RoleHolders, Rules, SizedKind, Team, TeamLimits,
};
use crate::domain::ids::{EnvironmentName, InvalidId, TeamName, UserId};
use crate::domain::person::{Owners, plain_address};
use crate::domain::price::{Amount, Prices};
use crate::domain::request::raw::Size;

#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Id(#[from] InvalidId),
}

pub(super) fn valid(value: &Value) -> Result<Rules, Invalid> {
    let raw: RawRules = RawRules::deserialize(value)?;
    let emails = emails(&raw);
    let mut rules = Rules {
        approvals: raw.approvals.required,
        admins: holders(raw.roles.admin),
        developers: holders(raw.roles.developer),
        project_managers: holders(raw.roles.project_manager),
        groups: groups(raw.groups),
        ..Rules::default()
    };
    rules.emails = emails;
    for name in raw.approvals.waivers {
        rules.waivers.insert(EnvironmentName::new(name.0)?);
    }
    for (name, raw) in raw.environments {
        rules
            .environments
            .insert(EnvironmentName::new(name.0)?, environment(raw)?);
    }
    for (name, team) in raw.teams {
        let members = people(team.members).map(|(id, _)| id).collect();
        let group = team.group.map(|group| group.0);
        let limits = TeamLimits::from(&team.limits);
        rules.teams.insert(
            TeamName::new(name.0)?,
            Team {
                members,
                group,
                limits,
            },
        );
    }
    Ok(rules)
}

/// Whose the addresses are that people are named with.
fn emails(raw: &RawRules) -> Owners {
    let roles = [&raw.roles.admin, &raw.roles.developer, &raw.roles.project_manager];
    let of_roles = roles.into_iter().flat_map(|role| &role.users);
    let mut owners = Owners::new();
    for person in of_roles.chain(raw.teams.values().flat_map(|team| &team.members)) {
        for email in &person.emails {
            let theirs = owners.entry(plain_address(&email.0)).or_default();
            theirs.insert(UserId(person.id));
        }
    }
    owners
}

fn people(list: Vec<RawPerson>) -> impl Iterator<Item = (UserId, String)> {
    list.into_iter().map(|person| (UserId(person.id), person.name.0))
}

fn holders(raw: RawHolders) -> RoleHolders {
    RoleHolders {
        users: people(raw.users).collect(),
        groups: groups(raw.groups),
    }
}

fn groups(list: Vec<RawGroup>) -> Vec<Group> {
    let group = |raw: RawGroup| match raw {
        RawGroup::Path(path) => Group {
            path: path.0,
            id: None,
            inherited: false,
            from: AccessLevel::default(),
        },
        RawGroup::Named(named) => Group {
            path: named.path.0,
            id: named.id,
            inherited: named.inherited,
            from: named.from,
        },
    };
    list.into_iter().map(group).collect()
}

fn environment(raw: RawEnvironment) -> Result<Environment, Invalid> {
    Ok(Environment {
        provider: raw.provider,
        account: raw.account.map(|account| account.0),
        region: raw.region.map(|region| region.0),
        network: raw.network.map(network),
        aws: raw.aws.map(aws).transpose()?,
        cluster_versions: raw
            .versions
            .cluster
            .into_iter()
            .map(|version| version.0)
            .collect(),
        sizes: sizes(raw.sizes),
        prices: raw.prices.map(prices),
        limits: Limits::from(&raw.limits),
        production: raw.production,
        paused: raw.paused,
        approvals: raw.approvals.map_or(0, |approvals| approvals.required),
    })
}

fn aws(raw: RawAws) -> Result<Aws, Invalid> {
    let mut team_roles = BTreeMap::new();
    for (team, role) in raw.team_roles {
        team_roles.insert(TeamName::new(team.0)?, role.0);
    }
    Ok(Aws {
        planning_role: raw.planning_role.0,
        applying_role: raw.applying_role.0,
        admin_role: raw.admin_role.0,
        log_bucket: raw.log_bucket.0,
        team_roles,
        keep_failed: raw.keep_failed,
    })
}

fn network(raw: RawNetwork) -> Network {
    if raw.create {
        return Network::Create;
    }
    Network::Given {
        vpc: raw.vpc.map(|vpc| vpc.0),
        subnets: raw.subnets.into_iter().map(|subnet| subnet.0).collect(),
    }
}

fn sizes(raw: RawSizes) -> BTreeMap<SizedKind, BTreeMap<Size, String>> {
    let of = |types: RawTypes| {
        by_size(types.small, types.medium, types.large)
            .map(|(size, name)| (size, name.0))
            .collect::<BTreeMap<_, _>>()
    };
    [
        (SizedKind::VirtualMachine, of(raw.virtual_machine)),
        (SizedKind::Database, of(raw.database)),
        (SizedKind::Node, of(raw.node)),
    ]
    .into_iter()
    .filter(|(_, sizes)| !sizes.is_empty())
    .collect()
}

fn by_size<T>(small: Option<T>, medium: Option<T>, large: Option<T>) -> impl Iterator<Item = (Size, T)> {
    [(Size::Small, small), (Size::Medium, medium), (Size::Large, large)]
        .into_iter()
        .filter_map(|(size, value)| Some((size, value?)))
}

fn prices(raw: RawPrices) -> Prices {
    let of = |amounts: RawAmounts| -> BTreeMap<Size, Amount> {
        by_size(amounts.small, amounts.medium, amounts.large)
            .map(|(size, amount)| (size, amount.0))
            .collect()
    };
    let amount = |raw: Option<RawAmount>| raw.map(|raw| raw.0);
    Prices {
        currency: raw.currency.0,
        by_size: [
            (SizedKind::VirtualMachine, of(raw.virtual_machine)),
            (SizedKind::Database, of(raw.database)),
            (SizedKind::Node, of(raw.node)),
        ]
        .into(),
        cluster: amount(raw.cluster),
        storage: amount(raw.storage),
    }
}
