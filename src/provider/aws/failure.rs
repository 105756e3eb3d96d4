//! What AWS says when something does not work, and whose fault that is. The codes are those of its "Common errors" and
//! "Errors" pages, of CloudFormation's API reference, and of the resource handlers' contract.

use aws_sdk_cloudformation::config::http::HttpResponse;
use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};

use crate::domain::step::{Failure, FailureClass};

/// The longest words of AWS that are kept, in characters.
const LONGEST: usize = 1_000;

/// A call that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// AWS's code for it, such as `AccessDenied`; empty if no answer of AWS's came.
    pub code: String,
    /// AWS's own words, or what became of the call.
    pub message: String,
    /// Whose fault.
    pub class: FailureClass,
}

/// The codes and what they mean. What is not in it is told by the status of the answer.
#[rustfmt::skip]
const CODES: &[(FailureClass, &[&str])] = &[
    (FailureClass::Throttled, &[
        "Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "RequestThrottled",
        "RequestThrottledException", "TooManyRequestsException", "SlowDown", "BandwidthLimitExceeded",
        "EC2ThrottledException", "PriorRequestNotComplete",
    ]),
    (FailureClass::Transient, &[
        "InternalFailure", "InternalError", "InternalServerError", "ServiceUnavailable", "Unavailable",
        "RequestTimeout", "RequestTimeoutException", "RequestExpired", "RequestTimeTooSkewed",
        "ExpiredToken", "ExpiredTokenException", "IDPCommunicationError",
    ]),
    (FailureClass::Conflict, &[
        "OperationInProgressException", "StaleRequestException", "InvalidChangeSetStatus", "ConcurrentModification",
        "ConcurrentModificationException", "AlreadyExistsException", "TokenAlreadyExistsException",
        "ChangeSetNotFound", "ResourceInUseException",
    ]),
    (FailureClass::Refused, &[
        "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure", "InvalidClientTokenId",
        "UnrecognizedClientException", "MissingAuthenticationToken", "SignatureDoesNotMatch", "IncompleteSignature",
        "OptInRequired", "RegionDisabledException", "LimitExceededException", "ServiceQuotaExceededException",
        "InsufficientCapabilitiesException",
    ]),
    (FailureClass::User, &[
        "ValidationError", "ValidationException", "InvalidParameterValue", "InvalidParameterException",
        "InvalidParameterCombination", "MalformedTemplate",
    ]),
];

/// What resource handlers say at the end of their reasons, as `(… HandlerErrorCode: X)`.
#[rustfmt::skip]
const HANDLER_CODES: &[(FailureClass, &[&str])] = &[
    (FailureClass::Throttled, &["Throttling"]),
    (FailureClass::Transient, &["ServiceInternalError", "InternalFailure", "NetworkFailure", "ServiceTimeout"]),
    (FailureClass::Conflict,  &["ResourceConflict"]),
    (FailureClass::User,      &["InvalidRequest", "NotUpdatable"]),
];

/// The same code stands for many things in `ValidationError`: the words tell them apart.
const WORDS: &[(FailureClass, &str)] = &[
    (FailureClass::Throttled, "Rate exceeded"),
    (FailureClass::Conflict, "_IN_PROGRESS state"),
    (FailureClass::Conflict, "does not exist"),
    (FailureClass::Refused, "TerminationProtection is enabled"),
    (FailureClass::Refused, "_FAILED state"),
    (FailureClass::Refused, "imported by"),
];

fn listed(codes: &[(FailureClass, &[&str])], code: &str) -> Option<FailureClass> {
    let found = codes.iter().find(|(_, codes)| codes.contains(&code));
    found.map(|(class, _)| *class)
}

