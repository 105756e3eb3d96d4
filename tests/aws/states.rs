//! Where a stack can get stuck, and how AWS answers when there is much to say or it takes its time.

use super::planning::{known, parts, planned, question, storage, wanted};
use super::*;

/// A bucket and a registry for images, and then something that never gets ready.
fn stuck_after(name: &str) -> Value {
    let mut template = never_ready(bucket(name, "Suspended", "Delete"), 20);
    template["Resources"]["Images"] = json!({
        "Type": "AWS::ECR::Repository", "Properties": { "RepositoryName": name },
    });
    template["Resources"]["Ready"]["DependsOn"] = json!(["Bucket", "Images"]);
    template
}

impl World {
    async fn with_a_stand_in() -> Self {
        Self::of(Arc::new(Peer::stand_in().await))
    }

    /// Somebody puts an image into a registry as soon as it is there: AWS does not delete it then.
    async fn has_an_image(&self, registry: &str) {
        let image = json!({"repositoryName": registry, "imageManifest": "{}", "imageTag": "one"});
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        loop {
            let put = self.cloud.asked(json!([["ecr", "put_image", image]])).await;
            if put[0]["image"].is_object() {
                return;
            }
            assert!(SystemClock.now() < give_up, "{put:?}");
        }
    }

    async fn has_no_image(&self, registry: &str) {
        let emptied = json!({"repositoryName": registry, "imageIds": [{"imageTag": "one"}]});
        let answer = self
            .cloud
            .asked(json!([["ecr", "batch_delete_image", emptied]]))
            .await;
        assert_eq!(answer[0]["failures"], json!([]), "{answer:?}");
    }

    /// A change of a bucket that is begun, and that can neither be finished nor taken back.
    async fn stuck_change(&self) -> (Order, Progress) {
        let create = self.order(
            1,
            Action::Create,
            "storage/receipts",
            &bucket("receipts", "Suspended", "Delete"),
        );
        succeeded(self.done(&create).await);
        let template = never_ready(bucket("receipts", "Enabled", "Delete"), 20);
        let mut parts = all_new(&template);
        parts.retain(|part| part.name != "Bucket");
        parts.extend(versioned());
        let order = self.order(2, Action::Update, "storage/receipts", &template);
        let order = update(order, parts);
        let started = self.provider.start(&order).await;
        let working = self.looked(&self.provider, &waits(&started)).await;
        waits(&working);
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        while self
            .happened(&self.name(&order), "Bucket", "UPDATE_COMPLETE")
            .await
            == 0
        {
            assert!(SystemClock.now() < give_up);
        }
        let held = json!({"Bucket": "receipts", "Tagging": {"TagSet": [{"Key": "held", "Value": "yes"}]}});
        self.cloud
            .asked(json!([["s3", "put_bucket_tagging", held]]))
            .await;
        (order, working)
    }

