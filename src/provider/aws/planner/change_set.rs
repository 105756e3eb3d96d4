//! Change sets that only ask: made for a stack that stands, read, and removed.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{ChangeSetStatus, ChangeSetType, ExecutionStatus, Tag};
use jiff::SignedDuration;

use super::Round;
use super::looked_up::given;
use crate::domain::ids::Digest;
use crate::domain::module::{Module, Part};
use crate::domain::step::Failure;
use crate::provider::aws::calls::{Calls, ChangeSet, Draft};
use crate::provider::aws::events::says_more_elsewhere;
use crate::provider::aws::failure::{Fault, says_nothing_to_do};
use crate::provider::aws::stack::Standing;
use crate::provider::aws::template::Template;

/// What all of them are called: the planning role may make and remove no others.
const PREFIX: &str = "landfall-plan-";
/// From what age on one is what a process left that died.
const LEFT_OVER: SignedDuration = SignedDuration::from_hours(1);

/// How far a change set is.
pub(super) enum Outcome {
    /// It is not ready.
    Waiting,
    /// It would do this.
    Parts(Vec<Part>),
}

impl Round<'_> {
    /// What the module would do to the stack, by a change set that is found again by its name.
    pub(super) async fn change_set(
        &mut self,
        module: &Module,
        standing: &Standing,
        resolved: &BTreeMap<String, String>,
    ) -> Result<Outcome, Failure> {
        let name = name(module, standing, resolved);
        let stack = standing.id.as_str();
        let found = match self.calls.change_set(stack, &name).await? {
            Some(found) if is_overtaken(&found) => {
                self.calls.remove_change_set(stack, &name).await?;
                None
            }
            found => found,
        };
        self.traces.change_sets.insert(stack.to_owned(), name.clone());
        let found = match found {
            Some(found) => Some(found),
            None => {
                self.make(module, standing, resolved, &name).await?;
                self.calls.change_set(stack, &name).await?
            }
        };
        match found {
            Some(found) if found.status == ChangeSetStatus::CreateComplete => {
                let in_place = Template::read(&module.template)?.updated_in_place();
                let parts = self.calls.parts(stack, &name, &in_place).await?;
                Ok(Outcome::Parts(parts))
            }
            Some(found) if found.status == ChangeSetStatus::Failed => {
                if says_nothing_to_do(&found.reason) {
                    return Ok(Outcome::Parts(Vec::new()));
                }
                let mut fault = Fault::answered("ValidationError", &found.reason, 400);
                if says_more_elsewhere(&found.reason)
                    && let Some(event) = self.calls.validation_error(&standing.name, Some(&name)).await?
                {
                    fault.message = event.to_reason();
                }
                Err(fault.into_failure(&format!("planning the change of stack {}", standing.name)))
            }
            _ => Ok(Outcome::Waiting),
        }
    }

    async fn make(
        &self,
        module: &Module,
        standing: &Standing,
        resolved: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<(), Failure> {
        // The stack's own tags: the step that changes it has others, which are no change to plan for.
        let tags = standing.tags.iter();
        let draft = Draft {
            stack: &standing.name,
            name,
            kind: ChangeSetType::Update,
            template: &module.template,
            parameters: given(module, resolved, Some(standing)).into_iter().collect(),
            tags: tags
                .map(|(key, value)| Tag::builder().key(key).value(value).build())
                .collect(),
            token: name,
            keep_failed: false,
        };
        self.calls.make(draft).await?;
        Ok(())
    }

    /// Removes the change sets of this plan, and what earlier ones left behind when their process died.
    pub(super) async fn clear(&mut self) -> Result<(), Failure> {
        remove_all(&self.calls, &self.traces.change_sets).await?;
        let now = self.planner.clock.now();
        for stack in self.traces.change_sets.keys() {
            for (name, made_at) in self.calls.change_sets(stack).await? {
                if name.starts_with(PREFIX) && now.duration_since(made_at) > LEFT_OVER {
                    self.calls.remove_change_set(stack, &name).await?;
                }
            }
        }
        self.traces.change_sets.clear();
        Ok(())
    }
}

/// Removes change sets by stack and name; those that are gone are removed.
pub(super) async fn remove_all(
    calls: &Calls<'_>,
    change_sets: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    for (stack, name) in change_sets {
        calls.remove_change_set(stack, name).await?;
    }
    Ok(())
}

/// Whether the stack has changed since: what it says is not true any more.
fn is_overtaken(found: &ChangeSet) -> bool {
    matches!(found.execution, ExecutionStatus::Obsolete)
}

/// The same for the same question about the same stack, so that it is found after a crash.
fn name(module: &Module, standing: &Standing, resolved: &BTreeMap<String, String>) -> String {
    let content = serde_json::json!([
        module.digest(),
        resolved,
        standing.id,
        standing.tags,
        standing.status
    ]);
    let digest = Digest::of(content.to_string().as_bytes());
    format!("{PREFIX}{}", digest.short())
}
