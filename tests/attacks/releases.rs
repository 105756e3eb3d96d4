//! What was merged without a sign-off waits until an admin releases it by its digest. Meanwhile the world goes on: what
//! was fine when it was shown may be past a limit, in two files, or bound for another place by the time it is released.

use crate::support::people::{DONE, HELD, MergeRequest, Person, READY, REFUSED, SHOP, SHOP_FILE, WAITING};
use crate::support::world::{Settings, World};

const FOUR_CORES: &str = "    limits:\n      coresPerTeam: 4\n";

/// A project that is nothing but a machine of four virtual CPUs.
fn machine(name: &str) -> String {
    format!(
        "apiVersion: landfall.dev/v1\nkind: Project\nmetadata:\n  name: {name}\n  team: web-team\nspec:\n  \
         environment: dev\n  deletionPolicy: Delete\n  virtualMachines:\n    - name: web\n      size: Medium\n      \
         image: Ubuntu2404\n      diskSize: 30Gi\n"
    )
}

/// Where it is asked for.
fn file(name: &str) -> String {
    format!("requests/web-team/{name}.yaml")
}

/// Asked for, merged without a sign-off, and held.
async fn is_held<'w>(world: &'w World, name: &str) -> MergeRequest<'w> {
    let asked = world
        .dana()
        .opens(name, &[(&file(name), Some(&machine(name)))])
        .await;
    asked.shows(WAITING, &["1 to create"]).await;
    world.ada().merges(&asked).await;
    asked.shows(HELD, &["may release it with a comment"]).await;
    asked
}

/// An admin signs off what the comment shows, in words.
async fn releases(admin: Person<'_>, held: &MergeRequest<'_>) {
    let command = format!("/landfall approve {}", held.digest().await);
    admin.comments(held, &command).await;
}

