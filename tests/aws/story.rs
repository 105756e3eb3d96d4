//! The whole main job, as a visitor runs it, on an AWS that others wrote (with the resource types that it lacks kept as
//! records); what is there afterwards is seen with boto3.

use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::aws::{ACCOUNT, Peer, REGION};

async fn demo(cloud: &Peer, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(["demo", "--provider", "aws", "--json"])
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_comes_true_on_aws() {
    let cloud = Peer::stand_in().await;
    let told = demo(&cloud, &[]).await;
    let said = String::from_utf8_lossy(&told.stdout);
    let summary: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
    assert!(
        told.status.success() && summary["provisioned"] == 4 && summary["failed"] == 0,
        "{said}\n{}",
        String::from_utf8_lossy(&told.stderr)
    );

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
            let name = tags["landfall:resource"].as_str().unwrap_or("the demo's network");
            (name.to_owned(), stack.clone())
        })
        .collect();
    stacks.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&str> = stacks.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["database/orders", "storage/pictures", "the demo's network"]
    );
    assert_eq!(seen[1]["clusters"], json!([]), "the cluster was given back");

    for (resource, stack) in &stacks[..2] {
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
    let told = demo(&cloud, &["--account", "999999999999"]).await;
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
