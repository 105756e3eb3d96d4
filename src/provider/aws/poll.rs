//! Asks after many jobs at once: where there are many, all stacks of a place are listed in pages.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::access::Access;
use super::calls::Calls;
use super::job::Job;
use super::stack::Standing;
use crate::clock::Clock;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Progress, Token};

/// More jobs than these in one place are looked up by listing, not one by one.
const FEW: usize = 5;
/// So many jobs of a place are told about in AWS's newest words; the others by the status of their stack.
const TOLD: usize = 5;
/// How long one call is at it. What it does not get to is asked for again.
const LONGEST: Duration = Duration::from_secs(20);
/// How long a job is left alone when AWS could not be asked after it.
const PAUSE: Duration = Duration::from_secs(10);

/// Jobs of one account, region and role.
type Group<'a> = Vec<(&'a Token, Job)>;

pub(super) async fn all(access: &Access, clock: &dyn Clock, tokens: &[Token]) -> Vec<(Token, Progress)> {
    let until = clock.now().checked_add(LONGEST).unwrap_or(Timestamp::MAX);
    let mut answers = Vec::new();
    let mut groups: BTreeMap<(String, String, String), Group<'_>> = BTreeMap::new();
    for token in tokens {
        match Job::of(token) {
            Ok(job) => {
                let place = &job.place;
                let key = (place.account.clone(), place.region.clone(), place.role.clone());
                groups.entry(key).or_default().push((token, job));
            }
            Err(failure) => answers.push((token.clone(), Progress::Failed(failure))),
        }
    }
    for group in groups.into_values() {
        let listed = match list(access, &group).await {
            Ok(listed) => listed,
            Err(failure) => {
                let now = clock.now();
                answers.extend(
                    group
                        .iter()
                        .map(|(token, _)| ((*token).clone(), later(token, now, failure.clone()))),
                );
                continue;
            }
        };
        for (number, (token, job)) in group.into_iter().enumerate() {
            let now = clock.now();
            if number > 0 && now > until {
                break;
            }
            let standing = listed.get(&job.stack).cloned();
            let progress = one(access, job, standing, now, number < TOLD)
                .await
                .unwrap_or_else(|failure| later(token, now, failure));
            answers.push((token.clone(), progress));
        }
    }
    answers
}

/// The stacks of a group by ARN, as far as a list shows them; nothing where each is better looked up for itself.
async fn list(access: &Access, group: &Group<'_>) -> Result<BTreeMap<String, Standing>, Failure> {
    let mut listed = BTreeMap::new();
    let Some((_, first)) = group.first().filter(|_| group.len() > FEW) else {
        return Ok(listed);
    };
    let calls = Calls::at(access, &first.place).await?;
    let mut next = None;
    // An account may hold many stacks of others: no more calls than looking up each would take.
    for _ in 0..group.len() {
        let (page, more) = calls.page_of_stacks(next).await?;
        listed.extend(page.into_iter().map(|standing| (standing.id.clone(), standing)));
        next = more;
        if next.is_none() || group.iter().all(|(_, job)| listed.contains_key(&job.stack)) {
            break;
        }
    }
    Ok(listed)
}

async fn one(
    access: &Access,
    job: Job,
    standing: Option<Standing>,
    now: Timestamp,
    tells: bool,
) -> Result<Progress, Failure> {
    let calls = Calls::at(access, &job.place).await?;
    let standing = match standing {
        Some(standing) => Some(standing),
        // A list does not show what was deleted; its ARN still finds it.
        None => calls.stack(&job.stack).await?,
    };
    job.advance(&calls, standing, now, tells).await
}

/// What could not be asked after goes on in AWS all the same: it is asked after again, unless that cannot help.
fn later(token: &Token, now: Timestamp, failure: Failure) -> Progress {
    match failure.class {
        FailureClass::Throttled | FailureClass::Transient | FailureClass::Conflict => Progress::Waiting {
            token: token.clone(),
            poll_at: now.checked_add(PAUSE).unwrap_or(Timestamp::MAX),
            message: format!(
                "how far it is could not be asked, and is asked again: {}",
                failure.reason
            ),
        },
        FailureClass::Refused | FailureClass::User | FailureClass::Internal => Progress::Failed(failure),
    }
}
