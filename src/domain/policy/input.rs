//! What a policy is given, one document for each change of a request; `schemas/policy-input.schema.json` is generated
//! from these types.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Author, Role};
use crate::domain::change::{Change, ChangeKind};
use crate::domain::ids::RequestKey;
use crate::domain::merge_request::MergeRequest;
use crate::domain::plan::{Action, Plan, PlannedValue, ResourceKind};
use crate::domain::price::{Amount, Estimate};
use crate::domain::request::raw::ApiVersion;
use crate::domain::request::{DeletionPolicy, Request};
use crate::domain::review::Evaluation;
use crate::domain::rules::{Environment, ProviderKind, Rules};
use crate::domain::shape::Shape;
use crate::domain::usage::{Existing, Usage, kept};

/// The schema of the document.
pub static INPUT: LazyLock<Shape> = LazyLock::new(Shape::of::<Input>);

/// What a policy is given as `input`: one change of one request. What is not there is undefined, never null.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Input of policies")]
pub struct Input {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// The merge request; undefined for what was pushed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InputMergeRequest")]
    pub merge_request: Option<InputMergeRequest>,
    /// What it does to the request.
    pub change: InputChange,
    /// The request as it is and as it would be.
    pub request: InputRequests,
    /// What would happen in the cloud, resource by resource.
    pub plan: Vec<InputPlanned>,
    /// Where.
    pub environment: InputEnvironment,
    /// Who opened the merge request, or pushed; undefined where the forge does not say who pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InputAuthor")]
    pub author: Option<InputAuthor>,
    /// Whose request it is.
    pub team: InputTeam,
    /// What the request costs a month, as far as prices are known.
    pub monthly: InputMonthly,
}

/// The merge request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputMergeRequest {
    /// Its number.
    pub number: u64,
    /// Its title, as its author wrote it.
    pub title: String,
    /// How many requests it changes.
    pub changes: usize,
}

/// What is done to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputChange {
    /// `create`, `update`, `delete` or `move`.
    pub kind: InputChangeKind,
    /// The request's file.
    pub path: String,
}

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputChangeKind {
    /// It was not there.
    Create,
    /// It was there with other content.
    Update,
    /// It goes.
    Delete,
    /// The same content under another path.
    Move,
}

impl From<ChangeKind> for InputChangeKind {
    fn from(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Create => Self::Create,
            ChangeKind::Update => Self::Update,
            ChangeKind::Delete => Self::Delete,
            ChangeKind::Move => Self::Move,
        }
    }
}

/// The request as it is and as it would be.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputRequests {
    /// As it was last accepted; undefined for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InputRequest")]
    pub before: Option<InputRequest>,
    /// As it would be; undefined for one that is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "InputRequest")]
    pub after: Option<InputRequest>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputRequest {
    /// `Project` or `Cluster`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.team`.
    pub team: String,
    /// `spec.environment`.
    pub environment: String,
    /// `spec.deletionPolicy`.
    pub deletion_policy: DeletionPolicy,
    /// `metadata.expires`: the last day on which it is needed, such as `2027-01-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub expires: Option<String>,
    /// What it asks for.
    pub resources: Vec<InputResource>,
}

/// One thing that a request asks for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputResource {
    /// Unique in its request, such as `database/orders` or `cluster/main`.
    pub name: String,
    /// `VirtualMachine`, `Database`, `Storage` or `Cluster`.
    pub kind: InputResourceKind,
    /// The fields of the request for it, defaults filled in. `nodePools` and `access` of a cluster are objects here: by
    /// the pool's name, and by the subject.
    pub properties: BTreeMap<String, Value>,
}

/// The kinds of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum InputResourceKind {
    /// A machine.
    VirtualMachine,
    /// A managed database.
    Database,
    /// A bucket or storage account.
    Storage,
    /// A Kubernetes cluster.
    Cluster,
    /// A git repository on the forge.
    Repository,
    /// The network of an environment.
    Network,
}

