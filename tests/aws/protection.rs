//! What is not to be deleted is protected in AWS itself, once it stands and not before, until an order that was signed off
//! destroys it.

use landfall::domain::plan::{PlannedValue, PropertyChange};
use landfall::provider::Question;

use super::*;

/// A database that takes its protection from its parameter.
fn database(name: &str, when_it_goes: &str) -> Value {
    json!({
        "Parameters": { "DeletionProtection": { "Type": "String" } },
        "Resources": {
            "Database": {
                "Type": "AWS::RDS::DBInstance",
                "DeletionPolicy": when_it_goes,
                "Metadata": { "Landfall": { "DeletionPolicy": when_it_goes } },
                "Properties": {
                    "DBInstanceIdentifier": name, "Engine": "postgres", "EngineVersion": "17.6",
                    "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": "20",
                    "MasterUsername": "appadmin", "MasterUserPassword": "a-password-of-a-test",
                    "DeletionProtection": { "Ref": "DeletionProtection" },
                },
            },
        },
    })
}

fn guarded(world: &World, run: u64, action: Action, template: &Value, parts: Vec<Part>) -> Order {
    let order = world.order(run, action, "database/orders", template);
    let mut module = order.module.clone().unwrap();
    module.parameters = BTreeMap::from([("DeletionProtection".into(), Parameter::Protection)]);
    Order {
        protected: true,
        ..signed(order, module, parts)
    }
}

fn changed(action: Action, properties: &[&str]) -> Vec<Part> {
    vec![part("Database", "AWS::RDS::DBInstance", action, properties)]
}

/// A database that stands and is protected.
async fn protected(world: &World, when_it_goes: &str) -> Order {
    let template = database("orders", when_it_goes);
    let create = guarded(world, 1, Action::Create, &template, all_new(&template));
    succeeded(world.done(&create).await);
    create
}

impl World {
    /// Whether the stack is protected, and the databases are: name → protected.
    async fn protection(&self, order: &Order) -> (bool, BTreeMap<String, bool>) {
        let stack = self.stack(&self.name(order)).await;
        let seen = self.cloud.asked(json!([["rds", "describe_db_instances", {}]]));
        let databases = seen.await[0]["DBInstances"].as_array().unwrap().clone();
        let of = |one: &Value| {
            let name = one["DBInstanceIdentifier"].as_str().unwrap().to_owned();
            (name, one["DeletionProtection"] == true)
        };
        (
            stack["EnableTerminationProtection"] == true,
            databases.iter().map(of).collect(),
        )
    }
}