    async fn is_not_held(&self) {
        self.cloud
            .asked(json!([["s3", "delete_bucket_tagging", {"Bucket": "receipts"}]]))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_removed_after_a_failed_creation_is_named_with_the_failure() {
    let world = World::with_a_stand_in().await;
    let create = world.order(1, Action::Create, "storage/receipts", &stuck_after("receipts"));
    let name = world.name(&create);
    let started = world.provider.start(&create).await;
    let working = world.looked(&world.provider, &waits(&started)).await;
    world.has_an_image("receipts").await;
    let reason = failed(world.ended(working).await, FailureClass::Refused);
    assert!(
        reason.starts_with("Ready (AWS::CloudFormation::WaitCondition): WaitCondition timed out"),
        "{reason}"
    );
    assert!(
        reason.contains("and what was made could not be removed: Images (AWS::ECR::Repository): "),
        "{reason}"
    );
    assert_eq!(world.happened(&name, &name, "ROLLBACK_FAILED").await, 1);
    assert_eq!(world.stack(&name).await["StackStatus"], "DELETE_FAILED");

    // Another attempt says what is in the way, and touches nothing.
    let plain = bucket("receipts", "Suspended", "Delete");
    let again = world.order(2, Action::Create, "storage/receipts", &plain);
    let reason = failed(world.done(&again).await, FailureClass::Refused);
    assert!(
        reason.contains("is DELETE_FAILED: Images (AWS::ECR::Repository): ")
            && reason.contains("delete it, or"),
        "{reason}"
    );
    // Somebody sees to it.
    world.has_no_image("receipts").await;
    let gone = json!([["cloudformation", "delete_stack", {"StackName": name}]]);
    world.cloud.asked(gone).await;
    world.is_gone(&name).await;
    succeeded(world.done(&again).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_can_be_taken_back_at_the_second_try_is_taken_back() {
    let world = World::with_a_stand_in().await;
    let (order, working) = world.stuck_change().await;
    let name = world.name(&order);
    world.until(&name, "UPDATE_ROLLBACK_FAILED").await;

    // A process that finds it so begins the order anew: what was begun before is taken back first.
    world.is_not_held().await;
    let reason = failed(world.done(&order).await, FailureClass::Conflict);
    assert!(
        reason.contains("an earlier change that failed was taken back"),
        "{reason}"
    );
    assert_eq!(
        world.stack(&name).await["StackStatus"],
        "UPDATE_ROLLBACK_COMPLETE"
    );
    // And who asks by the old token is told why it failed.
    let reason = failed(world.ended(working).await, FailureClass::Refused);
    assert!(
        reason.starts_with("Ready (AWS::CloudFormation::WaitCondition): "),
        "{reason}"
    );
    let enabled = bucket("receipts", "Enabled", "Delete");
    let again = world.order(3, Action::Update, "storage/receipts", &enabled);
    succeeded(world.done(&update(again, versioned())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_taken_back_says_what_is_in_the_way() {
    let world = World::with_a_stand_in().await;
    let (order, working) = world.stuck_change().await;
    let name = world.name(&order);
    let reason = failed(world.ended(working).await, FailureClass::Refused);
    for words in [
        "Ready (AWS::CloudFormation::WaitCondition): WaitCondition timed out",
        "it could not be taken back: Bucket (AWS::S3::Bucket): The bucket is held",
        "is UPDATE_ROLLBACK_FAILED and needs somebody",
        "then continue its roll-back in the console of CloudFormation, and `/landfall retry`",
    ] {
        assert!(reason.contains(words), "{reason}");
    }
    // It was tried once more before somebody was called.
    assert_eq!(world.happened(&name, &name, "UPDATE_ROLLBACK_FAILED").await, 2);

    // No plan is made of it until somebody did.
    let ask = || {
        let ask = wanted(
            question(&world),
            &world,
            "storage/receipts",
            &storage("receipts", true),
        );
        known(ask, "storage/receipts", ResourceKind::Storage)
    };
    let failure = super::planning::refused(&world, ask()).await;
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(
        failure.reason.contains("has to continue its roll-back") && failure.reason.contains("[Bucket]"),
        "{}",
        failure.reason
    );
    world.is_not_held().await;
    let on = json!([["cloudformation", "continue_update_rollback", {"StackName": name}]]);
    world.cloud.asked(on).await;
    world.until(&name, "UPDATE_ROLLBACK_COMPLETE").await;
    let plan = planned(&world, ask()).await;
    assert_eq!(plan.changes[0].action, Action::Update);
    let enabled = bucket("receipts", "Enabled", "Delete");
    let order = world.order(3, Action::Update, "storage/receipts", &enabled);
    succeeded(world.done(&update(order, versioned())).await);
}

/// What AWS finds before it begins stands in no event of a resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_told_in_the_words_of_aws() {
    let world = World::new().await;
    let place = json!({ "LocationConstraint": REGION });
    let taken = json!({ "Bucket": "receipts", "CreateBucketConfiguration": place });
    world.cloud.asked(json!([["s3", "create_bucket", taken]])).await;
    let template = bucket("receipts", "Suspended", "Delete");
    let create = world.order(1, Action::Create, "storage/receipts", &template);
    let reason = failed(world.done(&create).await, FailureClass::Refused);
    assert!(
        reason.starts_with("Bucket (AWS::S3::Bucket): ") && reason.contains("already exists"),
        "{reason}"
    );
    assert_eq!(world.left().await, Vec::<String>::new());
    assert_eq!(world.buckets().await, ["receipts"]);
}

/// A page holds one entry, and a change set is not ready for a while: all is as it would be otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_pages_and_slow_change_sets_change_nothing() {
    let settings = [("PAGE_SIZE", "1"), ("CHANGE_SETS_TAKE", "3")];
    let cloud = Arc::new(Peer::stand_in_with(&settings).await);
    let world = World::in_account(&cloud, ACCOUNT).await;
    let mut template = storage("receipts", false);
    template["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic" });
    let create = world.order(1, Action::Create, "storage/receipts", &template);
    let name = world.name(&create);
    succeeded(world.done(&create).await);
    let wait = "CloudFormation is working out what this changes";
    let said = world.said.lock().unwrap().clone();
    assert_eq!(said.iter().filter(|said| *said == wait).count(), 4, "{said:?}");

    // More than was signed stands on a page of its own.
    let mut more = storage("other", false);
    more["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic" });
    let order = world.order(2, Action::Create, "storage/other", &more);
    let order = update(order, all_new(&storage("other", false)));
    let reason = failed(world.done(&order).await, FailureClass::Refused);
    assert!(reason.contains("create Topic"), "{reason}");

    // A plan waits, and reads all pages.
    let mut changed = storage("receipts", true);
    changed["Resources"]["Queue"] = json!({ "Type": "AWS::SQS::Queue" });
    let ask = wanted(question(&world), &world, "storage/receipts", &changed);
    let ask = known(ask, "storage/receipts", ResourceKind::Storage);
    let plan = planned(&world, ask).await;
    let said: Vec<(&str, Action)> = parts(&plan.changes[0])
        .into_iter()
        .map(|(name, action, _)| (name, action))
        .collect();
    assert_eq!(
        said,
        [
            ("Bucket", Action::Update),
            ("Queue", Action::Create),
            ("Topic", Action::Delete)
        ]
    );
    let gone = known(question(&world), "storage/receipts", ResourceKind::Storage);
    assert_eq!(parts(&planned(&world, gone).await.changes[0]).len(), 2);

    // Events are read back to where the operation began: the first that failed is to blame.
    let fails = never_ready(bucket("fails", "Suspended", "Delete"), 1);
    let create = world.order(3, Action::Create, "storage/fails", &fails);
    let reason = failed(world.done(&create).await, FailureClass::Refused);
    assert!(
        reason.starts_with("Ready (AWS::CloudFormation::WaitCondition): "),
        "{reason}"
    );

    // More jobs than are looked up one by one: stacks are listed, a page each.
    let mut tokens = Vec::new();
    for number in 10..17 {
        let bucket = bucket(&format!("many-{number}"), "Suspended", "Delete");
        let order = world.order(number, Action::Create, &format!("storage/many-{number}"), &bucket);
        tokens.push(waits(&world.provider.start(&order).await));
    }
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    while !tokens.is_empty() {
        assert!(SystemClock.now() < give_up);
        let answers = world.provider.poll(&tokens).await.unwrap();
        tokens = answers
            .into_iter()
            .filter_map(|(_, progress)| match progress {
                Progress::Waiting { token, .. } => Some(token),
                other => Some(succeeded(other)).and(None),
            })
            .collect();
    }
    let delete = world.order(20, Action::Delete, "storage/receipts", &json!({}));
    succeeded(world.done(&delete).await);
    assert!(world.stack(&name).await.is_null());
    assert_eq!(world.buckets().await.len(), 7);
}
