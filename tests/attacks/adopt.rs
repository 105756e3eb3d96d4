//! `landfall adopt` is the way out of trouble: what was signed off and has not landed is not what pays for it.

use reqwest::Method;
use serde_json::json;

use crate::support::people::{DONE, HELD, READY, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::World;

/// Somebody rewrites the history of `main`, so nothing that lands is looked at.
async fn is_rewritten(world: &World) {
    world.grace().pushes_to_main(&[("README.md", Some("# Newer\n"))]);
    world.settles().await;
    let protection = format!("projects/{}/protected_branches/main", world.project);
    world
        .person("root")
        .does(Method::DELETE, &protection, &json!({}))
        .await;
    let clone = world.grace().clone();
    clone.run(&["switch", "--quiet", "main"]);
    clone.run(&[
        "commit",
        "--quiet",
        "--amend",
        "--message",
        "As if it had always been so",
    ]);
    clone.run(&["push", "--quiet", "--force", "origin", "main"]);
    world
        .issue_saying(&["history was rewritten", "landfall adopt"])
        .await;
}

fn request(name: &str) -> (String, String) {
    let file = format!("requests/web-team/{name}.yaml");
    (file, SHOP.replace("name: shop", &format!("name: {name}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_signed_below_what_is_adopted_lands_and_the_rest_is_adopted() {
    let world = World::start().await;
    let (blog_file, blog) = request("blog");
    let (mail_file, mail) = request("mail");
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    let open = world.dana().opens("blog", &[(&blog_file, Some(&blog))]).await;
    open.is_signed_off().await;
    let unsigned = world.eve().opens("mail", &[(&mail_file, Some(&mail))]).await;
    unsigned.shows(WAITING, &["press **Approve**"]).await;
    is_rewritten(&world).await;
    world.ada().merges(&shop).await;
    world.ada().merges(&unsigned).await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());

    world.adopts_main().await;
    shop.shows(DONE, &["everything is there"]).await;
    world.settles().await;
    assert_eq!(
        world.ledger().await,
        SHOP_IS_THERE,
        "what nobody signed is accepted by hand, and not made"
    );
    // What is signed and open stays so.
    open.shows(READY, &["Signed off by ada"]).await;
    world.ada().merges(&open).await;
    open.shows(DONE, &["everything is there"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_signed_and_merged_otherwise_than_it_was_signed_is_not_made_by_an_adoption() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    is_rewritten(&world).await;
    world.ada().merges(&shop).await;
    let greedy = SHOP.replace("size: Small", "size: Large");
    world.grace().pushes_to_main(&[(SHOP_FILE, Some(&greedy))]);
    world.settles().await;

    world.adopts_main().await;
    shop.shows(HELD, &["other content"]).await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_landed_before_stays_signed_where_an_adoption_leaves_it_as_it_is() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_done().await;
    world.settles().await;
    world.adopts_main().await;
    world.settles().await;
    shop.shows(DONE, &["everything is there"]).await;
    // It is still known what it was signed for: what is asked for next is an update of it.
    let smaller = SHOP.replace("size: Small", "size: Medium");
    let update = world.dana().opens("update", &[(SHOP_FILE, Some(&smaller))]).await;
    update.is_done().await;
}
