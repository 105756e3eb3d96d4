//! The way it should go.

use crate::support::people::SHOP_IS_THERE;
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
