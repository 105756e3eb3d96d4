//! Stacks: what they are called, whose they are, and what CloudFormation's statuses mean for us.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{Parameter, Stack, Tag};

use crate::domain::cloud_name::cloud_name;
use crate::domain::ids::{ResourceName, StepKey};
use crate::domain::module::Module;
use crate::domain::plan::ResourceKind;
use crate::domain::provenance::{Mark, Provenance};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::Scope;

/// The longest name of a stack.
const LONGEST_NAME: usize = 128;

/// Tag: the requests repository.
pub const REPOSITORY: &str = "landfall:repository";
/// Tag: the request. Not on networks, which all requests of an environment share.
pub const REQUEST: &str = "landfall:request";
/// Tag: the team. Not on networks.
pub const TEAM: &str = "landfall:team";
/// Tag: the environment.
pub const ENVIRONMENT: &str = "landfall:environment";
/// Tag: the resource's name in its request.
pub const RESOURCE: &str = "landfall:resource";
/// Tag: the module and its version, such as `database/1.0.0`.
pub const MODULE: &str = "landfall:module";
/// Tag: the run that last changed it.
pub const RUN: &str = "landfall:run";
/// Tag: the step that last changed it.
pub const STEP: &str = "landfall:step";
/// Tag: the mark of that step, by which a stack is known that nobody lived to record.
pub const MARK: &str = "landfall:mark";

/// The parameter of a template that says whether what it makes is protected against deletion.
const PROTECTION_PARAMETER: &str = "DeletionProtection";

/// The output of a network's stack with its id.
pub const NETWORK_OUTPUT: &str = "vpcId";
/// The output of a network's stack with the ids of its private subnets, parted by commas.
pub const PRIVATE_SUBNETS_OUTPUT: &str = "privateSubnets";

/// The name of a resource's stack.
#[must_use]
pub fn stack_name(scope: &Scope, resource: &ResourceName, kind: ResourceKind) -> String {
    if kind == ResourceKind::Network {
        return network_stack_name(scope);
    }
    let (first, second) = resource
        .as_str()
        .split_once('/')
        .unwrap_or((resource.as_str(), ""));
    let parts = [
        "landfall",
        scope.repository.as_str(),
        scope.team.as_str(),
        scope.request.name.as_str(),
        first,
        second,
    ];
    cloud_name(&parts, LONGEST_NAME)
}

/// The name of the stack of an environment's network.
#[must_use]
pub fn network_stack_name(scope: &Scope) -> String {
    let parts = [
        "landfall",
        scope.repository.as_str(),
        scope.environment_name.as_str(),
        "network",
    ];
    cloud_name(&parts, LONGEST_NAME)
}

/// The tags that say whose a stack is.
fn owner_tags(scope: &Scope, resource: &ResourceName, kind: ResourceKind) -> BTreeMap<&'static str, String> {
    let mut tags = BTreeMap::from([
        (REPOSITORY, scope.repository.to_string()),
        (ENVIRONMENT, scope.environment_name.to_string()),
    ]);
    if kind == ResourceKind::Network {
        tags.insert(RESOURCE, ResourceKind::Network.words().to_owned());
    } else {
        tags.insert(RESOURCE, resource.to_string());
        tags.insert(REQUEST, scope.request.to_string());
        tags.insert(TEAM, scope.team.to_string());
    }
    tags
}

/// All tags of a stack that a step makes or changes.
#[must_use]
pub fn tags(
    scope: &Scope,
    resource: &ResourceName,
    kind: ResourceKind,
    module: &Module,
    (step, mark): (&StepKey, &Mark),
) -> Vec<Tag> {
    let mut tags = owner_tags(scope, resource, kind);
    tags.insert(MODULE, format!("{}/{}", module.name, module.version));
    tags.insert(RUN, step.run.to_string());
    tags.insert(STEP, step.to_string());
    tags.insert(MARK, mark.to_string());
    tags.into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// A stack, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its ARN.
    pub id: String,
    /// Its name.
    pub name: String,
    /// CloudFormation's name for its status.
    pub status: String,
    /// Why it is in it, in AWS's words; may be empty.
    pub reason: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Whether it is protected against deletion.
    pub protected: bool,
}

