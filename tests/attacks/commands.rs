//! A command is what a reader sees: words that somebody wrote to Landfall, and did not take back.

use reqwest::Method;
use serde_json::{Value, json};

use super::nothing_was_made;
use crate::support::people::{MergeRequest, READY, WAITING};
use crate::support::world::World;

/// A merge request that waits for a sign-off, and the command that would give it.
async fn a_plan_is_shown(world: &World) -> (MergeRequest<'_>, String) {
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    let command = format!("/landfall approve {}", shop.digest().await);
    world.settles().await;
    (shop, command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_where_no_reader_sees_one() {
    let world = World::start().await;
    let (shop, command) = a_plan_is_shown(&world).await;
    // Each is a comment of an admin, who meant something else.
    for note in [
        format!("> {command}\n\nWho wrote that?"),
        format!("~~~\n```\n{command}\n~~~"),
        format!("Not yet.\n\n<!--\n{command}\n-->"),
        format!("<details>\n{command}\n</details>"),
        format!("- do not write\n  {command}\n"),
        format!("See below.[^1]\n\n[^1]: never\n    {command}"),
        format!("[x]: <y> '\n{command}\n'\nFine so far."),
        format!("Please do not write\n{command}\nuntil monday."),
        format!("`\n{command}\n`"),
        format!("{command}\n==="),
        format!("{command}\u{200b}"),
    ] {
        world.ada().comments(&shop, &note).await;
    }
    world.settles().await;
    shop.shows(WAITING, &["Needs a sign-off from ada or grace"]).await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_off_whose_comment_was_deleted() {
    let world = World::start().await;
    let (shop, command) = a_plan_is_shown(&world).await;
    let note = world.ada().comments(&shop, &command).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.settles().await;
    let path = shop.at(&format!("/notes/{note}"));
    world.ada().does(Method::DELETE, &path, &Value::Null).await;
    world.grace().merges(&shop).await;
    nothing_was_made(
        &world,
        &shop,
        &["merged without a sign-off", "was changed or deleted"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_off_whose_comment_was_edited() {
    let world = World::start().await;
    let (shop, command) = a_plan_is_shown(&world).await;
    let note = world.ada().comments(&shop, &command).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.settles().await;
    world.ada().edits(&shop, note, "On reflection: not yet.").await;
    shop.shows(
        WAITING,
        &["The approval of ada does not count", "was changed or deleted"],
    )
    .await;
    world.grace().merges(&shop).await;
    nothing_was_made(
        &world,
        &shop,
        &["merged without a sign-off", "was changed or deleted"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_off_that_was_taken_back_in_words() {
    let world = World::start().await;
    let (shop, command) = a_plan_is_shown(&world).await;
    world.ada().comments(&shop, &command).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.settles().await;
    world.ada().comments(&shop, "/landfall withdraw").await;
    shop.shows(WAITING, &["The approval of ada does not count", "took it back"])
        .await;
    world.settles().await;
    // Nobody takes back what somebody else gave, and who has taken it back can give it again.
    world.ada().comments(&shop, &command).await;
    world.eve().comments(&shop, "/landfall withdraw").await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.settles().await;
    world.ada().comments(&shop, "/landfall withdraw").await;
    shop.shows(WAITING, &["took it back"]).await;
    world.grace().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off", "took it back"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_off_that_was_taken_back_and_nobody_told_landfall() {
    let mut world = World::start().await;
    let (shop, command) = a_plan_is_shown(&world).await;
    world.ada().comments(&shop, &command).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.settles().await;
    let number = shop.number;
    world.stop_landfall().await;
    let shop = world.merge_request(number);
    world.ada().comments(&shop, "/landfall withdraw").await;
    world.grace().merges(&shop).await;
    world.start_landfall().await;
    let shop = world.merge_request(number);
    nothing_was_made(&world, &shop, &["merged without a sign-off", "took it back"]).await;
}

/// A reaction moves the time of a comment, as an edit by whoever may edit it does: nobody can tell whose words it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_may_have_been_edited_is_answered() {
    let mut world = World::start().await;
    let (shop, command) = a_plan_is_shown(&world).await;
    let number = shop.number;
    world.stop_landfall().await;
    let shop = world.merge_request(number);
    let note = world.ada().comments(&shop, &command).await;
    let emoji = json!({ "name": "rocket" });
    let path = shop.at(&format!("/notes/{note}/award_emoji"));
    world.dana().does(Method::POST, &path, &emoji).await;
    world.start_landfall().await;
    let shop = world.merge_request(number);
    shop.answer(&["Write the command again"]).await;
    shop.shows(WAITING, &["Needs a sign-off from ada or grace"]).await;
    world.ada().comments(&shop, &command).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    // Once it was read, a reaction takes nothing back.
    let note = world.ada().comments(&shop, "/landfall help").await;
    let path = shop.at(&format!("/notes/{note}/award_emoji"));
    world.dana().does(Method::POST, &path, &emoji).await;
    world.settles().await;
    shop.shows(READY, &["Signed off by ada"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_comments_that_are_no_commands_get_one_answer() {
    let world = World::start().await;
    let (shop, _) = a_plan_is_shown(&world).await;
    for number in 0..12 {
        world
            .eve()
            .comments(&shop, &format!("/landfall nonsense {number}"))
            .await;
    }
    world.eve().comments(&shop, "Hello!\n\n/landfall plan").await;
    let answer = shop
        .answer(&[
            "`/landfall nonsense 11` is not a command",
            "says more than the command",
            "and 8 older answers",
        ])
        .await;
    assert!(!answer.contains("nonsense 3"), "{answer}");
    world.settles().await;
    assert_eq!(shop.written("answer").await.len(), 1);
}