impl From<ResourceKind> for InputResourceKind {
    fn from(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::VirtualMachine => Self::VirtualMachine,
            ResourceKind::Database => Self::Database,
            ResourceKind::Storage => Self::Storage,
            ResourceKind::Cluster => Self::Cluster,
            ResourceKind::Repository => Self::Repository,
            ResourceKind::Network => Self::Network,
        }
    }
}

/// What would happen to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputPlanned {
    /// The resource, such as `database/orders`.
    pub resource: String,
    /// What it is.
    pub kind: InputResourceKind,
    /// `create`, `recreate`, `update`, `replace`, `delete`, `retain` or `noop`.
    pub action: InputAction,
    /// The properties that change.
    pub properties: Vec<InputProperty>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputAction {
    /// Made new.
    Create,
    /// Made again: it is missing in the cloud.
    Recreate,
    /// Changed in place.
    Update,
    /// Destroyed and made anew.
    Replace,
    /// Destroyed.
    Delete,
    /// Not asked for any more, and kept.
    Retain,
    /// Left as it is.
    NoOp,
}

impl From<Action> for InputAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Create => Self::Create,
            Action::Recreate => Self::Recreate,
            Action::Retain => Self::Retain,
            Action::Update => Self::Update,
            Action::Replace => Self::Replace,
            Action::Delete => Self::Delete,
            Action::NoOp => Self::NoOp,
        }
    }
}

/// A property that changes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputProperty {
    /// Its dotted path, such as `size`.
    pub path: String,
    /// Before; undefined if it is new, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub before: Option<Value>,
    /// After; undefined if it goes, or is known only afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub after: Option<Value>,
}

/// Where the request is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputEnvironment {
    /// Its name in `landfall.yaml`.
    pub name: String,
    /// What makes things there.
    pub provider: ProviderKind,
    /// Whether people depend on what is there: `production` of `landfall.yaml`.
    pub production: bool,
    /// The provider's account or subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub account: Option<String>,
    /// The provider's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub region: Option<String>,
}

/// Who opened the merge request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputAuthor {
    /// The forge's number for them: names can change hands.
    pub id: u64,
    /// Their name on the forge.
    pub username: String,
    /// The roles of `landfall.yaml` that they hold now.
    pub roles: Vec<Role>,
    /// The teams of `landfall.yaml` that they are a member of.
    pub teams: Vec<String>,
}

/// Whose request it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputTeam {
    /// Its name in `landfall.yaml`.
    pub name: String,
    /// How many members it has.
    pub members: usize,
    /// What it has in all environments.
    pub has: InputUsage,
    /// What it has in the environment of this request.
    pub has_here: InputUsage,
}

/// What a team has, and would have once the merge request has landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputUsage {
    /// What is accepted now.
    pub before: Usage,
    /// With everything that the merge request changes.
    pub after: Usage,
}

/// What the request costs a month.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InputMonthly {
    /// Currency → the sum of what is known.
    pub totals: BTreeMap<String, InputTotal>,
    /// Of how many resources the price is not known: the totals are the least that it costs.
    pub unknown: usize,
}

/// A sum before and after.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct InputTotal {
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
}

/// What the documents are made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The accepted rules.
    pub rules: &'a Rules,
    /// The merge request; nothing for a push.
    pub merge_request: Option<&'a MergeRequest>,
    /// Who opened it, or pushed, if that is known.
    pub author: Option<&'a Author>,
    /// Every accepted request.
    pub accepted: &'a [&'a Request],
    /// Everything that is there.
    pub existing: &'a [Existing],
    /// What the merge request would do.
    pub evaluation: &'a Evaluation,
    /// Its plan.
    pub plan: &'a Plan,
}

/// A document for each request that a merge request changes.
#[must_use]
pub fn inputs(facts: &Facts<'_>) -> Vec<(RequestKey, Input)> {
    let changes = &facts.evaluation.requests;
    changes
        .iter()
        .filter_map(|change| Some((change.key().clone(), facts.input(change)?)))
        .collect()
}

