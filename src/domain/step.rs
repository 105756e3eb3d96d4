//! A step: one resource of a run, worked on by one provider. [`StepState::next`] is its whole life.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secret::redacted;

/// Whose fault a failure is: decides on retry, and on the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// Asked to slow down: again later, without end.
    Throttled,
    /// A fault that passes: again, a few times.
    Transient,
    /// Something else is at work on the same thing: again later.
    Conflict,
    /// The cloud refuses: a right, a quota, a policy. A person has to act.
    Refused,
    /// The request asks for what cannot be. Its author has to act.
    User,
    /// Our own fault.
    Internal,
}

impl FailureClass {
    /// Whether trying the same again can help.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient | Self::Conflict)
    }

    /// Whether it is an answer that a person has to act on, and no fault of the call.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Refused | Self::User)
    }

    /// Who can do something about it, for a person to read.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Throttled => "the cloud asked us to slow down",
            Self::Transient => "a passing fault of the cloud",
            Self::Conflict => "something else was at work on the same resource",
            Self::Refused => "the cloud refused",
            Self::User => "the request asks for something that cannot be",
            Self::Internal => "a fault of Landfall",
        }
    }
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {reason}", class.words())]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// The cloud's own words, or ours. Text from outside; no secrets.
    pub reason: String,
}

impl Failure {
    /// A failure of that class. What looks like a secret in its reason is taken out: it is stored and shown.
    #[must_use]
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: redacted(&reason.into()),
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// About to act, or acting: after a crash it may have been done.
    Started {
        /// From 1.
        attempt: u32,
    },
    /// The provider is at it.
    Waiting {
        /// From 1.
        attempt: u32,
        /// The provider's token; empty where it is written down for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        token: String,
        /// When to ask again.
        poll_at: Timestamp,
        /// What happened since it was last asked after, in the provider's words, a line each; the last is what it is at. May be
        /// empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// Failed in a way that may pass: to be started again.
    BackingOff {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Not before then.
        until: Timestamp,
        /// What happened.
        failure: Failure,
    },
    /// Done.
    Succeeded {
        /// The cloud's own name for the resource.
        external_id: String,
        /// Output name → value; references, never secrets.
        outputs: BTreeMap<String, String>,
    },
    /// Over.
    Failed(Failure),
    /// Never begun, since something before it failed or the run was superseded or cancelled.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// What happens to a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepEvent {
    /// Its turn has come.
    Start,
    /// The provider took it and needs time.
    Wait {
        /// The provider's token.
        token: String,
        /// When to ask again.
        poll_at: Timestamp,
        /// What happened since it was last asked after, in the provider's words, a line each; the last is what it is at. May be
        /// empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// The provider is done.
    Succeed {
        /// The cloud's own name for the resource.
        external_id: String,
        /// Output name → value.
        outputs: BTreeMap<String, String>,
    },
    /// It failed; try again not before then.
    BackOff {
        /// Not before then.
        until: Timestamp,
        /// What happened.
        failure: Failure,
    },
    /// It failed for good.
    Fail(Failure),
    /// It is not to be begun.
    Skip {
        /// Why.
        reason: String,
    },
}

/// An event that cannot happen in that state: a fault of ours, never ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot go from {state} by {event}")]
pub struct IllegalEvent {
    /// "step" or "run".
    pub what: &'static str,
    /// The state it is in.
    pub state: String,
    /// The event that came.
    pub event: String,
}

impl StepState {
    /// The state after an event.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot happen in this state.
    pub fn next(&self, event: StepEvent) -> Result<Self, IllegalEvent> {
        use StepEvent as E;
        Ok(match (self, event) {
            (Self::Pending, E::Start) => Self::Started { attempt: 1 },
            (Self::BackingOff { attempt, .. }, E::Start) => Self::Started {
                attempt: attempt.saturating_add(1),
            },
            // Taken over after a crash: the same attempt, since it may have been done.
            (Self::Started { attempt }, E::Start) => Self::Started { attempt: *attempt },
            (
                Self::Started { attempt } | Self::Waiting { attempt, .. },
                E::Wait {
                    token,
                    poll_at,
                    message,
                },
            ) => Self::Waiting {
                attempt: *attempt,
                token,
                poll_at,
                message: redacted(&message),
            },
            (Self::Started { .. } | Self::Waiting { .. }, E::Succeed { external_id, outputs }) => {
                Self::Succeeded { external_id, outputs }
            }
            (Self::Started { attempt } | Self::Waiting { attempt, .. }, E::BackOff { until, failure }) => {
                Self::BackingOff {
                    attempt: *attempt,
                    until,
                    failure,
                }
            }
            (
                Self::Pending | Self::Started { .. } | Self::Waiting { .. } | Self::BackingOff { .. },
                E::Fail(failure),
            ) => Self::Failed(failure),
            (Self::Pending | Self::BackingOff { .. }, E::Skip { reason }) => Self::Skipped { reason },
            (state, event) => {
                return Err(IllegalEvent {
                    what: "step",
                    state: state.name().into(),
                    event: event.name().into(),
                });
            }
        })
    }

    /// Whether it only goes on waiting: the provider was asked after it, and is not done. Neither a decision nor an act.
    #[must_use]
    pub fn still_waits(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Waiting { attempt: before, .. }, Self::Waiting { attempt, .. }) => before == attempt,
            _ => false,
        }
    }

