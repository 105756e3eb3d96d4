//! Networks, machines and databases as the catalog makes them, really made: in an AWS whose CloudFormation is
//! ministack's, and whose EC2, RDS, IAM, logs and passwords are moto's. What is there is seen with boto3.

use landfall::catalog::{Catalog, Subject};
use landfall::domain::module::PlannedModule;
use landfall::domain::plan::PlannedChange;
use landfall::domain::request::Request;
use landfall::domain::request::check::{ChangedFile, check_file};
use landfall::domain::rules::Rules;
use landfall::domain::rules::check::check_rules;
use landfall::domain::tree::Mode;
use landfall::provider::{Answer, Planner, Question};

use super::planning::parts;
use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqvY8Zr1sT0bXkq5v9v8mR3w5rC2nA9yFQ0nA9yFQ0x ada";

/// What came of one resource.
struct Made {
    planned: PlannedModule,
    outputs: BTreeMap<String, String>,
}

/// A platform with machines, and what its developers ask for.
struct Yard {
    world: World,
    rules: Rules,
    runs: u64,
}

fn rules() -> Rules {
    let text = format!(
        r#"
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev:
    provider: AWS
    account: "{ACCOUNT}"
    region: {REGION}
    network: {{create: true}}
    aws:
      planningRole: arn:aws:iam::{ACCOUNT}:role/landfall-planning
      applyingRole: arn:aws:iam::{ACCOUNT}:role/landfall-applying
      adminRole: arn:aws:iam::{ACCOUNT}:role/platform
      logBucket: access-logs
teams: {{web-team: {{}}}}
roles: {{admin: {{users: [{{id: 1, name: grace}}]}}}}
"#
    );
    let (rules, findings) = check_rules(text.as_bytes());
    rules.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// A project as a developer writes it.
fn project(rules: &Rules, mut spec: Value) -> Request {
    spec["environment"] = "dev".into();
    let text = json!({
        "apiVersion": "landfall.dev/v1",
        "kind": "Project",
        "metadata": {"name": "shop", "team": "web-team"},
        "spec": spec,
    })
    .to_string();
    let file = ChangedFile {
        path: "requests/web-team/shop.yaml",
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before: None,
    };
    let (request, findings) = check_file(rules, &file);
    request.unwrap_or_else(|| panic!("{findings:#?}"))
}

impl Yard {
    async fn new() -> Self {
        let cloud = Peer::with_machines().await;
        let time = Time::default();
        let provider = aws(cloud.url(), &time).provider();
        let rules = rules();
        let environment = rules.environments.values().next().unwrap().clone();
        let world = World {
            cloud: Arc::new(cloud),
            trouble: None,
            way: None,
            time,
            provider,
            environment,
            said: Mutex::default(),
        };
        let mut yard = Self {
            world,
            rules,
            runs: 0,
        };
        let network = Resource {
            name: "network/dev".parse().unwrap(),
            kind: ResourceKind::Network,
            properties: BTreeMap::new(),
            depends_on: vec![],
        };
        let mut request = project(&yard.rules, json!({"storage": [{"name": "files"}]}));
        request.resources = vec![network];
        yard.carried_out(&request).await;
        yard
    }

    /// What is asked of the planner: the request's resources, of which those are known.
    fn question(&self, request: &Request, known: &[&str]) -> Question {
        let scope = self.world.scope();
        let subject = Subject {
            repository: &scope.repository,
            request: &request.key,
            team: &request.team,
            environment_name: &scope.environment_name,
            environment: &scope.environment,
            deletion_policy: request.deletion_policy,
        };
        let rendered = |resource: &Resource| {
            let module = Catalog::builtin().module(resource, &subject, None);
            (resource.name.clone(), module.unwrap().unwrap())
        };
        Question {
            desired: request.resources.clone(),
            modules: request.resources.iter().map(rendered).collect(),
            signed: BTreeMap::new(),
            known: known
                .iter()
                .map(|name| (name.parse().unwrap(), kind(name)))
                .collect(),
            provenance: request
                .resources
                .iter()
                .map(|resource| resource.name.clone())
                .chain(known.iter().map(|name| name.parse().unwrap()))
                .chain(["network/dev".parse().unwrap()])
                .map(|name: ResourceName| (name.clone(), begun(&name)))
                .collect(),
            pending: None,
            scope,
        }
    }

    async fn planned(&self, question: &mut Question) -> Vec<PlannedChange> {
        let planner = aws(self.world.cloud.url(), &self.world.time).planner();
        loop {
            match planner.plan(question).await.unwrap() {
                Answer::Ready(plan) => return plan.changes,
                Answer::Pending { token, .. } => question.pending = Some(token),
            }
        }
    }

    /// The order that a signed change becomes.
    fn order(&mut self, request: &Request, question: &Question, change: &PlannedChange) -> Order {
        self.runs += 1;
        let desired = question
            .desired
            .iter()
            .find(|resource| resource.name == change.resource);
        let key = super::step(self.runs, &change.resource);
        Order {
            mark: mark_of(&key),
            key,
            scope: question.scope.clone(),
            generation: Generation(self.runs),
            action: change.action,
            final_snapshot: change.takes_final_snapshot(),
            protected: request.deletion_policy.protects(change.kind),
            resource: desired.cloned().unwrap_or_else(|| Resource {
                name: change.resource.clone(),
                kind: change.kind,
                properties: BTreeMap::new(),
                depends_on: vec![],
            }),
            provenance: begun(&change.resource),
            network: begun(&"network/dev".parse().unwrap()),
            module: question.modules.get(&change.resource).cloned(),
            planned: change.module.clone(),
        }
    }

    /// Plans a request, and does what was planned.
    async fn carried_out(&mut self, request: &Request) -> BTreeMap<String, Made> {
        let mut question = self.question(request, &[]);
        let mut all = BTreeMap::new();
        for change in self.planned(&mut question).await {
            let order = self.order(request, &question, &change);
            let (_, outputs) = succeeded(self.world.done(&order).await);
            let planned = order.planned.unwrap();
            all.insert(change.resource.to_string(), Made { planned, outputs });
        }
        all
    }

    /// Plans a change of the one resource of a request, and does it: what was planned, and what came of it. Nothing is
    /// desired any more where there is no request.
    async fn changed(&mut self, before: &Request, after: Option<&Request>) -> (PlannedChange, Progress) {
        let name = before.resources[0].name.to_string();
        let mut request = before.clone();
        match after {
            Some(after) => request.clone_from(after),
            None => request.resources.clear(),
        }
        let mut question = self.question(&request, &[&name]);
        let mut changes = self.planned(&mut question).await;
        assert_eq!(changes.len(), 1, "{changes:?}");
        let change = changes.remove(0);
        let order = self.order(&request, &question, &change);
        let mut done = self.world.done(&order).await;
        if matches!(&done, Progress::Failed(failure) if failure.class == FailureClass::Conflict) {
            // Begun again, as a run would.
            done = self.world.done(&order).await;
        }
        (change, done)
    }

    /// What boto3 is answered to one call.
    async fn seen(&self, service: &str, operation: &str, arguments: Value) -> Value {
        let mut answers = self
            .world
            .cloud
            .asked(json!([[service, operation, arguments]]))
            .await;
        answers.remove(0)
    }

    /// The machine of that id.
    async fn machine(&self, id: &str) -> Value {
        let seen = self
            .seen("ec2", "describe_instances", json!({"InstanceIds": [id]}))
            .await;
        seen["Reservations"][0]["Instances"][0].clone()
    }

    async fn database(&self, id: &str) -> Value {
        let seen = self
            .seen(
                "rds",
                "describe_db_instances",
                json!({"DBInstanceIdentifier": id}),
            )
            .await;
        seen["DBInstances"][0].clone()
    }

    /// Neither machines that run, nor what they were made with; the network's own role stays.
    async fn nothing_is_left_of_machines(&self) {
        let running = json!({"Filters": [{"Name": "instance-state-name", "Values": ["running", "stopped"]}]});
        let seen = self
            .world
            .cloud
            .asked(json!([
                ["ec2", "describe_instances", running],
                ["ec2", "describe_security_groups", {}],
                ["iam", "list_instance_profiles", {}],
                ["iam", "list_roles", {}],
                ["ec2", "describe_volumes", {}],
            ]))
            .await;
        assert_eq!(seen[0]["Reservations"], json!([]));
        let groups = list(&seen[1], "SecurityGroups");
        assert!(
            groups.iter().all(|group| group["GroupName"] == "default"),
            "{groups:?}"
        );
        assert_eq!(seen[2]["InstanceProfiles"], json!([]));
        assert_eq!(list(&seen[3], "Roles").len(), 1, "{}", seen[3]);
        assert_eq!(seen[4]["Volumes"], json!([]));
    }

    /// The id of the image that is published under that name now.
    async fn published(&self, name: &str) -> Value {
        let seen = self.seen("ssm", "get_parameter", json!({"Name": name})).await;
        seen["Parameter"]["Value"].clone()
    }
}

fn kind(name: &str) -> ResourceKind {
    match name.split('/').next() {
        Some("database") => ResourceKind::Database,
        Some("virtual-machine") => ResourceKind::VirtualMachine,
        other => panic!("{other:?}"),
    }
}

/// Name → value.
fn tags(list: &Value) -> BTreeMap<&str, &str> {
    let pairs = list.as_array().into_iter().flatten();
    pairs
        .map(|tag| (tag["Key"].as_str().unwrap(), tag["Value"].as_str().unwrap()))
        .collect()
}

fn list<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{value}"))
        .iter()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_of_an_environment_is_really_made() {
    let yard = Yard::new().await;
    let stack = yard.world.stack(&network_stack_name(&yard.world.scope())).await;
    assert_eq!(stack["StackStatus"], "CREATE_COMPLETE");
    let outputs: BTreeMap<&str, &str> = list(&stack, "Outputs")
        .iter()
        .map(|one| {
            (
                one["OutputKey"].as_str().unwrap(),
                one["OutputValue"].as_str().unwrap(),
            )
        })
        .collect();
    let vpc = outputs["vpcId"];
    let of_vpc = json!([{"Name": "vpc-id", "Values": [vpc]}]);
    let seen = yard
        .world
        .cloud
        .asked(json!([
            ["ec2", "describe_subnets", {"Filters": of_vpc}],
            ["ec2", "describe_route_tables", {"Filters": of_vpc}],
            ["ec2", "describe_nat_gateways", {"Filters": of_vpc}],
            ["ec2", "describe_flow_logs", {}],
            ["ec2", "describe_vpc_endpoints", {"Filters": of_vpc}],
            ["ec2", "describe_vpc_attribute", {"VpcId": vpc, "Attribute": "enableDnsHostnames"}],
            ["ec2", "describe_addresses", {}],
        ]))
        .await;
    let zones_of = |ids: &str| -> BTreeSet<String> {
        let subnets = list(&seen[0], "Subnets");
        let subnets = subnets
            .iter()
            .filter(|subnet| ids.contains(subnet["SubnetId"].as_str().unwrap()));
        subnets
            .map(|subnet| {
                assert_eq!(subnet["MapPublicIpOnLaunch"], false, "{subnet}");
                subnet["AvailabilityZone"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    let zones: BTreeSet<String> = ["a", "b", "c"].map(|zone| format!("{REGION}{zone}")).into();
    assert_eq!(zones_of(outputs["privateSubnets"]), zones);
    assert_eq!(zones_of(outputs["publicSubnets"]), zones);

    let gateways = list(&seen[2], "NatGateways");
    let [gateway] = &gateways[..] else {
        panic!("one is enough outside of production: {gateways:?}");
    };
    assert_eq!(gateway["State"], "available");
    assert!(outputs["publicSubnets"].contains(gateway["SubnetId"].as_str().unwrap()));
    let address = &list(&seen[6], "Addresses")[0];
    assert_eq!(
        gateway["NatGatewayAddresses"][0]["AllocationId"],
        address["AllocationId"]
    );
    for subnet in outputs["privateSubnets"].split(',') {
        let tables = list(&seen[1], "RouteTables");
        let table = tables.iter().find(|table| {
            list(table, "Associations")
                .iter()
                .any(|one| one["SubnetId"] == subnet)
        });
        let routes = list(table.unwrap(), "Routes");
        let out = routes
            .iter()
            .find(|route| route["DestinationCidrBlock"] == "0.0.0.0/0");
        assert_eq!(out.unwrap()["NatGatewayId"], gateway["NatGatewayId"], "{subnet}");
    }

    let logs = list(&seen[3], "FlowLogs");
    assert_eq!(
        (
            logs.len(),
            &logs[0]["ResourceId"],
            &logs[0]["TrafficType"],
            &logs[0]["DeliverLogsStatus"]
        ),
        (1, &json!(vpc), &json!("ALL"), &json!("SUCCESS"))
    );
    let group = json!({"logGroupNamePrefix": logs[0]["LogGroupName"]});
    let group = yard.seen("logs", "describe_log_groups", group).await["logGroups"][0].clone();
    assert_eq!(group["retentionInDays"], 365);
    assert!(group["kmsKeyId"].is_string(), "{group}");
    let endpoint = &list(&seen[4], "VpcEndpoints")[0];
    assert_eq!(list(endpoint, "RouteTableIds").len(), 3);
    assert_eq!(seen[5]["EnableDnsHostnames"]["Value"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_of_each_image_stands_in_the_private_subnets() {
    let mut yard = Yard::new().await;
    let machines = json!([
        {"name": "web", "image": "Ubuntu2404", "size": "Small", "access": "SSH", "sshPublicKey": KEY},
        {"name": "old", "image": "Ubuntu2204", "size": "Medium", "diskSize": "64Gi"},
        {"name": "office", "image": "Windows2022", "size": "Large", "diskSize": "50Gi"},
    ]);
    let request = project(&yard.rules, json!({"virtualMachines": machines}));
    let made = yard.carried_out(&request).await;
    let network = yard.world.stack(&network_stack_name(&yard.world.scope())).await;
    let private = list(&network, "Outputs")
        .iter()
        .find(|one| one["OutputKey"] == "privateSubnets")
        .unwrap()["OutputValue"]
        .clone();

    let canonical = |version: &str, disk: &str| {
        format!("/aws/service/canonical/ubuntu/server/{version}/stable/current/amd64/hvm/{disk}/ami-id")
    };
    let windows = "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base".to_owned();
    let mut images = BTreeSet::new();
    for (name, published, size, disk) in [
        ("web", canonical("24.04", "ebs-gp3"), "m6i.large", 30),
        ("old", canonical("22.04", "ebs-gp2"), "m6i.xlarge", 64),
        ("office", windows, "m6i.2xlarge", 50),
    ] {
        let made = &made[&format!("virtual-machine/{name}")];
        let image = yard.published(&published).await;
        assert_eq!(made.planned.resolved["ImageId"], image, "as it was reviewed");
        images.insert(image.as_str().unwrap().to_owned());

        let machine = yard.machine(&made.outputs["instanceId"]).await;
        assert_eq!(
            (
                &machine["State"]["Name"],
                &machine["ImageId"],
                &machine["InstanceType"]
            ),
            (&json!("running"), &image, &json!(size)),
        );
        let subnet = machine["SubnetId"].as_str().unwrap();
        assert!(
            private.as_str().unwrap().contains(subnet),
            "{subnet} of {private}"
        );
        assert_eq!(machine["PrivateIpAddress"], made.outputs["privateIp"]);
        assert!(machine["PublicIpAddress"].is_null(), "{machine}");
        let options = &machine["MetadataOptions"];
        assert_eq!(
            (&options["HttpTokens"], &options["HttpPutResponseHopLimit"]),
            (&json!("required"), &json!(1))
        );
        assert_eq!(machine["Monitoring"]["State"], "enabled");
        assert!(machine["IamInstanceProfile"]["Arn"].is_string(), "{machine}");
        assert_eq!(machine["KeyName"].is_string(), name == "web", "{machine}");
        let tags = tags(&machine["Tags"]);
        for (tag, value) in [
            ("landfall:request", "Project/shop"),
            ("landfall:team", "web-team"),
            ("landfall:resource", &format!("virtual-machine/{name}")),
        ] {
            assert_eq!(tags.get(tag), Some(&value), "{tags:?}");
        }

        let volume = &machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"];
        let group = &made.outputs["securityGroup"];
        let seen = yard
            .world
            .cloud
            .asked(json!([
                ["ec2", "describe_volumes", {"VolumeIds": [volume]}],
                ["ec2", "describe_security_groups", {"GroupIds": [group]}],
                ["ec2", "describe_instance_attribute", {
                    "InstanceId": made.outputs["instanceId"], "Attribute": "disableApiTermination",
                }],
            ]))
            .await;
        let volume = &seen[0]["Volumes"][0];
        assert_eq!(
            (&volume["Size"], &volume["Encrypted"], &volume["VolumeType"]),
            (&json!(disk), &json!(true), &json!("gp3"))
        );
        let group = &seen[1]["SecurityGroups"][0];
        assert_eq!(group["IpPermissions"], json!([]), "nobody reaches it");
        let out = list(group, "IpPermissionsEgress");
        assert_eq!(
            (out.len(), &out[0]["FromPort"], &out[0]["ToPort"]),
            (1, &json!(443), &json!(443))
        );
        assert_eq!(seen[2]["DisableApiTermination"]["Value"], true, "it is kept");
    }
    assert_eq!(images.len(), 3, "each is really its own: {images:?}");
    let keys = yard.seen("ec2", "describe_key_pairs", json!({})).await;
    assert_eq!(list(&keys, "KeyPairs").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_each_engine_has_a_password_that_only_secrets_manager_knows() {
    let mut yard = Yard::new().await;
    let databases = json!([
        {"name": "orders", "engine": "PostgreSQL", "version": "17.6", "availability": "MultiZone"},
        {"name": "posts", "engine": "MySQL", "version": "8.4.8", "size": "Medium", "storage": "64Gi"},
    ]);
    let request = project(&yard.rules, json!({"databases": databases}));
    let made = yard.carried_out(&request).await;
    for (name, engine, port, class, zones, storage) in [
        ("orders", "postgres", 5432, "db.m6g.large", true, 32),
        ("posts", "mysql", 3306, "db.m6g.xlarge", false, 64),
    ] {
        let outputs = &made[&format!("database/{name}")].outputs;
        let resource = format!("database/{name}").parse().unwrap();
        let stack = stack_name(&yard.world.scope(), &resource, ResourceKind::Database);
        let stack = yard.world.stack(&stack).await;
        let parameter = |wanted: &str| {
            let all = list(&stack, "Parameters");
            let one = all.iter().find(|one| one["ParameterKey"] == wanted);
            one.unwrap()["ParameterValue"].as_str().unwrap().to_owned()
        };
        let database = yard.database(&parameter("Name")).await;
        assert_eq!(
            (
                &database["Engine"],
                &database["DBInstanceClass"],
                &database["MultiAZ"],
                &database["AllocatedStorage"]
            ),
            (&json!(engine), &json!(class), &json!(zones), &json!(storage))
        );
        for (property, value) in [
            ("PubliclyAccessible", false),
            ("StorageEncrypted", true),
            ("DeletionProtection", true),
            ("IAMDatabaseAuthenticationEnabled", true),
        ] {
            assert_eq!(database[property], value, "{property}: {database}");
        }
        assert_eq!(outputs["endpoint"], database["Endpoint"]["Address"]);
        assert_eq!(outputs["port"], port.to_string());

        let secret = &outputs["secretArn"];
        assert_eq!(database["MasterUserSecret"]["SecretArn"], *secret);
        let kept = yard
            .seen("secretsmanager", "get_secret_value", json!({"SecretId": secret}))
            .await;
        let kept: Value = serde_json::from_str(kept["SecretString"].as_str().unwrap()).unwrap();
        let password = kept["password"].as_str().unwrap();
        assert!(password.len() > 8);
        let id = &stack["StackId"];
        let told = yard
            .world
            .cloud
            .asked(json!([
                ["cloudformation", "describe_stacks", {}],
                ["cloudformation", "describe_stack_events", {"StackName": id}],
                ["cloudformation", "describe_stack_resources", {"StackName": id}],
                ["cloudformation", "get_template", {"StackName": id}],
                ["rds", "describe_db_instances", {}],
            ]))
            .await;
        let said = yard.world.said.lock().unwrap().join("\n");
        let everything = format!("{} {said} {outputs:?}", Value::Array(told));
        assert!(everything.contains(secret.as_str()));
        assert!(
            !everything.contains(password),
            "the password of {name} is somewhere"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_becomes_larger_then_another_one_and_goes() {
    let mut yard = Yard::new().await;
    let machine = |size: &str, image: &str| json!({"deletionPolicy": "Delete", "virtualMachines": [{"name": "web", "size": size, "image": image}]});
    let small = project(&yard.rules, machine("Small", "Ubuntu2204"));
    let large = project(&yard.rules, machine("Large", "Ubuntu2204"));
    let newer = project(&yard.rules, machine("Large", "Ubuntu2404"));
    let made = yard.carried_out(&small).await;
    let first = made["virtual-machine/web"].outputs["instanceId"].clone();

    let (change, done) = yard.changed(&small, Some(&large)).await;
    assert_eq!(
        (change.action, parts(&change)),
        (
            Action::Update,
            vec![("Instance", Action::Update, vec!["InstanceType"])]
        )
    );
    let (_, outputs) = succeeded(done);
    assert_eq!(outputs["instanceId"], first);
    let machine = yard.machine(&first).await;
    assert_eq!(
        (&machine["InstanceType"], &machine["State"]["Name"]),
        (&json!("m6i.2xlarge"), &json!("running"))
    );

    let (change, done) = yard.changed(&large, Some(&newer)).await;
    assert_eq!(
        (change.action, parts(&change)),
        (
            Action::Replace,
            vec![("Instance", Action::Replace, vec!["ImageId"])]
        )
    );
    let (_, outputs) = succeeded(done);
    let second = outputs["instanceId"].clone();
    assert_ne!(first, second);
    assert_eq!(yard.machine(&first).await["State"]["Name"], "terminated");
    let machine = yard.machine(&second).await;
    assert_eq!(
        machine["ImageId"].as_str(),
        change.module.unwrap().resolved.get("ImageId").map(String::as_str)
    );

    let (change, done) = yard.changed(&newer, None).await;
    assert_eq!(change.action, Action::Delete);
    succeeded(done);
    assert_eq!(yard.machine(&second).await["State"]["Name"], "terminated");
    yard.nothing_is_left_of_machines().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_kept_stays_when_its_request_goes() {
    let mut yard = Yard::new().await;
    let machine = |image: &str| json!({"virtualMachines": [{"name": "web", "image": image}]});
    let old = project(&yard.rules, machine("Ubuntu2204"));
    let newer = project(&yard.rules, machine("Ubuntu2404"));
    let made = yard.carried_out(&old).await;
    let first = made["virtual-machine/web"].outputs["instanceId"].clone();
    // Signed off as a replacement: the old one does not go on running beside the new one.
    let (change, done) = yard.changed(&old, Some(&newer)).await;
    assert_eq!(change.action, Action::Replace);
    let (_, outputs) = succeeded(done);
    assert_eq!(yard.machine(&first).await["State"]["Name"], "terminated");

    let (change, done) = yard.changed(&newer, None).await;
    assert_eq!(
        parts(&change).into_iter().find(|part| part.0 == "Instance"),
        Some(("Instance", Action::Retain, vec![]))
    );
    succeeded(done);
    let second = yard.machine(&outputs["instanceId"]).await;
    assert_eq!(second["State"]["Name"], "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ec2_refuses_is_told_in_its_own_words_and_leaves_nothing() {
    let mut yard = Yard::new().await;
    let request = project(&yard.rules, json!({"virtualMachines": [{"name": "web"}]}));
    let mut question = yard.question(&request, &[]);
    let mut change = yard.planned(&mut question).await.remove(0);
    // What was signed off is not published any more.
    let image = "ami-00000000000000000";
    let resolved = &mut change.module.as_mut().unwrap().resolved;
    resolved.insert("ImageId".into(), image.into());
    let order = yard.order(&request, &question, &change);
    let done = yard.world.done(&order).await;
    let reason = failed(done, FailureClass::Refused);
    assert!(
        reason.starts_with("Instance (AWS::EC2::Instance): ")
            && reason.contains("InvalidAMIID.NotFound")
            && reason.contains(image),
        "{reason}"
    );
    assert_eq!(yard.world.stack(&yard.world.name(&order)).await, Value::Null);
    yard.nothing_is_left_of_machines().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_grows_and_leaves_a_snapshot_when_it_goes() {
    let mut yard = Yard::new().await;
    let database = |storage: &str| {
        json!({"deletionPolicy": "Snapshot", "databases": [{
            "name": "orders", "engine": "PostgreSQL", "version": "17.6", "storage": storage,
        }]})
    };
    let small = project(&yard.rules, database("32Gi"));
    let large = project(&yard.rules, database("64Gi"));
    let made = yard.carried_out(&small).await;
    let outputs = &made["database/orders"].outputs;
    let name = outputs["endpoint"].split('.').next().unwrap().to_owned();
    let (change, done) = yard.changed(&small, Some(&large)).await;
    assert_eq!(
        (change.action, parts(&change)),
        (
            Action::Update,
            vec![("Database", Action::Update, vec!["AllocatedStorage"])]
        )
    );
    let (_, after) = succeeded(done);
    assert_eq!(after, *outputs, "the same, and the same secret");
    assert_eq!(yard.database(&name).await["AllocatedStorage"], 64);

    let (change, done) = yard.changed(&large, None).await;
    assert_eq!(change.action, Action::Delete);
    succeeded(done);
    let seen = yard
        .world
        .cloud
        .asked(json!([
            ["rds", "describe_db_instances", {}],
            ["rds", "describe_db_snapshots", {}],
            ["secretsmanager", "list_secrets", {}],
        ]))
        .await;
    assert_eq!(seen[0]["DBInstances"], json!([]));
    assert_eq!(seen[1]["DBSnapshots"][0]["DBInstanceIdentifier"], name);
    assert_eq!(seen[2]["SecretList"], json!([]), "the password went with it");
}