impl Facts<'_> {
    fn input(&self, change: &Change) -> Option<Input> {
        let request = change.request();
        let changes = &self.evaluation.requests;
        let reported = self.evaluation.changes.iter();
        let path = reported
            .filter(|reported| reported.request.as_ref() == Some(&request.key))
            // Of a move, the side that brings it.
            .max_by_key(|reported| reported.kind != ChangeKind::Delete)?;
        let plan = self.plan.of_request(&request.key);
        let environment = self.rules.environments.get(&request.environment)?;
        let changed = |request: &Request| changes.iter().any(|change| *change.key() == request.key);
        let staying = self.accepted.iter().copied().filter(|request| !changed(request));
        let after: Vec<&Request> = staying.chain(changes.iter().filter_map(Change::after)).collect();
        let kept_before = kept(self.existing, self.accepted, &[]);
        let kept_after = kept(self.existing, &after, changes);
        let usage = |is_ours: &dyn Fn(&Request) -> bool| {
            let of = |asked: &[&Request], kept: &[Request]| {
                Usage::of(asked.iter().copied().filter(|request| is_ours(request)))
                    .with_kept(kept.iter().filter(|request| is_ours(request)))
            };
            InputUsage {
                before: of(self.accepted, &kept_before),
                after: of(&after, &kept_after),
            }
        };
        let is_its_team = |other: &Request| other.team == request.team;
        let is_here = |other: &Request| is_its_team(other) && other.environment == request.environment;
        let members = |team| self.rules.teams.get(team).map_or(0, |team| team.members.len());
        Some(Input {
            api_version: ApiVersion::V1,
            merge_request: self.merge_request.map(|merge_request| InputMergeRequest {
                number: merge_request.number.0,
                title: merge_request.title.clone(),
                changes: changes.len(),
            }),
            change: InputChange {
                kind: change.kind().into(),
                path: path.path.clone(),
            },
            request: InputRequests {
                before: change.before().map(input_request),
                after: change.after().map(input_request),
            },
            monthly: monthly(&plan, self.evaluation),
            plan: planned(&plan),
            environment: input_environment(request.environment.as_str(), environment),
            author: self.author.map(|author| self.input_author(author)),
            team: InputTeam {
                name: request.team.to_string(),
                members: members(&request.team),
                has: usage(&is_its_team),
                has_here: usage(&is_here),
            },
        })
    }

    fn input_author(&self, author: &Author) -> InputAuthor {
        let teams = self.rules.teams.iter();
        InputAuthor {
            id: author.id.0,
            username: author.username.clone(),
            roles: author.roles.clone(),
            teams: teams
                .filter(|(_, team)| team.members.contains(&author.id))
                .map(|(name, _)| name.to_string())
                .collect(),
        }
    }
}

fn input_environment(name: &str, environment: &Environment) -> InputEnvironment {
    InputEnvironment {
        name: name.to_owned(),
        provider: environment.provider,
        production: environment.production,
        account: environment.account.clone(),
        region: environment.region.clone(),
    }
}

fn input_request(request: &Request) -> InputRequest {
    InputRequest {
        kind: request.key.kind.to_string(),
        name: request.key.name.to_string(),
        team: request.team.to_string(),
        environment: request.environment.to_string(),
        deletion_policy: request.deletion_policy,
        expires: request.expires.map(|day| day.to_string()),
        resources: request
            .resources
            .iter()
            .map(|resource| InputResource {
                name: resource.name.to_string(),
                kind: resource.kind.into(),
                properties: resource.properties.clone(),
            })
            .collect(),
    }
}

fn planned(plan: &Plan) -> Vec<InputPlanned> {
    let known = |value: &Option<PlannedValue>| match value {
        Some(PlannedValue::Known(value)) => Some(value.clone()),
        Some(PlannedValue::Unknown(_)) | None => None,
    };
    plan.changes
        .iter()
        .map(|change| InputPlanned {
            resource: change.resource.to_string(),
            kind: change.kind.into(),
            action: change.action.into(),
            properties: change
                .properties
                .iter()
                .map(|property| InputProperty {
                    path: property.path.clone(),
                    before: known(&property.before),
                    after: known(&property.after),
                })
                .collect(),
        })
        .collect()
}