    /// Whether it still waits, and the provider has nothing new to say either.
    #[must_use]
    pub fn says_nothing_new(&self, before: &Self) -> bool {
        self.still_waits(before) && before.at_work().is_some_and(|at| self.news() == Some(at))
    }

    /// What it is at while it waits: the last line of what the provider said; may be empty.
    #[must_use]
    pub fn at_work(&self) -> Option<&str> {
        self.news().map(|news| news.lines().last().unwrap_or_default())
    }

    /// All that the provider said when it was last asked after.
    fn news(&self) -> Option<&str> {
        match self {
            Self::Waiting { message, .. } => Some(message),
            _ => None,
        }
    }

    /// What is written down of it for good: all but the provider's token, which means something to the provider only.
    #[must_use]
    pub fn without_token(&self) -> Self {
        let mut state = self.clone();
        if let Self::Waiting { token, .. } = &mut state {
            token.clear();
        }
        state
    }

    /// Whether nothing will happen to it any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Succeeded { .. } | Self::Failed(_) | Self::Skipped { .. }
        )
    }

    /// The state's name, as the store keeps it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started { .. } => "started",
            Self::Waiting { .. } => "waiting",
            Self::BackingOff { .. } => "backing-off",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed(_) => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}

impl StepEvent {
    /// The event's name, for errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Wait { .. } => "wait",
            Self::Succeed { .. } => "succeed",
            Self::BackOff { .. } => "back-off",
            Self::Fail(_) => "fail",
            Self::Skip { .. } => "skip",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<StepState> {
        let failure = Failure::new(FailureClass::Transient, "reset");
        vec![
            StepState::Pending,
            StepState::Started { attempt: 2 },
            StepState::Waiting {
                attempt: 2,
                token: "t".into(),
                poll_at: Timestamp::UNIX_EPOCH,
                message: String::new(),
            },
            StepState::BackingOff {
                attempt: 2,
                until: Timestamp::UNIX_EPOCH,
                failure: failure.clone(),
            },
            StepState::Succeeded {
                external_id: "x".into(),
                outputs: BTreeMap::new(),
            },
            StepState::Failed(failure),
            StepState::Skipped {
                reason: "superseded".into(),
            },
        ]
    }

    fn events() -> Vec<StepEvent> {
        let failure = Failure::new(FailureClass::Transient, "reset");
        vec![
            StepEvent::Start,
            StepEvent::Wait {
                token: "t".into(),
                poll_at: Timestamp::UNIX_EPOCH,
                message: String::new(),
            },
            StepEvent::Succeed {
                external_id: "x".into(),
                outputs: BTreeMap::new(),
            },
            StepEvent::BackOff {
                until: Timestamp::UNIX_EPOCH,
                failure: failure.clone(),
            },
            StepEvent::Fail(failure),
            StepEvent::Skip {
                reason: "superseded".into(),
            },
        ]
    }

