//! A job: what is being done to one stack, as its token remembers it, and how it goes on. Each phase looks at what is
//! there before it acts, so it can be gone through again after a crash or a lost answer.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudformation::types::{ChangeSetStatus, ExecutionStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::access::Place;
use super::calls::{Calls, ChangeSet, name_of};
use super::changes::InPlace;
use super::events::{Event, News, says_more_elsewhere};
use super::failure::{Fault, class_of_resource, says_nothing_to_do};
use super::reach::done;
use super::settling::Wanted;
use super::stack::{Meaning, Standing};
use super::template::Template;
use crate::domain::ids::{Digest, StepKey};
use crate::domain::module::Part;
use crate::domain::output::{NOT_CHECKED, SNAPSHOT};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Progress, Token};

/// How old an operation is at most, in seconds, and how long it is left alone then.
const LOOKS: [(i64, u64); 4] = [(10, 1), (60, 3), (5 * 60, 10), (20 * 60, 30)];
/// How long one that is older is left alone.
const LAST_LOOK: Duration = Duration::from_secs(60);

/// What is being done to one stack. Its token is this in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    /// Where, and as whom.
    pub(super) place: Place,
    /// The step that it is for.
    pub(super) step: StepKey,
    /// The stack's ARN.
    pub(super) stack: String,
    /// When it was begun.
    pub(super) begun: Timestamp,
    /// Whether the stack, and what is in it, is to be protected against deletion.
    #[serde(default)]
    pub(super) protected: bool,
    /// Whether what could not be created is kept.
    #[serde(default)]
    pub(super) keep_failed: bool,
    /// Whether a creation may be stopped half-way: nothing that it makes stays behind then.
    #[serde(default)]
    pub(super) breakable: bool,
    /// What is waited for once the stack is complete, where it is a cluster's.
    #[serde(default)]
    pub(super) cluster: Option<Wanted>,
    /// The database that a last snapshot is taken of, in RDS's words.
    #[serde(default)]
    pub(super) snapshot_of: Option<String>,
    /// AWS's id of the newest event that was told.
    #[serde(default)]
    pub(super) told: Option<String>,
    /// How far it is.
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Phase {
    /// A change set is being made, and compared with what was signed.
    Reviewing {
        change_set: String,
        signed: Vec<Part>,
        /// What the module lists as updated in place.
        #[serde(default)]
        in_place: InPlace,
        creates: bool,
    },
    /// The change set was executed.
    Working { creates: bool },
    /// What is in it is being protected against deletion, or not any more.
    Protecting,
    /// The protection of what is to go is being lifted: the stack, or what a change replaces.
    Lifting { deletes: bool },
    /// The stack is complete since then, and its cluster is waited for.
    Settling { wanted: Wanted, since: Timestamp },
    /// What is left of a creation that failed is being removed; then the job ends so.
    Removing { failure: Failure },
    /// A roll-back that failed goes on; then the job ends so.
    Recovering { failure: Failure },
    /// The stack is being deleted.
    Deleting,
}

/// A token of CloudFormation's for one call: what the SDK sends again is done once. It names the time, too: a call that is
/// made later is another attempt, after somebody looked, and is not to be taken for one that failed.
pub(super) fn call_token(step: &StepKey, what: &str, now: Timestamp) -> String {
    format!(
        "landfall-{}",
        Digest::of(format!("{step} {what} {now}").as_bytes())
    )
}

/// Ends an attempt that only cleared the way: the order is begun again.
pub(super) fn again(reason: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Conflict, reason)
}

impl Job {
    pub(super) fn of(token: &Token) -> Result<Self, Failure> {
        serde_json::from_str(&token.0).map_err(|error| {
            Failure::new(
                FailureClass::Internal,
                format!("a token of AWS's cannot be read: {error}"),
            )
        })
    }

