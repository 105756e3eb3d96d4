//! AWSes that ask who calls: signatures, external ids, and what the roles of `deploy/aws/roles.yaml` may do. What
//! CloudFormation may do in a caller's name is not checked by either peer.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use landfall::domain::plan::PlannedChange;
use landfall::provider::aws::AwsPlanner;
use landfall::provider::{Planner, Question};

use super::planning::{answered, known, only, question, storage, wanted};
use super::*;

const ROLES: &str = include_str!("../../deploy/aws/roles.yaml");
/// Something that every AWS publishes.
const IMAGE: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";

/// The key of a user who may ask to take on any role, as what Landfall runs as may.
async fn user(cloud: &Peer, name: &str) -> Value {
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"},
    ]});
    let calls = json!([
        ["iam", "create_user", {"UserName": name}],
        ["iam", "put_user_policy", {
            "UserName": name, "PolicyName": "roles", "PolicyDocument": policy.to_string(),
        }],
        ["iam", "create_access_key", {"UserName": name}],
    ]);
    cloud.asked(calls).await[2]["AccessKey"].clone()
}

fn as_caller(endpoint: &str, time: &Time, key: &Value) -> Aws {
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    let credentials = Credentials::new(text("AccessKeyId"), text("SecretAccessKey"), None, None, "test");
    Aws::new(AwsOptions {
        credentials: Some(credentials),
        ..options(endpoint, time)
    })
}

fn planner(endpoint: &str, time: &Time, key: &Value) -> AwsPlanner {
    as_caller(endpoint, time, key).planner()
}

/// Credentials for an AWS that does not look at the secret.
pub(super) fn anybody(key: &str) -> Value {
    json!({ "AccessKeyId": key, "SecretAccessKey": "a-word" })
}

/// Two subnets with a way out.
pub(super) async fn given_network(cloud: &Peer, caller: &Value) -> Network {
    let made = cloud
        .asked_as(
            caller,
            json!([
                ["ec2", "create_vpc", {"CidrBlock": "10.7.0.0/16"}],
                ["ec2", "allocate_address", {"Domain": "vpc"}],
            ]),
        )
        .await;
    let vpc = made[0]["Vpc"]["VpcId"].as_str().unwrap().to_owned();
    let subnet = |block: &str, zone: &str| {
        json!(["ec2", "create_subnet", {
            "VpcId": vpc, "CidrBlock": block, "AvailabilityZone": format!("{REGION}{zone}"),
        }])
    };
    let address = &made[1]["AllocationId"];
    let made = cloud
        .asked_as(
            caller,
            json!([
                subnet("10.7.1.0/24", "a"),
                subnet("10.7.2.0/24", "b"),
                ["ec2", "create_route_table", {"VpcId": vpc}],
            ]),
        )
        .await;
    let subnets = [0, 1].map(|place: usize| made[place]["Subnet"]["SubnetId"].as_str().unwrap().to_owned());
    let table = &made[2]["RouteTable"]["RouteTableId"];
    let nat = json!({"SubnetId": subnets[0], "AllocationId": address});
    let nat = cloud
        .asked_as(caller, json!([["ec2", "create_nat_gateway", nat]]))
        .await;
    let nat = &nat[0]["NatGateway"]["NatGatewayId"];
    cloud
        .asked_as(
            caller,
            json!([
                ["ec2", "associate_route_table", {"RouteTableId": table, "SubnetId": subnets[0]}],
                ["ec2", "associate_route_table", {"RouteTableId": table, "SubnetId": subnets[1]}],
                ["ec2", "create_route", {
                    "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": nat,
                }],
            ]),
        )
        .await;
    Network::Given {
        vpc: None,
        subnets: subnets.into(),
    }
}

/// Asks for something new that needs everything that a plan looks up.
fn looks_everywhere(world: &World) -> Question {
    let template = json!({
        "Parameters": {
            "VpcId": {"Type": "String"}, "SubnetIds": {"Type": "CommaDelimitedList"}, "ImageId": {"Type": "String"},
        },
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    });
    let mut ask = wanted(question(world), world, "storage/machine", &template);
    for module in ask.modules.values_mut() {
        module.parameters = BTreeMap::from([
            ("VpcId".into(), Parameter::Network),
            ("SubnetIds".into(), Parameter::PrivateSubnets),
            ("ImageId".into(), Parameter::Image(IMAGE.into())),
        ]);
    }
    ask
}

fn resolved(change: &PlannedChange) -> Vec<&str> {
    let resolved = &change.module.as_ref().unwrap().resolved;
    resolved.keys().map(String::as_str).collect()
}

