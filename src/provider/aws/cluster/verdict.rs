//! What a look at a cluster means for the step that waits for it: no cluster keeps a run open for ever, and none is
//! called ready that was not looked at.
//!
//! The stack is complete, so the cluster is there and paid for, whatever is decided here. One that Landfall cannot reach
//! (a private API server, or one that admits other addresses) is done, and what was not checked is said. One that answers
//! and does not get ready has failed.

use std::time::Duration;

use crate::domain::step::{Failure, FailureClass};

use super::Readiness;

/// Names of new API servers take minutes to be known everywhere.
const UNTIL_UNREACHABLE: Duration = Duration::from_mins(15);
/// A private one that does not answer at once will not later, but for a name that is not known yet.
const UNTIL_PRIVATE_UNREACHABLE: Duration = Duration::from_mins(2);
/// Access entries take a while to hold.
const UNTIL_REFUSED: Duration = Duration::from_mins(3);
/// Faults of the way to it, of which a few pass.
const UNTIL_BROKEN: Duration = Duration::from_mins(15);
/// Nodes are ready when their stack is; add-ons follow within minutes.
const UNTIL_LATE: Duration = Duration::from_mins(30);

/// What becomes of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// To be looked at again; what it is at, for a person.
    Wait(String),
    /// Done; and, in words, what could not be checked.
    Done(Option<String>),
    /// It failed.
    Failed(Failure),
}

/// What to do after a look at a cluster, given how long looks have been taken since its stack was complete.
#[must_use]
pub fn verdict(look: Result<Readiness, Failure>, is_private: bool, waited: Duration) -> Verdict {
    match look {
        Ok(Readiness::Ready) => Verdict::Done(None),
        Ok(Readiness::NotYet(missing)) if waited < UNTIL_LATE => Verdict::Wait(missing),
        Ok(Readiness::NotYet(missing)) => Verdict::Failed(Failure::new(
            FailureClass::Transient,
            format!(
                "the stack is complete, and after {} minutes still: {missing}. Look at the cluster's node groups and \
                 add-ons in EKS: nodes need a way to the internet, or endpoints, to join",
                waited.as_secs() / 60
            ),
        )),
        Ok(Readiness::Unreachable(reason)) => {
            let limit = if is_private {
                UNTIL_PRIVATE_UNREACHABLE
            } else {
                UNTIL_UNREACHABLE
            };
            if waited < limit {
                return Verdict::Wait(format!("the API server is not reached yet: {reason}"));
            }
            let cause = if is_private {
                "it is private"
            } else {
                "it may admit other addresses only"
            };
            Verdict::Done(Some(format!(
                "the API server cannot be reached from Landfall ({cause}; {reason}): that it answers, that its nodes are \
                 ready and that coredns is available was not checked"
            )))
        }
        Err(failure) => {
            let limit = match failure.class {
                FailureClass::Refused => UNTIL_REFUSED,
                class if class.may_pass() => UNTIL_BROKEN,
                _ => Duration::ZERO,
            };
            if waited < limit {
                Verdict::Wait(failure.reason)
            } else {
                Verdict::Failed(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn not_yet() -> Result<Readiness, Failure> {
        Ok(Readiness::NotYet("2 of 3 nodes are ready".into()))
    }

    fn unreachable() -> Result<Readiness, Failure> {
        Ok(Readiness::Unreachable("no connection".into()))
    }

    fn failed(class: FailureClass) -> Result<Readiness, Failure> {
        Err(Failure::new(class, "no way in"))
    }

    #[rstest]
    #[case::ready(Ok(Readiness::Ready), 0, "done")]
    #[case::nodes_come(not_yet(), 29, "wait: 2 of 3 nodes are ready")]
    #[case::nodes_do_not_come(
        not_yet(),
        30,
        "failed: Transient the stack is complete, and after 30 minutes still: 2 of 3 nodes are ready"
    )]
    #[case::a_private_one(unreachable(), 1, "wait: no connection")]
    #[case::a_private_one_stays_away(unreachable(), 2, "done: it is private")]
    #[case::an_entry_comes(failed(FailureClass::Refused), 2, "wait: no way in")]
    #[case::an_entry_does_not_come(failed(FailureClass::Refused), 3, "failed: Refused no way in")]
    #[case::a_reset(failed(FailureClass::Transient), 14, "wait: no way in")]
    #[case::only_resets(failed(FailureClass::Transient), 15, "failed: Transient no way in")]
    #[case::slow_down(failed(FailureClass::Throttled), 14, "wait: no way in")]
    #[case::our_fault(failed(FailureClass::Internal), 0, "failed: Internal no way in")]
    fn waiting_for_a_cluster_ends(
        #[case] look: Result<Readiness, Failure>,
        #[case] minutes: u64,
        #[case] expected: &str,
    ) {
        let told = match verdict(look, true, Duration::from_mins(minutes)) {
            Verdict::Wait(words) => format!("wait: {words}"),
            Verdict::Done(None) => "done".into(),
            Verdict::Done(Some(words)) => format!("done: {words}"),
            Verdict::Failed(failure) => format!("failed: {:?} {}", failure.class, failure.reason),
        };
        assert!(expected.split(": ").all(|part| told.contains(part)), "{told}");
    }

    #[test]
    fn what_was_not_checked_is_said_and_never_called_ready() {
        for (is_private, minutes, cause) in [(true, 2, "private"), (false, 15, "other addresses")] {
            let before = Duration::from_mins(minutes - 1);
            assert!(matches!(
                verdict(unreachable(), is_private, before),
                Verdict::Wait(_)
            ));
            let Verdict::Done(Some(words)) = verdict(unreachable(), is_private, Duration::from_mins(minutes))
            else {
                panic!("it is done");
            };
            assert!(
                words.contains(cause) && words.contains("was not checked"),
                "{words}"
            );
        }
    }
}
