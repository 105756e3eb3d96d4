//! Orders to AWS, carried out in an AWS that others wrote (ministack); what came of them is seen with boto3.

mod clusters;
mod comments;
mod each_call;
mod guarded;
mod life;
mod machines;
mod others;
mod planning;
mod protection;
mod states;
mod story;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use landfall::clock::{Clock, SystemClock};
use landfall::domain::ids::{Digest, Generation, ResourceName, RunId, StepKey};
use landfall::domain::module::{Module, Parameter, Part, PlannedModule};
use landfall::domain::plan::{Action, Resource, ResourceKind};
use landfall::domain::provenance::{Mark, MarkingKey, Provenance};
use landfall::domain::rules::{Aws as AwsRules, Environment, Network, ProviderKind};
use landfall::domain::step::{Failure, FailureClass};
use landfall::http_client::{HttpClientOptions, build};
use landfall::provider::aws::stack::{network_stack_name, stack_name};
use landfall::provider::aws::{Aws, AwsOptions, AwsProvider};
use landfall::provider::{Order, Progress, Provider, Scope, Token};
use serde_json::{Value, json};

use crate::support::aws::{ACCOUNT, Peer, REGION};
use crate::support::time::Time;
use crate::support::way::Way;

const ENDS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// An AWS, and a Landfall that acts there.
struct World {
    cloud: Arc<Peer>,
    trouble: Option<Peer>,
    /// The way there that a process which is started anew takes, where there is one.
    way: Option<Way>,
    time: Time,
    provider: AwsProvider,
    environment: Environment,
    /// What the provider said while it was waited for.
    said: Mutex<Vec<String>>,
}

fn environment() -> Environment {
    environment_in(ACCOUNT)
}

fn environment_in(account: &str) -> Environment {
    let role = |name: &str| format!("arn:aws:iam::{account}:role/landfall-{name}");
    Environment {
        account: Some(account.into()),
        region: Some(REGION.into()),
        network: Some(Network::Create),
        aws: Some(AwsRules {
            planning_role: role("planning"),
            applying_role: role("applying"),
            admin_role: role("admin"),
            log_bucket: "access-logs".into(),
            team_roles: BTreeMap::new(),
            keep_failed: false,
        }),
        ..Environment::of(ProviderKind::Aws)
    }
}

fn options(endpoint: &str, time: &Time) -> AwsOptions {
    AwsOptions {
        clock: Arc::new(time.clone()),
        http: build(&HttpClientOptions::default()).unwrap(),
        endpoint: Some(endpoint.to_owned()),
        credentials: Some(Credentials::new("landfall", "a-word", None, None, "test")),
        calls_a_second: NonZeroU32::new(10_000).unwrap(),
    }
}

fn aws(endpoint: &str, time: &Time) -> Aws {
    Aws::new(options(endpoint, time))
}

impl World {
    async fn new() -> Self {
        Self::of(Arc::new(Peer::ministack().await))
    }

    fn of(cloud: Arc<Peer>) -> Self {
        let time = Time::default();
        let provider = aws(cloud.url(), &time).provider();
        Self {
            cloud,
            trouble: None,
            way: None,
            time,
            provider,
            environment: environment(),
            said: Mutex::default(),
        }
    }

    /// One more account of an AWS, with a way there of its own.
    async fn in_account(cloud: &Arc<Peer>, account: &str) -> Self {
        Self {
            way: Some(Way::to(cloud.url()).await),
            environment: environment_in(account),
            ..Self::of(cloud.clone())
        }
    }

    /// With trouble to be ordered on the way.
    async fn behind_trouble() -> Self {
        let mut world = Self::new().await;
        let trouble = Peer::microburst(&world.cloud).await;
        world.provider = aws(trouble.url(), &world.time).provider();
        world.trouble = Some(trouble);
        world
    }

    fn trouble(&self) -> &Peer {
        self.trouble.as_ref().unwrap()
    }

    fn way(&self) -> &Way {
        self.way.as_ref().unwrap()
    }

    fn endpoint(&self) -> &str {
        match (&self.way, &self.trouble) {
            (Some(way), _) => way.url(),
            (None, Some(trouble)) => trouble.url(),
            (None, None) => self.cloud.url(),
        }
    }

    /// Another process, which knows nothing of what this one did.
    fn restarted(&self) -> AwsProvider {
        aws(self.endpoint(), &self.time).provider()
    }