fn monthly(plan: &Plan, evaluation: &Evaluation) -> InputMonthly {
    let Some(estimate) = Estimate::of(plan, &evaluation.monthly) else {
        return InputMonthly {
            totals: BTreeMap::new(),
            unknown: plan
                .changes
                .iter()
                .filter(|change| change.action != Action::NoOp)
                .count(),
        };
    };
    #[allow(clippy::cast_precision_loss)] // far below 2^53 hundredths
    let number = |amount: Amount| amount.0 as f64 / 100.0;
    InputMonthly {
        totals: estimate
            .totals
            .into_iter()
            .map(|(currency, total)| {
                let total = InputTotal {
                    before: number(total.before),
                    after: number(total.after),
                };
                (currency, total)
            })
            .collect(),
        unknown: estimate.unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::{CommitId, MergeRequestNumber, UserId};
    use crate::domain::merge_request::{MergeRequestState, User};
    use crate::domain::plan::{PlannedChange, PropertyChange};
    use crate::domain::report::ReportedChange;
    use crate::domain::request::check::{ChangedFile, check_file};
    use crate::domain::review::Planning;
    use crate::domain::rules::check::check_rules;
    use crate::domain::tree::Mode;

    const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev: {provider: Simulator}
  prod: {provider: Simulator, region: eu-central-1, account: \"0123\", production: true, prices: {currency: EUR, virtualMachine: {Small: 30, Large: 120.5}}}
teams: {web: {members: [{id: 11, name: dana}, {id: 12, name: eve}]}, data: {members: [{id: 11, name: dana}]}}
roles: {admin: {groups: [a]}}
";

    fn request(rules: &Rules, name: &str, environment: &str, size: &str) -> Request {
        let text = format!(
            "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {{name: {name}, team: web}}\nspec: {{environment: {environment}, \
             virtualMachines: [{{name: a, size: {size}}}]}}\n"
        );
        let file = ChangedFile {
            path: "requests/web/a.yaml",
            mode: Mode::File,
            size: text.len() as u64,
            bytes: Some(text.as_bytes()),
            before: None,
        };
        check_file(rules, &file).0.expect("a request")
    }

    /// A shop in production grows, a blog in development goes.
    fn documents() -> Vec<(RequestKey, Input)> {
        let rules = check_rules(RULES.as_bytes()).0.expect("rules");
        let before = [
            request(&rules, "shop", "prod", "Small"),
            request(&rules, "blog", "dev", "Large"),
        ];
        let after = request(&rules, "shop", "prod", "Large");
        let change = |name: &str, kind| ReportedChange {
            request: Some(format!("Project/{name}").parse().expect("a key")),
            path: format!("requests/web/{name}.yaml"),
            kind,
            environment: None,
        };
        let monthly = crate::domain::price::monthly(&rules, &before.iter().collect::<Vec<_>>(), &[&after]);
        let evaluation = Evaluation {
            head: CommitId::new("c".repeat(40)).expect("a commit"),
            rules: None,
            transitions: vec![],
            changes: vec![
                change("blog", ChangeKind::Delete),
                change("shop", ChangeKind::Update),
            ],
            requests: vec![
                Change::Delete(before[1].clone()),
                Change::Update {
                    before: before[0].clone(),
                    after,
                },
            ],
            findings: vec![],
            base_differs: false,
            environments: BTreeMap::new(),
            monthly,
            groups: BTreeMap::new(),
            planning: Planning::None,
            demands: super::super::Demands::default(),
        };
        let planned = |name: &str, environment: &str, action, properties| PlannedChange {
            request: format!("Project/{name}").parse().expect("a key"),
            environment: environment.parse().expect("a name"),
            resource: "virtual-machine/a".parse().expect("a name"),
            kind: ResourceKind::VirtualMachine,
            action,
            properties,
            module: None,
        };
        let size = PropertyChange {
            path: "size".into(),
            before: Some(PlannedValue::Known("Small".into())),
            after: Some(PlannedValue::Known("Large".into())),
        };
        let address = PropertyChange {
            path: "address".into(),
            before: None,
            after: Some(PlannedValue::Unknown("the cloud's choice".into())),
        };
        let plan = Plan {
            changes: vec![
                planned("blog", "dev", Action::Delete, vec![]),
                planned("shop", "prod", Action::Update, vec![size, address]),
            ],
        };
        let merge_request = MergeRequest {
            number: MergeRequestNumber(7),
            state: MergeRequestState::Open,
            draft: false,
            title: "Grow".into(),
            author: User {
                id: UserId(11),
                username: "dana".into(),
            },
            source_branch: "grow".into(),
            from_fork: false,
            target_branch: "main".into(),
            head: None,
            merge_commit: None,
            squash_commit: None,
            merged_at: None,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            notes_count: 0,
            web_url: String::new(),
        };
        inputs(&Facts {
            rules: &rules,
            merge_request: Some(&merge_request),
            author: Some(&Author {
                id: UserId(11),
                username: "dana".into(),
                roles: vec![Role::Developer],
            }),
            accepted: &before.iter().collect::<Vec<_>>(),
            existing: &[],
            evaluation: &evaluation,
            plan: &plan,
        })
    }

    #[test]
    fn a_change_is_shown_with_everything_around_it() {
        let documents = documents();
        let [_, (key, shop)] = documents.as_slice() else {
            panic!("{documents:?}")
        };
        assert_eq!(key.to_string(), "Project/shop");
        let shop = serde_json::to_value(shop).expect("JSON");
        assert_eq!(
            shop["mergeRequest"],
            json!({"number": 7, "title": "Grow", "changes": 2})
        );
        assert_eq!(
            shop["change"],
            json!({"kind": "update", "path": "requests/web/shop.yaml"})
        );
        assert_eq!(
            shop["request"]["before"]["resources"][0]["properties"]["size"],
            json!("Small")
        );
        assert_eq!(
            shop["request"]["after"]["resources"][0]["properties"]["size"],
            json!("Large")
        );
        assert_eq!(
            shop["environment"],
            json!({"name": "prod", "provider": "Simulator", "production": true, "account": "0123", "region": "eu-central-1"})
        );
        assert_eq!(
            shop["author"],
            json!({"id": 11, "username": "dana", "roles": ["developer"], "teams": ["data", "web"]})
        );
        assert_eq!(
            shop["plan"],
            json!([{"resource": "virtual-machine/a", "kind": "VirtualMachine", "action": "update", "properties": [
                {"path": "size", "before": "Small", "after": "Large"}, {"path": "address"},
            ]}])
        );
        assert_eq!(
            shop["monthly"],
            json!({"totals": {"EUR": {"before": 30.0, "after": 120.5}}, "unknown": 0})
        );
        assert_eq!(
            (&shop["team"]["name"], &shop["team"]["members"]),
            (&json!("web"), &json!(2))
        );
        let cores = |has: &str, side: &str| shop["team"][has][side]["cores"].clone();
        assert_eq!(
            (cores("has", "before"), cores("has", "after")),
            (json!(10), json!(8))
        );
        assert_eq!(
            (cores("hasHere", "before"), cores("hasHere", "after")),
            (json!(2), json!(8))
        );
    }

    #[test]
    fn what_is_deleted_has_nothing_after_it() {
        let documents = documents();
        let blog = serde_json::to_value(&documents[0].1).expect("JSON");
        assert_eq!(blog["change"]["kind"], json!("delete"));
        assert_eq!(blog["request"]["before"]["name"], json!("blog"));
        assert!(
            blog["request"].get("after").is_none(),
            "undefined, not null: {blog:#}"
        );
        assert_eq!(blog["monthly"], json!({"totals": {}, "unknown": 1}));
        assert!(blog["environment"].get("region").is_none());
    }

    #[test]
    fn every_document_is_as_its_schema_says() {
        let validator = jsonschema::draft202012::new(&INPUT.json).expect("a schema");
        for (_, input) in documents() {
            let value = serde_json::to_value(input).expect("JSON");
            let faults: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| error.to_string())
                .collect();
            assert!(faults.is_empty(), "{faults:?}");
        }
    }
}
