//! What a plan says, and what it leaves behind: nothing.

use landfall::domain::change::Goal;
use landfall::domain::plan::{KnownResource, Plan, PlannedChange, PlannedValue};
use landfall::domain::request::{DeletionPolicy, Request};
use landfall::provider::aws::AwsPlanner;
use landfall::provider::{Answer, Planner, Question};

use super::*;

/// The looking half of a Landfall in that world.
pub(super) fn planner(world: &World) -> AwsPlanner {
    aws(world.endpoint(), &world.time).planner()
}

/// A bucket as the catalog renders one: the request's fields stand in it.
pub(super) fn storage(name: &str, versioning: bool) -> Value {
    let status = if versioning { "Enabled" } else { "Suspended" };
    let mut template = bucket(name, status, "Delete");
    template["Metadata"]["Landfall"]["spec"] = json!(fields(versioning));
    template
}

/// The request's fields, as the catalog puts them into a template.
pub(super) fn remembered(fields: &Value) -> Value {
    json!({ "Landfall": { "spec": fields } })
}

fn fields(versioning: bool) -> BTreeMap<String, Value> {
    BTreeMap::from([
        ("versioning".into(), json!(versioning)),
        ("tier".into(), json!("Hot")),
    ])
}

/// What is on record of a resource that steps began.
fn on_record(name: &str) -> (ResourceName, Provenance) {
    let name: ResourceName = name.parse().unwrap();
    let provenance = begun(&name);
    (name, provenance)
}

pub(super) fn question(world: &World) -> Question {
    Question {
        scope: world.scope(),
        desired: vec![],
        modules: BTreeMap::new(),
        signed: BTreeMap::new(),
        known: vec![],
        provenance: ["network/dev"].map(on_record).into(),
        pending: None,
    }
}

/// With one more resource that shall be there, made by that template.
pub(super) fn wanted(mut question: Question, world: &World, name: &str, template: &Value) -> Question {
    let order = world.order(1, Action::Create, name, template);
    let mut resource = order.resource;
    let spec = template.pointer("/Metadata/Landfall/spec").cloned();
    resource.properties = serde_json::from_value(spec.unwrap_or(json!({}))).unwrap();
    question.provenance.extend([on_record(name)]);
    question
        .modules
        .insert(resource.name.clone(), order.module.unwrap());
    question.desired.push(resource);
    question
}

/// With one more that Landfall made.
pub(super) fn known(mut question: Question, name: &str, kind: ResourceKind) -> Question {
    question.known.push((name.parse().unwrap(), kind));
    question.provenance.extend([on_record(name)]);
    question
}

pub(super) async fn answered(planner: &AwsPlanner, question: &mut Question) -> Result<Plan, Failure> {
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    loop {
        match planner.plan(question).await? {
            Answer::Ready(plan) => return Ok(plan),
            Answer::Pending { token, .. } => question.pending = Some(token),
        }
        let now = SystemClock.now();
        assert!(now < give_up, "the plan is never ready");
        SystemClock
            .sleep_until(now.checked_add(LOOK_EVERY).unwrap())
            .await;
    }
}

pub(super) async fn planned(world: &World, mut question: Question) -> Plan {
    answered(&planner(world), &mut question).await.unwrap()
}

pub(super) async fn refused(world: &World, mut question: Question) -> Failure {
    answered(&planner(world), &mut question).await.unwrap_err()
}