    fn scope(&self) -> Scope {
        Scope {
            repository: "platform".parse().unwrap(),
            request: "Project/shop".parse().unwrap(),
            team: "web-team".parse().unwrap(),
            environment_name: "dev".parse().unwrap(),
            environment: self.environment.clone(),
        }
    }

    /// The order of one step of one run. What was signed is what the template holds, all of it new.
    fn order(&self, run: u64, action: Action, name: &str, template: &Value) -> Order {
        let resource = Resource {
            name: name.parse().unwrap(),
            kind: match name.split('/').next() {
                Some("database") => ResourceKind::Database,
                Some("cluster") => ResourceKind::Cluster,
                Some("network") => ResourceKind::Network,
                _ => ResourceKind::Storage,
            },
            properties: BTreeMap::new(),
            depends_on: vec![],
        };
        let module = Module {
            name: "storage".into(),
            version: "1.0.0".into(),
            template: template.to_string(),
            parameters: BTreeMap::new(),
        };
        let key = step(run, &resource.name);
        let order = Order {
            mark: mark_of(&key),
            key,
            scope: self.scope(),
            generation: Generation(run),
            action,
            final_snapshot: false,
            protected: false,
            provenance: begun(&resource.name),
            network: begun(
                &format!("network/{}", self.scope().environment_name)
                    .parse()
                    .unwrap(),
            ),
            resource,
            module: None,
            planned: None,
        };
        match action {
            Action::Delete => order,
            _ => signed(order, module, all_new(template)),
        }
    }

    /// Asks until it ends.
    async fn ended(&self, progress: Progress) -> Progress {
        self.ended_by(&self.provider, progress).await
    }

    async fn ended_by(&self, provider: &AwsProvider, mut progress: Progress) -> Progress {
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        while let Progress::Waiting { token, message, .. } = &progress {
            self.said
                .lock()
                .unwrap()
                .extend(message.lines().map(str::to_owned));
            let now = SystemClock.now();
            assert!(now < give_up, "it does not end: {:?}", self.said.lock().unwrap());
            SystemClock
                .sleep_until(now.checked_add(LOOK_EVERY).unwrap())
                .await;
            progress = self.looked(provider, token).await;
        }
        progress
    }

    async fn looked(&self, provider: &AwsProvider, token: &Token) -> Progress {
        let mut answers = provider.poll(std::slice::from_ref(token)).await.unwrap();
        assert_eq!(answers.len(), 1);
        let (asked, progress) = answers.remove(0);
        assert_eq!(asked, *token);
        progress
    }

    /// Carries an order out to its end.
    async fn done(&self, order: &Order) -> Progress {
        let started = match order.action {
            Action::Delete => self.provider.destroy(order).await,
            _ => self.provider.start(order).await,
        };
        self.ended(started).await
    }

    /// Asks until the stack is in that status.
    async fn until(&self, stack: &str, status: &str) {
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        loop {
            let found = self.stack(stack).await;
            if found["StackStatus"] == status {
                return;
            }
            assert!(
                SystemClock.now() < give_up,
                "{stack} does not become {status}: {found}"
            );
        }
    }

    /// Asks until there is no stack of that name.
    async fn is_gone(&self, stack: &str) {
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        while !self.stack(stack).await.is_null() {
            assert!(SystemClock.now() < give_up, "{stack} does not go");
        }
    }

    /// A stack as boto3 sees it; null if there is none.
    async fn stack(&self, name: &str) -> Value {
        let seen = self
            .cloud
            .asked(json!([["cloudformation", "describe_stacks", {"StackName": name}]]));
        seen.await[0]["Stacks"][0].clone()
    }

