//! What was shown is what is signed: the comment with the plan is a text that others can change. Whoever has Maintainer
//! edits or deletes it, and the admin approves what they read.

use reqwest::Method;
use serde_json::{Value, json};

use super::nothing_was_made;
use crate::support::people::{
    DONE, HELD, MergeRequest, READY, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING, headline,
};
use crate::support::world::World;

/// Why an approval does not count that was given while the comment said something else.
const CHANGED: &str = "the comment with the plan had been changed or deleted";

/// A merge request whose plan is shown, in a world where eve may edit anybody's comments.
async fn a_plan_is_shown(world: &World) -> MergeRequest<'_> {
    world.eve_is_maintainer().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;
    shop
}

/// The number of the comment with the plan, and its text.
async fn the_comment(shop: &MergeRequest<'_>) -> (u64, String) {
    let note = shop.written("report").await.pop().expect("it is there");
    (note.id, note.body)
}

/// Eve has the comment show a plan that nobody would mind.
async fn eve_makes_it_harmless(world: &World, shop: &MergeRequest<'_>) -> (u64, String) {
    let (note, shown) = the_comment(shop).await;
    let harmless = shown
        .replace("3 to create", "nothing to change")
        .replace("create", "no change");
    assert_ne!(harmless, shown, "{shown}");
    world.eve().edits(shop, note, &harmless).await;
    (note, shown)
}

async fn deletes(world: &World, shop: &MergeRequest<'_>, note: u64) {
    let path = shop.at(&format!("/notes/{note}"));
    world.eve().does(Method::DELETE, &path, &Value::Null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_was_made_harmless_before_the_admin_approved() {
    let world = World::start().await;
    let shop = a_plan_is_shown(&world).await;
    eve_makes_it_harmless(&world, &shop).await;
    world.ada().approves(&shop).await;
    shop.shows(
        WAITING,
        &["The approval of ada does not count", CHANGED, "3 to create"],
    )
    .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off", CHANGED]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_was_deleted_before_the_admin_approved() {
    let world = World::start().await;
    let shop = a_plan_is_shown(&world).await;
    let (note, _) = the_comment(&shop).await;
    deletes(&world, &shop, note).await;
    world.ada().approves(&shop).await;
    shop.shows(
        WAITING,
        &["The approval of ada does not count", CHANGED, "3 to create"],
    )
    .await;
    world.settles().await;
    // What the comment says to do helps.
    world.ada().revokes(&shop).await;
    world.ada().approves(&shop).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.ada().merges(&shop).await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_was_put_back_before_landfall_looked() {
    let mut world = World::start().await;
    let number = a_plan_is_shown(&world).await.number;
    world.stop_landfall().await;
    let shop = world.merge_request(number);
    let (note, shown) = eve_makes_it_harmless(&world, &shop).await;
    world.ada().approves(&shop).await;
    world.eve().edits(&shop, note, &shown).await;
    world.start_landfall().await;
    let shop = world.merge_request(number);
    shop.shows(WAITING, &["The approval of ada does not count", CHANGED])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off", CHANGED]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_harmless_plan_that_is_approved_and_merged_at_once() {
    let mut world = World::start().await;
    let number = a_plan_is_shown(&world).await.number;
    world.stop_landfall().await;
    let shop = world.merge_request(number);
    eve_makes_it_harmless(&world, &shop).await;
    world.ada().approves(&shop).await;
    world.ada().merges(&shop).await;
    world.start_landfall().await;
    nothing_was_made(
        &world,
        &world.merge_request(number),
        &["merged without a sign-off", CHANGED],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_was_copied_from_a_harmless_plan() {
    let world = World::start().await;
    let shop = a_plan_is_shown(&world).await;
    let digest = shop.digest().await;
    eve_makes_it_harmless(&world, &shop).await;
    let command = format!("/landfall approve {digest}");
    world.ada().comments(&shop, &command).await;
    shop.shows(
        WAITING,
        &["The approval of ada does not count", CHANGED, "3 to create"],
    )
    .await;
    world.settles().await;
    world.ada().comments(&shop, &command).await;
    shop.shows(READY, &["Signed off by ada"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_harmless_plan_of_what_is_held() {
    let world = World::start().await;
    let shop = a_plan_is_shown(&world).await;
    let digest = shop.digest().await;
    world.ada().merges(&shop).await;
    let command = format!("/landfall approve {digest}");
    shop.shows(HELD, &["may release it with a comment", &command])
        .await;
    world.settles().await;
    eve_makes_it_harmless(&world, &shop).await;
    world.grace().comments(&shop, &command).await;
    shop.shows(HELD, &["may release it with a comment", "3 to create"])
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    world.grace().comments(&shop, &command).await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_harmless_plan_of_what_was_pushed() {
    let world = World::start().await;
    world.eve_is_maintainer().await;
    let pushed = world.eve().pushes_to_main(&[(SHOP_FILE, Some(SHOP))]);
    let issue = world.issue_about(&pushed).await;
    issue.shows(WAITING, &["3 to create"]).await;
    world.settles().await;
    let digest = issue.digest().await;
    eve_makes_it_harmless(&world, &issue).await;
    let command = format!("/landfall approve {digest}");
    world.ada().comments(&issue, &command).await;
    issue
        .shows(
            WAITING,
            &["The approval of ada does not count", CHANGED, "3 to create"],
        )
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    world.ada().comments(&issue, &command).await;
    issue.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

/// GitLab moves the time of a note that somebody reacts to: who approved before has read what is shown, and who approves
/// afterwards does, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reaction_to_the_plan_takes_nothing_back() {
    let world = World::start().await;
    let shop = a_plan_is_shown(&world).await;
    let react = async |who: &str, name: &str| {
        let (note, _) = the_comment(&shop).await;
        let path = shop.at(&format!("/notes/{note}/award_emoji"));
        let emoji = json!({ "name": name });
        world.person(who).does(Method::POST, &path, &emoji).await;
    };
    react("eve", "tada").await;
    world.ada().approves(&shop).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.settles().await;
    react("dana", "thumbsup").await;
    world.grace().merges(&shop).await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_that_somebody_changed_or_deleted_is_there_again_at_the_next_look() {
    let mut world = World::start().await;
    let number = a_plan_is_shown(&world).await.number;
    world.stop_landfall().await;
    eve_makes_it_harmless(&world, &world.merge_request(number)).await;
    world.start_landfall().await;
    world
        .merge_request(number)
        .shows(WAITING, &["press **Approve**", "3 to create"])
        .await;
    world.settles().await;
    world.stop_landfall().await;
    let shop = world.merge_request(number);
    let (note, _) = the_comment(&shop).await;
    deletes(&world, &shop, note).await;
    world.start_landfall().await;
    let shown = world
        .merge_request(number)
        .shows(WAITING, &["press **Approve**", "3 to create"])
        .await;
    assert_eq!(headline(&shown), WAITING);
}
