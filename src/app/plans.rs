//! Plans for requests: one question to a planner for each, and what is known of their resources.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::change::Goal;
use crate::domain::ids::RepositoryId;
use crate::domain::plan::Plan;
use crate::domain::request::Request;
use crate::domain::rules::Rules;
use crate::provider::{Answer, Planner, Question, Scope, Token};
use crate::store::Store;

use super::{AppError, Planners};

/// What a planner, or several, answered.
pub(super) enum Planned {
    /// The plan of all the requests together.
    Ready(Plan),
    /// Some take their time.
    Pending {
        /// Request key → token.
        tokens: BTreeMap<String, String>,
        /// When to ask again.
        poll_at: Timestamp,
    },
}

/// The scope of a request's resources under some rules; nothing if its environment is not defined there.
pub(super) fn scope(repository: &RepositoryId, request: &Request, rules: &Rules) -> Option<Scope> {
    Some(Scope {
        repository: repository.clone(),
        request: request.key.clone(),
        team: request.team.clone(),
        environment_name: request.environment.clone(),
        environment: rules.environments.get(&request.environment)?.clone(),
    })
}

/// Plans for each request that changes. `pending` holds the tokens of an earlier answer.
pub(super) async fn plan(
    store: &Store,
    planners: &Planners,
    repository: &RepositoryId,
    rules: &Rules,
    goals: &[Goal],
    pending: &BTreeMap<String, String>,
) -> Result<Planned, AppError> {
    let mut all = Plan::default();
    let mut tokens = BTreeMap::new();
    let mut soonest: Option<Timestamp> = None;
    for goal in goals {
        let request = &goal.request;
        let scope = scope(repository, request, rules).ok_or_else(|| {
            AppError::Inconsistent(format!(
                "{}: environment {} is not defined",
                request.key, request.environment
            ))
        })?;
        let planner = planner(planners, &scope)?;
        let key = request.key.to_string();
        let known = store.known_resources(repository, &request.key).await?;
        let question = Question {
            known: known
                .iter()
                .map(|known| (known.name.clone(), known.kind))
                .collect(),
            desired: goal.resources().to_vec(),
            pending: pending.get(&key).cloned().map(Token),
            scope,
        };
        let answer = planner
            .plan(&question)
            .await
            .map_err(|failure| AppError::Provider {
                activity: format!("planning {}", request.key),
                failure,
            })?;
        match answer {
            Answer::Ready(plan) => all.changes.extend(plan.obeying(goal, &known).changes),
            Answer::Pending { token, poll_at } => {
                tokens.insert(key, token.0);
                soonest = Some(soonest.map_or(poll_at, |at| at.min(poll_at)));
            }
        }
    }
    Ok(match soonest {
        None => Planned::Ready(all),
        Some(poll_at) => Planned::Pending { tokens, poll_at },
    })
}

/// Forgets plans that are not wanted any more.
pub(super) async fn discard(
    planners: &Planners,
    repository: &RepositoryId,
    rules: &Rules,
    goals: &[Goal],
    tokens: &BTreeMap<String, String>,
) -> Result<(), AppError> {
    for request in goals.iter().map(|goal| &goal.request) {
        let (Some(token), Some(scope)) = (
            tokens.get(&request.key.to_string()),
            scope(repository, request, rules),
        ) else {
            continue;
        };
        let activity = || format!("discarding the plan of {}", request.key);
        planner(planners, &scope)?
            .discard(&scope, &Token(token.clone()))
            .await
            .map_err(|failure| AppError::Provider {
                activity: activity(),
                failure,
            })?;
    }
    Ok(())
}

fn planner<'a>(planners: &'a Planners, scope: &Scope) -> Result<&'a dyn Planner, AppError> {
    let kind = scope.environment.provider;
    planners
        .get(&kind)
        .map(AsRef::as_ref)
        .ok_or(AppError::UnknownProvider(kind))
}
