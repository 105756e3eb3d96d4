//! What goes wrong: in the cloud, and on the way to it.

use super::*;

fn plain(name: &str) -> Value {
    bucket(name, "Suspended", "Delete")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_fails_is_cleaned_up_and_says_why() {
    let world = World::new().await;
    // Kept when its stack is deleted, but not when it was never finished.
    let template = never_ready(bucket("receipts", "Enabled", "Retain"), 1);
    let create = world.order(1, Action::Create, "storage/receipts", &template);
    let reason = failed(world.done(&create).await, FailureClass::Refused);
    assert!(
        reason.starts_with("Ready (AWS::CloudFormation::WaitCondition): WaitCondition timed out"),
        "{reason}"
    );
    assert_eq!((world.left().await, world.buckets().await), (vec![], vec![]));
    let said = world.said.lock().unwrap().clone();
    assert!(
        said.iter()
            .any(|said| said == "creating Ready (AWS::CloudFormation::WaitCondition)"),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|said| said.contains("what was made is being removed")),
        "{said:?}"
    );
    // Tried again.
    let again = world.order(
        2,
        Action::Create,
        "storage/receipts",
        &bucket("receipts", "Enabled", "Retain"),
    );
    succeeded(world.done(&again).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_fails_is_kept_where_the_environment_says_so_and_made_anew_when_asked() {
    let mut world = World::new().await;
    world.environment.aws.as_mut().unwrap().keep_failed = true;
    let create = world.order(
        1,
        Action::Create,
        "storage/receipts",
        &never_ready(plain("receipts"), 1),
    );
    let name = world.name(&create);
    let reason = failed(world.done(&create).await, FailureClass::Refused);
    assert!(
        reason.contains(&format!("what was made is kept in stack {name}")),
        "{reason}"
    );
    assert_eq!(world.stack(&name).await["StackStatus"], "CREATE_FAILED");
    assert_eq!(world.buckets().await, ["receipts"]);

    let again = world.order(2, Action::Create, "storage/receipts", &plain("receipts"));
    let reason = failed(world.done(&again).await, FailureClass::Conflict);
    assert!(
        reason.contains("what was left of an earlier attempt was removed"),
        "{reason}"
    );
    assert_eq!(world.buckets().await, Vec::<String>::new());
    succeeded(world.done(&again).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_rolled_back_is_removed_and_made_anew() {
    let world = World::new().await;
    let create = world.order(
        1,
        Action::Create,
        "storage/receipts",
        &never_ready(plain("receipts"), 1),
    );
    let name = world.name(&create);
    let started = world.provider.start(&create).await;
    waits(&world.looked(&world.provider, &waits(&started)).await);
    world.until(&name, "ROLLBACK_COMPLETE").await;
    let again = world.order(2, Action::Create, "storage/receipts", &plain("receipts"));
    failed(world.done(&again).await, FailureClass::Conflict);
    succeeded(world.done(&again).await);
    assert_eq!(world.stack(&name).await["StackStatus"], "CREATE_COMPLETE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_fails_is_taken_back_and_says_why() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    let order = world.order(
        2,
        Action::Update,
        "storage/receipts",
        &never_ready(bucket("receipts", "Enabled", "Delete"), 1),
    );
    let mut parts = versioned();
    parts.push(part(
        "Handle",
        "AWS::CloudFormation::WaitConditionHandle",
        Action::Create,
        &[],
    ));
    parts.push(part(
        "Ready",
        "AWS::CloudFormation::WaitCondition",
        Action::Create,
        &[],
    ));
    let order = update(order, parts);
    // The same order again after it failed: another attempt of the same step.
    for _ in 0..2 {
        let reason = failed(world.done(&order).await, FailureClass::Refused);
        assert!(
            reason.starts_with("Ready (AWS::CloudFormation::WaitCondition): "),
            "{reason}"
        );
        assert_eq!(
            world.stack(&name).await["StackStatus"],
            "UPDATE_ROLLBACK_COMPLETE"
        );
    }
    assert_eq!(world.happened(&name, "Ready", "UPDATE_FAILED").await, 2);
}

/// A registry for images, since ministack deletes buckets with all that is in them, which AWS refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_something_is_not_emptied() {
    let world = World::new().await;
    let template = json!({ "Resources": { "Images": {
        "Type": "AWS::ECR::Repository", "Properties": { "RepositoryName": "images" },
    } } });
    let create = world.order(1, Action::Create, "storage/images", &template);
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    let image = json!({"repositoryName": "images", "imageManifest": "{}", "imageTag": "one"});
    world.cloud.asked(json!([["ecr", "put_image", image]])).await;
    let delete = world.order(2, Action::Delete, "storage/images", &json!({}));
    for _ in 0..2 {
        let reason = failed(world.done(&delete).await, FailureClass::Refused);
        assert!(reason.starts_with("Images (AWS::ECR::Repository): "), "{reason}");
        assert_eq!(world.stack(&name).await["StackStatus"], "DELETE_FAILED");
    }
    let images = json!([["ecr", "list_images", {"repositoryName": "images"}]]);
    assert_eq!(
        world.cloud.asked(images).await[0]["imageIds"][0]["imageTag"],
        "one"
    );
    let emptied = json!({"repositoryName": "images", "imageIds": [{"imageTag": "one"}]});
    world
        .cloud
        .asked(json!([["ecr", "batch_delete_image", emptied]]))
        .await;
    succeeded(world.done(&delete).await);
    assert_eq!(world.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_end_half_way_are_fetched_anew() {
    let world = World::behind_trouble().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let noted = json!({ "service": "sts", "operation": "AssumeRole", "latency": 1 });
    world.trouble().order(json!([noted])).await;
    let taken_on = async || {
        let fired = world.trouble().fired().await;
        fired
            .iter()
            .filter(|operation| *operation == "AssumeRole")
            .count()
    };
    let started = world.provider.start(&create).await;
    assert_eq!(taken_on().await, 1);
    // By AWS's word.
    let expired = json!({
        "service": "cloudformation", "operation": "DescribeStacks", "times": 1,
        "error": { "code": "ExpiredToken", "status": 403 },
    });
    world.trouble().order(json!([noted, expired])).await;
    let working = world.looked(&world.provider, &waits(&started)).await;
    assert_eq!(waits(&working), waits(&started));
    succeeded(world.ended(working).await);
    assert_eq!(taken_on().await, 2);

    // By our own clock.
    world.time.passes(Duration::from_secs(56 * 60));
    let delete = world.order(2, Action::Delete, "storage/receipts", &json!({}));
    let started = world.provider.destroy(&delete).await;
    assert_eq!(taken_on().await, 3);
    succeeded(world.ended(started).await);
}

/// The calls of making and destroying; that none is forgotten, `each_call` sees to.
const OPERATIONS: [(&str, &str); 8] = [
    ("sts", "AssumeRole"),
    ("sts", "GetCallerIdentity"),
    ("cloudformation", "DescribeStacks"),
    ("cloudformation", "CreateChangeSet"),
    ("cloudformation", "DescribeChangeSet"),
    ("cloudformation", "ExecuteChangeSet"),
    ("cloudformation", "UpdateTerminationProtection"),
    ("cloudformation", "DeleteStack"),
];

/// A worker that gives an order until it is carried out, as a run does: again after each failure that may pass.
async fn persistently(world: &World, order: &Order) -> (Progress, Vec<Failure>) {
    let mut failures = Vec::new();
    for _ in 0..10 {
        match world.done(order).await {
            Progress::Failed(failure) if failure.class.may_pass() => failures.push(failure),
            end => return (end, failures),
        }
    }
    panic!("it never ends: {failures:?}");
}

/// Makes and destroys a storage under that trouble at each call in turn.
async fn each_call_in_turn(trouble: Value, operations: &[(&str, &str)]) {
    let mut world = World::behind_trouble().await;
    for (number, (service, operation)) in (0_u64..).zip(operations) {
        let bucket = format!("bucket-{number}");
        let name = format!("storage/{bucket}");
        let mut create = world.order(number * 2, Action::Create, &name, &plain(&bucket));
        create.protected = true;
        let delete = world.order(number * 2 + 1, Action::Delete, &name, &json!({}));
        let before = world.trouble().fired().await.len();
        let mut rule = trouble.clone();
        rule["service"] = json!(service);
        rule["operation"] = json!(operation);
        // Roles are taken on anew by a process that knows nothing yet.
        world.provider = world.restarted();
        world.trouble().order(json!([rule.clone()])).await;
        let (end, _) = persistently(&world, &create).await;
        let (id, _) = succeeded(end);
        let named = json!({ "StackName": id });
        let seen = json!([
            ["cloudformation", "describe_stacks", named],
            ["cloudformation", "describe_stack_events", named]
        ]);
        let seen = world.cloud.asked(seen).await;
        let stack = &seen[0]["Stacks"][0];
        assert_eq!(
            (&stack["StackStatus"], &stack["EnableTerminationProtection"]),
            (&json!("CREATE_COMPLETE"), &json!(true))
        );
        let made = |event: &&Value| {
            event["LogicalResourceId"] == "Bucket" && event["ResourceStatus"] == "CREATE_COMPLETE"
        };
        let events = seen[1]["StackEvents"].as_array().unwrap().iter();
        assert_eq!(events.filter(made).count(), 1, "{operation}");
        world.provider = world.restarted();
        world.trouble().order(json!([rule])).await;
        succeeded(persistently(&world, &delete).await.0);
        assert!(
            world.trouble().fired().await.len() > before,
            "{operation} was never called"
        );
        let left = json!([
            ["cloudformation", "describe_stacks", {}],
            ["s3", "list_buckets", {}]
        ]);
        let left = world.cloud.asked(left).await;
        assert_eq!(
            (&left[0]["Stacks"], &left[1]["Buckets"]),
            (&json!([]), &json!([])),
            "{operation}"
        );
    }
}

/// More often than the SDK tries again by itself. It slows down for a while after each: `each_call` takes them all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_call_is_made_again() {
    let trouble = json!({ "times": 3, "error": { "code": "Throttling", "status": 400 } });
    each_call_in_turn(trouble, &[("cloudformation", "CreateChangeSet")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_broken_off_in_turn() {
    each_call_in_turn(json!({ "times": 3, "reset": true }), &OPERATIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_is_lost_in_turn() {
    each_call_in_turn(
        json!({ "times": 1, "response": { "truncate_bytes": 20 } }),
        &OPERATIONS,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_takes_its_time_in_turn() {
    each_call_in_turn(json!({ "times": 2, "latency": 300 }), &OPERATIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_lacking_is_said_at_once() {
    let world = World::behind_trouble().await;
    let denied = json!([{
        "service": "cloudformation", "operation": "CreateChangeSet",
        "error": { "code": "AccessDenied", "status": 403 },
    }]);
    world.trouble().order(denied).await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let reason = failed(world.provider.start(&create).await, FailureClass::Refused);
    assert!(reason.contains("(AccessDenied)"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_cannot_be_reached_is_asked_again_and_nothing_is_lost() {
    let world = World::behind_trouble().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let started = world.provider.start(&create).await;
    let token = waits(&started);
    world
        .trouble()
        .order(json!([{ "service": "cloudformation", "reset": true }]))
        .await;
    let progress = world.looked(&world.provider, &token).await;
    assert_eq!(waits(&progress), token);
    let Progress::Waiting { message, .. } = &progress else {
        unreachable!()
    };
    assert!(message.contains("looking at"), "{message}");
    world.trouble().order(json!([])).await;
    succeeded(world.ended(progress).await);
}
