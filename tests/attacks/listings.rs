//! What is listed was written by anybody, as large and as often as the forge lets them: everybody else's merge requests
//! go their way.

use reqwest::Method;
use serde_json::json;

use crate::support::people::WAITING;
use crate::support::world::World;

/// As long as GitLab takes, of letters that are as large as letters get.
fn longest() -> String {
    "🦀".repeat(1_000_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_descriptions_of_a_million_characters() {
    let mut world = World::start().await;
    // All of them at once, so that they are read no more often than has to be.
    world.stop_landfall().await;
    let description = json!({ "description": longest() });
    for number in 0..6 {
        let (branch, file) = (format!("notes-{number}"), format!("notes/{number}.md"));
        let asked = world.eve().opens(&branch, &[(&file, Some("A word."))]).await;
        world.eve().does(Method::PUT, &asked.at(""), &description).await;
        world.ada().merges(&asked).await;
    }
    world.start_landfall().await;
    // They are among what was merged lately, and the landing has to look through that.
    world.dana().asks_for_a_shop().await.is_done().await;
    assert!(world.dead_keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_notes_of_a_million_characters() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    let (digest, head) = (shop.digest().await, shop.head().await);
    let (eve, text) = (world.eve(), longest());
    for _ in 0..6 {
        eve.comments(&shop, &text).await;
    }
    // A command behind them is found. The notes are too much for this test to read, too.
    let approve = format!("/landfall approve {digest}");
    world.ada().comments(&shop, &approve).await;
    world
        .until("the sign-off", async || {
            let statuses = shop.statuses(&head).await;
            let ready = statuses.iter().any(|status| status.contains("Ready to merge"));
            ready.then_some(())
        })
        .await;
    world.ada().merges(&shop).await;
    world.ledger_reaches(3).await;
}