    pub(super) fn at(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// Not done yet.
    pub(super) fn waiting(&self, now: Timestamp, message: impl Into<String>) -> Result<Progress, Failure> {
        let age = now.duration_since(self.begun).as_secs();
        let pause = LOOKS.iter().find(|(oldest, _)| age < *oldest);
        let pause = pause.map_or(LAST_LOOK, |(_, seconds)| Duration::from_secs(*seconds));
        self.waiting_until(now.checked_add(pause).unwrap_or(Timestamp::MAX), message)
    }

    fn waiting_until(&self, poll_at: Timestamp, message: impl Into<String>) -> Result<Progress, Failure> {
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))?;
        Ok(Progress::Waiting {
            token: Token(text),
            poll_at,
            message: message.into(),
        })
    }

    /// Goes on from what is there now. `tells` says whether AWS is asked for what happened, too.
    pub(super) async fn advance(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        tells: bool,
    ) -> Result<Progress, Failure> {
        match self.phase.clone() {
            Phase::Reviewing {
                change_set,
                signed,
                in_place,
                creates,
            } => {
                let signed = (signed.as_slice(), &in_place);
                self.review(calls, standing, now, (&change_set, signed, creates))
                    .await
            }
            Phase::Working { .. } | Phase::Deleting => self.tell(calls, standing, now, tells).await,
            Phase::Protecting => self.protect(calls, standing, now).await,
            Phase::Lifting { deletes } => self.lift(calls, standing, now, deletes).await,
            Phase::Settling { wanted, since } => self.settle(calls, standing, now, (wanted, since)).await,
            Phase::Removing { failure } => self.remove(calls, standing, now, failure).await,
            Phase::Recovering { failure } => self.recover(calls, standing, now, failure).await,
        }
    }

    /// Tells what happened to a stack that something is done to, and goes on only when all of it is told.
    async fn tell(
        mut self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        tells: bool,
    ) -> Result<Progress, Failure> {
        let deletes = self.phase == Phase::Deleting;
        let (is_at_work, is_over) = match meaning(standing.as_ref())? {
            Meaning::Busy | Meaning::Going => (true, false),
            Meaning::Gone | Meaning::Undeletable => (false, true),
            Meaning::Standing | Meaning::RolledBack | Meaning::Remains | Meaning::Stuck => (false, !deletes),
            Meaning::Empty => (false, false),
        };
        if is_over || (is_at_work && tells) {
            let news = match calls.news(&self.stack, self.told.as_deref()).await {
                // Nothing that is done hangs on what is told of it.
                Err(failure) if !failure.class.may_pass() => News::default(),
                news => news?,
            };
            self.told = news.newest.or(self.told);
            let lines = news.lines.join("\n");
            if is_over && !lines.is_empty() {
                return self.waiting_until(now, lines);
            }
            let words = Some(lines).filter(|lines| !lines.is_empty()).or(news.at);
            if let (true, Some(words)) = (is_at_work, words) {
                return self.waiting(now, words);
            }
        }
        match deletes {
            true => self.delete(calls, standing, now).await,
            false => self.work(calls, standing, now).await,
        }
    }

    async fn review(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        (name, (signed, in_place), creates): (&str, (&[Part], &InPlace), bool),
    ) -> Result<Progress, Failure> {
        let is_executed = |standing: &Standing| {
            standing.is_by(&self.step.to_string())
                && !matches!(standing.meaning(), Ok(Meaning::Empty | Meaning::Gone))
        };
        let Some(set) = calls.change_set(&self.stack, name).await? else {
            // AWS forgets change sets that were executed.
            if standing.as_ref().is_some_and(is_executed) {
                let job = self.at(Phase::Working { creates });
                return job.work(calls, standing, now).await;
            }
            let reason = format!("change set {name} was removed before it was executed");
            return Ok(Progress::Failed(again(reason)));
        };
        match judge(&set) {
            Review::Pending => self.waiting(now, "CloudFormation is working out what this changes"),
            Review::Executed => {
                let job = self.at(Phase::Working { creates });
                job.work(calls, standing, now).await
            }
            Review::Empty => {
                calls.remove_change_set(&self.stack, name).await?;
                match standing {
                    Some(standing) => self.finish(calls, standing, now).await,
                    None => Ok(Progress::Failed(again("the stack was deleted meanwhile"))),
                }
            }
            Review::Failed(mut failure) => {
                if says_more_elsewhere(&set.reason)
                    && let Some(event) = calls.validation_error(name_of(&self.stack), Some(name)).await?
                {
                    failure.reason = event.to_reason();
                }
                self.drop_change_set(calls, name, creates).await?;
                Ok(Progress::Failed(failure))
            }
            Review::Ready => {
                let parts = calls.parts(&self.stack, name, in_place).await?;
                let is_more = |part: &&Part| {
                    !part.action.is_idle() && !signed.iter().any(|signed| part.is_allowed_by(signed))
                };
                let more: Vec<String> = parts.iter().filter(is_more).map(Part::to_string).collect();
                if !more.is_empty() {
                    self.drop_change_set(calls, name, creates).await?;
                    let reason = format!(
                        "the plan now does more than was signed off: {}; nothing was changed",
                        more.join(", ")
                    );
                    return Ok(Progress::Failed(Failure::new(FailureClass::Refused, reason)));
                }
                let token = call_token(&self.step, &set.stack, now);
                calls.execute(&self.stack, name, &token, creates).await?;
                let job = self.at(Phase::Working { creates });
                job.waiting(now, "CloudFormation has begun")
            }
        }
    }

    /// Leaves nothing of a change set that is not executed: for a new stack, not the empty stack either.
    pub(super) async fn drop_change_set(
        &self,
        calls: &Calls<'_>,
        name: &str,
        creates: bool,
    ) -> Result<(), Failure> {
        calls.remove_change_set(&self.stack, name).await?;
        if creates {
            let standing = calls.stack(&self.stack).await?;
            if standing.is_some_and(|standing| standing.meaning() == Ok(Meaning::Empty)) {
                calls
                    .delete(&self.stack, &call_token(&self.step, &self.stack, self.begun))
                    .await?;
            }
        }
        Ok(())
    }

    async fn work(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        let meaning = meaning(standing.as_ref())?;
        let (Some(standing), false) = (standing, meaning == Meaning::Gone) else {
            // By ourselves, if it failed and a process died before it could say so.
            let failure = match calls.failure_before_deletion(&self.stack).await? {
                Some(event) => Failure::new(class_of_resource(&event.reason), event.to_reason()),
                None => Failure::new(
                    FailureClass::Refused,
                    "the stack was deleted while it was worked on",
                ),
            };
            return Ok(Progress::Failed(failure));
        };
        match meaning {
            Meaning::Standing => self.finish(calls, standing, now).await,
            Meaning::Busy | Meaning::Going | Meaning::Empty | Meaning::Gone => {
                self.waiting(now, format!("the stack is {}", standing.status))
            }
            Meaning::RolledBack => Ok(Progress::Failed(explained(calls, &standing).await?)),
            Meaning::Remains => {
                let mut failure = explained(calls, &standing).await?;
                if self.keep_failed {
                    failure.reason += &format!("; what was made is kept in stack {}", standing.name);
                    // Made again only when somebody who has looked says so.
                    failure.class = FailureClass::Refused;
                    return Ok(Progress::Failed(failure));
                }
                self.clear_up(calls, &standing, now, failure).await
            }
            Meaning::Stuck => {
                let failure = explained(calls, &standing).await?;
                self.continue_rollback(calls, &standing, now, failure).await
            }
            Meaning::Undeletable => Ok(Progress::Failed(explained(calls, &standing).await?)),
        }
    }

    /// Continues a roll-back that failed, where AWS can; the job then ends with that failure.
    pub(super) async fn continue_rollback(
        self,
        calls: &Calls<'_>,
        standing: &Standing,
        now: Timestamp,
        failure: Failure,
    ) -> Result<Progress, Failure> {
        if standing.status != "UPDATE_ROLLBACK_FAILED" {
            return Ok(Progress::Failed(by_hand(standing, &failure, None)));
        }
        calls
            .continue_rollback(&self.stack, &call_token(&self.step, "continue", now))
            .await?;
        let job = self.at(Phase::Recovering { failure });
        job.waiting(now, "a change that failed is being taken back")
    }

    /// Removes what is left of a creation that failed; the job then ends with that failure.
    pub(super) async fn clear_up(
        self,
        calls: &Calls<'_>,
        standing: &Standing,
        now: Timestamp,
        failure: Failure,
    ) -> Result<Progress, Failure> {
        let message = "it failed; what was made is being removed";
        match standing.status.as_str() {
            // A deletion would keep what is to be retained, and the next attempt find its name taken.
            "CREATE_FAILED" => {
                let token = call_token(&self.step, "clear up", now);
                calls.roll_back(&self.stack, &token).await?;
                self.at(Phase::Removing { failure }).waiting(now, message)
            }
            "ROLLBACK_FAILED" => {
                let kept = kept(calls, standing).await?;
                if kept.is_empty() {
                    let job = self.at(Phase::Removing { failure });
                    return job.begin_deletion(calls, now, message).await;
                }
                Ok(Progress::Failed(left_over(failure, standing, &kept.join("; "))))
            }
            _ => {
                let job = self.at(Phase::Removing { failure });
                job.begin_deletion(calls, now, message).await
            }
        }
    }

    async fn remove(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        failure: Failure,
    ) -> Result<Progress, Failure> {
        match (meaning(standing.as_ref())?, standing) {
            (Meaning::Busy | Meaning::Going, _) => self.waiting(now, "what was made is being removed"),
            (Meaning::Remains, Some(standing)) => self.clear_up(calls, &standing, now, failure).await,
            (Meaning::Undeletable, Some(standing)) => {
                let left = explained(calls, &standing).await?;
                Ok(Progress::Failed(left_over(failure, &standing, &left.reason)))
            }
            _ => Ok(Progress::Failed(failure)),
        }
    }

    async fn recover(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        failure: Failure,
    ) -> Result<Progress, Failure> {
        match (meaning(standing.as_ref())?, standing) {
            (Meaning::Busy, _) => self.waiting(now, "a change that failed is being taken back"),
            (Meaning::Stuck, Some(standing)) => {
                let first = explained(calls, &standing).await?;
                let last = calls.last_failure(&standing.id).await?;
                Ok(Progress::Failed(by_hand(&standing, &first, last.as_ref())))
            }
            _ => Ok(Progress::Failed(failure)),
        }
    }

    pub(super) async fn delete(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        match (meaning(standing.as_ref())?, standing) {
            (Meaning::Gone, _) | (_, None) => self.gone(calls).await,
            (Meaning::Going | Meaning::Busy, Some(standing)) => {
                self.waiting(now, format!("the stack is {}", standing.status))
            }
            (Meaning::Undeletable, Some(standing)) => {
                Ok(Progress::Failed(explained(calls, &standing).await?))
            }
            (_, Some(_)) => {
                self.begin_deletion(calls, now, "CloudFormation has begun to delete it")
                    .await
            }
        }
    }

    /// It is deleted. What stays of a database is told by its name.
    async fn gone(self, calls: &Calls<'_>) -> Result<Progress, Failure> {
        let found = match &self.snapshot_of {
            Some(database) => calls.newest_snapshot(database).await,
            None => Ok(None),
        };
        let output = match found {
            Ok(snapshot) => snapshot.map(|id| (SNAPSHOT, id)),
            Err(failure) if failure.class.may_pass() => return Err(failure),
            // What was signed off is done all the same.
            Err(failure) => Some((
                NOT_CHECKED,
                format!("what the last snapshot is called: {}", failure.reason),
            )),
        };
        Ok(Progress::Succeeded {
            external_id: self.stack,
            outputs: output
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        })
    }

    /// Has CloudFormation delete the stack, and says so in these words.
    pub(super) async fn begin_deletion(
        self,
        calls: &Calls<'_>,
        now: Timestamp,
        message: &str,
    ) -> Result<Progress, Failure> {
        calls
            .delete(&self.stack, &call_token(&self.step, &self.stack, now))
            .await?;
        self.waiting(now, message)
    }

    /// It stands as it was to be: that is all, but for a cluster.
    pub(super) async fn complete(
        self,
        calls: &Calls<'_>,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        if let Some(wanted) = self.cluster.clone() {
            return self.settle(calls, Some(standing), now, (wanted, now)).await;
        }
        Ok(done(standing, BTreeMap::new(), calls.is_aws()))
    }
}

