//! The whole main job, as a visitor runs it, on AWSes that others wrote: on the one that visitors are given, which keeps
//! records of what it cannot make, and on one that really makes it. What is there afterwards is seen with boto3.

use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::aws::{ACCOUNT, Peer, REGION};

async fn demo(cloud: &Peer, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["demo", "--provider", "aws"])
        .args(arguments)
        .env_remove("LANDFALL_TEST_PYTHON")
        .env("AWS_ENDPOINT_URL", cloud.url())
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "somebody")
        .env("AWS_SECRET_ACCESS_KEY", "a-word")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

/// Key → value of a list of AWS's.
fn pairs(list: &Value, key: &str, value: &str) -> Value {
    let pairs = list.as_array().into_iter().flatten();
    pairs
        .map(|pair| (pair[key].as_str().unwrap().to_owned(), pair[value].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The story told to its end, in those words.
async fn told(cloud: &Peer, arguments: &[&str]) -> String {
    let told = demo(cloud, arguments).await;
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}\n{error}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_comes_true_on_aws() {
    let cloud = Peer::stand_in().await;
    let said = told(&cloud, &["--json"]).await;
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(summary["provisioned"] == 4 && summary["failed"] == 0, "{said}");
    is_as_the_story_leaves_it(&cloud).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machine_and_the_database_of_the_story_are_really_there() {
    let cloud = Peer::with_machines().await;
    let said = told(&cloud, &[]).await;
    is_as_the_story_leaves_it(&cloud).await;

    let seen = cloud
        .asked(json!([
            ["ec2", "describe_instances", {}],
            ["rds", "describe_db_instances", {}],
            ["ec2", "describe_nat_gateways", {}],
        ]))
        .await;
    let machines = seen[0]["Reservations"].as_array().unwrap();
    assert_eq!(machines.len(), 1, "the same, made larger: {machines:?}");
    let machine = &machines[0]["Instances"][0];
    assert_eq!(
        (&machine["State"]["Name"], &machine["InstanceType"]),
        (&json!("running"), &json!("m6i.xlarge"))
    );
    assert!(said.contains(machine["InstanceId"].as_str().unwrap()));
    assert_eq!(
        pairs(&machine["Tags"], "Key", "Value")["landfall:request"],
        "Project/shop"
    );
    let database = &seen[1]["DBInstances"][0];
    assert_eq!(
        (&database["AllocatedStorage"], &database["MultiAZ"]),
        (&json!(64), &json!(true))
    );
    assert_eq!(seen[2]["NatGateways"][0]["State"], "available");

    let secret = database["MasterUserSecret"]["SecretArn"].as_str().unwrap();
    assert!(said.contains(secret), "the comment says where the password is");
    let kept = cloud
        .asked(json!([["secretsmanager", "get_secret_value", {"SecretId": secret}]]))
        .await;
    let kept: Value = serde_json::from_str(kept[0]["SecretString"].as_str().unwrap()).unwrap();
    assert!(!said.contains(kept["password"].as_str().unwrap()));
}

/// A network, and a project that was changed once; the cluster was given back.
async fn is_as_the_story_leaves_it(cloud: &Peer) {
    let seen = cloud
        .asked(json!([
            ["cloudformation", "describe_stacks", {}],
            ["eks", "list_clusters", {}]
        ]))
        .await;
    let mut stacks: Vec<(String, Value)> = seen[0]["Stacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stack| {
            let tags = pairs(&stack["Tags"], "Key", "Value");
            (
                tags["landfall:resource"].as_str().unwrap().to_owned(),
                stack.clone(),
            )
        })
        .collect();
    stacks.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&str> = stacks.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "database/orders",
            "network",
            "storage/pictures",
            "virtual-machine/web"
        ]
    );
    assert_eq!(seen[1]["clusters"], json!([]), "the cluster was given back");

    for (resource, stack) in stacks.iter().filter(|(name, _)| name != "network") {
        let tags = pairs(&stack["Tags"], "Key", "Value");
        for (tag, value) in [
            ("landfall:repository", "requests"),
            ("landfall:request", "Project/shop"),
            ("landfall:team", "web-team"),
            ("landfall:environment", "dev"),
            ("landfall:resource", resource),
        ] {
            assert_eq!(tags[tag], value, "{tags}");
        }
        let name = &stack["StackName"];
        let left = cloud
            .asked(json!([["cloudformation", "list_change_sets", { "StackName": name }]]))
            .await;
        let open: Vec<&Value> = left[0]["Summaries"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|set| set["ExecutionStatus"] == "AVAILABLE")
            .collect();
        assert!(open.is_empty(), "{open:?}");
    }
    let parameters = pairs(&stacks[0].1["Parameters"], "ParameterKey", "ParameterValue");
    assert!(
        parameters
            .as_object()
            .unwrap()
            .values()
            .any(|value| value == "64"),
        "the change has arrived: {parameters}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_not_the_one_that_was_named_is_left_alone() {
    let cloud = Peer::ministack().await;
    let told = demo(&cloud, &["--json", "--account", "999999999999"]).await;
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success());
    assert!(
        error.contains(ACCOUNT) && error.contains("nothing was made"),
        "{error}"
    );
    let seen = cloud
        .asked(json!([["cloudformation", "describe_stacks", {}]]))
        .await;
    assert_eq!(seen[0]["Stacks"], json!([]));
}
