//! What stands in the files: what cannot be read is refused where it stands, and what a merge request says about the
//! rules is not true for itself.

use crate::support::people::{HELD, READY, REFUSED, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_count_from_the_next_merge_request_on() {
    let world = World::start().await;
    let eve = format!(
        "        name: grace\n      - id: {}\n        name: eve\n",
        world.id_of("eve")
    );
    let rules = world.rules().replace("        name: grace\n", &eve);
    let files = [("landfall.yaml", Some(rules.as_str())), (SHOP_FILE, Some(SHOP))];
    let merge_request = world.dana().opens("eve-is-admin", &files).await;
    merge_request
        .shows(WAITING, &["Needs a sign-off from ada or grace", "landfall.yaml"])
        .await;
    world.eve().approves(&merge_request).await;
    merge_request
        .shows(
            WAITING,
            &["The approval of eve does not count: the accepted landfall.yaml does not name them as admin"],
        )
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows(READY, &["Signed off by ada:"]).await;
    world.ada().merges(&merge_request).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);

    let blog = SHOP.replace("name: shop", "name: blog");
    let next = world
        .dana()
        .opens("blog", &[("requests/web-team/blog.yaml", Some(&blog))])
        .await;
    next.shows(WAITING, &["Needs a sign-off from eve, ada or grace"])
        .await;
    world.eve().approves(&next).await;
    next.shows(READY, &["Signed off by eve"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_is_refused_where_it_stands_and_disturbs_nothing() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.lands().await;
    shop.shows("✅ Done", &["Nothing to do"]).await;

    let path = "requests/web-team/blog.yaml";
    let broken = "apiVersion: landfall.dev/v1\nkind: Project\nmetadata:\n  name: [blog\n";
    let blog = world.dana().opens("blog", &[(path, Some(broken))]).await;
    let comment = blog
        .shows(
            REFUSED,
            &["Fix the 1 finding below and push again", "(`not-yaml`)"],
        )
        .await;
    assert!(comment.contains("blog.yaml#L4"), "{comment}");
    let head = blog.head().await;
    world.settles().await;
    assert_eq!(
        blog.statuses(&head).await.last().unwrap(),
        "failed: Refused: 1 finding to fix"
    );
    world.ada().merges(&blog).await;
    blog.shows(
        HELD,
        &[
            "**nothing was provisioned**",
            "its files have findings",
            "put it right with a new merge request",
        ],
    )
    .await;

    // What is there already goes on as if nothing had happened; and the next request is not held up.
    let third = SHOP.replace("name: shop", "name: wiki");
    let wiki = world
        .dana()
        .opens("wiki", &[("requests/web-team/wiki.yaml", Some(&third))])
        .await;
    wiki.lands().await;
    wiki.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    let mut there: Vec<String> = SHOP_IS_THERE.map(str::to_owned).to_vec();
    there.extend(SHOP_IS_THERE.map(|line| line.replace("Project/shop", "Project/wiki")));
    there.sort();
    assert_eq!(world.ledger().await, there);
    shop.shows("✅ Done", &["Nothing to do"]).await;
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_files_that_ask_for_the_same_thing_are_refused() {
    let world = World::start().await;
    let files = [
        (SHOP_FILE, Some(SHOP)),
        ("requests/web-team/shop-again.yaml", Some(SHOP)),
    ];
    let merge_request = world.dana().opens("twice", &files).await;
    merge_request
        .shows(
            REFUSED,
            &["push again", "shop.yaml", "shop-again.yaml", "(`duplicate-"],
        )
        .await;
    world.ada().approves(&merge_request).await;
    world.ada().merges(&merge_request).await;
    merge_request
        .shows(HELD, &["**nothing was provisioned**", "its files have findings"])
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_that_is_fixed_is_gone() {
    let world = World::start().await;
    let wrong = SHOP.replace("size: Small", "siez: Small");
    let merge_request = world.dana().opens("shop", &[(SHOP_FILE, Some(&wrong))]).await;
    merge_request
        .shows(REFUSED, &["push again", "siez", "Did you mean"])
        .await;
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
    let comment = merge_request
        .shows_at(&head, WAITING, &["press **Approve**"])
        .await;
    assert!(!comment.contains("siez"), "{comment}");
}