#[track_caller]
pub(super) fn only(plan: Plan) -> PlannedChange {
    let mut changes = plan.changes;
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

pub(super) fn parts(change: &PlannedChange) -> Vec<(&str, Action, Vec<&str>)> {
    let parts = change.module.iter().flat_map(|module| &module.parts);
    parts
        .map(|part| {
            (
                part.name.as_str(),
                part.action,
                part.properties.iter().map(String::as_str).collect(),
            )
        })
        .collect()
}

impl World {
    /// Made, as an earlier run would have.
    async fn has(&self, name: &str, template: &Value) {
        succeeded(self.done(&self.order(1, Action::Create, name, template)).await);
    }

    /// The change sets of a stack that could be executed, by name.
    async fn change_sets(&self, stack: &str) -> Vec<String> {
        let seen = self
            .cloud
            .asked(json!([["cloudformation", "list_change_sets", {"StackName": stack}]]))
            .await;
        let sets = seen[0]["Summaries"].as_array().unwrap().iter();
        sets.map(|set| set["ChangeSetName"].as_str().unwrap().to_owned())
            .filter(|name| !name.starts_with("landfall-apply-"))
            .collect()
    }

    fn stack_of(&self, name: &str) -> String {
        self.name(&self.order(1, Action::Create, name, &json!({"Resources": {}})))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_storage_is_planned_from_its_template_and_nothing_is_made() {
    let world = World::new().await;
    let plan = planned(
        &world,
        wanted(
            question(&world),
            &world,
            "storage/receipts",
            &storage("receipts", true),
        ),
    )
    .await;
    let change = only(plan);
    assert_eq!(
        (change.action, parts(&change)),
        (Action::Create, vec![("Bucket", Action::Create, vec![])])
    );
    let said: Vec<(&str, Option<&PlannedValue>)> = change
        .properties
        .iter()
        .map(|property| (property.path.as_str(), property.after.as_ref()))
        .collect();
    let (hot, yes) = (
        PlannedValue::Known(json!("Hot")),
        PlannedValue::Known(json!(true)),
    );
    assert_eq!(said, [("tier", Some(&hot)), ("versioning", Some(&yes))]);
    assert_eq!((world.left().await, world.buckets().await), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_what_aws_says_and_leaves_no_change_set() {
    let world = World::new().await;
    world.has("storage/receipts", &storage("receipts", false)).await;
    let ask = |template: &Value| {
        let ask = wanted(question(&world), &world, "storage/receipts", template);
        known(ask, "storage/receipts", ResourceKind::Storage)
    };
    let change = only(planned(&world, ask(&storage("receipts", true))).await);
    assert_eq!(
        (change.action, parts(&change)),
        (
            Action::Update,
            vec![("Bucket", Action::Update, vec!["VersioningConfiguration"])]
        )
    );
    let [property] = &change.properties[..] else {
        panic!("{:?}", change.properties)
    };
    assert_eq!(
        (property.path.as_str(), &property.before, &property.after),
        (
            "versioning",
            &Some(PlannedValue::Known(json!(false))),
            &Some(PlannedValue::Known(json!(true)))
        )
    );
    // Asked again, it is the very same plan.
    assert_eq!(
        only(planned(&world, ask(&storage("receipts", true))).await),
        change
    );

    let same = only(planned(&world, ask(&storage("receipts", false))).await);
    assert_eq!(
        (same.action, same.properties.len(), parts(&same)),
        (Action::NoOp, 0, vec![])
    );
    assert_eq!(
        world.change_sets(&world.stack_of("storage/receipts")).await,
        [""; 0]
    );
    assert_eq!(
        world
            .happened(
                &world.stack_of("storage/receipts"),
                "Bucket",
                "UPDATE_IN_PROGRESS"
            )
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_lose_data_is_a_replacement_and_refused() {
    let world = World::new().await;
    world.has("storage/receipts", &storage("receipts", false)).await;
    let ask = wanted(
        question(&world),
        &world,
        "storage/receipts",
        &storage("another", false),
    );
    let plan = planned(&world, known(ask, "storage/receipts", ResourceKind::Storage)).await;
    assert_eq!(plan.refused_replacements().count(), 1, "{plan:?}");
    assert_eq!(
        parts(&only(plan)),
        [("Bucket", Action::Replace, vec!["BucketName"])]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_says_what_goes_and_what_stays() {
    let world = World::new().await;
    let mut template = bucket("kept", "Enabled", "RetainExceptOnCreate");
    template["Resources"]["Other"] =
        json!({ "Type": "AWS::S3::Bucket", "Properties": { "BucketName": "other" } });
    world.has("storage/kept", &template).await;
    let ask = known(question(&world), "storage/kept", ResourceKind::Storage);
    let ask = known(ask, "storage/never-made", ResourceKind::Storage);
    let ask = known(ask, "network/dev", ResourceKind::Network);
    let plan = planned(&world, ask).await;
    let said: Vec<(&str, Action)> = plan
        .changes
        .iter()
        .map(|change| (change.resource.as_str(), change.action))
        .collect();
    assert_eq!(
        said,
        [
            ("network/dev", Action::Retain),
            ("storage/kept", Action::Delete),
            ("storage/never-made", Action::NoOp),
        ]
    );
    assert_eq!(
        parts(&plan.changes[1]),
        [
            ("Bucket", Action::Retain, vec![]),
            ("Other", Action::Delete, vec![])
        ]
    );
    let module = plan.changes[1].module.as_ref().unwrap();
    assert_eq!(
        (module.name.as_str(), module.version.as_str(), &module.digest),
        ("storage", "1.0.0", &None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_stacks_are_read_to_the_end() {
    let world = World::new().await;
    let handle = json!({ "Type": "AWS::CloudFormation::WaitConditionHandle" });
    let many = |from: u32, to: u32| -> Value {
        let resources = (from..to).map(|number| (format!("Handle{number:03}"), handle.clone()));
        json!({ "Resources": resources.collect::<serde_json::Map<_, _>>() })
    };
    world.has("storage/many", &many(0, 230)).await;
    let deletion = only(
        planned(
            &world,
            known(question(&world), "storage/many", ResourceKind::Storage),
        )
        .await,
    );
    assert_eq!(parts(&deletion).len(), 230);
    let ask = wanted(question(&world), &world, "storage/many", &many(150, 400));
    let change = only(planned(&world, known(ask, "storage/many", ResourceKind::Storage)).await);
    let count = |action| parts(&change).iter().filter(|part| part.1 == action).count();
    assert_eq!((count(Action::Delete), count(Action::Create)), (150, 170));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_others_is_refused() {
    let world = World::new().await;
    let ask = || {
        wanted(
            question(&world),
            &world,
            "storage/receipts",
            &storage("receipts", false),
        )
    };
    let stack = world.stack_of("storage/receipts");
    let by_hand = json!([["cloudformation", "create_stack", {
        "StackName": stack, "TemplateBody": bucket("receipts", "Enabled", "Delete").to_string(),
    }]]);
    world.cloud.asked(by_hand).await;
    world.until(&stack, "CREATE_COMPLETE").await;
    let known = known(question(&world), "storage/receipts", ResourceKind::Storage);
    for ask in [ask(), known] {
        let failure = refused(&world, ask).await;
        assert_eq!(failure.class, FailureClass::Refused);
        assert!(
            failure.reason.contains("was not made by Landfall"),
            "{}",
            failure.reason
        );
    }
    assert_eq!(world.change_sets(&stack).await, [""; 0]);
}

/// One resource is ready, and another takes its time: what was asked for the first is remembered, and removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_is_discarded_leaves_nothing() {
    let world = World::new().await;
    world.has("storage/receipts", &storage("receipts", false)).await;
    let busy = world.order(
        2,
        Action::Create,
        "storage/busy",
        &never_ready(storage("busy", false), 10),
    );
    let started = world.provider.start(&busy).await;
    waits(&world.looked(&world.provider, &waits(&started)).await);
    world.until(&world.name(&busy), "CREATE_IN_PROGRESS").await;

    let ask = wanted(
        question(&world),
        &world,
        "storage/receipts",
        &storage("receipts", true),
    );
    let mut ask = wanted(ask, &world, "storage/busy", &storage("busy", false));
    let planner = planner(&world);
    let Answer::Pending { token, poll_at } = planner.plan(&ask).await.unwrap() else {
        panic!("a stack is busy");
    };
    assert!(poll_at > world.time.now());
    let stack = world.stack_of("storage/receipts");
    assert_eq!(world.change_sets(&stack).await.len(), 1);
    for _ in 0..2 {
        planner.discard(&ask.scope, &token).await.unwrap();
        assert_eq!(world.change_sets(&stack).await, [""; 0]);
    }
    assert!(!world.left().await.iter().any(|stack| stack.contains("REVIEW")));

    // Not discarded, it goes on by its token: what was busy fails, is cleared away, and is planned as new.
    ask.pending = Some(token);
    ask = known(ask, "storage/receipts", ResourceKind::Storage);
    let plan = answered(&planner, &mut ask).await.unwrap();
    let said: Vec<Action> = plan.changes.iter().map(|change| change.action).collect();
    assert_eq!(said, [Action::Create, Action::Update]);
    assert_eq!(world.change_sets(&stack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_is_removed() {
    let world = World::new().await;
    world.has("storage/receipts", &storage("receipts", false)).await;
    let stack = world.stack_of("storage/receipts");
    let left = |name: &str| {
        json!(["cloudformation", "create_change_set", {
            "StackName": stack, "ChangeSetName": name, "TemplateBody": storage("receipts", true).to_string(),
        }])
    };
    world
        .cloud
        .asked(json!([left("landfall-plan-old"), left("of-a-person")]))
        .await;
    world.time.passes(Duration::from_secs(2 * 60 * 60));
    let ask = wanted(
        question(&world),
        &world,
        "storage/receipts",
        &storage("receipts", false),
    );
    planned(&world, known(ask, "storage/receipts", ResourceKind::Storage)).await;
    assert_eq!(world.change_sets(&stack).await, ["of-a-person"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_and_is_gone_is_made_again() {
    let world = World::new().await;
    let template = storage("receipts", false);
    world.has("storage/receipts", &template).await;
    let delete =
        json!([["cloudformation", "delete_stack", {"StackName": world.stack_of("storage/receipts")}]]);
    world.cloud.asked(delete).await;
    let ask = wanted(question(&world), &world, "storage/receipts", &template);
    let change = only(planned(&world, known(ask, "storage/receipts", ResourceKind::Storage)).await);
    assert_eq!(change.action, Action::Create);
    let known = KnownResource {
        name: change.resource.clone(),
        kind: change.kind,
        retained: false,
        team: "web-team".parse().unwrap(),
        module_version: None,
    };
    let goal = Goal {
        request: Request {
            key: "Project/shop".parse().unwrap(),
            team: "web-team".parse().unwrap(),
            expires: None,
            environment: "dev".parse().unwrap(),
            deletion_policy: DeletionPolicy::Retain,
            resources: vec![],
        },
        deleted: false,
        removal: DeletionPolicy::Retain,
    };
    let plan = Plan {
        changes: vec![change],
    }
    .obeying(&goal, &[known]);
    assert_eq!(only(plan).action, Action::Recreate);
}

/// Made, and the record of it was lost: it is still what was signed, so that the step finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_and_nobody_recorded_is_still_to_be_made_as_it_was_signed() {
    let world = World::new().await;
    let ask = || {
        wanted(
            question(&world),
            &world,
            "storage/receipts",
            &storage("receipts", false),
        )
    };
    let signed = planned(&world, ask()).await;
    world.has("storage/receipts", &storage("receipts", false)).await;
    assert_eq!(planned(&world, ask()).await, signed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_aws_does_not_take_is_told_in_its_own_words() {
    let world = World::new().await;
    world.has("storage/receipts", &storage("receipts", false)).await;
    let trouble = World {
        trouble: Some(Peer::microburst(&world.cloud).await),
        ..world
    };
    let ask = wanted(
        question(&trouble),
        &trouble,
        "storage/receipts",
        &storage("receipts", true),
    );
    let rules = json!([{
        "service": "cloudformation", "operation": "CreateChangeSet", "times": 9,
        "error": { "code": "ValidationError", "status": 400, "message": "Template error: something of AWS's" },
    }]);
    trouble.trouble().order(rules).await;
    let failure = refused(&trouble, ask).await;
    assert_eq!(failure.class, FailureClass::User);
    assert!(
        failure.reason.contains("something of AWS's"),
        "{}",
        failure.reason
    );
}

/// Something that goes into the environment's network.
pub(super) fn inside() -> Value {
    json!({
        "Parameters": { "VpcId": { "Type": "String" }, "SubnetIds": { "Type": "CommaDelimitedList" } },
        "Resources": { "Handle": { "Type": "AWS::CloudFormation::WaitConditionHandle" } },
    })
}

fn wants_inside(world: &World) -> Question {
    let mut ask = wanted(question(world), world, "database/orders", &inside());
    for module in ask.modules.values_mut() {
        module.parameters = BTreeMap::from([
            ("VpcId".into(), Parameter::Network),
            ("SubnetIds".into(), Parameter::PrivateSubnets),
        ]);
    }
    ask
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subnets_that_do_not_do_are_told_all_at_once() {
    let mut world = World::new().await;
    let cloud = |calls| world.cloud.asked(calls);
    let vpc = cloud(json!([["ec2", "create_vpc", {"CidrBlock": "10.7.0.0/16"}]])).await;
    let vpc = vpc[0]["Vpc"]["VpcId"].as_str().unwrap().to_owned();
    let zone = |letter: &str| format!("{REGION}{letter}");
    let made = cloud(json!([
        ["ec2", "create_subnet", {"VpcId": vpc, "CidrBlock": "10.7.1.0/24", "AvailabilityZone": zone("a")}],
        ["ec2", "create_subnet", {"VpcId": vpc, "CidrBlock": "10.7.2.0/24", "AvailabilityZone": zone("b")}],
        ["ec2", "create_route_table", {"VpcId": vpc}],
        ["ec2", "allocate_address", {"Domain": "vpc"}],
    ]))
    .await;
    let subnet = |place: usize| made[place]["Subnet"]["SubnetId"].as_str().unwrap().to_owned();
    let (one, two) = (subnet(0), subnet(1));
    let table = &made[2]["RouteTable"]["RouteTableId"];
    world.environment.network = Some(Network::Given {
        vpc: None,
        subnets: [one.clone(), two.clone(), "subnet-0000dead".to_owned()].into(),
    });
    let failure = refused(&world, wants_inside(&world)).await;
    assert_eq!(failure.class, FailureClass::User);
    let lines: Vec<&str> = failure.reason.lines().collect();
    assert!(lines[0].contains("environment `dev` cannot take it"), "{lines:?}");
    assert!(
        lines[1].contains("there is no subnet `subnet-0000dead`"),
        "{lines:?}"
    );
    for subnet in [&one, &two] {
        let said = format!("subnet `{subnet}` has no route to 0.0.0.0/0");
        assert!(lines.iter().any(|line| line.contains(&said)), "{lines:?}");
    }

    let nat =
        json!([["ec2", "create_nat_gateway", {"SubnetId": one, "AllocationId": made[3]["AllocationId"]}]]);
    let nat = world.cloud.asked(nat).await[0]["NatGateway"]["NatGatewayId"].clone();
    let associate =
        |subnet: &str| json!(["ec2", "associate_route_table", {"RouteTableId": table, "SubnetId": subnet}]);
    let route = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": nat});
    let calls = json!([associate(&one), associate(&two), ["ec2", "create_route", route]]);
    world.cloud.asked(calls).await;
    world.environment.network = Some(Network::Given {
        vpc: None,
        subnets: [one.clone(), two.clone()].into(),
    });
    let change = only(planned(&world, wants_inside(&world)).await);
    let mut both = [one, two];
    both.sort();
    let resolved = change.module.unwrap().resolved;
    assert_eq!(
        (&resolved["VpcId"], &resolved["SubnetIds"]),
        (&vpc, &both.join(","))
    );

    // A network that Landfall makes is not there yet: what it will be is left for the step.
    world.environment.network = Some(Network::Create);
    let change = only(planned(&world, wants_inside(&world)).await);
    assert_eq!(change.module.unwrap().resolved, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_looked_up_once_and_kept() {
    let world = World::new().await;
    let (first, second) = ("ami-0aaaaaaaaaaaaaaa1", "ami-0bbbbbbbbbbbbbbb2");
    let publish = |image: &str| {
        let parameter =
            json!({"Name": "/images/ubuntu", "Value": image, "Type": "String", "Overwrite": true});
        world.cloud.asked(json!([["ssm", "put_parameter", parameter]]))
    };
    let machine = |image: &str| {
        json!({
            "Metadata": remembered(&json!({ "image": image })),
            "Parameters": { "ImageId": { "Type": "String" } },
            "Resources": { "Topic": { "Type": "AWS::SNS::Topic", "Properties": { "DisplayName": { "Ref": "ImageId" } } } },
        })
    };
    let ask = |image: &str, published: &str| {
        let mut ask = wanted(question(&world), &world, "storage/machine", &machine(image));
        for module in ask.modules.values_mut() {
            module.parameters = BTreeMap::from([("ImageId".into(), Parameter::Image(published.into()))]);
        }
        ask
    };
    let image = |change: &PlannedChange| change.module.as_ref().unwrap().resolved["ImageId"].clone();
    let name: landfall::domain::ids::ResourceName = "storage/machine".parse().unwrap();

    publish(first).await;
    let review = only(planned(&world, ask("Ubuntu2404", "/images/ubuntu")).await);
    assert_eq!(image(&review), first);
    publish(second).await;
    let mut landing = ask("Ubuntu2404", "/images/ubuntu");
    landing
        .signed
        .insert(name.clone(), review.module.clone().unwrap());
    assert_eq!(
        only(planned(&world, landing.clone()).await),
        review,
        "what was signed is kept"
    );

    let order = world.order(1, Action::Create, "storage/machine", &machine("Ubuntu2404"));
    let order = Order {
        module: landing.modules.get(&name).cloned(),
        planned: review.module,
        ..order
    };
    succeeded(world.done(&order).await);
    let known_as = |ask: Question| known(ask, "storage/machine", ResourceKind::Storage);
    let same = only(planned(&world, known_as(ask("Ubuntu2404", "/images/ubuntu"))).await);
    assert_eq!(
        (same.action, image(&same)),
        (Action::NoOp, first.to_owned()),
        "and so is what it was made with"
    );
    let other = only(planned(&world, known_as(ask("Ubuntu2604", "/images/ubuntu"))).await);
    assert_eq!((other.action, image(&other)), (Action::Update, second.to_owned()));

    let failure = refused(&world, ask("Solaris", "/images/solaris")).await;
    assert_eq!(failure.class, FailureClass::User);
    assert!(
        failure
            .reason
            .contains("no image is published as /images/solaris"),
        "{}",
        failure.reason
    );
}

/// A planning role with these rights.
fn roles(looking: &[&str]) -> Value {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        "Condition": { "StringEquals": { "sts:ExternalId": "landfall:platform:dev" } },
    }] });
    let actions: Vec<String> = looking
        .iter()
        .map(|action| format!("cloudformation:{action}"))
        .collect();
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": actions, "Resource": "*" },
    ] });
    json!([
        ["iam", "create_role", {"RoleName": "landfall-planning", "AssumeRolePolicyDocument": trust.to_string()}],
        ["iam", "put_role_policy", {
            "RoleName": "landfall-planning", "PolicyName": "plan", "PolicyDocument": policy.to_string(),
        }],
    ])
}

async fn guarded(looking: &[&str]) -> World {
    let cloud = Peer::guarded_ministack().await;
    let time = Time::default();
    cloud.asked(roles(looking)).await;
    let credentials = Credentials::new("test", "a-word", None, None, "test");
    let options = AwsOptions {
        credentials: Some(credentials),
        ..options(cloud.url(), &time)
    };
    let world = World {
        provider: Aws::new(options).provider(),
        time,
        ..World::of(Arc::new(cloud))
    };
    // As the acting half would have made it.
    let order = world.order(1, Action::Create, "storage/receipts", &storage("receipts", false));
    let tags = landfall::provider::aws::stack::tags(
        &order.scope,
        &order.resource.name,
        order.resource.kind,
        order.module.as_ref().unwrap(),
        (&order.key, &order.mark),
    );
    let tags: Vec<Value> = tags
        .iter()
        .map(|tag| json!({"Key": tag.key(), "Value": tag.value()}))
        .collect();
    let name = world.name(&order);
    let made = json!([["cloudformation", "create_stack", {
        "StackName": name, "TemplateBody": storage("receipts", false).to_string(), "Tags": tags,
    }]]);
    world.cloud.asked(made).await;
    world.until(&name, "CREATE_COMPLETE").await;
    world
}

fn as_the_root(world: &World) -> AwsPlanner {
    let credentials = Credentials::new("test", "a-word", None, None, "test");
    let options = AwsOptions {
        credentials: Some(credentials),
        ..options(world.cloud.url(), &world.time)
    };
    Aws::new(options).planner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named() {
    let world = guarded(&[
        "DescribeStacks",
        "GetTemplate",
        "ListChangeSets",
        "ListStackResources",
    ])
    .await;
    let ask = wanted(
        question(&world),
        &world,
        "storage/receipts",
        &storage("receipts", true),
    );
    let mut ask = known(ask, "storage/receipts", ResourceKind::Storage);
    let failure = answered(&as_the_root(&world), &mut ask).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(
        failure.reason.contains("cloudformation:DescribeChangeSet"),
        "{}",
        failure.reason
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_of_a_request_is_seen_and_nothing_else() {
    let world = World::new().await;
    world.has("storage/receipts", &storage("receipts", true)).await;
    world
        .has("storage/pictures", &bucket("pictures", "Enabled", "Delete"))
        .await;
    let mut other = world.order(2, Action::Create, "storage/other", &storage("other", true));
    other.scope.request = "Project/web".parse().unwrap();
    succeeded(world.done(&other).await);
    let network =
        json!({ "Resources": { "Handle": { "Type": "AWS::CloudFormation::WaitConditionHandle" } } });
    world.has("network/dev", &network).await;
    let by_hand = json!([["cloudformation", "create_stack", {
        "StackName": "by-hand", "TemplateBody": network.to_string(),
    }]]);
    world.cloud.asked(by_hand).await;
    world.until("by-hand", "CREATE_COMPLETE").await;

    let observed = planner(&world)
        .observe(
            &world.scope(),
            &["storage/receipts", "storage/pictures"].map(on_record).into(),
        )
        .await
        .unwrap();
    let mut seen = Vec::new();
    for one in &observed {
        let id = world.stack(&world.stack_of(one.resource.as_str())).await["StackId"].clone();
        assert_eq!((one.kind, json!(one.external_id)), (ResourceKind::Storage, id));
        seen.push((one.resource.as_str(), one.properties.clone()));
    }
    seen.sort_by_key(|(name, _)| *name);
    // What does not say what it was made from is there all the same.
    assert_eq!(
        seen,
        [
            ("storage/pictures", BTreeMap::new()),
            ("storage/receipts", fields(true))
        ]
    );

    // What says that it is of this request and bears another's tag is never an answer.
    let mut scope = world.scope();
    scope.team = "another-team".parse().unwrap();
    let failure = planner(&world)
        .observe(&scope, &BTreeMap::new())
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(
        failure.reason.contains("belongs to storage/"),
        "{}",
        failure.reason
    );
}

/// Somebody changes the stack while its change set is being made: what that says is not true any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_set_that_was_overtaken_is_made_anew() {
    let cloud = Peer::stand_in_with(&[("CHANGE_SETS_TAKE", "1")]).await;
    let world = World::of(Arc::new(cloud));
    world.has("storage/receipts", &storage("receipts", false)).await;
    let stack = world.stack_of("storage/receipts");
    let by_hand = async |kinds: &[(&str, &str)]| {
        let mut template = storage("receipts", false);
        for (name, kind) in kinds {
            template["Resources"][name] = json!({ "Type": kind });
        }
        let change = json!({"StackName": stack, "TemplateBody": template.to_string()});
        let calls = json!([["cloudformation", "update_stack", change]]);
        let answer = world.cloud.asked(calls).await;
        assert!(answer[0]["StackId"].is_string(), "{answer:?}");
        world.until(&stack, "UPDATE_COMPLETE").await;
    };
    // The stack looks the same before and after: nothing but the change set tells.
    by_hand(&[("Topic", "AWS::SNS::Topic")]).await;
    let ask = wanted(
        question(&world),
        &world,
        "storage/receipts",
        &storage("receipts", true),
    );
    let mut ask = known(ask, "storage/receipts", ResourceKind::Storage);
    let planner = planner(&world);
    let Answer::Pending { token, .. } = planner.plan(&ask).await.unwrap() else {
        panic!("a change set takes its time");
    };
    ask.pending = Some(token);
    by_hand(&[("Topic", "AWS::SNS::Topic"), ("Queue", "AWS::SQS::Queue")]).await;
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    let queue = async || world.happened(&stack, "Queue", "UPDATE_COMPLETE").await;
    while queue().await == 0 {
        assert!(SystemClock.now() < give_up);
    }
    let change = only(answered(&planner, &mut ask).await.unwrap());
    let said: Vec<(&str, Action)> = parts(&change)
        .into_iter()
        .map(|(name, action, _)| (name, action))
        .collect();
    assert_eq!(
        said,
        [
            ("Bucket", Action::Update),
            ("Queue", Action::Delete),
            ("Topic", Action::Delete)
        ]
    );
    assert_eq!(world.change_sets(&stack).await, [""; 0]);
}
