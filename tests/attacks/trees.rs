//! Trees that no git would write by itself: huge ones from a few objects, entries that are not what their mode says,
//! paths without end. Whoever brings one suffers alone.

use std::fmt::Write as _;

use super::goes_on;
use crate::support::git::Clone;
use crate::support::people::{DONE, HELD, MergeRequest, REFUSED, SHOP, SHOP_FILE};
use crate::support::world::World;

/// So many paths, below a folder of three objects.
fn flood(clone: &Clone, across: usize, down: usize) -> String {
    let blob = clone.writes_object("blob", b"x: 1\n");
    let names: Vec<String> = (0..across.max(down)).map(|n| format!("f{n:06}")).collect();
    let entry = |mode, n: usize, object| (mode, names[n].as_bytes(), object);
    let files: Vec<_> = (0..down).map(|n| entry("100644", n, blob.as_str())).collect();
    let folder = clone.writes_tree(&files);
    let folders: Vec<_> = (0..across).map(|n| entry("40000", n, folder.as_str())).collect();
    clone.writes_tree(&folders)
}

/// A commit on top of `main` in which the top of the tree has this entry.
fn commit_with(clone: &Clone, mode: &str, name: &str, object: &str) -> String {
    let tree = clone.tree_with("origin/main", &[(mode, name.as_bytes(), object)]);
    let main = clone.run(&["rev-parse", "origin/main"]);
    clone.commits_tree(&tree, &[&main], "Odd things")
}

/// It is refused with these words; merged all the same, it is held with those; and the next merge goes on.
async fn is_its_own_trouble(world: &World, odd: &MergeRequest<'_>, refused: &[&str], held: &[&str]) {
    odd.shows(REFUSED, refused).await;
    world.ada().merges(odd).await;
    odd.shows(HELD, held).await;
    goes_on(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_paths_from_three_objects() {
    let world = World::start().await;
    let clone = world.eve().clone();
    let catalog = flood(&clone, 320, 320);
    let odd = commit_with(&clone, "40000", "catalog", &catalog);
    let odd = world.eve().opens_with("flood", &odd).await;
    is_its_own_trouble(
        &world,
        &odd,
        &["more than 10000 files", "`too-much`"],
        &["more than 10000 files", "**nothing was provisioned**"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_paths_beside_a_request_that_is_signed() {
    let world = World::start().await;
    let before = world.dana().opens("shop", &[(SHOP_FILE, Some(SHOP))]).await;
    before.is_signed_off().await;
    let clone = world.eve().clone();
    let flood = flood(&clone, 320, 320);
    let team = clone.writes_tree(&[("40000", b"web-team", &flood)]);
    let odd = commit_with(&clone, "40000", "requests", &team);
    let odd = world.eve().opens_with("flood", &odd).await;
    odd.shows(REFUSED, &["more than 10000 files"]).await;
    world.ada().merges(&odd).await;
    odd.shows(HELD, &["more than 10000 files"]).await;
    world.ada().merges(&before).await;
    before.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_paths_pushed_straight_onto_the_branch() {
    let world = World::start().await;
    world.eve_is_maintainer().await;
    let clone = world.eve().clone();
    let catalog = flood(&clone, 320, 320);
    let odd = commit_with(&clone, "40000", "catalog", &catalog);
    world.eve().pushes_commit_to_main(&odd);
    let issue = world.issue_about(&odd).await;
    issue.shows(REFUSED, &["more than 10000 files"]).await;
    goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_of_four_hundred_levels() {
    let world = World::start().await;
    // No checkout can hold what comes: it is asked for before.
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    let clone = world.eve().clone();
    let blob = clone.writes_object("blob", b"x: 1\n");
    let long = "n".repeat(200);
    let names: Vec<String> = (0..64).map(|n| format!("{n:02}.yaml")).collect();
    let files: Vec<_> = names
        .iter()
        .map(|n| ("100644", n.as_bytes(), blob.as_str()))
        .collect();
    let mut at = clone.writes_tree(&files);
    for _ in 0..400 {
        at = clone.writes_tree(&[("40000", long.as_bytes(), &at)]);
    }
    let odd = commit_with(&clone, "40000", "requests", &at);
    let odd = world.eve().opens_with("deep", &odd).await;
    odd.shows(REFUSED, &["too many folders above it"]).await;
    world.ada().merges(&odd).await;
    // What lies so deep is nothing that anything reads.
    odd.shows("⚪ Nothing to provision", &[]).await;
    world.ada().merges(&shop).await;
    shop.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_longer_than_any_path() {
    let world = World::start().await;
    // No checkout can hold what comes: it is asked for before.
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    let clone = world.eve().clone();
    let blob = clone.writes_object("blob", b"x: 1\n");
    let names: Vec<String> = (0..64)
        .map(|n| format!("{}{n}.yaml", "n".repeat(100_000)))
        .collect();
    let files: Vec<_> = names
        .iter()
        .map(|n| ("100644", n.as_bytes(), blob.as_str()))
        .collect();
    let team = clone.writes_tree(&files);
    let requests = clone.writes_tree(&[("40000", b"web-team", &team)]);
    let odd = commit_with(&clone, "40000", "requests", &requests);
    let odd = world.eve().opens_with("long", &odd).await;
    odd.shows(REFUSED, &["a name that is too long"]).await;
    world.ada().merges(&odd).await;
    odd.shows(HELD, &["**nothing was provisioned**"]).await;
    world.ada().merges(&shop).await;
    shop.shows(DONE, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_not_what_their_mode_says() {
    let world = World::start().await;
    let clone = world.eve().clone();
    let blob = clone.writes_object("blob", SHOP.as_bytes());
    // Each under a name of its own: an unreadable thing in place of another one changes nothing.
    // Which of these the forge takes is the forge's own: GitLab looks at what it is sent (`receive.fsckObjects`).
    type Entry<'a> = (&'a str, &'a [u8], &'a str);
    let kinds: [(&str, Vec<Entry<'_>>); 2] = [
        ("no-type", vec![("10644", b"no-type.yaml", &blob)]),
        ("no-mode", vec![("0", b"no-mode.yaml", &blob)]),
    ];
    let mut taken = String::new();
    for (name, entries) in kinds {
        let team = clone.writes_tree(&entries);
        let requests = clone.writes_tree(&[("40000", b"web-team", &team)]);
        let odd = commit_with(&clone, "40000", "requests", &requests);
        let sent = clone.attempt(&["push", "--quiet", "origin", &format!("{odd}:refs/heads/{name}")]);
        if !sent.success {
            continue;
        }
        write!(taken, "{name} ").unwrap();
        let odd = world.eve().opens_from(name).await;
        odd.shows(REFUSED, &[]).await;
        world.ada().merges(&odd).await;
        odd.shows(HELD, &["**nothing was provisioned**"]).await;
        clone.run(&["fetch", "--quiet", "origin"]);
    }
    println!("taken: {taken}");
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}