/// A way to an AWS on which calls of EC2 and SSM can be changed.
#[derive(Clone)]
struct Way {
    to: String,
    changes: Arc<AtomicBool>,
}

async fn pass_on(State(way): State<Way>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let by_hand = ["/ec2/", "/ssm/"]
        .iter()
        .any(|service| text("authorization").contains(service));
    let mut body = body.to_vec();
    if by_hand && way.changes.load(Ordering::Relaxed) {
        body.extend_from_slice(b" ");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut headers = headers.clone();
    headers.remove("content-length");
    let sent = client.request(method, &way.to).headers(headers).body(body).send();
    let answer = sent.await.unwrap();
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    (status, answer.bytes().await.unwrap()).into_response()
}

impl Way {
    async fn to(cloud: &Peer) -> (Self, String) {
        let way = Self {
            to: cloud.url().to_owned(),
            changes: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(pass_on).with_state(way.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (way, url)
    }
}

/// Every call of a plan is signed: by the SDK, and of EC2 and SSM by our own hand. The peer calculates each signature
/// anew, with botocore.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_are_right_where_they_are_checked_and_wrong_ones_are_refused() {
    let cloud = Peer::moto().await;
    let role = format!("arn:aws:iam::{ACCOUNT}:role/landfall-planning");
    let key = user(&cloud, "landfall").await;
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:user/landfall")},
        "Condition": {"StringEquals": {"sts:ExternalId": "landfall:platform:dev"}},
    }]});
    let looks = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Resource": "*",
        "Action": ["cloudformation:DescribeStacks", "ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ssm:GetParameter"],
    }]});
    cloud
        .asked(json!([
            ["iam", "create_role", {"RoleName": "landfall-planning", "AssumeRolePolicyDocument": trust.to_string()}],
            ["iam", "put_role_policy", {
                "RoleName": "landfall-planning", "PolicyName": "plan", "PolicyDocument": looks.to_string(),
            }],
        ]))
        .await;
    let network = given_network(&cloud, &anybody("test")).await;
    cloud.guards().await;
    let stranger = cloud.asked(json!([["ec2", "describe_vpcs", {}]])).await;
    assert_eq!(stranger[0]["error"], "AuthFailure", "it checks");

    let (way, url) = Way::to(&cloud).await;
    let time = Time::default();
    let mut world = World {
        provider: as_caller(&url, &time, &key).provider(),
        cloud: Arc::new(cloud),
        trouble: None,
        way: None,
        time,
        environment: environment(),
        said: Mutex::default(),
    };
    world.environment.network = Some(network);
    world.environment.aws.as_mut().unwrap().planning_role = role;
    let ours = planner(&url, &world.time, &key);
    let mut ask = looks_everywhere(&world);
    let change = only(answered(&ours, &mut ask).await.unwrap());
    assert_eq!(resolved(&change), ["ImageId", "SubnetIds", "VpcId"]);

    // By the same session, which the SDK signs for: only our own calls are other than they were signed.
    way.changes.store(true, Ordering::Relaxed);
    let failure = ours.plan(&ask).await.unwrap_err();
    assert!(
        failure.reason.starts_with("looking at the subnets: ") && failure.reason.contains("AuthFailure"),
        "{failure:?}"
    );
    for module in ask.modules.values_mut() {
        module.parameters.retain(|name, _| name == "ImageId");
    }
    let failure = ours.plan(&ask).await.unwrap_err();
    assert!(
        failure
            .reason
            .starts_with("looking up the image of storage/machine: ")
            // Its reason is in XML, as no AWS would answer there.
            && failure.reason.contains("403"),
        "{failure:?}"
    );
    way.changes.store(false, Ordering::Relaxed);

    // With these moto refuses in a form that the SDK cannot read.
    let mut wrong = key.clone();
    wrong["SecretAccessKey"] = "another".into();
    let failure = planner(&url, &world.time, &wrong).plan(&ask).await.unwrap_err();
    assert!(failure.reason.starts_with("taking on the role "), "{failure:?}");
    ask.scope.environment_name = "production".parse().unwrap();
    let failure = ours.plan(&ask).await.unwrap_err();
    assert!(failure.reason.starts_with("taking on the role "), "{failure:?}");
}

