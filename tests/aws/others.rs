//! What others do, before and meanwhile: other requests, people at the console, and ourselves before a crash.

use super::*;

fn plain(name: &str) -> Value {
    bucket(name, "Suspended", "Delete")
}

impl World {
    /// Somebody makes a stack at the console.
    async fn by_hand(&self, name: &str, template: &Value, tags: Value) {
        let stack = json!({"StackName": name, "TemplateBody": template.to_string(), "Tags": tags});
        let answer = self
            .cloud
            .asked(json!([["cloudformation", "create_stack", stack]]))
            .await;
        assert!(answer[0]["StackId"].is_string(), "{answer:?}");
        self.until(name, "CREATE_COMPLETE").await;
    }

    /// Somebody changes a stack at the console.
    async fn changed_by_hand(&self, name: &str, template: &Value) {
        let stack = json!({"StackName": name, "TemplateBody": template.to_string()});
        let answer = self
            .cloud
            .asked(json!([["cloudformation", "update_stack", stack]]))
            .await;
        assert!(answer[0]["StackId"].is_string(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_of_somebody_else_is_neither_adopted_nor_changed_nor_destroyed() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    for (tags, whose) in [
        (json!([]), "was not made by Landfall"),
        (
            json!([
                {"Key": "landfall:repository", "Value": "another"}, {"Key": "landfall:environment", "Value": "dev"},
                {"Key": "landfall:request", "Value": "Project/shop"}, {"Key": "landfall:team", "Value": "web-team"},
                {"Key": "landfall:resource", "Value": "storage/receipts"},
            ]),
            "of repository another",
        ),
        (
            json!([
                {"Key": "landfall:repository", "Value": "platform"}, {"Key": "landfall:environment", "Value": "dev"},
                {"Key": "landfall:request", "Value": "Project/shop"}, {"Key": "landfall:team", "Value": "web-team"},
                {"Key": "landfall:resource", "Value": "storage/receipts"}, {"Key": "landfall:mark", "Value": "landfall-0123456789abcdef0123456789abcdef"},
            ]),
            "Landfall did not record making it",
        ),
    ] {
        world.by_hand(&name, &plain("theirs"), tags).await;
        for action in [Action::Create, Action::Update, Action::Delete] {
            let order = world.order(2, action, "storage/receipts", &plain("receipts"));
            let reason = failed(world.done(&order).await, FailureClass::Refused);
            assert!(reason.contains(whose), "{reason}");
        }
        assert_eq!(world.buckets().await, ["theirs"]);
        world
            .cloud
            .asked(json!([["cloudformation", "delete_stack", {"StackName": name}]]))
            .await;
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        while !world.left().await.is_empty() {
            assert!(SystemClock.now() < give_up);
        }
    }
    succeeded(world.done(&create).await);
}

/// Somebody deletes a stack that is recorded and makes their own under its name, with every tag of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_was_put_in_the_place_of_ours_is_neither_changed_nor_destroyed() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    let (id, _) = succeeded(world.done(&create).await);
    let tags = world.stack(&name).await["Tags"].clone();
    let delete = json!([["cloudformation", "delete_stack", {"StackName": name}]]);
    world.cloud.asked(delete).await;
    world.is_gone(&name).await;
    world.by_hand(&name, &plain("theirs"), tags).await;
    let recorded = |order: Order| Order {
        provenance: Provenance {
            recorded: [id.clone()].into(),
            ..Provenance::default()
        },
        ..order
    };
    let change = recorded(world.order(2, Action::Update, "storage/receipts", &plain("receipts")));
    let reason = failed(world.done(&change).await, FailureClass::Refused);
    assert!(reason.contains("Landfall did not record making it"), "{reason}");
    let destroy = recorded(world.order(3, Action::Delete, "storage/receipts", &json!({})));
    succeeded(world.done(&destroy).await);
    assert_eq!(world.buckets().await, ["theirs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_before_a_crash_is_gone_on_with() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    // Its change set was made, and nobody knows.
    waits(&world.provider.start(&create).await);
    let id = world.stack(&name).await["StackId"].clone();
    let again = world.restarted();
    let token = waits(&again.start(&create).await);
    assert_eq!(world.stack(&name).await["StackId"], id);
    // It was executed, and nobody knows.
    waits(&world.looked(&again, &token).await);
    let third = world.restarted();
    let (made, _) = succeeded(world.ended_by(&third, third.start(&create).await).await);
    assert_eq!(id, made);
    // The answer of the first is asked for late.
    succeeded(
        world
            .ended(Progress::Waiting {
                token,
                poll_at: world.time.now(),
                message: String::new(),
            })
            .await,
    );
    assert_eq!(world.happened(&name, "Bucket", "CREATE_COMPLETE").await, 1);

    // Another step finds it standing as it shall be; what would change it was not signed as a creation.
    let another = world.order(2, Action::Create, "storage/receipts", &plain("receipts"));
    let (found, _) = succeeded(world.done(&another).await);
    assert_eq!(id, found);
    let versioned = bucket("receipts", "Enabled", "Delete");
    let more = world.order(3, Action::Create, "storage/receipts", &versioned);
    let reason = failed(world.done(&more).await, FailureClass::Refused);
    assert!(reason.contains("more than was signed off"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_deleted_is_said_and_made_again_by_an_order_for_that() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    world
        .cloud
        .asked(json!([["cloudformation", "delete_stack", {"StackName": name}]]))
        .await;
    while !world.left().await.is_empty() {}
    let order = world.order(
        2,
        Action::Update,
        "storage/receipts",
        &bucket("receipts", "Enabled", "Delete"),
    );
    let reason = failed(
        world.done(&update(order, versioned())).await,
        FailureClass::Conflict,
    );
    assert!(reason.contains("is not there any more: plan again"), "{reason}");
    succeeded(
        world
            .done(&world.order(3, Action::Delete, "storage/receipts", &json!({})))
            .await,
    );
    let anew = world.order(4, Action::Recreate, "storage/receipts", &plain("receipts"));
    succeeded(world.done(&anew).await);

    // While it is being made.
    let slow = world.order(5, Action::Create, "storage/slow", &never_ready(plain("slow"), 60));
    let started = world.provider.start(&slow).await;
    let working = world.looked(&world.provider, &waits(&started)).await;
    world.until(&world.name(&slow), "CREATE_IN_PROGRESS").await;
    let gone = json!([["cloudformation", "delete_stack", {"StackName": world.name(&slow)}]]);
    world.cloud.asked(gone).await;
    let reason = failed(world.ended(working).await, FailureClass::Refused);
    assert!(reason.contains("deleted while it was worked on"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changed_is_not_overwritten_beyond_what_was_signed() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    let mut theirs = plain("receipts");
    theirs["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic" });
    world.changed_by_hand(&name, &theirs).await;
    world.until(&name, "UPDATE_COMPLETE").await;
    let order = world.order(
        2,
        Action::Update,
        "storage/receipts",
        &bucket("receipts", "Enabled", "Delete"),
    );
    let reason = failed(
        world.done(&update(order, versioned())).await,
        FailureClass::Refused,
    );
    assert!(reason.contains("delete Topic (AWS::SNS::Topic)"), "{reason}");
    assert_eq!(world.happened(&name, "Topic", "DELETE_COMPLETE").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_stack_is_left_alone_until_it_is_free() {
    let world = World::new().await;
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    world
        .changed_by_hand(&name, &never_ready(plain("receipts"), 8))
        .await;
    world.until(&name, "UPDATE_IN_PROGRESS").await;
    let order = world.order(
        2,
        Action::Update,
        "storage/receipts",
        &bucket("receipts", "Enabled", "Delete"),
    );
    let order = update(order, versioned());
    let reason = failed(world.provider.start(&order).await, FailureClass::Conflict);
    assert!(reason.contains("somebody is at work on it"), "{reason}");
    let delete = world.order(3, Action::Delete, "storage/receipts", &json!({}));
    failed(world.provider.destroy(&delete).await, FailureClass::Conflict);
    world.until(&name, "UPDATE_ROLLBACK_COMPLETE").await;
    succeeded(world.done(&order).await);
    assert_eq!(world.stack(&name).await["StackStatus"], "UPDATE_COMPLETE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_safely_be_stopped_is_stopped() {
    let world = World::new().await;
    // Before anything was done.
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let started = world.provider.start(&create).await;
    world.provider.cancel(&waits(&started)).await.unwrap();
    world.provider.cancel(&waits(&started)).await.unwrap();
    let reason = failed(world.ended(started).await, FailureClass::Conflict);
    assert!(reason.contains("was removed before it was executed"), "{reason}");
    assert_eq!(world.left().await, Vec::<String>::new());

    // While it is being made.
    let slow = world.order(2, Action::Create, "storage/slow", &never_ready(plain("slow"), 60));
    let started = world.provider.start(&slow).await;
    let working = world.looked(&world.provider, &waits(&started)).await;
    world.until(&world.name(&slow), "CREATE_IN_PROGRESS").await;
    world.provider.cancel(&waits(&working)).await.unwrap();
    failed(world.ended(working).await, FailureClass::Refused);
    assert_eq!((world.left().await, world.buckets().await), (vec![], vec![]));

    // While it is being changed: it is as it was.
    let create = world.order(3, Action::Create, "storage/receipts", &plain("receipts"));
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    let slow = world.order(
        4,
        Action::Update,
        "storage/receipts",
        &never_ready(plain("receipts"), 5),
    );
    let parts = all_new(&json!({ "Resources": {
        "Handle": { "Type": "AWS::CloudFormation::WaitConditionHandle" },
        "Ready": { "Type": "AWS::CloudFormation::WaitCondition" },
    } }));
    let started = world.provider.start(&update(slow, parts)).await;
    let working = world.looked(&world.provider, &waits(&started)).await;
    world.until(&name, "UPDATE_IN_PROGRESS").await;
    world.provider.cancel(&waits(&working)).await.unwrap();
    assert!(matches!(world.ended(working).await, Progress::Failed(_)));
    assert_eq!(
        world.stack(&name).await["StackStatus"],
        "UPDATE_ROLLBACK_COMPLETE"
    );

    // What would leave something behind is not stopped.
    let kept = world.order(
        5,
        Action::Create,
        "storage/kept",
        &never_ready(bucket("kept", "Enabled", "Retain"), 30),
    );
    let started = world.provider.start(&kept).await;
    let working = world.looked(&world.provider, &waits(&started)).await;
    world.until(&world.name(&kept), "CREATE_IN_PROGRESS").await;
    world.provider.cancel(&waits(&working)).await.unwrap();
    assert_eq!(
        world.stack(&world.name(&kept)).await["StackStatus"],
        "CREATE_IN_PROGRESS"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_of_another_account_is_never_used() {
    let mut world = World::new().await;
    world.environment.account = Some("210987654321".into());
    let create = world.order(1, Action::Create, "storage/receipts", &plain("receipts"));
    let reason = failed(world.provider.start(&create).await, FailureClass::Refused);
    assert!(
        reason.contains("is in account 210987654321, but its role"),
        "{reason}"
    );
    assert_eq!(world.left().await, Vec::<String>::new());
    world.environment.aws = None;
    let create = world.order(2, Action::Create, "storage/receipts", &plain("receipts"));
    let reason = failed(world.provider.start(&create).await, FailureClass::Refused);
    assert!(reason.contains("is not complete"), "{reason}");
}
