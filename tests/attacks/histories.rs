//! Histories that no person would push: ten thousand commits behind a README, commits without an author or of a day
//! that never was. Whoever brings one suffers alone.

use std::fmt::Write as _;

use serde_json::json;

use super::goes_on;
use crate::support::git::Clone;
use crate::support::people::{DONE, HELD, READY, REFUSED, SHOP, SHOP_FILE};
use crate::support::world::World;

const AUTHOR: &str = "eve <eve@example.test> 1700000000 +0000";

/// So many commits on top of `main`, one after another; each writes a file.
fn chain(clone: &Clone, count: usize, path: &str) -> String {
    let main = clone.run(&["rev-parse", "origin/main"]);
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "commit refs/heads/chain\ncommitter {AUTHOR}\ndata 4\nmore").unwrap();
        if number == 0 {
            writeln!(text, "from {main}").unwrap();
        }
        let content = format!("{number}\n");
        writeln!(text, "M 100644 inline {path}\ndata {}\n{content}", content.len()).unwrap();
    }
    clone.run_reading(&["fast-import", "--quiet", "--force"], text.as_bytes());
    clone.run(&["rev-parse", "refs/heads/chain"])
}

/// A commit to the letter, of the tree of `main` with another README.
fn commit_saying(clone: &Clone, headers: &str) -> String {
    let readme = clone.writes_object("blob", headers.as_bytes());
    let tree = clone.tree_with("origin/main", &[("100644", b"README.md", &readme)]);
    let main = clone.run(&["rev-parse", "origin/main"]);
    let text = headers.replace("TREE", &tree).replace("MAIN", &main);
    clone.writes_object("commit", text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_commits_behind_a_readme() {
    let world = World::start().await;
    let clone = world.eve().clone();
    let many = chain(&clone, 10_001, "README.md");
    let many = world.eve().opens_with("many", &many).await;
    world.ada().merges(&many).await;
    goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_commits_behind_a_request() {
    let world = World::start().await;
    let clone = world.eve().clone();
    let many = chain(&clone, 10_001, "requests/web-team/many.yaml");
    let many = world.eve().opens_with("many", &many).await;
    many.shows(REFUSED, &["more than 10000 commits"]).await;
    world.ada().merges(&many).await;
    many.shows(HELD, &["**nothing was provisioned**"]).await;
    goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_commits_pushed_straight_onto_the_branch() {
    let world = World::start().await;
    world.eve_is_maintainer().await;
    let clone = world.eve().clone();
    let many = chain(&clone, 10_001, "requests/web-team/many.yaml");
    world.eve().pushes_commit_to_main(&many);
    world
        .issue_saying(&["@eve pushed", "requests/web-team/many.yaml"])
        .await;
    goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_not_what_git_writes() {
    let world = World::start().await;
    let clone = world.eve().clone();
    let huge = format!("eve <{}@example.test> 1 +0000", "e".repeat(2_000_000));
    let kinds = [
        ("no-author", format!("tree TREE\nparent MAIN\ncommitter {AUTHOR}\n\nodd\n")),
        ("no-committer", format!("tree TREE\nparent MAIN\nauthor {AUTHOR}\n\nodd\n")),
        ("nobody", "tree TREE\nparent MAIN\n\nodd\n".to_owned()),
        ("no-day", "tree TREE\nparent MAIN\nauthor eve <e@e>\ncommitter eve <e@e>\n\nodd\n".to_owned()),
        ("no-address", "tree TREE\nparent MAIN\nauthor eve 1 +0000\ncommitter eve 1 +0000\n\nodd\n".to_owned()),
        (
            "far-away",
            "tree TREE\nparent MAIN\nauthor e <e@e> 99999999999999999999 +9999\ncommitter e <e@e> -1 -9999\n\nodd\n"
                .to_owned(),
        ),
        ("huge-address", format!("tree TREE\nparent MAIN\nauthor {huge}\ncommitter {AUTHOR}\n\nodd\n")),
    ];
    let mut taken = String::new();
    for (name, headers) in kinds {
        let odd = commit_saying(&clone, &headers);
        let sent = clone.attempt(&["push", "--quiet", "origin", &format!("{odd}:refs/heads/{name}")]);
        if !sent.success {
            continue;
        }
        write!(taken, "{name} ").unwrap();
        let odd = world.eve().opens_from(name).await;
        world.ada().merges(&odd).await;
        clone.run(&["fetch", "--quiet", "origin"]);
    }
    println!("taken: {taken}");
    goes_on(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_merge_request_of_many_commits_by_fast_forward() {
    let world = World::start().await;
    let project = format!("projects/{}", world.project);
    let root = world.person("root");
    root.does(reqwest::Method::PUT, &project, &json!({ "merge_method": "ff" }))
        .await;
    let clone = world.dana().clone();
    let mut head = chain(&clone, 150, "README.md");
    let blob = clone.writes_object("blob", SHOP.as_bytes());
    let team = clone.writes_tree(&[("100644", b"shop.yaml", &blob)]);
    let requests = clone.writes_tree(&[("40000", b"web-team", &team)]);
    let tree = clone.tree_with(&head, &[("40000", b"requests", &requests)]);
    head = clone.commits_tree(&tree, &[&head], "Ask for a shop");
    let shop = world.dana().opens_with("shop", &head).await;
    shop.is_done().await;
    world.settles().await;
    assert!(world.issues().await.is_empty(), "{:?}", world.issues().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_merge_requests_that_an_octopus_brings_together() {
    let world = World::start().await;
    let mut signed = Vec::new();
    for name in ["shop", "blog", "mail"] {
        let file = format!("requests/web-team/{name}.yaml");
        let content = SHOP.replace("name: shop", &format!("name: {name}"));
        let one = world.dana().opens(name, &[(&file, Some(&content))]).await;
        one.is_signed_off().await;
        signed.push(one);
    }
    world.eve_is_maintainer().await;
    let clone = world.eve().clone();
    clone.run(&["switch", "--quiet", "--force-create", "main", "origin/main"]);
    clone.run(&[
        "merge",
        "--quiet",
        "--no-edit",
        "origin/shop",
        "origin/blog",
        "origin/mail",
    ]);
    clone.run(&["push", "--quiet", "origin", "main"]);
    for one in signed {
        one.shows(DONE, &[]).await;
    }
    world.settles().await;
    assert_eq!(world.ledger().await.len(), 9);
    assert!(world.issues().await.is_empty(), "{:?}", world.issues().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_octopus_that_brings_one_that_nobody_signed_along() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    let blog = SHOP.replace("name: shop", "name: blog");
    let unsigned = world
        .eve()
        .opens("blog", &[("requests/web-team/blog.yaml", Some(&blog))])
        .await;
    unsigned.shows(crate::support::people::WAITING, &[]).await;
    world.eve_is_maintainer().await;
    let clone = world.eve().clone();
    clone.run(&["switch", "--quiet", "--force-create", "main", "origin/main"]);
    clone.run(&["merge", "--quiet", "--no-edit", "origin/shop", "origin/blog"]);
    clone.run(&["push", "--quiet", "origin", "main"]);
    unsigned.shows(HELD, &["merged without a sign-off"]).await;
    shop.shows(DONE, &[]).await;
    world.settles().await;
    let ledger = world.ledger().await;
    assert!(
        ledger.iter().all(|line| line.ends_with("of Project/shop")),
        "{ledger:?}"
    );
}

/// What is signed stays so, whatever stands beside it: a file that is governed is told before the merge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_file_beside_a_signed_request() {
    let world = World::start().await;
    for (branch, hidden) in [("one", ".x.yml"), ("two", ".X.YAML"), ("three", ".x.Yml")] {
        let file = format!("requests/web-team/{hidden}");
        let files = [(SHOP_FILE, Some(SHOP)), (file.as_str(), Some("x: 1\n"))];
        let asked = world.dana().opens(branch, &files).await;
        asked.shows(REFUSED, &[hidden]).await;
    }
    // What is not governed is nobody's concern.
    let files = [(SHOP_FILE, Some(SHOP)), ("requests/web-team/.gitkeep", Some(""))];
    let asked = world.dana().opens("kept", &files).await;
    asked.shows(crate::support::people::WAITING, &[]).await;
    world.ada().approves(&asked).await;
    asked.shows(READY, &[]).await;
    world.ada().merges(&asked).await;
    asked.shows(DONE, &[]).await;
}
