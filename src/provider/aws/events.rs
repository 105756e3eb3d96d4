//! What happened to a stack and to what is in it, and which of it is to blame.

use std::fmt;

use aws_sdk_cloudformation::types::{EventFilter, EventType, OperationEvent, StackEvent};

use super::calls::Calls;
use super::failure::Fault;
use crate::domain::step::{Failure, FailureClass};

/// Pages of events that are read at most when the first failure is looked for.
const MOST_EVENT_PAGES: usize = 20;

/// The longest reason in a line of the log, in characters.
const LONGEST_REASON: usize = 500;

/// Something that happened to a stack or to a resource of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// AWS's id of it.
    pub(super) id: String,
    /// The logical id.
    pub(super) resource: String,
    /// Such as `AWS::RDS::DBInstance`.
    pub(super) kind: String,
    /// Such as `CREATE_IN_PROGRESS`.
    pub(super) status: String,
    /// AWS's words; may be empty.
    pub(super) reason: String,
    /// Whether it is about the stack itself.
    pub(super) is_of_stack: bool,
}

impl From<&StackEvent> for Event {
    fn from(event: &StackEvent) -> Self {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        Self {
            id: text(event.event_id()),
            resource: text(event.logical_resource_id()),
            kind: text(event.resource_type()),
            status: text(event.resource_status().map(|status| status.as_str())),
            reason: text(event.resource_status_reason()),
            is_of_stack: event.physical_resource_id() == event.stack_id(),
        }
    }
}

/// As a person reads it, such as `creating Database (AWS::RDS::DBInstance)`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, how) = self.status.split_once('_').unwrap_or((&self.status, ""));
        let verb = match (what, how) {
            ("CREATE", "IN_PROGRESS") => "creating",
            ("CREATE", "COMPLETE") => "created",
            ("UPDATE", "IN_PROGRESS") => "updating",
            ("UPDATE", "COMPLETE") => "updated",
            ("DELETE", "IN_PROGRESS") => "deleting",
            ("DELETE", "COMPLETE") => "deleted",
            ("DELETE", "SKIPPED") => "keeping",
            (_, "FAILED") if !self.reason.is_empty() => {
                let reason: String = self.reason.chars().take(LONGEST_REASON).collect();
                return write!(
                    f,
                    "{} ({}) is {}: {reason}",
                    self.resource, self.kind, self.status
                );
            }
            _ => return write!(f, "{} ({}) is {}", self.resource, self.kind, self.status),
        };
        write!(f, "{verb} {} ({})", self.resource, self.kind)
    }
}

/// What happened to what is in a stack since it was last asked after.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// A line each, as people read them, oldest first.
    pub(super) lines: Vec<String>,
    /// What it is at: the newest line, new or not.
    pub(super) at: Option<String>,
    /// The id of the newest event, from which on to ask next time.
    pub(super) newest: Option<String>,
}

impl News {
    /// What is new among events with the newest first: what came after the one that was told last, or else all of the last
    /// operation.
    fn among(newest_first: &[Event], told: Option<&str>) -> Self {
        let of_resources = |events: &[Event]| -> Vec<String> {
            let events = events.iter().filter(|event| !event.is_of_stack);
            events.map(ToString::to_string).collect()
        };
        let old = newest_first.iter().position(|event| is_told(event, told));
        let new = newest_first.get(..old.unwrap_or(newest_first.len()));
        let mut lines = of_resources(new.unwrap_or_default());
        lines.reverse();
        Self {
            lines,
            at: of_resources(newest_first).into_iter().next(),
            newest: newest_first.first().map(|event| event.id.clone()),
        }
    }
}

fn is_told(event: &Event, told: Option<&str>) -> bool {
    match told {
        Some(told) => event.id == told,
        None => begins_operation(event),
    }
}

/// The first resource that failed in the last operation of a stack, among its events with the newest first. What was
/// merely broken off because of it is passed over.
pub(super) fn first_failure(newest_first: &[Event]) -> Option<&Event> {
    let began = newest_first.iter().position(begins_operation);
    let of_operation = newest_first.get(..began.unwrap_or(newest_first.len()))?;
    let failed = of_operation
        .iter()
        .rev()
        .filter(|event| event.status.ends_with("_FAILED"));
    let failures = failed.clone().filter(|event| !event.is_of_stack);
    let mut own = failures.clone().filter(|event| !event.is_broken_off());
    // What is wrong with the stack itself, such as an output, is told with no resource.
    let of_stack = failed.filter(|event| event.is_of_stack && !event.reason.is_empty());
    own.next()
        .or_else(|| failures.clone().next())
        .or_else(|| of_stack.into_iter().next())
}

fn begins_operation(event: &Event) -> bool {
    let begins = ["CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS"];
    event.is_of_stack && begins.contains(&event.status.as_str())
}