/// An account in which the platform team deployed `deploy/aws/roles.yaml`, and the key of what Landfall runs as.
async fn deployed() -> (World, Value) {
    let cloud = Peer::guarded_ministack().await;
    let key = user(&cloud, "landfall").await;
    let given = [
        ("Identity", format!("arn:aws:iam::{ACCOUNT}:user/landfall")),
        ("Repository", "platform".to_owned()),
        ("Environment", "dev".to_owned()),
    ];
    let given = given.map(|(name, value)| json!({"ParameterKey": name, "ParameterValue": value}));
    let time = Time::default();
    let network = given_network(&cloud, &anybody("test")).await;
    let mut world = World {
        provider: as_caller(cloud.url(), &time, &key).provider(),
        cloud: Arc::new(cloud),
        trouble: None,
        way: None,
        time,
        environment: environment(),
        said: Mutex::default(),
    };
    let made = json!([["cloudformation", "create_stack", {
        "StackName": "landfall-roles-dev", "TemplateBody": ROLES, "Parameters": given,
        "Capabilities": ["CAPABILITY_IAM"],
    }]]);
    world.cloud.asked(made).await;
    world.until("landfall-roles-dev", "CREATE_COMPLETE").await;
    let stack = world.stack("landfall-roles-dev").await;
    let output = |name: &str| {
        let all = stack["Outputs"].as_array().unwrap();
        let one = all.iter().find(|output| output["OutputKey"] == name);
        one.unwrap()["OutputValue"].as_str().unwrap().to_owned()
    };
    world.environment.network = Some(network);
    let aws = world.environment.aws.as_mut().unwrap();
    aws.planning_role = output("planningRole");
    aws.applying_role = output("applyingRole");
    (world, key)
}

impl World {
    /// What STS answers to who asks for a role with that external id.
    async fn taken_on(&self, key: &Value, role: &str, external_id: &str) -> Value {
        let asked = json!([["sts", "assume_role", {
            "RoleArn": role, "RoleSessionName": "test", "ExternalId": external_id,
        }]]);
        self.cloud.asked_as(key, asked).await.remove(0)
    }

