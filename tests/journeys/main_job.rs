//! The way it should go.

use serde_json::json;

use crate::support::people::{SHOP, SHOP_FILE, SHOP_IS_THERE};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_signed_off_and_merged_is_there() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request
        .shows(
            "✋ Waiting for a sign-off",
            &[
                "Needs a sign-off from ada or grace",
                "press **Approve**",
                "3 to create",
                "Simulated",
            ],
        )
        .await;
    let first = merge_request.written("report").await.remove(0).id;
    let head = merge_request.head().await;
    world.settles().await;
    assert_eq!(
        merge_request.statuses(&head).await.last().unwrap(),
        "pending: Waiting for a sign-off: 0 of 1, from ada, grace"
    );

    world.ada().approves(&merge_request).await;
    merge_request
        .shows("✅ Ready to merge", &["Signed off by ada", "merge it now"])
        .await;
    world.settles().await;
    assert_eq!(
        merge_request.statuses(&head).await.last().unwrap(),
        "success: Ready to merge: signed off by ada",
    );
    assert!(
        world.ledger().await.is_empty(),
        "nothing is made before the merge"
    );

    world.ada().merges(&merge_request).await;
    let result = merge_request.result().await;
    assert!(
        result.contains("### ✅ Done: 3 resources (simulated)"),
        "{result}"
    );
    assert!(result.contains("@dana, what you asked for is there"), "{result}");
    merge_request
        .shows("✅ Done", &["Nothing to do", "3 of 3 steps done"])
        .await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    let reports = merge_request.written("report").await;
    assert_eq!(reports.len(), 1, "one comment, edited in place: {reports:?}");
    assert_eq!(reports[0].id, first);
    assert_eq!(merge_request.written("result").await.len(), 1);
    assert!(world.issues().await.is_empty());
    assert!(world.dead_keys().await.is_empty());
}

/// How a merge request gets onto the target branch, and what the project must allow for it.
#[rstest::rstest]
#[case::a_merge_commit("merge", false)]
#[case::a_squash_and_a_merge_commit("merge", true)]
#[case::a_rebase_and_a_merge_commit("rebase_merge", false)]
#[case::a_fast_forward("ff", false)]
#[case::a_squash_and_a_fast_forward("ff", true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_it_is_merged_it_is_made_once(#[case] method: &str, #[case] squash: bool) {
    let world = World::start().await;
    let project = format!("projects/{}", world.project);
    world
        .person("root")
        .does(reqwest::Method::PUT, &project, &json!({ "merge_method": method }))
        .await;
    let merge_request = world
        .dana()
        .opens("shop", &[("README.md", Some("# Ours\n"))])
        .await;
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
    merge_request
        .shows_at(&head, "✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world
        .ada()
        .merges_with(&merge_request, &json!({ "squash": squash }))
        .await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(merge_request.written("result").await.len(), 1);
    assert!(world.issues().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebase_of_the_same_change_keeps_the_approval() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    let before = merge_request.head().await;
    world.grace().pushes_to_main(&[("README.md", Some("# Newer\n"))]);

    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "shop"]);
    clone.run(&["rebase", "--quiet", "origin/main"]);
    clone.run(&["push", "--quiet", "--force", "origin", "shop"]);
    let after = merge_request.head().await;
    assert_ne!(before, after);
    merge_request
        .shows_at(&after, "✅ Ready to merge", &["Signed off by ada"])
        .await;
    world.ada().merges(&merge_request).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maintainer_may_merge_by_hand() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    let clone = world.grace().clone();
    clone.run(&["switch", "--quiet", "main"]);
    clone.run(&[
        "merge",
        "--quiet",
        "--no-ff",
        "--message",
        "By hand",
        "origin/shop",
    ]);
    clone.run(&["push", "--quiet", "origin", "main"]);
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert!(world.issues().await.is_empty());
}
