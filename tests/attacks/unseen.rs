//! An approval across something that nobody told Landfall of: the webhook was lost, or Landfall was away. The forge's own
//! history tells.

use super::nothing_was_made;
use crate::support::people::{MergeRequest, READY, SHOP, SHOP_FILE, WAITING};
use crate::support::world::World;

/// A merge request whose plan is shown, in a world without Landfall. Answers its head, too.
async fn a_plan_is_shown(world: &mut World) -> (u64, String) {
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;
    let (number, head) = (shop.number, shop.head().await);
    world.stop_landfall().await;
    (number, head)
}

/// Landfall is back, and the approval does not count.
async fn ada_does_not_count(world: &mut World, number: u64, because: &str) {
    world.start_landfall().await;
    let shop = world.merge_request(number);
    shop.shows(WAITING, &["The approval of ada does not count", because])
        .await;
    world.grace().merges(&shop).await;
    nothing_was_made(world, &shop, &["merged without a sign-off", because]).await;
}

fn puts_back(world: &World, head: &str) {
    let clone = world.dana().clone();
    tokio::task::block_in_place(|| {
        clone.run(&[
            "push",
            "--quiet",
            "--force",
            "origin",
            &format!("{head}:refs/heads/shop"),
        ]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_content_that_was_approved_and_taken_back() {
    let mut world = World::start().await;
    let (number, head) = a_plan_is_shown(&mut world).await;
    let modest = SHOP.replace("size: Small", "size: Medium");
    world.dana().pushes("shop", &[(SHOP_FILE, Some(&modest))]);
    world.ada().approves(&world.merge_request(number)).await;
    puts_back(&world, &head);
    ada_does_not_count(&mut world, number, "too close to the last push").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_before_it_was_closed_and_opened_again() {
    let mut world = World::start().await;
    let (number, _) = a_plan_is_shown(&mut world).await;
    let shop = world.merge_request(number);
    world.ada().approves(&shop).await;
    world.dana().closes(&shop).await;
    reopens(&world, &shop).await;
    ada_does_not_count(&mut world, number, "closed, retargeted or changed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_before_it_was_sent_elsewhere_and_back() {
    let mut world = World::start().await;
    let (number, _) = a_plan_is_shown(&mut world).await;
    let shop = world.merge_request(number);
    world
        .dana()
        .pushes("elsewhere", &[("README.md", Some("# Elsewhere\n"))]);
    world.ada().approves(&shop).await;
    world.dana().retargets(&shop, "elsewhere").await;
    world.dana().retargets(&shop, "main").await;
    ada_does_not_count(&mut world, number, "closed, retargeted or changed").await;
}

/// Signed off, and merged before Landfall is back: the landing looks, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_off_that_was_given_up_and_merged_all_the_same() {
    let mut world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    world.settles().await;
    let number = shop.number;
    world.stop_landfall().await;
    let shop = world.merge_request(number);
    world.dana().closes(&shop).await;
    reopens(&world, &shop).await;
    world.grace().merges(&shop).await;
    world.start_landfall().await;
    let because = ["merged without a sign-off", "closed, retargeted or changed"];
    nothing_was_made(&world, &world.merge_request(number), &because).await;
}

/// What the comment says to do helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_approves_once_more_has_signed_it_off() {
    let mut world = World::start().await;
    let (number, _) = a_plan_is_shown(&mut world).await;
    let shop = world.merge_request(number);
    world.ada().approves(&shop).await;
    world.dana().closes(&shop).await;
    reopens(&world, &shop).await;
    world.start_landfall().await;
    let shop = world.merge_request(number);
    shop.shows(WAITING, &["revoke the approval and approve again"])
        .await;
    world.settles().await;
    world.ada().revokes(&shop).await;
    world.ada().approves(&shop).await;
    shop.shows(READY, &["Signed off by ada"]).await;
}

async fn reopens(world: &World, shop: &MergeRequest<'_>) {
    let reopen = serde_json::json!({ "state_event": "reopen" });
    world
        .dana()
        .does(reqwest::Method::PUT, &shop.at(""), &reopen)
        .await;
}