/// How far a change set is, for us.
#[derive(Debug, PartialEq)]
enum Review {
    Pending,
    Ready,
    Executed,
    Empty,
    Failed(Failure),
}

fn judge(set: &ChangeSet) -> Review {
    use ExecutionStatus as E;
    match (&set.status, &set.execution) {
        (_, E::ExecuteInProgress | E::ExecuteComplete | E::ExecuteFailed) => Review::Executed,
        (_, E::Obsolete) => Review::Failed(again("the stack was changed while its change set was made")),
        (ChangeSetStatus::Failed, _) if says_nothing_to_do(&set.reason) => Review::Empty,
        (ChangeSetStatus::Failed, _) => {
            let fault = Fault::answered("ValidationError", &set.reason, 400);
            Review::Failed(Failure::new(fault.class, set.reason.as_str()))
        }
        (ChangeSetStatus::CreatePending | ChangeSetStatus::CreateInProgress, _) => Review::Pending,
        (ChangeSetStatus::CreateComplete, E::Available) => Review::Ready,
        (ChangeSetStatus::CreateComplete, _) => Review::Pending,
        (status, _) => Review::Failed(again(format!("the change set became {}", status.as_str()))),
    }
}

pub(super) fn meaning(standing: Option<&Standing>) -> Result<Meaning, Failure> {
    standing.map_or(Ok(Meaning::Gone), Standing::meaning)
}