impl From<&Stack> for Standing {
    fn from(stack: &Stack) -> Self {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        Self {
            id: text(stack.stack_id()),
            name: text(stack.stack_name()),
            status: text(stack.stack_status().map(|status| status.as_str())),
            reason: text(stack.stack_status_reason()),
            tags: stack
                .tags()
                .iter()
                .map(|tag| (text(tag.key()), text(tag.value())))
                .collect(),
            parameters: stack
                .parameters()
                .iter()
                .map(|one| (text(one.parameter_key()), text(one.parameter_value())))
                .collect(),
            outputs: stack
                .outputs()
                .iter()
                .map(|one| (text(one.output_key()), text(one.output_value())))
                .collect(),
            protected: stack.enable_termination_protection().unwrap_or_default(),
        }
    }
}

/// What a status of CloudFormation means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// There is nothing in it: a change set was made for it and not executed.
    Empty,
    /// Something is being done to it.
    Busy,
    /// It is being deleted.
    Going,
    /// It stands as it was last ordered.
    Standing,
    /// It stands as it was before the last order, which failed.
    RolledBack,
    /// What is left of a creation that failed: deleted before it is made again.
    Remains,
    /// A change failed and could not be taken back: the roll-back can be continued.
    Stuck,
    /// It could not be deleted: it can be tried again.
    Undeletable,
    /// It is there no more.
    Gone,
}

/// All statuses, as CloudFormation's API reference lists them.
const STATUSES: &[(&str, Meaning)] = &[
    ("CREATE_COMPLETE", Meaning::Standing),
    ("CREATE_FAILED", Meaning::Remains),
    ("CREATE_IN_PROGRESS", Meaning::Busy),
    ("DELETE_COMPLETE", Meaning::Gone),
    ("DELETE_FAILED", Meaning::Undeletable),
    ("DELETE_IN_PROGRESS", Meaning::Going),
    ("IMPORT_COMPLETE", Meaning::Standing),
    ("IMPORT_IN_PROGRESS", Meaning::Busy),
    ("IMPORT_ROLLBACK_COMPLETE", Meaning::RolledBack),
    ("IMPORT_ROLLBACK_FAILED", Meaning::Stuck),
    ("IMPORT_ROLLBACK_IN_PROGRESS", Meaning::Busy),
    ("REVIEW_IN_PROGRESS", Meaning::Empty),
    ("ROLLBACK_COMPLETE", Meaning::Remains),
    ("ROLLBACK_FAILED", Meaning::Remains),
    ("ROLLBACK_IN_PROGRESS", Meaning::Busy),
    ("UPDATE_COMPLETE", Meaning::Standing),
    ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Meaning::Busy),
    ("UPDATE_FAILED", Meaning::Stuck),
    ("UPDATE_IN_PROGRESS", Meaning::Busy),
    ("UPDATE_ROLLBACK_COMPLETE", Meaning::RolledBack),
    ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", Meaning::Busy),
    ("UPDATE_ROLLBACK_FAILED", Meaning::Stuck),
    ("UPDATE_ROLLBACK_IN_PROGRESS", Meaning::Busy),
];