    #[test]
    fn every_event_in_every_state_has_one_answer() {
        let rows = [
            // start, wait, succeed, back-off, fail, skip
            ("pending", ["started", "-", "-", "-", "failed", "skipped"]),
            (
                "started",
                ["started", "waiting", "succeeded", "backing-off", "failed", "-"],
            ),
            (
                "waiting",
                ["-", "waiting", "succeeded", "backing-off", "failed", "-"],
            ),
            ("backing-off", ["started", "-", "-", "-", "failed", "skipped"]),
            ("succeeded", ["-"; 6]),
            ("failed", ["-"; 6]),
            ("skipped", ["-"; 6]),
        ];
        for (state, (name, expected)) in states().iter().zip(rows) {
            assert_eq!(state.name(), name);
            for (event, expected) in events().into_iter().zip(expected) {
                let event_name = event.name();
                let got = state.next(event).map_or("-", |next| next.name());
                assert_eq!(got, expected, "{name} by {event_name}");
            }
        }
    }

    #[test]
    fn what_a_provider_is_at_is_kept_without_secrets() {
        let wait = StepEvent::Wait {
            token: "t".into(),
            poll_at: Timestamp::UNIX_EPOCH,
            message: "creating Database with token=glpat-abcdefghij0123456789".into(),
        };
        let Ok(StepState::Waiting { message, .. }) = (StepState::Started { attempt: 1 }).next(wait) else {
            panic!("it waits");
        };
        assert!(message.starts_with("creating Database"), "{message}");
        assert!(!message.contains("abcdefghij"), "{message}");
    }

    #[test]
    fn only_an_attempt_that_waits_as_before_goes_on_waiting() {
        let waits = |attempt, token: &str, message: &str| StepState::Waiting {
            attempt,
            token: token.into(),
            poll_at: Timestamp::UNIX_EPOCH,
            message: message.into(),
        };
        let before = waits(1, "a", "creating Key");
        let later = waits(1, "b", "creating Bucket");
        assert!(later.still_waits(&before) && !later.says_nothing_new(&before));
        assert!(waits(1, "b", "creating Key").says_nothing_new(&before));
        let more = waits(1, "b", "created Key\ncreating Bucket");
        assert!(!more.says_nothing_new(&before));
        assert!(later.says_nothing_new(&more), "it is still at the last of it");
        assert_eq!(more.at_work(), Some("creating Bucket"));
        assert!(!waits(2, "a", "creating Key").still_waits(&before));
        assert!(!before.still_waits(&StepState::Started { attempt: 1 }));
        for state in states().iter().filter(|state| state.name() != "waiting") {
            assert!(!state.still_waits(&before), "{}", state.name());
        }
    }

    #[test]
    fn what_is_written_down_holds_no_token_and_all_else() {
        for state in states() {
            let written = serde_json::to_string(&state.without_token()).unwrap();
            assert!(!written.contains("token"), "{written}");
            let read: StepState = serde_json::from_str(&written).unwrap();
            assert_eq!(read.name(), state.name());
            assert_eq!(read, state.without_token());
        }
    }

    #[test]
    fn a_state_that_was_stored_without_words_can_be_read() {
        let stored = r#"{"waiting":{"attempt":1,"token":"t","poll_at":"1970-01-01T00:00:00Z"}}"#;
        assert!(serde_json::from_str::<StepState>(stored).is_ok());
    }

    #[test]
    fn an_attempt_counts_up_only_after_a_failure() {
        let taken_over = StepState::Started { attempt: 2 }.next(StepEvent::Start);
        assert_eq!(taken_over, Ok(StepState::Started { attempt: 2 }));
        let again = states()[3].next(StepEvent::Start);
        assert_eq!(again, Ok(StepState::Started { attempt: 3 }));
    }
}
