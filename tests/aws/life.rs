//! What is ordered is made, changed and destroyed, and nothing else.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_is_made_changed_and_destroyed() {
    let world = World::new().await;
    let mut create = world.order(
        1,
        Action::Create,
        "storage/receipts",
        &bucket("receipts", "Suspended", "Delete"),
    );
    create.protected = true;
    create.module.as_mut().unwrap().parameters = BTreeMap::new();
    let name = world.name(&create);

    let (id, outputs) = succeeded(world.done(&create).await);
    assert_eq!(json!(outputs), json!({ "bucket": "receipts", "stack": name }));
    let stack = world.stack(&name).await;
    assert_eq!(
        (&stack["StackId"], &stack["StackStatus"]),
        (&json!(id), &json!("CREATE_COMPLETE"))
    );
    assert_eq!(stack["EnableTerminationProtection"], true);
    let tags: BTreeMap<&str, &str> = stack["Tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| (tag["Key"].as_str().unwrap(), tag["Value"].as_str().unwrap()))
        .collect();
    let step = create.key.to_string();
    let run = create.key.run.to_string();
    let expected = [
        ("landfall:environment", "dev"),
        ("landfall:mark", create.mark.as_str()),
        ("landfall:module", "storage/1.0.0"),
        ("landfall:repository", "platform"),
        ("landfall:request", "Project/shop"),
        ("landfall:resource", "storage/receipts"),
        ("landfall:run", &run),
        ("landfall:step", &step),
        ("landfall:team", "web-team"),
    ];
    assert_eq!(tags, BTreeMap::from(expected));

    let order = world.order(
        2,
        Action::Update,
        "storage/receipts",
        &bucket("receipts", "Enabled", "Delete"),
    );
    let (same, _) = succeeded(world.done(&update(order, versioned())).await);
    assert_eq!(same, id);
    let seen = world
        .cloud
        .asked(json!([["s3", "get_bucket_versioning", {"Bucket": "receipts"}]]))
        .await;
    assert_eq!(seen[0]["Status"], "Enabled");
    let sets = json!([["cloudformation", "list_change_sets", {"StackName": name}]]);
    let sets = world.cloud.asked(sets).await[0]["Summaries"].to_string();
    assert!(!sets.contains("\"ExecutionStatus\":\"AVAILABLE\""), "{sets}");

    let delete = world.order(3, Action::Delete, "storage/receipts", &json!({}));
    let (gone, _) = succeeded(world.done(&delete).await);
    assert_eq!(gone, id);
    assert_eq!((world.left().await, world.buckets().await), (vec![], vec![]));
}