    /// That each of these calls is refused to that role.
    async fn refuses(&self, role: &Value, calls: Value) {
        let count = calls.as_array().unwrap().len();
        let answers = self.cloud.asked_as(&role["Credentials"], calls.clone()).await;
        assert_eq!(answers.len(), count);
        for (call, answer) in calls.as_array().unwrap().iter().zip(&answers) {
            let code = answer["error"].as_str().unwrap_or_default();
            assert!(
                code.contains("AccessDenied") || code == "UnauthorizedOperation",
                "{call} is answered {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_taken_on_under_its_own_external_id_only() {
    let (world, key) = deployed().await;
    let aws = world.environment.aws.clone().unwrap();
    let others = [
        ("landfall:platform:production", "another environment"),
        ("landfall:other:dev", "another repository"),
        ("landfall:platform:dev2", "one that begins like it"),
    ];
    let stranger = user(&world.cloud, "eve").await;
    for role in [&aws.planning_role, &aws.applying_role] {
        let taken = world.taken_on(&key, role, "landfall:platform:dev").await;
        assert!(taken["Credentials"].is_object(), "{taken}");
        for (external_id, whose) in others {
            let refused = world.taken_on(&key, role, external_id).await;
            assert_eq!(refused["error"], "AccessDenied", "{whose}");
        }
        let refused = world.taken_on(&stranger, role, "landfall:platform:dev").await;
        assert_eq!(refused["error"], "AccessDenied", "somebody else");
    }

    let mut wrong = key.clone();
    wrong["SecretAccessKey"] = "another".into();
    let ours = |key| planner(world.cloud.url(), &world.time, key);
    let failure = ours(&wrong).plan(&question(&world)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(
        failure.reason.starts_with("taking on the role ") && failure.reason.contains("SignatureDoesNotMatch"),
        "{failure:?}"
    );
    let mut ask = question(&world);
    ask.scope.environment_name = "production".parse().unwrap();
    let failure = ours(&key).plan(&ask).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Refused, "another external id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_the_template_do_what_they_are_for_and_no_more() {
    let (world, key) = deployed().await;
    let aws = world.environment.aws.clone().unwrap();
    // The applying role makes something, the planning role looks at it, with every call that a plan makes.
    let template = storage("receipts", false);
    let mut order = world.order(1, Action::Create, "storage/receipts", &template);
    order.protected = true;
    let name = world.name(&order);
    succeeded(world.done(&order).await);
    let stack = world.stack(&name).await;
    assert_eq!(stack["EnableTerminationProtection"], true);

    let ours = planner(world.cloud.url(), &world.time, &key);
    let change = only(answered(&ours, &mut looks_everywhere(&world)).await.unwrap());
    assert_eq!(resolved(&change), ["ImageId", "SubnetIds", "VpcId"]);
    let update = wanted(
        question(&world),
        &world,
        "storage/receipts",
        &storage("receipts", true),
    );
    let mut update = known(update, "storage/receipts", ResourceKind::Storage);
    let change = only(answered(&ours, &mut update).await.unwrap());
    assert_eq!(change.action, Action::Update);
    let receipts: ResourceName = "storage/receipts".parse().unwrap();
    assert_eq!(
        ours.observe(&world.scope(), &[(receipts.clone(), begun(&receipts))].into())
            .await
            .unwrap()
            .len(),
        1
    );
    let mut gone = known(question(&world), "storage/receipts", ResourceKind::Storage);
    let removal = only(answered(&ours, &mut gone).await.unwrap());
    assert_eq!(removal.action, Action::Delete);

    let planning = world
        .taken_on(&key, &aws.planning_role, "landfall:platform:dev")
        .await;
    let template = storage("receipts", true).to_string();
    let set = |name: &str| json!({"StackName": stack["StackName"], "ChangeSetName": name, "TemplateBody": template});
    let asks = json!([["cloudformation", "create_change_set", set("landfall-plan-mine")]]);
    let asked = world.cloud.asked_as(&planning["Credentials"], asks).await;
    assert!(asked[0]["Id"].is_string(), "it may ask: {asked:?}");
    let stack_named = json!({"StackName": name});
    let new = json!({"StackName": "landfall-platform-more", "TemplateBody": template});
    let here = json!({"StackName": name, "TemplateBody": template});
    let execute = json!({"StackName": name, "ChangeSetName": "landfall-plan-mine"});
    world
        .refuses(
            &planning,
            json!([
                ["cloudformation", "create_change_set", set("landfall-apply-mine")],
                ["cloudformation", "execute_change_set", execute],
                ["cloudformation", "create_stack", new],
                ["cloudformation", "update_stack", here],
                ["cloudformation", "delete_stack", stack_named],
                ["cloudformation", "update_termination_protection", {
                    "StackName": name, "EnableTerminationProtection": false,
                }],
                ["cloudformation", "get_template", {"StackName": "landfall-roles-dev"}],
                ["s3", "create_bucket", {"Bucket": "more", "CreateBucketConfiguration": {"LocationConstraint": REGION}}],
                ["s3", "delete_bucket", {"Bucket": "receipts"}],
                ["iam", "list_roles", {}],
                ["ssm", "get_parameter", {"Name": "/somebody/s/secret"}],
                ["secretsmanager", "list_secrets", {}],
                ["sts", "assume_role", {
                    "RoleArn": aws.applying_role, "RoleSessionName": "test", "ExternalId": "landfall:platform:dev",
                }],
            ]),
        )
        .await;

    // Of others' stacks nothing, and nothing but through CloudFormation.
    let applying = world
        .taken_on(&key, &aws.applying_role, "landfall:platform:dev")
        .await;
    let role = |arn: &str| arn.rsplit('/').next().unwrap().to_owned();
    world
        .refuses(
            &applying,
            json!([
                ["cloudformation", "create_stack", {"StackName": "landfall-other-files", "TemplateBody": template}],
                ["cloudformation", "delete_stack", {"StackName": "landfall-roles-dev"}],
                ["s3", "create_bucket", {"Bucket": "more", "CreateBucketConfiguration": {"LocationConstraint": REGION}}],
                ["ec2", "create_vpc", {"CidrBlock": "10.8.0.0/16"}],
                ["rds", "delete_db_instance", {"DBInstanceIdentifier": "orders", "SkipFinalSnapshot": true}],
                ["iam", "create_role", {"RoleName": "landfall-more", "AssumeRolePolicyDocument": "{}"}],
                ["iam", "delete_role", {"RoleName": role(&aws.planning_role)}],
                ["iam", "put_role_policy", {
                    "RoleName": role(&aws.applying_role), "PolicyName": "more", "PolicyDocument": "{}",
                }],
                ["secretsmanager", "get_secret_value", {"SecretId": "rds!db-1"}],
                ["ssm", "get_parameter", {"Name": "/somebody/s/secret"}],
            ]),
        )
        .await;

    let change = only(answered(&ours, &mut update).await.unwrap());
    let mut order = world.order(2, Action::Update, "storage/receipts", &storage("receipts", true));
    order.protected = true;
    order.planned = change.module;
    succeeded(world.done(&order).await);
    let delete = world.order(3, Action::Delete, "storage/receipts", &json!({}));
    succeeded(world.done(&delete).await);
    assert_eq!(world.buckets().await, [""; 0]);
}
