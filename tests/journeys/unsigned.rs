//! Nothing is provisioned whose bytes were not signed off, and the comment says what to do.

use crate::support::people::{HELD, MergeRequest, READY, SHOP, SHOP_FILE, WAITING};
use crate::support::world::{Settings, World};

/// The same request, asking for more.
fn bigger() -> String {
    SHOP.replace("size: Small", "size: Large")
}

/// Somebody merges it all the same: it is held, for these reasons, and nothing is made.
async fn merged_all_the_same(world: &World, merge_request: &MergeRequest<'_>, because: &[&str]) -> String {
    world.ada().merges(merge_request).await;
    let mut words = vec!["**nothing was provisioned**"];
    words.extend(because);
    let comment = merge_request.shows(HELD, &words).await;
    world.settles_between_sweeps().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    assert!(merge_request.written("result").await.is_empty());
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
    comment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_without_an_approval_provisions_nothing() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    let because = ["it was merged without a sign-off", "0 of 1", "ada or grace"];
    merged_all_the_same(&world, &merge_request, &because).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_cannot_approve_what_they_ask_for_themselves() {
    let world = World::start().await;
    let merge_request = world.ada().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&merge_request).await;
    let own = "The approval of ada does not count: the author cannot sign off their own change";
    merge_request.shows(WAITING, &[own, "not from its author"]).await;
    let because = ["the author cannot sign off their own change"];
    merged_all_the_same(&world, &merge_request, &because).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_developer_cannot_approve_for_an_admin() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.eve().approves(&merge_request).await;
    let no_admin =
        "The approval of eve does not count: the accepted landfall.yaml does not name them as admin";
    merge_request
        .shows(WAITING, &[no_admin, "Needs a sign-off from ada or grace"])
        .await;
    merged_all_the_same(&world, &merge_request, &["does not name them as admin"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_is_not_for_what_is_pushed_afterwards() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(&bigger()))]);
    let again = "revoke the approval and approve again";
    merge_request
        .shows_at(&head, WAITING, &["The approval of ada", again])
        .await;
    merged_all_the_same(&world, &merge_request, &[again]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_is_given_again_counts() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(&bigger()))]);
    let again = "revoke the approval and approve again";
    merge_request.shows_at(&head, WAITING, &[again]).await;
    world.ada().revokes(&merge_request).await;
    world.ada().approves(&merge_request).await;
    merge_request.shows_at(&head, READY, &["Signed off by ada"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_push_is_reported_in_an_issue_and_provisions_nothing() {
    let world = World::start().await;
    let commit = world.grace().pushes_to_main(&[(SHOP_FILE, Some(SHOP))]);
    let issue = world
        .issue_saying(&[
            &commit[..8],
            "@grace pushed",
            "**Nothing was provisioned**",
            "**What to do**",
            "Revert the commit, and open a merge request",
            SHOP_FILE,
        ])
        .await;
    assert!(issue.starts_with("Held: "), "{issue}");
    world.settles().await;
    assert_eq!(world.issues().await.len(), 1);
    assert!(world.ledger().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_from_before_the_plan_was_shown_does_not_count() {
    // Nothing tells of it but a look at the approvals after the plan was shown.
    let mut world = World::with(Settings {
        sweep_seconds: 1,
        ..Settings::default()
    })
    .await;
    world.stop_landfall().await;
    let number = {
        let merge_request = world.dana().asks_for_a_shop().await;
        world.ada().approves(&merge_request).await;
        merge_request.number
    };
    world.start_landfall().await;
    let merge_request = world.merge_request(number);
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    merged_all_the_same(&world, &merge_request, &["before this plan was shown"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_request_that_went_elsewhere_and_came_back_is_approved_anew() {
    let world = World::start().await;
    world.ada().pushes("aside", &[("notes.txt", Some("aside\n"))]);
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    world.dana().retargets(&merge_request, "aside").await;
    world.settles().await;
    world.dana().retargets(&merge_request, "main").await;
    merge_request
        .shows(
            WAITING,
            &["The approval of ada", "revoke the approval and approve again"],
        )
        .await;
    merged_all_the_same(&world, &merge_request, &["revoke the approval"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_to_what_was_approved_does_not_bring_the_approval_back() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    // Both pushes are over before anybody may have looked.
    world.dana().pushes("shop", &[(SHOP_FILE, Some(&bigger()))]);
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
    let again = "revoke the approval and approve again";
    merge_request
        .shows_at(&head, WAITING, &["The approval of ada", again])
        .await;
    merged_all_the_same(&world, &merge_request, &[again]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_slipped_in_right_before_the_merge_holds_all_of_it() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    let more = SHOP.replace("name: shop", "name: more");
    world
        .dana()
        .pushes("shop", &[("requests/web-team/more.yaml", Some(&more))]);
    // At once: Landfall may or may not have looked at it.
    let comment = merged_all_the_same(&world, &merge_request, &[]).await;
    assert!(comment.contains("It is held because"), "{comment}");
    assert!(
        comment.contains("release it with a comment") || comment.contains("revert the merge"),
        "{comment}"
    );
}