impl Fault {
    /// What an answer of AWS's means, by its code, its words and its HTTP status.
    #[must_use]
    pub fn answered(code: &str, message: &str, status: u16) -> Self {
        let by_words = || WORDS.iter().find(|(_, words)| message.contains(words));
        let class = match listed(CODES, code) {
            Some(FailureClass::User) => by_words().map_or(FailureClass::User, |(class, _)| *class),
            Some(class) => class,
            None => match status {
                429 => FailureClass::Throttled,
                408 | 500.. => FailureClass::Transient,
                401 | 403 => FailureClass::Refused,
                _ => FailureClass::Internal,
            },
        };
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
            class,
        }
    }

    /// A call whose answer did not come, such as a reset or a time-out: it may have worked.
    #[must_use]
    pub fn unanswered(message: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            message: message.into(),
            class: FailureClass::Transient,
        }
    }

    /// What an error of the SDK means.
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let (code, message) = (answer.err().code(), answer.err().message());
                let status = answer.raw().status().as_u16();
                // An error without a code is one whose text was cut off on the way.
                if status < 300 || (code.is_none() && status != 429) {
                    return Self::unanswered("AWS's answer could not be read");
                }
                Self::answered(code.unwrap_or_default(), message.unwrap_or_default(), status)
            }
            SdkError::TimeoutError(_) => Self::unanswered("AWS did not answer in time"),
            SdkError::ConstructionFailure(_) => Self {
                class: FailureClass::Internal,
                ..Self::unanswered(in_full(error))
            },
            _ if lacks_credentials(error) => Self {
                class: FailureClass::Refused,
                ..Self::unanswered(format!(
                    "Landfall itself has no credentials for AWS: {}",
                    in_full(error)
                ))
            },
            _ => Self::unanswered(in_full(error)),
        }
    }

    /// Whether the credentials are over, or not known any more: new ones are to be fetched.
    #[must_use]
    pub fn is_about_credentials(&self) -> bool {
        let codes = [
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
        ];
        codes.contains(&self.code.as_str())
    }

    /// Whether what was asked after is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        [
            "ChangeSetNotFound",
            "ChangeSetNotFoundException",
            "StackNotFoundException",
        ]
        .contains(&self.code.as_str())
            || (self.code == "ValidationError" && self.message.contains("does not exist"))
    }

    /// Whether what was to be made is there already: by an earlier attempt whose answer was lost, or by others.
    #[must_use]
    pub fn is_there_already(&self) -> bool {
        ["AlreadyExistsException", "TokenAlreadyExistsException"].contains(&self.code.as_str())
            || (self.code == "ValidationError" && self.message.contains("already exists"))
    }

    /// Whether everything is as it was to be.
    #[must_use]
    pub fn is_nothing_to_do(&self) -> bool {
        says_nothing_to_do(&self.message)
    }

    /// As the domain says it. `activity` is what was done, such as `creating the change set`.
    #[must_use]
    pub fn into_failure(self, activity: &str) -> Failure {
        let words: String = self.message.chars().take(LONGEST).collect();
        let reason = match (words.is_empty(), self.code.is_empty()) {
            (_, true) => format!("{activity}: {words}"),
            (true, false) => format!("{activity}: {}", self.code),
            (false, false) => format!("{activity}: {words} ({})", self.code),
        };
        Failure::new(self.class, reason)
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// An error and its causes, each once.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = causes(error).map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        matches!(
            cause.downcast_ref::<CredentialsError>(),
            Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
        )
    })
}

/// Whether a reason of a change set or an error says that there is nothing to change.
#[must_use]
pub fn says_nothing_to_do(reason: &str) -> bool {
    reason.contains("No updates are to be performed") || reason.contains("didn't contain changes")
}

