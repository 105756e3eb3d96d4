//! Somebody wants to keep an admin from signing: by a commit in the admin's name, by the button that an admin pressed.
//! And somebody wants to sign what they brought, once another has put their own name on it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::nothing_was_made;
use crate::support::git::Clone;
use crate::support::people::{DONE, MergeRequest, READY, SHOP, SHOP_FILE, WAITING};
use crate::support::world::World;

const ADA: &str = "Ada <ada@example.test>";

/// Commits on dana's branch as somebody, and pushes it.
fn commits_as(clone: &Clone, author: &str, content: Option<&str>) {
    let file = clone.path.join(SHOP_FILE);
    if let Some(content) = content {
        std::fs::write(file, content).unwrap();
    }
    let author = format!("--author={author}");
    clone.run(&["add", "--all"]);
    clone.run(&["commit", "--quiet", "--allow-empty", "-m", "More", &author]);
}

async fn shop_of_dana(world: &World) -> MergeRequest<'_> {
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    shop
}

/// Eve's clone, on dana's branch.
fn eve_on_the_branch(world: &World) -> Clone {
    let clone = world.eve().clone();
    clone.run(&["fetch", "--quiet", "origin"]);
    clone.run(&["switch", "--quiet", "--force-create", "shop", "origin/shop"]);
    clone
}

/// Ada approves what stands there now, signs it off with that, and it is made.
async fn ada_signs(world: &World, shop: &MergeRequest<'_>) {
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    world.ada().approves(shop).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.ada().merges(shop).await;
    shop.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_commit_in_an_admins_name() {
    let world = World::start().await;
    let shop = shop_of_dana(&world).await;
    let clone = eve_on_the_branch(&world);
    commits_as(&clone, ADA, None);
    world.eve().forces("shop");
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    // Dana goes on from there, and does not notice.
    let dana = world.dana().clone();
    dana.run(&["fetch", "--quiet", "origin"]);
    dana.run(&["switch", "--quiet", "--force-create", "shop", "origin/shop"]);
    let more = SHOP.replace("30Gi", "40Gi");
    commits_as(&dana, "Dana <dana@example.test>", Some(&more));
    world.dana().forces("shop");
    ada_signs(&world, &shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_an_admins_name_that_was_taken_out_again() {
    let world = World::start().await;
    let shop = shop_of_dana(&world).await;
    let before = shop.head().await;
    let clone = eve_on_the_branch(&world);
    commits_as(&clone, ADA, Some(&SHOP.replace("size: Small", "size: Large")));
    world.eve().forces("shop");
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["The approval of ada does not count", "e-mail address"])
        .await;
    world.ada().revokes(&shop).await;
    let dana = world.dana().clone();
    dana.run(&["fetch", "--quiet", "origin"]);
    dana.run(&["switch", "--quiet", "--force-create", "shop", &before]);
    world.dana().forces("shop");
    ada_signs(&world, &shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_content_laid_at_an_admins_door_and_put_right() {
    let world = World::start().await;
    let shop = shop_of_dana(&world).await;
    let before = shop.head().await;
    let clone = eve_on_the_branch(&world);
    clone.run(&["commit", "--quiet", "--amend", "--no-edit", "--author", ADA]);
    world.eve().forces("shop");
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &[]).await;
    let dana = world.dana().clone();
    dana.run(&["fetch", "--quiet", "origin"]);
    dana.run(&["switch", "--quiet", "--force-create", "shop", &before]);
    world.dana().forces("shop");
    ada_signs(&world, &shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_who_pressed_rebase_and_a_push_on_top_of_it() {
    let world = World::start().await;
    let shop = shop_of_dana(&world).await;
    let readme = world
        .ada()
        .writes_on_the_forge("readme", "NOTES.md", "Of no concern.\n")
        .await;
    world.ada().merges(&readme).await;
    let old = shop.head().await;
    world
        .ada()
        .does(Method::PUT, &shop.at("/rebase"), &json!({}))
        .await;
    world
        .until("a rebased head", async || {
            (shop.head().await != old).then_some(())
        })
        .await;
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    let clone = world.dana().clone();
    clone.run(&["fetch", "--quiet", "origin"]);
    clone.run(&["switch", "--quiet", "--force-create", "shop", "origin/shop"]);
    commits_as(
        &clone,
        "Dana <dana@example.test>",
        Some(&SHOP.replace("30Gi", "40Gi")),
    );
    world.dana().forces("shop");
    ada_signs(&world, &shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_was_pushed_long_before() {
    let world = World::start().await;
    world.dana().pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
    world.settles().await;
    world.time.passes(Duration::from_secs(5 * 3_600));
    let shop = world.dana().opens_from("shop").await;
    ada_signs(&world, &shop).await;
}

/// What an admin wrote, squashed by another under their own name, with a line more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_work_under_anothers_name() {
    let world = World::start().await;
    let shop = shop_of_dana(&world).await;
    // Under a name that nobody knows for hers: only her push tells.
    let clone = world.ada().clone();
    clone.run(&["fetch", "--quiet", "origin"]);
    clone.run(&["switch", "--quiet", "--force-create", "shop", "origin/shop"]);
    clone.run(&["config", "user.email", "nobody@nowhere.test"]);
    commits_as(
        &clone,
        "Nobody <nobody@nowhere.test>",
        Some(&SHOP.replace("size: Small", "size: Large")),
    );
    world.ada().forces("shop");
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    let dana = world.dana().clone();
    dana.run(&["fetch", "--quiet", "origin"]);
    dana.run(&["switch", "--quiet", "--force-create", "shop", "origin/shop"]);
    dana.run(&["reset", "--quiet", "--soft", "origin/main"]);
    let content = SHOP.replace("size: Small", "size: Large") + "# Looked at.\n";
    commits_as(&dana, "Dana <dana@example.test>", Some(&content));
    world.dana().forces("shop");
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["The approval of ada does not count: they pushed it"])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

/// What an admin wrote, and another has committed anew, to the letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_work_committed_anew() {
    let world = World::start().await;
    world.dana().pushes_as("shop", &[(SHOP_FILE, Some(SHOP))], ADA);
    let shop = world.dana().opens_from("shop").await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    let dana = world.dana().clone();
    let dana_as = "--author=Dana <dana@example.test>";
    dana.run(&["commit", "--quiet", "--amend", "--no-edit", dana_as]);
    world.dana().forces("shop");
    let head = shop.head().await;
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["The approval of ada does not count", "e-mail address"])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}
