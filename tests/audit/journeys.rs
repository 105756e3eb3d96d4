//! What people do, and what the log says of it.

use landfall::domain::ids::Digest;
use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::simulator::{Call, Effect, Trouble};
use serde_json::{Value, json};

use super::{checked, exported, landfall, lines};
use crate::support::people::{SHOP, SHOP_FILE};
use crate::support::world::World;

/// The digest that a result comment ends with.
fn audited(result: &str) -> Digest {
    let line = result.lines().find_map(|line| line.strip_prefix("Audit: `"));
    line.unwrap().trim_end_matches('`').parse().unwrap()
}

fn records<'a>(log: &'a [Value], kind: &str) -> Vec<&'a Value> {
    log.iter()
        .filter(|line| line["record"]["record"] == kind)
        .collect()
}

async fn everything_is_sealed(world: &World) {
    world.settles().await;
    world
        .until("everything to be sealed", async || {
            let verdict = checked(world.directory.path(), None).await;
            (verdict.unsealed == 0).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_can_be_traced_to_who_signed_it_and_under_which_rules() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(&merge_request).await;
    let head = audited(&merge_request.result().await);
    let folder = world.directory.path();
    everything_is_sealed(&world).await;
    assert_eq!(checked(folder, Some(&head)).await.faults, []);

    let log = exported(folder);
    let kinds: Vec<&str> = log
        .iter()
        .map(|line| line["record"]["record"].as_str().unwrap())
        .collect();
    let mut rest = kinds.iter();
    for kind in [
        "registered",
        "adopted",
        "reviewed",
        "reviewed",
        "accepted",
        "runMade",
        "run",
        "step",
        "step",
        "run",
    ] {
        assert!(
            rest.any(|found| *found == kind),
            "{kind} in its place in {kinds:?}"
        );
    }

    let accepted = records(&log, "accepted")[0];
    assert_eq!(accepted["record"]["author"], world.id_of("dana"));
    assert_eq!(accepted["record"]["approvers"], json!([world.id_of("ada")]));
    assert_eq!(accepted["record"]["released"], false);
    assert_eq!(accepted["record"]["origin"], 1);
    assert!(accepted["rules"].is_string(), "{accepted}");
    let adopted = records(&log, "adopted")[0];
    assert_eq!(adopted["record"]["by"], "the test");
    assert_eq!(adopted["rules"], Value::Null, "there were none before");
    let made = records(&log, "runMade")[0];
    assert_eq!(made["record"]["signOff"], accepted["record"]["digest"]);

    // The run's own end is covered by the digest that its result bears.
    let end = log
        .iter()
        .find(|line| line["record"]["record"] == "run" && line["record"]["state"] == "succeeded");
    let place = |digest: &str| log.iter().position(|line| line["digest"] == digest).unwrap();
    assert!(place(head.as_str()) >= place(end.unwrap()["digest"].as_str().unwrap()));

    // As the documentation says: anybody can do the sum.
    let mut previous = "0".repeat(64);
    for line in lines(&landfall(folder, &["export"]).stdout) {
        let (sealed, digest) = line.rsplit_once(",\"digest\":\"").unwrap();
        let digest = digest.trim_end_matches("\"}");
        let sum = Digest::of(format!("{previous}{sealed}}}").as_bytes());
        assert_eq!(sum.as_str(), digest);
        digest.clone_into(&mut previous);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_released_and_tried_again_is_on_record_with_names() {
    let world = World::start().await;
    let quota = Failure::new(FailureClass::Refused, "quota exceeded");
    let trouble = Trouble::new(Call::Start, 1, Effect::Fail(quota)).about("database/orders".parse().unwrap());
    world.cloud().order(trouble).await.unwrap();
    let merge_request = world.dana().opens("shop", &[(SHOP_FILE, Some(SHOP))]).await;
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().merges(&merge_request).await;
    merge_request.shows("⛔ Held", &["/landfall approve"]).await;
    let digest = merge_request.digest().await;
    world
        .grace()
        .comments(&merge_request, &format!("/landfall approve {digest}"))
        .await;
    merge_request.shows("❌ Failed", &["quota exceeded"]).await;
    merge_request.result().await;
    let retry = world.dana().comments(&merge_request, "/landfall retry").await;
    let results = merge_request.results(2).await;
    everything_is_sealed(&world).await;

    let folder = world.directory.path();
    for result in &results {
        assert_eq!(checked(folder, Some(&audited(result))).await.faults, []);
    }
    let log = exported(folder);
    let held = records(&log, "held")[0];
    assert_eq!(held["record"]["mergeRequest"], 1);
    assert!(
        held["record"]["because"].to_string().contains("notSignedOff"),
        "{held}"
    );
    let commanded = records(&log, "commanded")[0];
    assert_eq!(commanded["record"]["user"], world.id_of("grace"));
    assert!(digest.starts_with(commanded["record"]["digest"].as_str().unwrap()));
    let accepted = records(&log, "accepted")[0];
    assert_eq!(accepted["record"]["released"], true);
    assert_eq!(accepted["record"]["approvers"], json!([world.id_of("grace")]));
    let asked = records(&log, "retryAsked")[0];
    assert_eq!(asked["record"]["user"], world.id_of("dana"));
    assert_eq!(asked["record"]["note"], retry);
    assert_eq!(records(&log, "runMade").len(), 2);
}
