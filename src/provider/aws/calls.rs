//! The calls of CloudFormation, each with what it was for: AWS's faults leave as failures, and what is not there as
//! nothing.

use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::types::{
    Capability, ChangeSetStatus, ChangeSetType, ExecutionStatus, OnStackFailure, Parameter, ResourceStatus,
    Tag,
};

use jiff::Timestamp;

use super::access::{Access, Place, Session};
use super::changes::{self, InPlace};
use super::cluster::{Cluster, ClusterAccess, PATIENCE, Readiness, readiness};
use super::failure::Fault;
use super::stack::Standing;
use crate::domain::module::Part;
use crate::domain::step::Failure;

/// The name in a stack's ARN; what is a name already stays one. Change sets are looked for by the stack's name, which
/// every peer of ours knows them by.
pub(super) fn name_of(stack: &str) -> &str {
    let path = stack.split_once(":stack/").map(|(_, path)| path);
    path.and_then(|path| path.split('/').next()).unwrap_or(stack)
}

/// CloudFormation in one place, as one role.
pub(super) struct Calls<'a> {
    access: &'a Access,
    place: Place,
    pub(super) session: Session,
}

/// A change set to be made.
pub(super) struct Draft<'a> {
    pub(super) stack: &'a str,
    pub(super) name: &'a str,
    pub(super) kind: ChangeSetType,
    pub(super) template: &'a str,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) tags: Vec<Tag>,
    pub(super) token: &'a str,
    /// Whether what could not be created is kept.
    pub(super) keep_failed: bool,
}

/// A resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StackResource {
    /// The logical id.
    pub(super) name: String,
    /// Such as `AWS::RDS::DBInstance`.
    pub(super) kind: String,
    /// What it is called in its service; empty for what is not there yet.
    pub(super) id: String,
}

/// How far a change set is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChangeSet {
    pub(super) status: ChangeSetStatus,
    pub(super) execution: ExecutionStatus,
    /// Why it is so, in AWS's words; may be empty.
    pub(super) reason: String,
    /// The ARN of the stack that it is for.
    pub(super) stack: String,
}

impl ChangeSet {
    /// Whether it is being executed, or was.
    pub(super) fn is_begun(&self) -> bool {
        use ExecutionStatus as E;
        matches!(
            self.execution,
            E::ExecuteInProgress | E::ExecuteComplete | E::ExecuteFailed
        )
    }

    /// Whether nothing can come of it any more.
    pub(super) fn is_spent(&self) -> bool {
        use ExecutionStatus as E;
        let is_over = matches!(
            self.execution,
            E::ExecuteComplete | E::ExecuteFailed | E::Obsolete
        );
        is_over || self.status == ChangeSetStatus::Failed
    }
}

impl<'a> Calls<'a> {
    pub(super) async fn at(access: &'a Access, place: &Place) -> Result<Self, Failure> {
        Ok(Self {
            access,
            place: place.clone(),
            session: access.session(place).await?,
        })
    }

    /// Whether it is AWS itself that is called, at its own addresses.
    pub(super) fn is_aws(&self) -> bool {
        self.session.endpoint().is_none()
    }

    pub(super) async fn failed(&self, fault: Fault, activity: &str) -> Failure {
        self.access.failed(&self.place, fault, activity).await
    }