    /// Names of all buckets, sorted.
    async fn buckets(&self) -> Vec<String> {
        let seen = self.cloud.asked(json!([["s3", "list_buckets", {}]])).await;
        let mut names: Vec<String> = seen[0]["Buckets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bucket| bucket["Name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// How often a resource of a stack was in a status, ever.
    async fn happened(&self, stack: &str, resource: &str, status: &str) -> usize {
        let seen = self
            .cloud
            .asked(json!([["cloudformation", "describe_stack_events", {"StackName": stack}]]));
        let seen = seen.await;
        let events = seen[0]["StackEvents"].as_array().cloned().unwrap_or_default();
        let is_it =
            |event: &&Value| event["LogicalResourceId"] == resource && event["ResourceStatus"] == status;
        events.iter().filter(is_it).count()
    }

    /// The stacks that are there and the change sets of each, by name.
    async fn left(&self) -> Vec<String> {
        let seen = self
            .cloud
            .asked(json!([["cloudformation", "describe_stacks", {}]]))
            .await;
        let mut left = Vec::new();
        for stack in seen[0]["Stacks"].as_array().unwrap() {
            let name = stack["StackName"].as_str().unwrap();
            left.push(format!("{} {}", name, stack["StackStatus"].as_str().unwrap()));
        }
        left.sort();
        left
    }

    fn name(&self, order: &Order) -> String {
        stack_name(&order.scope, &order.resource.name, order.resource.kind)
    }
}

/// An order with that module and that signed for it.
fn step(run: u64, resource: &ResourceName) -> StepKey {
    StepKey {
        run: RunId(uuid::Uuid::from_u64_pair(0, run)),
        resource: resource.clone(),
    }
}

/// The mark of a step of `Project/shop`.
fn mark_of(step: &StepKey) -> Mark {
    let key = MarkingKey::new([1; 32]);
    key.mark(
        &"platform".parse().unwrap(),
        &"Project/shop".parse().unwrap(),
        step,
    )
}

/// As the store has it when many runs began something, and none lived to record it.
fn begun(resource: &ResourceName) -> Provenance {
    Provenance {
        begun: (0..64).map(|run| mark_of(&step(run, resource))).collect(),
        ..Provenance::default()
    }
}

fn signed(order: Order, module: Module, parts: Vec<Part>) -> Order {
    let planned = PlannedModule {
        name: module.name.clone(),
        version: module.version.clone(),
        digest: Some(module.digest()),
        resolved: BTreeMap::new(),
        kept: BTreeSet::new(),
        parts,
    };
    Order {
        module: Some(module),
        planned: Some(planned),
        ..order
    }
}

/// An update by a template, of which that was signed.
fn update(order: Order, parts: Vec<Part>) -> Order {
    let module = order.module.clone().unwrap();
    signed(order, module, parts)
}

fn part(name: &str, kind: &str, action: Action, properties: &[&str]) -> Part {
    Part {
        name: name.into(),
        kind: kind.into(),
        action,
        properties: properties.iter().map(ToString::to_string).collect(),
    }
}

fn all_new(template: &Value) -> Vec<Part> {
    let resources = template["Resources"].as_object().unwrap();
    let new = |(name, one): (&String, &Value)| part(name, one["Type"].as_str().unwrap(), Action::Create, &[]);
    resources.iter().map(new).collect()
}

/// A bucket, and what becomes of it when its stack goes.
fn bucket(name: &str, versioning: &str, when_it_goes: &str) -> Value {
    json!({
        "Metadata": { "Landfall": { "UpdatedInPlace": { "AWS::S3::Bucket": ["VersioningConfiguration"] } } },
        "Resources": {
            "Bucket": {
                "Type": "AWS::S3::Bucket",
                "DeletionPolicy": when_it_goes,
                "UpdateReplacePolicy": when_it_goes,
                "Properties": {
                    "BucketName": name,
                    "VersioningConfiguration": { "Status": versioning },
                },
            },
        },
        "Outputs": { "bucket": { "Value": { "Ref": "Bucket" } } },
    })
}

/// The same, and then something that takes so many seconds and fails: nobody signals.
fn never_ready(mut template: Value, seconds: u32) -> Value {
    template["Resources"]["Handle"] = json!({ "Type": "AWS::CloudFormation::WaitConditionHandle" });
    template["Resources"]["Ready"] = json!({
        "Type": "AWS::CloudFormation::WaitCondition",
        "DependsOn": "Bucket",
        "Properties": { "Handle": { "Ref": "Handle" }, "Timeout": seconds.to_string(), "Count": 1 },
    });
    template
}

/// What a change of a bucket's versioning is as a part.
fn versioned() -> Vec<Part> {
    vec![part(
        "Bucket",
        "AWS::S3::Bucket",
        Action::Update,
        &["VersioningConfiguration"],
    )]
}

#[track_caller]
fn succeeded(progress: Progress) -> (String, BTreeMap<String, String>) {
    match progress {
        Progress::Succeeded { external_id, outputs } => (external_id, outputs),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failed(progress: Progress, class: FailureClass) -> String {
    match progress {
        Progress::Failed(failure) => {
            assert_eq!(failure.class, class, "{}", failure.reason);
            failure.reason
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn waits(progress: &Progress) -> Token {
    match progress {
        Progress::Waiting { token, .. } => token.clone(),
        other => panic!("{other:?}"),
    }
}