/// Why a stack's last operation failed: the first resource that did, and AWS's own reason.
pub(super) async fn explained(calls: &Calls<'_>, standing: &Standing) -> Result<Failure, Failure> {
    let first = calls.first_failure(&standing.id).await?;
    Ok(match first {
        Some(event) => Failure::new(class_of_resource(&event.reason), event.to_reason()),
        None if standing.reason.is_empty() => Failure::new(
            FailureClass::Refused,
            format!("stack {} is {}", standing.name, standing.status),
        ),
        None => Failure::new(class_of_resource(&standing.reason), standing.reason.as_str()),
    })
}

/// What a roll-back could not delete, and would stay behind if the stack was deleted; with AWS's own reasons.
async fn kept(calls: &Calls<'_>, standing: &Standing) -> Result<Vec<String>, Failure> {
    let template = Template::read(&calls.template(&standing.id).await?)?;
    let undeleted = calls.undeleted(&standing.id).await?.into_iter();
    Ok(undeleted
        .filter(|event| template.retains(&event.resource))
        .map(|event| event.to_reason())
        .collect())
}

/// A creation that failed, and whose remains a person has to remove.
fn left_over(failure: Failure, standing: &Standing, left: &str) -> Failure {
    let reason = format!(
        "{}; and what was made could not be removed: {left}; delete it and stack {} by hand, then `/landfall retry`",
        failure.reason, standing.name
    );
    Failure::new(FailureClass::Refused, reason)
}

