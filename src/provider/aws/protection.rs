//! What protects a stack and what is in it against deletion. Nothing is protected while it is made, or what fails could
//! not be cleared up; once it stands it is protected as the deletion policy says, and no more when a signed-off order
//! destroys it.

use jiff::Timestamp;

use super::calls::Calls;
use super::job::{Job, Phase, again, call_token, explained, meaning};
use super::stack::{Meaning, Standing};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::Progress;

impl Job {
    /// It stands as it was ordered: it is protected as it is to be, and then that is all, but for a cluster.
    pub(super) async fn finish(
        self,
        calls: &Calls<'_>,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        if standing.protected != self.protected {
            calls.protect(&standing.id, self.protected).await?;
        }
        if standing
            .protection()
            .is_some_and(|protected| protected != self.protected)
        {
            let token = call_token(&self.step, "protect", now);
            calls.update_protection(&standing, self.protected, &token).await?;
            return self
                .at(Phase::Protecting)
                .waiting(now, "its protection against deletion is being set");
        }
        self.complete(calls, standing, now).await
    }

    /// Goes on once it is protected as it is to be.
    pub(super) async fn protect(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
    ) -> Result<Progress, Failure> {
        match (meaning(standing.as_ref())?, standing) {
            (Meaning::Busy, _) => self.waiting(now, "its protection against deletion is being set"),
            (Meaning::Standing, Some(standing)) => self.complete(calls, standing, now).await,
            (_, standing) => unprotectable(calls, standing).await,
        }
    }

    /// Lifts the protection of what a signed-off order destroys. Of a stack that goes, that is the next thing; a change is
    /// begun anew.
    pub(super) async fn lift_protection(
        self,
        calls: &Calls<'_>,
        standing: &Standing,
        now: Timestamp,
        deletes: bool,
    ) -> Result<Progress, Failure> {
        let token = call_token(&self.step, "lift", now);
        calls.update_protection(standing, false, &token).await?;
        self.at(Phase::Lifting { deletes })
            .waiting(now, "its protection against deletion is being lifted")
    }

    /// Goes on once the protection is lifted.
    pub(super) async fn lift(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        deletes: bool,
    ) -> Result<Progress, Failure> {
        match (meaning(standing.as_ref())?, standing) {
            (Meaning::Busy, _) => self.waiting(now, "its protection against deletion is being lifted"),
            (Meaning::Standing, Some(_)) if !deletes => {
                let lifted = "its protection against deletion was lifted; it is replaced now";
                Ok(Progress::Failed(again(lifted)))
            }
            (Meaning::Standing | Meaning::Gone | Meaning::Going, standing) if deletes => {
                self.at(Phase::Deleting).delete(calls, standing, now).await
            }
            (_, standing) => unprotectable(calls, standing).await,
        }
    }
}

async fn unprotectable(calls: &Calls<'_>, standing: Option<Standing>) -> Result<Progress, Failure> {
    let Some(standing) = standing else {
        let reason = "the stack was deleted while its protection against deletion was set";
        return Ok(Progress::Failed(Failure::new(FailureClass::Refused, reason)));
    };
    let mut failure = explained(calls, &standing).await?;
    failure.reason = format!(
        "its protection against deletion could not be set: {}",
        failure.reason
    );
    Ok(Progress::Failed(failure))
}