/// Whose fault it is that a resource could not be made, changed or destroyed, by the reason of its stack event. What a
/// handler does not tell apart is for a person to look at.
#[must_use]
pub fn class_of_resource(reason: &str) -> FailureClass {
    let code = reason
        .rsplit_once("HandlerErrorCode: ")
        .map(|(_, rest)| rest.trim_end_matches([')', '.', ' ']));
    let class = code.and_then(|code| listed(HANDLER_CODES, code));
    class.unwrap_or(FailureClass::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass::{Conflict, Internal, Refused, Throttled, Transient, User};

    #[test]
    fn what_aws_answers_has_somebody_whose_fault_it_is() {
        for (code, message, status, class) in [
            ("Throttling", "Rate exceeded", 400, Throttled),
            (
                "ValidationError",
                "Rate exceeded for operation CreateChangeSet",
                400,
                Throttled,
            ),
            ("RequestLimitExceeded", "Request limit exceeded.", 503, Throttled),
            ("", "", 429, Throttled),
            ("InternalFailure", "", 500, Transient),
            ("ServiceUnavailable", "", 503, Transient),
            ("NeverHeardOf", "", 502, Transient),
            (
                "ExpiredToken",
                "The security token included in the request is expired",
                403,
                Transient,
            ),
            (
                "AccessDenied",
                "User: arn:aws:sts::1:x is not authorized to perform: x",
                403,
                Refused,
            ),
            (
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
                403,
                Refused,
            ),
            (
                "LimitExceededException",
                "Limit on the number of stacks has been reached",
                400,
                Refused,
            ),
            ("NeverHeardOf", "", 403, Refused),
            (
                "ValidationError",
                "Template format error: Unresolved resource dependencies",
                400,
                User,
            ),
            (
                "ValidationError",
                "Stack:arn:x is in UPDATE_IN_PROGRESS state and can not be updated.",
                400,
                Conflict,
            ),
            ("ValidationError", "Stack with id x does not exist", 400, Conflict),
            (
                "ValidationError",
                "Stack [x] cannot be deleted while TerminationProtection is enabled",
                400,
                Refused,
            ),
            (
                "ValidationError",
                "Stack:arn:x is in ROLLBACK_FAILED state and can not be updated.",
                400,
                Refused,
            ),
            ("OperationInProgressException", "", 400, Conflict),
            (
                "AlreadyExistsException",
                "Stack [x] already exists",
                400,
                Conflict,
            ),
            ("InvalidChangeSetStatus", "", 400, Conflict),
            ("NeverHeardOf", "", 400, Internal),
        ] {
            assert_eq!(
                Fault::answered(code, message, status).class,
                class,
                "{code}: {message}"
            );
        }
    }

    #[test]
    fn an_answer_that_did_not_come_may_be_asked_for_again() {
        let reset = SdkError::<aws_sdk_cloudformation::Error, HttpResponse>::dispatch_failure(
            aws_sdk_cloudformation::error::ConnectorError::io("connection reset by peer".into()),
        );
        let fault = Fault::of(&reset);
        assert_eq!(fault.class, Transient);
        assert!(fault.message.contains("connection reset by peer"), "{fault:?}");
        let late = SdkError::<aws_sdk_cloudformation::Error, HttpResponse>::timeout_error("late");
        assert_eq!(Fault::of(&late).class, Transient);
    }

    #[test]
    fn answers_that_are_no_failures_are_known() {
        let fault = |code, message| Fault::answered(code, message, 400);
        assert!(fault("ValidationError", "Stack with id x does not exist").is_absent());
        assert!(fault("ChangeSetNotFound", "").is_absent());
        assert!(!fault("ValidationError", "Parameter Size must be given").is_absent());
        assert!(fault("AlreadyExistsException", "").is_there_already());
        assert!(fault("ValidationError", "No updates are to be performed.").is_nothing_to_do());
        assert!(says_nothing_to_do(
            "The submitted information didn't contain changes. Submit different information to create a change set."
        ));
        assert!(Fault::answered("ExpiredToken", "", 403).is_about_credentials());
        assert!(!Fault::answered("AccessDenied", "", 403).is_about_credentials());
    }

    #[test]
    fn the_reason_is_in_the_words_of_aws() {
        let fault = Fault::answered("AccessDenied", "not authorized to perform: x", 403);
        let failure = fault.into_failure("creating the change set");
        assert_eq!(
            failure.reason,
            "creating the change set: not authorized to perform: x (AccessDenied)"
        );
        let long = Fault::unanswered("x".repeat(LONGEST * 2)).into_failure("looking");
        assert_eq!(long.reason.len(), LONGEST + "looking: ".len());
    }

    #[test]
    fn a_resource_that_fails_has_somebody_whose_fault_it_is() {
        for (reason, class) in [
            (
                "Resource handler returned message: \"Rate exceeded\" (RequestToken: 1, HandlerErrorCode: Throttling)",
                Throttled,
            ),
            ("x (HandlerErrorCode: ServiceInternalError)", Transient),
            ("x (HandlerErrorCode: InvalidRequest)", User),
            ("x (HandlerErrorCode: AccessDenied)", Refused),
            ("x (HandlerErrorCode: ServiceLimitExceeded)", Refused),
            ("x (HandlerErrorCode: AlreadyExists)", Refused),
            (
                "WaitCondition timed out. Received 0 conditions when expecting 1",
                Refused,
            ),
        ] {
            assert_eq!(class_of_resource(reason), class, "{reason}");
        }
    }
}