async fn lands_signed_off(world: &World, asked: &MergeRequest<'_>) {
    asked.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(asked).await;
    asked.shows(READY, &["Signed off by ada"]).await;
    world.ada().merges(asked).await;
    asked.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_held_requests_that_are_past_a_limit_together() {
    let world = World::with(Settings {
        more_rules: FOUR_CORES,
        ..Settings::default()
    })
    .await;
    let first = is_held(&world, "first").await;
    let second = is_held(&world, "second").await;
    releases(world.ada(), &first).await;
    first.shows(DONE, &[]).await;
    // There is no room for it any more, and its comment says so before anybody signs.
    second.shows(HELD, &["8 virtual CPUs", "coresPerTeam"]).await;
    world
        .ada()
        .comments(&second, "/landfall approve 0123456789abcdef0123456789abcdef")
        .await;
    world.settles().await;
    assert_eq!(
        world.ledger().await,
        ["created virtual-machine/web of Project/first"]
    );
    // Once there is room, what is held can be released.
    let back = world.dana().opens("back", &[(&file("first"), None)]).await;
    lands_signed_off(&world, &back).await;
    second.shows(HELD, &["may release it with a comment"]).await;
    releases(world.ada(), &second).await;
    second.shows(DONE, &[]).await;
    assert!(
        world
            .ledger()
            .await
            .contains(&"created virtual-machine/web of Project/second".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_held_requests_that_are_released_in_the_same_moment() {
    let mut world = World::with(Settings {
        more_rules: FOUR_CORES,
        ..Settings::default()
    })
    .await;
    let (first, second) = {
        let (first, second) = (is_held(&world, "first").await, is_held(&world, "second").await);
        world.settles().await;
        (
            (first.number, first.digest().await),
            (second.number, second.digest().await),
        )
    };
    world.stop_landfall().await;
    for (number, digest) in [&first, &second] {
        let command = format!("/landfall approve {digest}");
        world
            .ada()
            .comments(&world.merge_request(*number), &command)
            .await;
    }
    world.start_landfall().await;
    world
        .until("one of them is there", async || {
            (world.ledger().await.len() == 1).then_some(())
        })
        .await;
    world.settles().await;
    assert_eq!(world.ledger().await.len(), 1, "{:?}", world.ledger().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_held_files_that_ask_for_the_same() {
    let world = World::start().await;
    let first = is_held(&world, "first").await;
    let twin = world
        .dana()
        .opens(
            "twin",
            &[("requests/web-team/twin.yaml", Some(&machine("first")))],
        )
        .await;
    twin.shows(WAITING, &["1 to create"]).await;
    world.ada().merges(&twin).await;
    twin.shows(HELD, &["may release it with a comment"]).await;
    let digest = twin.digest().await;
    releases(world.ada(), &first).await;
    first.shows(DONE, &[]).await;
    twin.shows(HELD, &["requests/web-team/first.yaml"]).await;
    world
        .ada()
        .comments(&twin, &format!("/landfall approve {digest}"))
        .await;
    world.settles().await;
    assert_eq!(
        world.ledger().await,
        ["created virtual-machine/web of Project/first"]
    );
    first.shows(DONE, &[]).await;
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_moved_since_the_plan_was_shown() {
    let world = World::start().await;
    let held = is_held(&world, "first").await;
    let digest = held.digest().await;
    let rules = world.rules().replace("eu-central-1", "us-east-1");
    let moved = world
        .dana()
        .opens("move", &[("landfall.yaml", Some(&rules))])
        .await;
    lands_signed_off(&world, &moved).await;
    world
        .ada()
        .comments(&held, &format!("/landfall approve {digest}"))
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    // What it would be now has a digest of its own.
    held.shows(HELD, &["may release it with a comment"]).await;
    assert_ne!(held.digest().await, digest);
    releases(world.ada(), &held).await;
    held.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_that_is_gone_since_the_plan_was_shown() {
    let world = World::start().await;
    let held = is_held(&world, "first").await;
    let digest = held.digest().await;
    let rules = world.rules().replace("  dev:\n", "  staging:\n");
    let gone = world
        .dana()
        .opens("rename", &[("landfall.yaml", Some(&rules))])
        .await;
    lands_signed_off(&world, &gone).await;
    held.shows(HELD, &["no environment `dev`"]).await;
    world
        .ada()
        .comments(&held, &format!("/landfall approve {digest}"))
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_merged_before_landfall_had_looked_at_it_can_be_released() {
    let mut world = World::start().await;
    world.stop_landfall().await;
    let number = {
        let shop = world.dana().opens("shop", &[(SHOP_FILE, Some(SHOP))]).await;
        world.ada().merges(&shop).await;
        shop.number
    };
    world.start_landfall().await;
    let shop = world.merge_request(number);
    shop.shows(HELD, &["3 to create", "may release it with a comment"])
        .await;
    // Neither the author nor who is no admin.
    for who in [world.dana(), world.eve()] {
        releases(who, &shop).await;
    }
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    releases(world.ada(), &shop).await;
    shop.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_signed_merge_requests_that_meet_a_limit_are_told_before_the_merge() {
    let world = World::with(Settings {
        more_rules: FOUR_CORES,
        ..Settings::default()
    })
    .await;
    let (one, other) = (
        world
            .dana()
            .opens("one", &[(&file("one"), Some(&machine("one")))])
            .await,
        world
            .dana()
            .opens("other", &[(&file("other"), Some(&machine("other")))])
            .await,
    );
    for asked in [&one, &other] {
        asked.shows(WAITING, &["press **Approve**"]).await;
        world.ada().approves(asked).await;
    }
    let together = |number: u64| format!("Together with `!{number}`, signed off already");
    one.shows(READY, &[&together(other.number), "is held, until there is room"])
        .await;
    other.shows(READY, &[&together(one.number)]).await;
    world.ada().merges(&one).await;
    one.shows(DONE, &[]).await;
    other.shows(REFUSED, &["8 virtual CPUs", "coresPerTeam"]).await;
    // Somebody merges it all the same: it waits for room, and for an admin.
    world.ada().merges(&other).await;
    other
        .shows(HELD, &["8 virtual CPUs", "once nothing refuses it"])
        .await;
    world.settles().await;
    assert_eq!(
        world.ledger().await,
        ["created virtual-machine/web of Project/one"]
    );
}