/// However seldom it is asked after, and however soon it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_happens_is_told_once_and_in_order() {
    let world = World::new().await;
    let mut template = bucket("receipts", "Suspended", "Delete");
    template["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic", "DependsOn": "Bucket" });
    let of_resources = || {
        let said = std::mem::take(&mut *world.said.lock().unwrap());
        let said = said.into_iter().filter(|line| line.contains("(AWS::"));
        said.collect::<Vec<String>>()
    };
    let create = world.order(1, Action::Create, "storage/receipts", &template);
    succeeded(world.done(&create).await);
    let (bucket, topic) = ("Bucket (AWS::S3::Bucket)", "Topic (AWS::SNS::Topic)");
    let expected = |steps: &[(&str, &str)]| -> Vec<String> {
        let line = |(verb, what): &(&str, &str)| format!("{verb} {what}");
        steps.iter().map(line).collect()
    };
    assert_eq!(
        of_resources(),
        expected(&[
            ("creating", bucket),
            ("created", bucket),
            ("creating", topic),
            ("created", topic)
        ])
    );
    let delete = world.order(2, Action::Delete, "storage/receipts", &json!({}));
    succeeded(world.done(&delete).await);
    assert_eq!(
        of_resources(),
        expected(&[
            ("deleting", topic),
            ("deleted", topic),
            ("deleting", bucket),
            ("deleted", bucket)
        ])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retained_stays_and_nothing_else() {
    let world = World::new().await;
    let mut template = bucket("kept", "Enabled", "Retain");
    template["Resources"]["Other"] =
        json!({ "Type": "AWS::S3::Bucket", "Properties": { "BucketName": "other" } });
    let create = world.order(1, Action::Create, "storage/kept", &template);
    succeeded(world.done(&create).await);
    assert_eq!(world.buckets().await, ["kept", "other"]);
    succeeded(
        world
            .done(&world.order(2, Action::Delete, "storage/kept", &json!({})))
            .await,
    );
    assert_eq!(
        (world.left().await, world.buckets().await),
        (vec![], vec!["kept".to_owned()])
    );
}

fn database(when_it_goes: &str) -> Value {
    json!({
        "Resources": {
            "Database": {
                "Type": "AWS::RDS::DBInstance",
                "DeletionPolicy": when_it_goes,
                "Properties": {
                    "DBInstanceIdentifier": "orders", "Engine": "postgres", "EngineVersion": "17.6",
                    "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": "20",
                    "MasterUsername": "appadmin", "MasterUserPassword": "a-password-of-a-test",
                },
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_goes_with_a_last_snapshot_where_one_was_signed() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "database/orders", &database("Snapshot"));
    succeeded(world.done(&create).await);
    let mut delete = world.order(2, Action::Delete, "database/orders", &json!({}));
    delete.final_snapshot = true;
    let (_, outputs) = succeeded(world.done(&delete).await);
    let seen = world
        .cloud
        .asked(json!([
            ["rds", "describe_db_instances", {}],
            ["rds", "describe_db_snapshots", {}]
        ]))
        .await;
    assert_eq!(seen[0]["DBInstances"], json!([]));
    let snapshot = &seen[1]["DBSnapshots"][0];
    assert_eq!(snapshot["DBInstanceIdentifier"], "orders");
    assert_eq!(
        json!(outputs),
        json!({ "snapshot": snapshot["DBSnapshotIdentifier"] })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_stays_when_its_template_would_leave_no_snapshot() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "database/orders", &database("Delete"));
    succeeded(world.done(&create).await);
    let mut delete = world.order(2, Action::Delete, "database/orders", &json!({}));
    delete.final_snapshot = true;
    let reason = failed(world.done(&delete).await, FailureClass::Refused);
    assert!(reason.contains("leaves none: nothing was deleted"), "{reason}");
    assert_eq!(
        world.stack(&world.name(&create)).await["StackStatus"],
        "CREATE_COMPLETE"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_order_twice_does_the_thing_once() {
    let world = World::new().await;
    let create = world.order(
        1,
        Action::Create,
        "storage/receipts",
        &bucket("receipts", "Suspended", "Delete"),
    );
    let name = world.name(&create);
    for _ in 0..2 {
        let (first, second) = (
            world.provider.start(&create).await,
            world.restarted().start(&create).await,
        );
        succeeded(world.ended(first).await);
        succeeded(world.ended(second).await);
    }
    assert_eq!(world.happened(&name, "Bucket", "CREATE_COMPLETE").await, 1);
    let order = world.order(
        2,
        Action::Update,
        "storage/receipts",
        &bucket("receipts", "Enabled", "Delete"),
    );
    let order = update(order, versioned());
    for _ in 0..2 {
        succeeded(world.done(&order).await);
    }
    assert_eq!(world.happened(&name, "Bucket", "UPDATE_COMPLETE").await, 1);
    let delete = world.order(3, Action::Delete, "storage/receipts", &json!({}));
    let (first, second) = (
        world.provider.destroy(&delete).await,
        world.restarted().destroy(&delete).await,
    );
    succeeded(world.ended(first).await);
    succeeded(world.ended(second).await);
    succeeded(world.done(&delete).await);
    assert_eq!(world.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_was_signed_is_not_done_and_leaves_nothing() {
    let world = World::new().await;
    let mut more = bucket("receipts", "Suspended", "Delete");
    more["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic" });
    let create = world.order(1, Action::Create, "storage/receipts", &more);
    let create = update(create, all_new(&bucket("receipts", "Suspended", "Delete")));
    let reason = failed(world.done(&create).await, FailureClass::Refused);
    assert!(
        reason.contains("more than was signed off: create Topic (AWS::SNS::Topic)"),
        "{reason}"
    );
    assert_eq!((world.left().await, world.buckets().await), (vec![], vec![]));

    let create = world.order(
        2,
        Action::Create,
        "storage/receipts",
        &bucket("receipts", "Suspended", "Delete"),
    );
    succeeded(world.done(&create).await);
    let order = world.order(
        3,
        Action::Update,
        "storage/receipts",
        &bucket("another", "Enabled", "Delete"),
    );
    let reason = failed(
        world.done(&update(order, versioned())).await,
        FailureClass::Refused,
    );
    assert!(
        reason.contains("replace Bucket (AWS::S3::Bucket: BucketName, "),
        "{reason}"
    );
    assert_eq!(world.buckets().await, ["receipts"]);
    let sets = json!([["cloudformation", "list_change_sets", {"StackName": world.name(&create)}]]);
    let sets = world.cloud.asked(sets).await[0]["Summaries"].to_string();
    assert!(!sets.contains("AVAILABLE\""), "{sets}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_was_not_signed_is_not_used() {
    let world = World::new().await;
    let mut create = world.order(
        1,
        Action::Create,
        "storage/receipts",
        &bucket("receipts", "Suspended", "Delete"),
    );
    create.planned.as_mut().unwrap().digest = Some(Digest::of(b"another"));
    let reason = failed(world.provider.start(&create).await, FailureClass::Refused);
    assert!(reason.contains("is not the one that was signed off"), "{reason}");
    create.module = None;
    failed(world.provider.start(&create).await, FailureClass::Internal);
    assert_eq!(world.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_changes_it_stays_as_it_is() {
    let world = World::new().await;
    let template = bucket("receipts", "Suspended", "Delete");
    let create = world.order(1, Action::Create, "storage/receipts", &template);
    succeeded(world.done(&create).await);
    let order = update(
        world.order(2, Action::Update, "storage/receipts", &template),
        vec![],
    );
    let (_, outputs) = succeeded(world.done(&order).await);
    assert_eq!(outputs["bucket"], "receipts");
    assert_eq!(
        world.stack(&world.name(&create)).await["StackStatus"],
        "UPDATE_COMPLETE"
    );
    assert_eq!(world.buckets().await, ["receipts"]);
}

/// What is looked up: the ids of the environment's network, from the stack that Landfall made for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_is_made_once_used_by_all_and_kept() {
    let world = World::new().await;
    let network = json!({
        "Resources": {
            "Vpc": { "Type": "AWS::EC2::VPC", "Properties": { "CidrBlock": "10.0.0.0/16" } },
            "Subnet": { "Type": "AWS::EC2::Subnet", "Properties": { "VpcId": { "Ref": "Vpc" }, "CidrBlock": "10.0.0.0/24" } },
        },
        "Outputs": { "vpcId": { "Value": { "Ref": "Vpc" } }, "privateSubnets": { "Value": { "Ref": "Subnet" } } },
    });
    let group = json!({
        "Parameters": { "VpcId": { "Type": "String" }, "SubnetIds": { "Type": "String" } },
        "Resources": { "Group": { "Type": "AWS::EC2::SecurityGroup", "Properties": {
            "GroupDescription": "test", "VpcId": { "Ref": "VpcId" },
        } } },
    });
    let with_parameters = |order: Order| {
        let mut module = order.module.clone().unwrap();
        module.parameters = BTreeMap::from([
            ("VpcId".into(), Parameter::Network),
            ("SubnetIds".into(), Parameter::PrivateSubnets),
        ]);
        signed(order, module, all_new(&group))
    };
    let uses = with_parameters(world.order(1, Action::Create, "storage/a", &group));
    let reason = failed(world.provider.start(&uses).await, FailureClass::Conflict);
    assert!(reason.contains("the network of dev is not there yet"), "{reason}");

    let make = world.order(2, Action::Create, "network/dev", &network);
    let mut by_another = world.order(3, Action::Create, "network/dev", &network);
    by_another.scope.request = "Project/web".parse().unwrap();
    let (id, outputs) = succeeded(world.done(&make).await);
    assert_eq!(succeeded(world.done(&by_another).await).0, id);
    assert_eq!(
        world
            .happened(&network_stack_name(&world.scope()), "Vpc", "CREATE_COMPLETE")
            .await,
        1
    );

    succeeded(world.done(&uses).await);
    let stack = world.stack(&world.name(&uses)).await;
    let given = stack["Parameters"].to_string();
    assert!(
        given.contains(&outputs["vpcId"]) && given.contains(&outputs["privateSubnets"]),
        "{given}"
    );

    let delete = world.order(4, Action::Delete, "network/dev", &json!({}));
    failed(world.done(&delete).await, FailureClass::Internal);
    let kept = world.stack(&network_stack_name(&world.scope())).await;
    assert_eq!(
        (&kept["StackStatus"], &kept["EnableTerminationProtection"]),
        (&json!("CREATE_COMPLETE"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_stacks_are_asked_after_in_pages() {
    let world = World::behind_trouble().await;
    let mut tokens = Vec::new();
    for number in 0..12 {
        let name = format!("many-{number}");
        let order = world.order(
            number,
            Action::Create,
            &format!("storage/{name}"),
            &bucket(&name, "Enabled", "Delete"),
        );
        let started = world.provider.start(&order).await;
        let token = waits(&started);
        // Executed, and asked after next.
        tokens.push(waits(&world.looked(&world.provider, &token).await));
    }
    let noted = json!([{ "service": "cloudformation", "operation": "DescribeStacks", "latency": 1 }]);
    world.trouble().order(noted).await;
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    let mut rounds = 0;
    while !tokens.is_empty() {
        assert!(SystemClock.now() < give_up);
        rounds += 1;
        let answers = world.provider.poll(&tokens).await.unwrap();
        assert_eq!(answers.len(), tokens.len());
        tokens = answers
            .into_iter()
            .filter_map(|(_, progress)| match progress {
                Progress::Waiting { token, .. } => Some(token),
                other => Some(succeeded(other)).and(None),
            })
            .collect();
    }
    assert_eq!(world.buckets().await.len(), 12);
    let calls = world.trouble().fired().await.len();
    assert!(calls <= 2 * rounds, "{calls} calls in {rounds} rounds");
}
