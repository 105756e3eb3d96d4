//! What happened to a stack and to what is in it, and which of it is to blame.

use std::fmt;

use aws_sdk_cloudformation::types::StackEvent;

use super::calls::Calls;
use crate::domain::step::Failure;

/// Pages of events that are read at most when the first failure is looked for.
const MOST_EVENT_PAGES: usize = 20;

/// Something that happened to a stack or to a resource of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
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
            _ => return write!(f, "{} ({}) is {}", self.resource, self.kind, self.status),
        };
        write!(f, "{verb} {} ({})", self.resource, self.kind)
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
    let is_broken_off = |event: &&Event| event.reason.ends_with("cancelled");
    let mut own = failures.clone().filter(|event| !is_broken_off(event));
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

impl Calls<'_> {
    /// The newest event of a resource of that stack.
    pub(super) async fn newest_event(&self, stack: &str) -> Result<Option<Event>, Failure> {
        let (events, _) = self.events(stack, None).await?;
        Ok(events.into_iter().find(|event| !event.is_of_stack))
    }

    /// The first resource that failed in the last operation of a stack.
    pub(super) async fn first_failure(&self, stack: &str) -> Result<Option<Event>, Failure> {
        Ok(first_failure(&self.last_events(stack).await?).cloned())
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

    /// The events of a stack, the newest first, back to the beginning of its last operation or somewhat further.
    async fn last_events(&self, stack: &str) -> Result<Vec<Event>, Failure> {
        let (mut events, mut next) = (Vec::new(), None);
        for _ in 0..MOST_EVENT_PAGES {
            let (page, more) = self.events(stack, next).await?;
            let is_whole = page.iter().any(begins_operation);
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
    }
}