    /// What came of a call; nothing if its subject is not there.
    pub(super) async fn found<T, E>(
        &self,
        result: Result<T, SdkError<E>>,
        activity: &str,
    ) -> Result<Option<T>, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) => match Fault::of(&error) {
                fault if fault.is_absent() => Ok(None),
                fault => Err(self.failed(fault, activity).await),
            },
        }
    }

    /// One look at a cluster there, as the same role.
    pub(super) async fn readiness(&self, cluster: &Cluster, wanted_nodes: u32) -> Result<Readiness, Failure> {
        let access = ClusterAccess {
            cluster,
            credentials: self.session.credentials(),
            clock: self.access.clock(),
            patience: PATIENCE,
        };
        readiness(&access, wanted_nodes).await
    }

    /// The stack of that name or ARN. By its ARN it is found for some time after it was deleted, too.
    pub(super) async fn stack(&self, name: &str) -> Result<Option<Standing>, Failure> {
        let client = self.session.cloudformation().await;
        let found = client.describe_stacks().stack_name(name).send().await;
        let found = self.found(found, &format!("looking at stack {name}")).await?;
        Ok(found.and_then(|found| found.stacks().first().map(Standing::from)))
    }

    /// One page of all stacks that are there, and the token of the next one.
    pub(super) async fn page_of_stacks(
        &self,
        next: Option<String>,
    ) -> Result<(Vec<Standing>, Option<String>), Failure> {
        let client = self.session.cloudformation().await;
        let found = client.describe_stacks().set_next_token(next).send().await;
        match found {
            Ok(page) => {
                let stacks = page.stacks().iter().map(Standing::from).collect();
                Ok((stacks, page.next_token().map(str::to_owned)))
            }
            Err(error) => Err(self.failed(Fault::of(&error), "looking at all stacks").await),
        }
    }

    pub(super) async fn change_set(&self, stack: &str, name: &str) -> Result<Option<ChangeSet>, Failure> {
        let client = self.session.cloudformation().await;
        let asked = client
            .describe_change_set()
            .stack_name(name_of(stack))
            .change_set_name(name);
        let found = self
            .found(asked.send().await, &format!("looking at change set {name}"))
            .await?;
        let found = found.map(|found| ChangeSet {
            status: found.status().cloned().unwrap_or(ChangeSetStatus::CreatePending),
            execution: found
                .execution_status()
                .cloned()
                .unwrap_or(ExecutionStatus::Unavailable),
            reason: found.status_reason().unwrap_or_default().to_owned(),
            stack: found.stack_id().unwrap_or(stack).to_owned(),
        });
        // Another stack may bear the name by now.
        Ok(found.filter(|found| name_of(stack) == stack || found.stack == stack))
    }

    /// What a change set that is ready would do, all pages of it. `in_place` is what its module lists.
    pub(super) async fn parts(
        &self,
        stack: &str,
        name: &str,
        in_place: &InPlace,
    ) -> Result<Vec<Part>, Failure> {
        let activity = format!("reading change set {name}");
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let client = self.session.cloudformation().await;
            let asked = client
                .describe_change_set()
                .stack_name(name_of(stack))
                .change_set_name(name);
            let page = match asked.set_next_token(next).send().await {
                Ok(page) => page,
                Err(error) => return Err(self.failed(Fault::of(&error), &activity).await),
            };
            all.extend_from_slice(page.changes());
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return changes::parts(&all, in_place);
            }
        }
    }

    /// Makes a change set, unless it is there. Answers the ARN of its stack.
    pub(super) async fn make(&self, draft: Draft<'_>) -> Result<String, Failure> {
        let parameter = |(name, value): (String, String)| {
            Parameter::builder()
                .parameter_key(name)
                .parameter_value(value)
                .build()
        };
        let creates = draft.kind == ChangeSetType::Create;
        let on_failure = if draft.keep_failed {
            OnStackFailure::DoNothing
        } else {
            OnStackFailure::Rollback
        };
        let client = self.session.cloudformation().await;
        let made = client
            .create_change_set()
            .stack_name(draft.stack)
            .change_set_name(draft.name)
            .change_set_type(draft.kind)
            .template_body(draft.template)
            .set_parameters(Some(draft.parameters.into_iter().map(parameter).collect()))
            .set_tags(Some(draft.tags))
            .capabilities(Capability::CapabilityNamedIam)
            .client_token(draft.token)
            .set_on_stack_failure(creates.then_some(on_failure))
            .send()
            .await;
        match made {
            Ok(made) => Ok(made.stack_id().unwrap_or(draft.stack).to_owned()),
            Err(error) => match Fault::of(&error) {
                fault if fault.is_there_already() => {
                    // Ours, by an attempt whose answer was lost; or a stack that came into being meanwhile.
                    match self.change_set(draft.stack, draft.name).await? {
                        Some(found) => Ok(found.stack),
                        None => Err(self
                            .failed(fault, &format!("creating change set {}", draft.name))
                            .await),
                    }
                }
                fault => Err(self
                    .failed(fault, &format!("creating change set {}", draft.name))
                    .await),
            },
        }
    }

    /// Executes a change set. When its creation is rolled back, nothing that it made stays behind.
    pub(super) async fn execute(
        &self,
        stack: &str,
        name: &str,
        token: &str,
        creates: bool,
    ) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let done = client
            .execute_change_set()
            .stack_name(name_of(stack))
            .change_set_name(name)
            .client_request_token(token)
            .set_retain_except_on_create(creates.then_some(true))
            .send()
            .await;
        self.done(done, &format!("executing change set {name}")).await
    }

    async fn done<T, E>(&self, result: Result<T, SdkError<E>>, activity: &str) -> Result<(), Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(Fault::of(&error), activity).await),
        }
    }

    /// Removes a change set; one that is not there is removed.
    pub(super) async fn remove_change_set(&self, stack: &str, name: &str) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let removed = client
            .delete_change_set()
            .stack_name(name_of(stack))
            .change_set_name(name)
            .send()
            .await;
        self.found(removed, &format!("removing change set {name}"))
            .await?;
        Ok(())
    }

    /// Begins to delete a stack; one that is not there is deleted.
    pub(super) async fn delete(&self, stack: &str, token: &str) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let deleted = client
            .delete_stack()
            .stack_name(stack)
            .client_request_token(token)
            .send()
            .await;
        self.found(deleted, &format!("deleting stack {stack}")).await?;
        Ok(())
    }

    /// Protects a stack against deletion, or lets it be deleted.
    pub(super) async fn protect(&self, stack: &str, protected: bool) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let done = client
            .update_termination_protection()
            .stack_name(stack)
            .enable_termination_protection(protected)
            .send()
            .await;
        self.done(
            done,
            &format!("setting the termination protection of stack {stack}"),
        )
        .await
    }

    /// Protects what is in a stack against deletion, or lets it be deleted: an update of that one parameter.
    pub(super) async fn update_protection(
        &self,
        standing: &Standing,
        protected: bool,
        token: &str,
    ) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let done = client
            .update_stack()
            .stack_name(&standing.id)
            .use_previous_template(true)
            .set_parameters(Some(standing.parameters_with_protection(protected)))
            .capabilities(Capability::CapabilityNamedIam)
            .client_request_token(token)
            .send()
            .await;
        match done.map_err(|error| Fault::of(&error)) {
            Err(fault) if !fault.is_nothing_to_do() => {
                let activity = format!("protecting what is in stack {}", standing.name);
                Err(self.failed(fault, &activity).await)
            }
            _ => Ok(()),
        }
    }

    /// Takes a creation back that failed and was kept: what it made goes, be it to be retained afterwards or not.
    /// <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_RollbackStack.html>
    pub(super) async fn roll_back(&self, stack: &str, token: &str) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let done = client
            .rollback_stack()
            .stack_name(stack)
            .retain_except_on_create(true)
            .client_request_token(token)
            .send()
            .await;
        self.done(done, &format!("taking back the creation of stack {stack}"))
            .await
    }

    /// Goes on with a roll-back that failed.
    pub(super) async fn continue_rollback(&self, stack: &str, token: &str) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let done = client
            .continue_update_rollback()
            .stack_name(stack)
            .client_request_token(token)
            .send()
            .await;
        self.done(done, &format!("continuing the roll-back of stack {stack}"))
            .await
    }

    /// Stops an update and takes it back.
    pub(super) async fn cancel_update(&self, stack: &str) -> Result<(), Failure> {
        let client = self.session.cloudformation().await;
        let done = client.cancel_update_stack().stack_name(stack).send().await;
        self.done(done, &format!("stopping the update of stack {stack}"))
            .await
    }

    /// The template that a stack was last made by.
    pub(super) async fn template(&self, stack: &str) -> Result<String, Failure> {
        let client = self.session.cloudformation().await;
        let found = client.get_template().stack_name(stack).send().await;
        let found = self
            .found(found, &format!("reading the template of stack {stack}"))
            .await?;
        Ok(found
            .and_then(|found| found.template_body().map(str::to_owned))
            .unwrap_or_default())
    }

    /// The newest snapshot that was taken of a database by order: its id.
    pub(super) async fn newest_snapshot(&self, database: &str) -> Result<Option<String>, Failure> {
        let query = self.access.query();
        match query.newest_snapshot(&self.session, database).await {
            Ok(snapshot) => Ok(snapshot),
            Err(fault) => {
                let activity = format!("looking for the last snapshot of {database}");
                Err(self.failed(fault, &activity).await)
            }
        }
    }

    /// The resources of a stack that are there, all pages.
    pub(super) async fn resources(&self, stack: &str) -> Result<Vec<StackResource>, Failure> {
        let (mut resources, mut next) = (Vec::new(), None);
        loop {
            let client = self.session.cloudformation().await;
            let found = client
                .list_stack_resources()
                .stack_name(stack)
                .set_next_token(next)
                .send()
                .await;
            let Some(page) = self
                .found(found, &format!("reading the resources of stack {stack}"))
                .await?
            else {
                return Ok(resources);
            };
            let there = page.stack_resource_summaries().iter().filter(|resource| {
                !matches!(
                    resource.resource_status(),
                    Some(ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped)
                )
            });
            resources.extend(there.filter_map(|resource| {
                Some(StackResource {
                    name: resource.logical_resource_id()?.to_owned(),
                    kind: resource.resource_type()?.to_owned(),
                    id: resource.physical_resource_id().unwrap_or_default().to_owned(),
                })
            }));
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(resources);
            }
        }
    }

    /// The change sets of a stack, all pages: name, and when it was made.
    pub(super) async fn change_sets(&self, stack: &str) -> Result<Vec<(String, Timestamp)>, Failure> {
        let (mut change_sets, mut next) = (Vec::new(), None);
        loop {
            let client = self.session.cloudformation().await;
            let found = client
                .list_change_sets()
                .stack_name(name_of(stack))
                .set_next_token(next)
                .send()
                .await;
            let Some(page) = self
                .found(found, &format!("listing the change sets of stack {stack}"))
                .await?
            else {
                return Ok(change_sets);
            };
            change_sets.extend(page.summaries().iter().filter_map(|one| {
                let made_at = Timestamp::from_second(one.creation_time()?.secs()).ok()?;
                Some((one.change_set_name()?.to_owned(), made_at))
            }));
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(change_sets);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_the_name_that_its_arn_says() {
        let arn = "arn:aws:cloudformation:eu-central-1:123456789012:stack/landfall-shop/0a1b";
        for stack in [arn, "landfall-shop"] {
            assert_eq!(name_of(stack), "landfall-shop");
        }
    }
}