/// Whether a reason of AWS's only says that there is a list of reasons.
pub(super) fn says_more_elsewhere(reason: &str) -> bool {
    reason.contains("DescribeEvents")
}

impl Event {
    /// Whether it failed only because something else did, or was stopped.
    fn is_broken_off(&self) -> bool {
        self.reason.ends_with("cancelled")
    }

    /// Why something failed: which resource, and AWS's own reason.
    pub(super) fn to_reason(&self) -> String {
        format!("{} ({}): {}", self.resource, self.kind, self.reason)
    }

    fn of_validation(event: &OperationEvent) -> Self {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        Self {
            id: text(event.event_id()),
            resource: text(event.logical_resource_id()),
            kind: text(event.resource_type()),
            status: text(event.validation_status().map(|status| status.as_str())),
            reason: text(event.validation_status_reason()),
            is_of_stack: false,
        }
    }
}

impl Calls<'_> {
    /// What happened to what is in that stack since the event that was told last.
    pub(super) async fn news(&self, stack: &str, told: Option<&str>) -> Result<News, Failure> {
        let events = self.events_until(stack, |event| is_told(event, told)).await?;
        Ok(News::among(&events, told))
    }

    /// The first resource that failed in the last operation of a stack.
    pub(super) async fn first_failure(&self, stack: &str) -> Result<Option<Event>, Failure> {
        let events = self.last_events(stack).await?;
        self.to_blame(stack, &events).await
    }

    /// The resource that failed last.
    pub(super) async fn last_failure(&self, stack: &str) -> Result<Option<Event>, Failure> {
        let (events, _) = self.events(stack, None).await?;
        let mut failed = events
            .into_iter()
            .filter(|event| event.status.ends_with("_FAILED"));
        Ok(failed.find(|event| !event.is_of_stack))
    }

    /// The first resource that failed in the creation of a stack that was deleted afterwards; nothing if it was deleted
    /// before anything failed.
    pub(super) async fn failure_before_deletion(&self, stack: &str) -> Result<Option<Event>, Failure> {
        let of_stack = |event: &Event, status: &str| event.is_of_stack && event.status == status;
        let begins = |event: &Event| of_stack(event, "CREATE_IN_PROGRESS");
        let events = self.events_until(stack, begins).await?;
        let deleted = events
            .iter()
            .position(|event| of_stack(event, "DELETE_IN_PROGRESS"));
        let before = deleted.and_then(|deleted| events.get(deleted + 1..));
        let found = self.to_blame(stack, before.unwrap_or_default()).await?;
        Ok(found.filter(|event| !event.is_broken_off()))
    }

    async fn to_blame(&self, stack: &str, newest_first: &[Event]) -> Result<Option<Event>, Failure> {
        match first_failure(newest_first) {
            // AWS looks through a template before it begins; of what it finds there, a stack's events have the number only.
            Some(event) if event.is_of_stack && says_more_elsewhere(&event.reason) => {
                let found = self.validation_error(stack, None).await?;
                Ok(found.or_else(|| Some(event.clone())))
            }
            found => Ok(found.cloned()),
        }
    }

    /// The first thing that AWS found wrong with a template before it began, be it of a stack or of a change set.
    pub(super) async fn validation_error(
        &self,
        stack: &str,
        change_set: Option<&str>,
    ) -> Result<Option<Event>, Failure> {
        let client = self.session.cloudformation().await;
        let found = client
            .describe_events()
            .stack_name(stack)
            .set_change_set_name(change_set.map(str::to_owned))
            .filters(EventFilter::builder().failed_events(true).build())
            .send()
            .await;
        let found = match found {
            Ok(found) => found,
            Err(error) => match self
                .failed(
                    Fault::of(&error),
                    &format!("reading what is wrong with stack {stack}"),
                )
                .await
            {
                // An older role may not: then what is known has to do.
                failure if failure.class == FailureClass::Refused => return Ok(None),
                failure => return Err(failure),
            },
        };
        let mut wrong = found
            .operation_events()
            .iter()
            .filter(|event| event.event_type() == Some(&EventType::ValidationError));
        Ok(wrong.next().map(Event::of_validation))
    }

    /// What the last operation of a stack could not delete.
    pub(super) async fn undeleted(&self, stack: &str) -> Result<Vec<Event>, Failure> {
        let events = self.last_events(stack).await?;
        let began = events.iter().position(begins_operation);
        let of_operation = events.into_iter().take(began.unwrap_or(usize::MAX));
        Ok(of_operation
            .filter(|event| !event.is_of_stack && event.status == "DELETE_FAILED")
            .collect())
    }

    /// The events of a stack, newest first, back to the beginning of its last operation or farther.
    async fn last_events(&self, stack: &str) -> Result<Vec<Event>, Failure> {
        self.events_until(stack, begins_operation).await
    }

    /// The events of a stack, newest first, back to one that is looked for, or farther.
    async fn events_until(&self, stack: &str, is_it: impl Fn(&Event) -> bool) -> Result<Vec<Event>, Failure> {
        let (mut events, mut next) = (Vec::new(), None);
        for _ in 0..MOST_EVENT_PAGES {
            let (page, more) = self.events(stack, next).await?;
            let is_whole = page.iter().any(&is_it);
            events.extend(page);
            next = more;
            if is_whole || next.is_none() {
                break;
            }
        }
        Ok(events)
    }

    async fn events(
        &self,
        stack: &str,
        next: Option<String>,
    ) -> Result<(Vec<Event>, Option<String>), Failure> {
        let client = self.session.cloudformation().await;
        let found = client
            .describe_stack_events()
            .stack_name(stack)
            .set_next_token(next)
            .send()
            .await;
        let found = self
            .found(found, &format!("reading the events of stack {stack}"))
            .await?;
        Ok(found.map_or_else(Default::default, |page| {
            let events = page.stack_events().iter().map(Event::from).collect();
            (events, page.next_token().map(str::to_owned))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(resource: &str, status: &str, reason: &str) -> Event {
        Event {
            id: format!("{resource} {status}"),
            resource: resource.into(),
            kind: "AWS::S3::Bucket".into(),
            status: status.into(),
            reason: reason.into(),
            is_of_stack: resource == "stack",
        }
    }

    #[test]
    fn the_first_that_failed_is_to_blame_and_not_what_was_broken_off() {
        let newest_first = [
            event("stack", "ROLLBACK_COMPLETE", ""),
            event("Key", "DELETE_COMPLETE", ""),
            event(
                "stack",
                "ROLLBACK_IN_PROGRESS",
                "The following resource(s) failed to create: [Bucket, Key]",
            ),
            event("Policy", "CREATE_FAILED", "A later one"),
            event("Bucket", "CREATE_FAILED", "Already exists"),
            event("Key", "CREATE_FAILED", "Resource creation cancelled"),
            event("Bucket", "CREATE_IN_PROGRESS", ""),
            event("stack", "CREATE_IN_PROGRESS", "User Initiated"),
            event("Old", "CREATE_FAILED", "In an operation before"),
        ];
        let found = first_failure(&newest_first).map(|event| event.reason.as_str());
        assert_eq!(found, Some("Already exists"));
        assert_eq!(first_failure(&newest_first[..3]), None);
        let broken_off = [event("Key", "CREATE_FAILED", "Resource creation cancelled")];
        assert_eq!(first_failure(&broken_off), broken_off.first());
        let of_stack = [
            event("stack", "ROLLBACK_COMPLETE", ""),
            event("stack", "CREATE_FAILED", "An output cannot be made"),
            event("Bucket", "CREATE_COMPLETE", ""),
            event("stack", "CREATE_IN_PROGRESS", "User Initiated"),
        ];
        assert_eq!(first_failure(&of_stack), of_stack.get(1));
    }

    #[test]
    fn events_are_told_in_words() {
        for (status, words) in [
            ("CREATE_IN_PROGRESS", "creating Bucket (AWS::S3::Bucket)"),
            ("UPDATE_COMPLETE", "updated Bucket (AWS::S3::Bucket)"),
            ("DELETE_SKIPPED", "keeping Bucket (AWS::S3::Bucket)"),
            ("CREATE_FAILED", "Bucket (AWS::S3::Bucket) is CREATE_FAILED"),
        ] {
            assert_eq!(event("Bucket", status, "").to_string(), words);
        }
        assert_eq!(
            event("Bucket", "CREATE_FAILED", "Already exists").to_string(),
            "Bucket (AWS::S3::Bucket) is CREATE_FAILED: Already exists"
        );
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let newest_first = [
            event("Bucket", "CREATE_IN_PROGRESS", ""),
            event("Key", "CREATE_COMPLETE", ""),
            event("Key", "CREATE_IN_PROGRESS", ""),
            event("stack", "CREATE_IN_PROGRESS", ""),
            event("Old", "DELETE_COMPLETE", ""),
        ];
        let (bucket, key) = (
            "creating Bucket (AWS::S3::Bucket)",
            "created Key (AWS::S3::Bucket)",
        );
        for (told, lines) in [
            (None, vec!["creating Key (AWS::S3::Bucket)", key, bucket]),
            (Some("Key CREATE_IN_PROGRESS"), vec![key, bucket]),
            (Some("Bucket CREATE_IN_PROGRESS"), vec![]),
        ] {
            let news = News::among(&newest_first, told);
            assert_eq!(news.lines, lines, "{told:?}");
            assert_eq!(news.at.as_deref(), Some(bucket));
            assert_eq!(news.newest.as_deref(), Some("Bucket CREATE_IN_PROGRESS"));
        }
        assert_eq!(News::among(&[], None), News::default());
    }
}
