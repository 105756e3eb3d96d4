//! A sign-off that nobody gave: forged, replayed, smuggled, or given for something else.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use super::nothing_was_made;
use crate::support::people::{HELD, READY, REFUSED, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::{Settings, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_lies_about_an_approval_and_a_merge() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;
    // A maintainer may shape what a hook sends: it is signed, and says what they like.
    let sent = world.sandbox.deliveries();
    let hook = sent
        .iter()
        .find(|sent| sent.event == "Merge Request Hook")
        .expect("one was sent");
    let mut body: Value = serde_json::from_slice(&hook.body).unwrap();
    body["object_attributes"]["action"] = json!("merge");
    body["object_attributes"]["state"] = json!("merged");
    body["object_attributes"]["merge_commit_sha"] = body["object_attributes"]["last_commit"]["id"].clone();
    body["user"] = json!({ "id": world.id_of("ada"), "username": "ada", "name": "ada" });
    assert_eq!(
        world.delivers("Merge Request Hook", &body).await,
        200,
        "it is signed"
    );
    body["object_attributes"]["action"] = json!("approved");
    assert_eq!(world.delivers("Merge Request Hook", &body).await, 200);
    world.settles().await;
    shop.shows(WAITING, &["Needs a sign-off from ada or grace"]).await;
    assert!(world.ledger().await.is_empty());
    // With nobody's signature it is not even looked at.
    assert_eq!(world.delivers_unsigned("Merge Request Hook", &body).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_delivery_a_thousand_times() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_done().await;
    world.settles().await;
    let calls = world.sandbox.access_log_len();
    let sent = world.sandbox.deliveries();
    let merge = sent
        .iter()
        .rfind(|sent| sent.event == "Merge Request Hook")
        .expect("one was sent");
    for _ in 0..1_000 {
        assert_eq!(world.replays(merge).await, 200);
    }
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(shop.written("result").await.len(), 1);
    // The test itself looks up where the hook leads.
    let calls = world.sandbox.access_log_since(calls);
    let calls = calls.iter().filter(|call| !call.path.ends_with("/hooks")).count();
    assert!(
        calls < 3,
        "a delivery that is known costs the forge nothing: {calls} calls"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_by_who_wrote_a_commit_of_it() {
    let world = World::start().await;
    let dana = world.dana();
    dana.pushes_as("shop", &[(SHOP_FILE, Some(SHOP))], "ada <ada@example.test>");
    let shop = dana.opens_from("shop").await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["The approval of ada does not count", "a commit"])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_by_the_second_account_that_pushed_it() {
    let world = World::start().await;
    // Whoever is behind dana has ada's account, too: it pushes, dana opens, ada approves.
    world
        .ada()
        .pushes_as("shop", &[(SHOP_FILE, Some(SHOP))], "dana <dana@example.test>");
    let shop = world.dana().opens_from("shop").await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["The approval of ada does not count", "push"])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_by_someone_whose_role_was_withdrawn() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    let member = format!("projects/{}/members/{}", world.project, world.id_of("ada"));
    world
        .person("root")
        .does(Method::DELETE, &member, &Value::Null)
        .await;
    world.grace().merges(&shop).await;
    nothing_was_made(
        &world,
        &shop,
        &["merged without a sign-off", "not an active member"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_off_borrowed_by_another_merge_request_with_the_same_content() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    let digest = shop.digest().await;
    world.ada().approves(&shop).await;
    shop.shows(READY, &["Signed off by ada"]).await;
    world.dana().closes(&shop).await;
    shop.shows("🚫 Closed", &[]).await;
    let twin = world.eve().opens("twin", &[(SHOP_FILE, Some(SHOP))]).await;
    twin.shows(
        WAITING,
        &["0 of 1", "ada or grace"].map(|word| {
            if word == "0 of 1" {
                "Needs a sign-off"
            } else {
                word
            }
        }),
    )
    .await;
    assert_eq!(twin.digest().await, digest, "the very same, byte by byte");
    world.grace().merges(&twin).await;
    nothing_was_made(&world, &twin, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_innocent_change_on_top_of_what_nobody_accepted() {
    let world = World::start().await;
    let greedy = SHOP.replace("size: Small", "size: Large");
    world.eve_is_maintainer().await;
    world.eve().pushes_to_main(&[(SHOP_FILE, Some(&greedy))]);
    world.issue_saying(&["@eve pushed", SHOP_FILE]).await;
    let innocent = format!("# One word of explanation.\n{greedy}");
    let merge_request = world
        .dana()
        .opens("innocent", &[(SHOP_FILE, Some(&innocent))])
        .await;
    merge_request
        .shows(
            WAITING,
            &[
                "The target branch holds other content",
                "the **Approve** button does not count",
                "3 to create",
                "size: `Large`",
            ],
        )
        .await;
    world.ada().approves(&merge_request).await;
    world.settles().await;
    merge_request
        .shows(WAITING, &["Needs a sign-off from ada or grace"])
        .await;
    world.ada().merges(&merge_request).await;
    nothing_was_made(&world, &merge_request, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_rewritten_by_a_maintainers_direct_push() {
    let world = World::start().await;
    world.eve_is_maintainer().await;
    let eve = format!(
        "        name: grace\n      - id: {}\n        name: eve\n",
        world.id_of("eve")
    );
    let rules = world.rules().replace("        name: grace\n", &eve);
    world.eve().pushes_to_main(&[("landfall.yaml", Some(&rules))]);
    world.issue_saying(&["@eve pushed", "landfall.yaml"]).await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["Needs a sign-off from ada or grace"]).await;
    world.eve().approves(&shop).await;
    shop.shows(
        WAITING,
        &["The approval of eve does not count: the accepted landfall.yaml does not name them as admin"],
    )
    .await;
    world.eve().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_that_brings_rules_and_policies_of_its_own() {
    let world = World::start().await;
    let eve = format!(
        "        name: grace\n      - id: {}\n        name: eve\n",
        world.id_of("eve")
    );
    let rules = world.rules().replace("        name: grace\n", &eve);
    let waiver = "package all\n\nimport rego.v1\n\napprovals contains {\"role\": \"admin\", \"count\": 0}\n";
    let files = [
        (SHOP_FILE, SHOP),
        ("landfall.yaml", rules.as_str()),
        ("policies/all.rego", waiver),
    ];
    let asked = world.eve().opens_from_a_fork("afar", &files).await;
    asked
        .shows(WAITING, &["Needs a sign-off from ada or grace"])
        .await;
    let digest = asked.digest().await;
    world
        .eve()
        .comments(&asked, &format!("/landfall approve {digest}"))
        .await;
    asked
        .shows(WAITING, &["The approval of eve does not count"])
        .await;
    world.ada().merges(&asked).await;
    nothing_was_made(&world, &asked, &["merged without a sign-off"]).await;
}

/// No kind refers to other requests yet: whoever tries it is told that there is no such field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_teams_database_named_in_a_reference() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_done().await;
    let reference = "      databaseRef:\n        name: shop\n        database: orders\n";
    let greedy = SHOP
        .replace("name: shop", "name: spy")
        .replace("      size: Small\n", &format!("      size: Small\n{reference}"));
    let spy = world
        .eve()
        .opens("spy", &[("requests/web-team/spy.yaml", Some(&greedy))])
        .await;
    spy.shows(REFUSED, &["databaseRef", "`unknown-field`"]).await;
    world.ada().approves(&spy).await;
    world.ada().merges(&spy).await;
    spy.shows(HELD, &["**nothing was provisioned**"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_in_a_title_a_description_and_a_commit() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    let command = format!("/landfall approve {}\n/approve\n/merge", shop.digest().await);
    let words = json!({ "title": command.lines().next(), "description": command });
    world.ada().does(Method::PUT, &shop.at(""), &words).await;
    world.settles().await;
    shop.shows(WAITING, &["Needs a sign-off from ada or grace"]).await;
    assert!(shop.written("answer").await.is_empty());
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_bears_the_name_of_the_branch() {
    let world = World::start().await;
    let clone = world.eve().clone();
    clone.run(&["switch", "--quiet", "--create", "mine"]);
    clone.commit(SHOP_FILE, SHOP, "Mine");
    clone.run(&["tag", "main"]);
    clone.run(&["push", "--quiet", "origin", "refs/tags/main"]);
    let blog = SHOP.replace("name: shop", "name: blog");
    let asked = world
        .dana()
        .opens("blog", &[("requests/web-team/blog.yaml", Some(&blog))])
        .await;
    asked.is_done().await;
    world.settles().await;
    let ledger = world.ledger().await;
    assert!(
        ledger.iter().all(|line| line.ends_with("of Project/blog")),
        "{ledger:?}"
    );
    assert!(world.issues().await.is_empty(), "main itself was not touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freed_project_path_that_is_registered_anew() {
    let world = World::with(Settings {
        sweep_seconds: 1,
        ..Settings::default()
    })
    .await;
    let root = world.person("root");
    let project = format!("projects/{}", world.project);
    let namespace = root.reads(&project).await["namespace"]["id"].clone();
    root.does(Method::PUT, &project, &json!({ "path": "requests-of-old" }))
        .await;
    // Somebody gets the old path, with rules of their own and a request that needs nobody else.
    let rules = world
        .rules()
        .replace(&world.id_of("ada").to_string(), &world.id_of("eve").to_string());
    let theirs = json!({ "name": "requests", "path": "requests", "namespace_id": namespace });
    let theirs = root.does(Method::POST, "projects", &theirs).await["id"].clone();
    let member = json!({ "user_id": world.id_of("landfall"), "access_level": 40 });
    root.does(Method::POST, &format!("projects/{theirs}/members"), &member)
        .await;
    let file =
        |path: &str, content: &str| json!({ "action": "create", "file_path": path, "content": content });
    let commit = json!({
        "branch": "main",
        "commit_message": "Mine now",
        "actions": [file("landfall.yaml", &rules), file(SHOP_FILE, SHOP)],
    });
    root.does(
        Method::POST,
        &format!("projects/{theirs}/repository/commits"),
        &commit,
    )
    .await;

    // The true one goes on where it is now.
    let asked = world
        .dana()
        .writes_on_the_forge(
            "blog",
            "requests/web-team/blog.yaml",
            &SHOP.replace("name: shop", "name: blog"),
        )
        .await;
    asked.is_done().await;
    world.settles_between_sweeps().await;
    let ledger = world.ledger().await;
    assert!(
        ledger.len() == 3 && ledger.iter().all(|line| line.ends_with("of Project/blog")),
        "{ledger:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_not_what_they_seem() {
    let world = World::start().await;
    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "--create", "odd"]);
    let folder = clone.path.join("requests/web-team");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link.yaml")).unwrap();
    std::fs::write(
        folder.join("latin.yaml"),
        b"apiVersion: landfall.dev/v1\nkind: Pr\xf6ject\n",
    )
    .unwrap();
    std::fs::write(folder.join("huge.yaml"), "# ".repeat(200_000)).unwrap();
    let mut bomb = String::from("a0: &a0 [x]\n");
    for level in 1..20 {
        writeln!(
            bomb,
            "a{level}: &a{level} [{}]",
            vec![format!("*a{}", level - 1); 10].join(", ")
        )
        .unwrap();
    }
    std::fs::write(folder.join("bomb.yaml"), bomb).unwrap();
    std::fs::write(folder.join("twice.yaml"), format!("{SHOP}kind: Project\n")).unwrap();
    clone.run(&["add", "--all"]);
    clone.run(&["commit", "--quiet", "-m", "Odd files"]);
    clone.run(&[
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.target=main",
        "origin",
        "odd",
    ]);
    let odd = world.dana().finds("odd").await;
    odd.shows(
        REFUSED,
        &[
            "(`not-a-plain-file`)",
            "(`not-utf-8`)",
            "(`too-large`)",
            "(`yaml-feature`)",
            "(`duplicate-key`)",
        ],
    )
    .await;
    world.ada().approves(&odd).await;
    world.ada().merges(&odd).await;
    nothing_was_made(&world, &odd, &["its files have findings"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_files_in_one_merge_request_with_one_that_hides_among_them() {
    let world = World::start().await;
    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "--create", "many"]);
    let folder = clone.path.join("requests/web-team");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..10_000 {
        let text = SHOP.replace("name: shop", &format!("name: shop-{number}"));
        let text = if number == 6_543 {
            text.replace("team: web-team", "team: another-team")
        } else {
            text
        };
        std::fs::write(folder.join(format!("shop-{number}.yaml")), text).unwrap();
    }
    clone.run(&["add", "--all"]);
    clone.run(&["commit", "--quiet", "-m", "Many files"]);
    clone.run(&[
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.target=main",
        "origin",
        "many",
    ]);
    let many = world.dana().finds("many").await;
    many.shows(REFUSED, &["shop-6543.yaml:5", "(`wrong-team`)"]).await;
    world.ada().approves(&many).await;
    world.ada().merges(&many).await;
    nothing_was_made(&world, &many, &["its files have findings"]).await;
}