fn databases<const N: usize>(all: [(&str, bool); N]) -> BTreeMap<String, bool> {
    all.map(|(name, protected)| (name.to_owned(), protected)).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_is_protected_and_follows_the_deletion_policy() {
    let world = World::new().await;
    let create = protected(&world, "RetainExceptOnCreate").await;
    assert_eq!(
        world.protection(&create).await,
        (true, databases([("orders", true)]))
    );
    let made = world
        .happened(&world.name(&create), "Database", "CREATE_COMPLETE")
        .await;
    assert_eq!(made, 1);
    // Once more, by a process that knows nothing of it.
    succeeded(
        world
            .ended_by(&world.restarted(), world.restarted().start(&create).await)
            .await,
    );

    let parts = changed(Action::Update, &["DeletionPolicy", "Metadata"]);
    let mut update = guarded(
        &world,
        2,
        Action::Update,
        &database("orders", "Delete"),
        parts.clone(),
    );
    update.protected = false;
    succeeded(world.done(&update).await);
    assert_eq!(
        world.protection(&create).await,
        (false, databases([("orders", false)]))
    );

    let back = guarded(&world, 3, Action::Update, &database("orders", "Snapshot"), parts);
    succeeded(world.done(&back).await);
    assert_eq!(
        world.protection(&create).await,
        (true, databases([("orders", true)]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_protected_while_it_is_made_and_what_fails_goes() {
    let world = World::new().await;
    let mut template = database("orders", "RetainExceptOnCreate");
    template["Resources"]["Handle"] = json!({ "Type": "AWS::CloudFormation::WaitConditionHandle" });
    template["Resources"]["Ready"] = json!({
        "Type": "AWS::CloudFormation::WaitCondition",
        "DependsOn": "Database",
        "Properties": { "Handle": { "Ref": "Handle" }, "Timeout": "2", "Count": 1 },
    });
    let create = guarded(&world, 1, Action::Create, &template, all_new(&template));
    let started = waits(&world.provider.start(&create).await);
    waits(&world.looked(&world.provider, &started).await);
    world.until(&world.name(&create), "CREATE_IN_PROGRESS").await;
    let given = world.stack(&world.name(&create)).await["Parameters"].to_string();
    assert!(given.contains("\"false\""), "{given}");
    let reason = failed(world.done(&create).await, FailureClass::Refused);
    assert!(reason.contains("WaitCondition timed out"), "{reason}");
    assert_eq!(world.left().await, Vec::<String>::new());
    assert_eq!(world.protection(&create).await.1, databases([]));
}

/// A deletion would leave behind what is to be retained, and the next attempt would find its name taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_of_a_failed_creation_goes_before_it_is_made_anew_though_it_is_to_be_retained() {
    let mut world = World::new().await;
    world.environment.aws.as_mut().unwrap().keep_failed = true;
    let template = bucket("receipts", "Enabled", "RetainExceptOnCreate");
    let create = world.order(
        1,
        Action::Create,
        "storage/receipts",
        &never_ready(template.clone(), 1),
    );
    failed(world.done(&create).await, FailureClass::Refused);
    assert_eq!(world.buckets().await, ["receipts"]);

    let again = world.order(2, Action::Create, "storage/receipts", &template);
    failed(world.done(&again).await, FailureClass::Conflict);
    assert_eq!((world.left().await, world.buckets().await), (vec![], vec![]));
    succeeded(world.done(&again).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_cleared_up_is_left_to_a_person_and_not_forgotten() {
    let world = World::new().await;
    let mut template = json!({ "Resources": { "Bucket": {
        "Type": "AWS::ECR::Repository",
        "DeletionPolicy": "RetainExceptOnCreate",
        "Properties": { "RepositoryName": "images" },
    } } });
    template = never_ready(template, 3);
    let create = world.order(1, Action::Create, "storage/images", &template);
    let started = waits(&world.provider.start(&create).await);
    let progress = world.looked(&world.provider, &started).await;
    let name = world.name(&create);
    world.until(&name, "CREATE_IN_PROGRESS").await;
    let image = json!({"repositoryName": "images", "imageManifest": "{}", "imageTag": "one"});
    let put = json!([["ecr", "put_image", image]]);
    while world.cloud.asked(put.clone()).await[0]["image"].is_null() {}
    for progress in [world.ended(progress).await, world.done(&create).await] {
        let reason = failed(progress, FailureClass::Refused);
        for words in [
            "what was made could not be removed: Bucket (AWS::ECR::Repository): ",
            &format!("; delete it and stack {name} by hand, then `/landfall retry`"),
        ] {
            assert!(reason.contains(words), "{reason}");
        }
    }
    assert_eq!(world.left().await, [format!("{name} ROLLBACK_FAILED")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_deletion_lifts_the_protection_of_what_goes() {
    let world = World::new().await;
    let create = protected(&world, "Snapshot").await;
    let mut delete = world.order(2, Action::Delete, "database/orders", &json!({}));
    delete.final_snapshot = true;
    succeeded(world.done(&delete).await);
    assert_eq!(world.left().await, Vec::<String>::new());
    assert_eq!(world.protection(&create).await.1, databases([]));
    let said = world.said.lock().unwrap().clone();
    assert!(
        said.contains(&"its protection against deletion is being lifted".to_owned()),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deletion_retains_stays_protected() {
    let world = World::new().await;
    let create = protected(&world, "RetainExceptOnCreate").await;
    succeeded(
        world
            .done(&world.order(2, Action::Delete, "database/orders", &json!({})))
            .await,
    );
    assert_eq!(world.left().await, Vec::<String>::new());
    assert_eq!(world.protection(&create).await.1, databases([("orders", true)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_replacement_lifts_the_protection_first_and_sets_it_on_what_is_new() {
    let world = World::new().await;
    let create = protected(&world, "Snapshot").await;
    let replace = guarded(
        &world,
        2,
        Action::Replace,
        &database("bills", "Snapshot"),
        changed(Action::Replace, &["DBInstanceIdentifier"]),
    );
    let reason = failed(world.done(&replace).await, FailureClass::Conflict);
    assert!(
        reason.contains("protection against deletion was lifted"),
        "{reason}"
    );
    assert_eq!(world.protection(&create).await.1, databases([("orders", false)]));
    succeeded(world.done(&replace).await);
    assert_eq!(
        world.protection(&create).await,
        (true, databases([("bills", true)]))
    );
}

/// What stands is protected; a change of the policy is said as one, and the change set leaves the protection as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_deletion_policy_alone_is_planned() {
    let world = World::new().await;
    let of_policy = |policy: &str, when_it_goes: &str| {
        let mut template = database("orders", when_it_goes);
        template["Metadata"] =
            json!({ "Landfall": { "DeletionPolicy": policy, "spec": { "size": "Small" } } });
        template
    };
    let before = of_policy("Retain", "RetainExceptOnCreate");
    let create = guarded(&world, 1, Action::Create, &before, all_new(&before));
    succeeded(world.done(&create).await);

    let wanted = guarded(&world, 2, Action::Update, &of_policy("Delete", "Delete"), vec![]);
    let mut resource = wanted.resource;
    resource.properties = BTreeMap::from([("size".to_owned(), json!("Small"))]);
    let name = resource.name.clone();
    let question = Question {
        modules: BTreeMap::from([(name.clone(), wanted.module.unwrap())]),
        provenance: [(name.clone(), begun(&name))].into(),
        known: vec![(name, resource.kind)],
        desired: vec![resource],
        ..planning::question(&world)
    };
    let change = planning::only(planning::planned(&world, question).await);
    assert_eq!(change.action, Action::Update);
    assert_eq!(
        change.properties,
        [PropertyChange {
            path: "deletionPolicy".into(),
            before: Some(PlannedValue::Known(json!("Retain"))),
            after: Some(PlannedValue::Known(json!("Delete"))),
        }]
    );
    assert_eq!(
        planning::parts(&change),
        [("Database", Action::Update, vec!["DeletionPolicy", "Metadata"])]
    );
    assert!(!change.may_be_waived());
}