impl Standing {
    /// What its status means.
    ///
    /// # Errors
    /// Internal, for a status that is not known: nothing is done to such a stack.
    pub fn meaning(&self) -> Result<Meaning, Failure> {
        let found = STATUSES.iter().find(|(status, _)| *status == self.status);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let reason = format!(
                "stack {} is {}, which Landfall does not know",
                self.name, self.status
            );
            Failure::new(FailureClass::Internal, reason)
        })
    }

    /// Whether what is in it is protected against deletion; nothing where its template has no such parameter.
    #[must_use]
    pub fn protection(&self) -> Option<bool> {
        let value = self.parameters.get(PROTECTION_PARAMETER)?;
        Some(value == "true")
    }

    /// Its parameters, all as they are but for that one.
    pub(super) fn parameters_with_protection(&self, protected: bool) -> Vec<Parameter> {
        let one = |name: &String| {
            let parameter = Parameter::builder().parameter_key(name);
            if name == PROTECTION_PARAMETER {
                parameter.parameter_value(protected.to_string()).build()
            } else {
                parameter.use_previous_value(true).build()
            }
        };
        self.parameters.keys().map(one).collect()
    }

    /// Whether that step last changed it.
    #[must_use]
    pub fn is_by(&self, step: &str) -> bool {
        self.tags.get(STEP).is_some_and(|found| found == step)
    }

    /// Whether it is the stack of that resource: the very one that was recorded, or one that bears the mark of a step
    /// that began to make it. Nothing else is ours to look at, change or destroy: names and other tags are anybody's to
    /// write who may make stacks in the account. A stack with nothing in it may lack tags.
    ///
    /// # Errors
    /// Refused, with whose it is.
    pub fn check_owner(
        &self,
        scope: &Scope,
        resource: &ResourceName,
        kind: ResourceKind,
        provenance: &Provenance,
    ) -> Result<(), Failure> {
        let tag = |name: &str| self.tags.get(name).map(String::as_str);
        if provenance.is_recorded(&self.id) || provenance.is_begun(&self.id, tag(MARK)) {
            return Ok(());
        }
        let is_untagged = !self.tags.keys().any(|name| name.starts_with("landfall:"));
        if is_untagged && self.meaning()? == Meaning::Empty {
            return Ok(());
        }
        let ours = owner_tags(scope, resource, kind);
        let looks_like_ours = ours.iter().all(|(name, value)| tag(name) == Some(value));
        let whose = match (looks_like_ours, tag(REPOSITORY), tag(ENVIRONMENT)) {
            (true, ..) => format!("bears the tags of {resource}, and Landfall did not record making it"),
            (false, Some(repository), Some(environment)) => format!(
                "belongs to {} of {} of repository {repository} in {environment}",
                tag(RESOURCE).unwrap_or("something"),
                tag(REQUEST).unwrap_or("no request"),
            ),
            _ => "was not made by Landfall".to_owned(),
        };
        let reason = format!(
            "stack {} {whose}: choose another name, or have the platform team clear it up",
            self.name
        );
        Err(Failure::new(FailureClass::Refused, reason))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::StackStatus;

    use super::*;
    use crate::domain::rules::{Environment, ProviderKind};

    fn scope(repository: &str, request: &str) -> Scope {
        Scope {
            repository: repository.parse().unwrap(),
            request: request.parse().unwrap(),
            team: "web".parse().unwrap(),
            environment_name: "dev".parse().unwrap(),
            environment: Environment::of(ProviderKind::Aws),
        }
    }

    fn standing(status: &str, tags: &[(&str, &str)]) -> Standing {
        Standing {
            id: "arn:aws:cloudformation:x:1:stack/s/1".into(),
            name: "s".into(),
            status: status.into(),
            reason: String::new(),
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            parameters: BTreeMap::new(),
            outputs: BTreeMap::new(),
            protected: false,
        }
    }

    const ORDERS: [(&str, &str); 5] = [
        (REPOSITORY, "platform"),
        (ENVIRONMENT, "dev"),
        (RESOURCE, "database/orders"),
        (REQUEST, "Project/shop"),
        (TEAM, "web"),
    ];

    #[test]
    fn every_status_of_cloudformation_means_something() {
        for status in StackStatus::values() {
            assert!(standing(status, &[]).meaning().is_ok(), "{status}");
        }
        assert_eq!(STATUSES.len(), StackStatus::values().len());
        let unknown = standing("SOMETHING_NEW", &[]).meaning();
        assert_eq!(unknown.unwrap_err().class, FailureClass::Internal);
    }

    const ID: &str = "arn:aws:cloudformation:x:1:stack/s/1";

    fn recorded(id: &str) -> Provenance {
        Provenance {
            recorded: [id.to_owned()].into(),
            ..Provenance::default()
        }
    }

    #[test]
    fn a_stack_is_ours_by_its_number_or_by_the_mark_of_a_step_and_by_nothing_else() {
        let (shop, other) = (scope("platform", "Project/shop"), scope("other", "Project/shop"));
        let name: ResourceName = "database/orders".parse().unwrap();
        let step = |run: u128| StepKey {
            run: crate::domain::ids::RunId(uuid::Uuid::from_u128(run)),
            resource: name.clone(),
        };
        let key = crate::domain::provenance::MarkingKey::new([1; 32]);
        let mark = |run| key.mark(&shop.repository, &shop.request, &step(run));
        let begun = Provenance {
            begun: [mark(1)].into(),
            ..Provenance::default()
        };
        let marked = |run| {
            let mark = mark(run);
            let mut standing = standing("CREATE_COMPLETE", &ORDERS);
            standing.tags.insert(MARK.to_owned(), mark.to_string());
            standing
        };
        let ours = standing("CREATE_COMPLETE", &ORDERS);
        let by_hand = standing("CREATE_COMPLETE", &[]);
        let empty = standing("REVIEW_IN_PROGRESS", &[]);
        let empty_of_another = standing("REVIEW_IN_PROGRESS", &ORDERS);
        let nothing = Provenance::default();
        let (it, another) = (recorded(ID), recorded("arn:aws:cloudformation:x:1:stack/s/2"));
        let tags = "bears the tags of database/orders, and Landfall did not record making it";
        let whose = "belongs to database/orders of Project/shop of repository platform in dev";
        for (standing, scope, provenance, refused) in [
            (&ours, &shop, &it, None),
            (&by_hand, &shop, &it, None),
            (&marked(1), &shop, &begun, None),
            (&marked(2), &shop, &begun, Some(tags)),
            (&marked(1), &shop, &nothing, Some(tags)),
            (&ours, &shop, &nothing, Some(tags)),
            (&ours, &shop, &another, Some(tags)),
            (&ours, &other, &another, Some(whose)),
            (&by_hand, &shop, &begun, Some("was not made by Landfall")),
            (&empty, &shop, &nothing, None),
            (&empty_of_another, &other, &nothing, Some(whose)),
        ] {
            let checked = standing.check_owner(scope, &name, ResourceKind::Database, provenance);
            let reason = checked.err().map(|failure| failure.reason);
            match refused {
                None => assert_eq!(reason, None),
                Some(words) => assert!(
                    reason.as_ref().is_some_and(|one| one.contains(words)),
                    "{reason:?}"
                ),
            }
        }
    }

    #[test]
    fn a_network_belongs_to_its_environment() {
        let (shop, web) = (
            scope("platform", "Project/shop"),
            scope("platform", "Project/web"),
        );
        let name: ResourceName = "network/dev".parse().unwrap();
        let tags = owner_tags(&shop, &name, ResourceKind::Network);
        let tags: Vec<(&str, &str)> = tags.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let network = standing("CREATE_COMPLETE", &tags);
        let check =
            |scope: &Scope, provenance| network.check_owner(scope, &name, ResourceKind::Network, &provenance);
        assert!(check(&web, recorded(ID)).is_ok());
        assert!(check(&web, Provenance::default()).is_err());
        assert!(check(&scope("other", "Project/web"), Provenance::default()).is_err());
        assert_eq!(network_stack_name(&shop), network_stack_name(&web));
        assert_ne!(
            stack_name(&shop, &"database/a".parse().unwrap(), ResourceKind::Database),
            stack_name(&web, &"database/a".parse().unwrap(), ResourceKind::Database)
        );
    }
}