/// What neither AWS nor Landfall gets out of.
fn by_hand(standing: &Standing, failure: &Failure, in_the_way: Option<&Event>) -> Failure {
    let in_the_way =
        in_the_way.map(|event| format!("; and it could not be taken back: {}", event.to_reason()));
    let reason = format!(
        "{}{}; stack {} is {} and needs somebody: correct what is in the way, then continue its roll-back in the console \
         of CloudFormation, and `/landfall retry`",
        failure.reason,
        in_the_way.unwrap_or_default(),
        standing.name,
        standing.status
    );
    Failure::new(FailureClass::Refused, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{CountingIds, Ids};

    fn job(phase: Phase) -> Job {
        Job {
            place: Place {
                repository: "platform".parse().unwrap(),
                environment: "dev".parse().unwrap(),
                account: "123456789012".into(),
                region: "eu-central-1".into(),
                role: "arn:aws:iam::123456789012:role/apply".into(),
            },
            step: StepKey {
                run: CountingIds::default().run(),
                resource: "database/orders".parse().unwrap(),
            },
            stack: "arn:aws:cloudformation:eu-central-1:123456789012:stack/s/1".into(),
            begun: Timestamp::UNIX_EPOCH,
            protected: true,
            keep_failed: false,
            breakable: false,
            cluster: None,
            snapshot_of: None,
            told: None,
            phase,
        }
    }

    #[test]
    fn a_token_remembers_the_job_and_is_asked_after_less_often_as_it_ages() {
        let job = job(Phase::Working { creates: true });
        let mut pauses = Vec::new();
        for age in [0, 9, 30, 100, 1_000, 10_000] {
            let now = Timestamp::from_second(age).unwrap();
            let Ok(Progress::Waiting { token, poll_at, .. }) = job.waiting(now, "") else {
                panic!("it waits");
            };
            assert_eq!(Job::of(&token), Ok(job.clone()));
            pauses.push(poll_at.duration_since(now).as_secs());
        }
        assert_eq!(pauses, [1, 1, 3, 10, 30, 60]);
        assert_eq!(
            Job::of(&Token("x".into())).unwrap_err().class,
            FailureClass::Internal
        );
    }

    #[test]
    fn tokens_of_calls_fit_what_cloudformation_takes() {
        let job = job(Phase::Deleting);
        let token = call_token(&job.step, "drop", job.begun);
        assert!(token.len() <= 128 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        assert_ne!(token, call_token(&job.step, "delete", job.begun));
        assert_ne!(token, call_token(&job.step, "drop", Timestamp::MAX));
    }

    #[test]
    fn a_change_set_is_executed_when_it_is_ready_and_never_otherwise() {
        use ChangeSetStatus as S;
        use ExecutionStatus as E;
        let review = |status, execution, reason: &str| {
            judge(&ChangeSet {
                status,
                execution,
                reason: reason.into(),
                stack: String::new(),
            })
        };
        assert_eq!(review(S::CreateComplete, E::Available, ""), Review::Ready);
        for (status, execution) in [
            (S::CreatePending, E::Unavailable),
            (S::CreateInProgress, E::Unavailable),
            (S::CreateComplete, E::Unavailable),
        ] {
            assert_eq!(review(status, execution, ""), Review::Pending);
        }
        for execution in [E::ExecuteInProgress, E::ExecuteComplete, E::ExecuteFailed] {
            assert_eq!(review(S::CreateComplete, execution, ""), Review::Executed);
        }
        let nothing = "The submitted information didn't contain changes. Submit different information";
        assert_eq!(review(S::Failed, E::Unavailable, nothing), Review::Empty);
        for (status, execution, reason, class) in [
            (
                S::Failed,
                E::Unavailable,
                "Template error: no",
                FailureClass::User,
            ),
            (S::CreateComplete, E::Obsolete, "", FailureClass::Conflict),
            (S::DeleteComplete, E::Unavailable, "", FailureClass::Conflict),
            (S::from("NEW"), E::Available, "", FailureClass::Conflict),
        ] {
            match review(status, execution, reason) {
                Review::Failed(failure) => assert_eq!(failure.class, class, "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
