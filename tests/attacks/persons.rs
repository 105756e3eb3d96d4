//! Somebody signs their own change as somebody else: under another address, as a co-author, by a bot of theirs.

use landfall::sandbox::User;
use reqwest::Method;
use serde_json::json;

use super::nothing_was_made;
use crate::support::people::{MergeRequest, READY, SHOP, SHOP_FILE, WAITING};
use crate::support::world::{Settings, World, text};

const BY_ADDRESS: &str = "a commit of it carries their e-mail address";

/// Ada approves and it is merged: it was hers, so nothing is made.
async fn ada_signs_nothing(world: &World, shop: &MergeRequest<'_>, because: &str) {
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(shop).await;
    shop.shows(WAITING, &["The approval of ada does not count", because])
        .await;
    world.ada().merges(shop).await;
    nothing_was_made(world, shop, &["merged without a sign-off"]).await;
}

/// Dana opens what is another's work, by the address in its commit.
async fn written_by<'w>(world: &'w World, author: &str) -> MergeRequest<'w> {
    world.dana().pushes_as("shop", &[(SHOP_FILE, Some(SHOP))], author);
    world.dana().opens_from("shop").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_the_forge_knows() {
    let world = World::start().await;
    let ada = format!("users/{}", world.id_of("ada"));
    let profile = json!({ "public_email": "countess@lovelace.test" });
    world.person("root").does(Method::PUT, &ada, &profile).await;
    let shop = written_by(&world, "Somebody <Countess@Lovelace.test>").await;
    ada_signs_nothing(&world, &shop, BY_ADDRESS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_the_rules_name() {
    let mut world = World::before_landfall(Settings::default()).await;
    let ada = "        name: ada\n";
    let emails = format!("{ada}        emails: [countess@lovelace.test]\n");
    let rules = world.rules().replace(ada, &emails);
    let action = json!({ "action": "update", "file_path": "landfall.yaml", "content": rules });
    let commit = json!({ "branch": "main", "commit_message": "Rules", "actions": [action] });
    let commits = format!("projects/{}/repository/commits", world.project);
    world.person("root").does(Method::POST, &commits, &commit).await;
    world.start_landfall().await;
    world.adopts_main().await;
    let shop = written_by(&world, "Somebody <countess+work@lovelace.test>").await;
    ada_signs_nothing(&world, &shop, BY_ADDRESS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_co_author() {
    let world = World::start().await;
    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "--create", "shop"]);
    clone.commit(
        SHOP_FILE,
        SHOP,
        "Ask for a shop\n\nCo-authored-by: Ada <ada@example.test>",
    );
    clone.run(&["push", "--quiet", "origin", "shop"]);
    let shop = world.dana().opens_from("shop").await;
    ada_signs_nothing(&world, &shop, BY_ADDRESS).await;
}

/// An access token of the project, made by somebody, and its user.
async fn token_of_the_project(world: &World, by: &str) -> User {
    let token = json!({ "name": "robot", "scopes": ["api"], "access_level": 40 });
    let path = format!("projects/{}/access_tokens", world.project);
    let made = world.person(by).does(Method::POST, &path, &token).await;
    User {
        id: made["user_id"].as_u64().unwrap(),
        username: text(&made["username"]).to_owned(),
        token: text(&made["token"]).to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_of_ones_own_asks() {
    let world = World::start().await;
    let robot = token_of_the_project(&world, "ada").await;
    let shop = world
        .acting_as(&robot)
        .writes_on_the_forge("shop", SHOP_FILE, SHOP)
        .await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["The approval of ada does not count", "bot"])
        .await;
    world.grace().approves(&shop).await;
    shop.shows(READY, &["Signed off by grace"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_of_nobody_knows_whom_asks() {
    let world = World::start().await;
    let root = world.person("root");
    let made = root
        .does(
            Method::POST,
            "service_accounts",
            &json!({ "username": "renovate" }),
        )
        .await;
    let id = made["id"].as_u64().unwrap();
    let member = json!({ "user_id": id, "access_level": 30 });
    root.does(
        Method::POST,
        &format!("projects/{}/members", world.project),
        &member,
    )
    .await;
    let token = json!({ "name": "ci", "scopes": ["api"] });
    let token = root
        .does(
            Method::POST,
            &format!("users/{id}/personal_access_tokens"),
            &token,
        )
        .await;
    let robot = User {
        id,
        username: "renovate".to_owned(),
        token: text(&token["token"]).to_owned(),
    };
    let shop = world
        .acting_as(&robot)
        .writes_on_the_forge("shop", SHOP_FILE, SHOP)
        .await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["Needs 2 sign-offs, of which 1 is there", "a bot"])
        .await;
    world.grace().approves(&shop).await;
    shop.shows(READY, &["Signed off by ada and grace"]).await;
}

/// The rules name a bot as admin: whoever holds its token would sign what they asked for themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_signs() {
    let mut world = World::before_landfall(Settings::default()).await;
    let robot = token_of_the_project(&world, "root").await;
    let grace = "        name: grace\n";
    let bot = format!("{grace}      - id: {}\n        name: robot\n", robot.id);
    let rules = world.rules().replace(grace, &bot);
    let action = json!({ "action": "update", "file_path": "landfall.yaml", "content": rules });
    let commit = json!({ "branch": "main", "commit_message": "Rules", "actions": [action] });
    let commits = format!("projects/{}/repository/commits", world.project);
    world.person("root").does(Method::POST, &commits, &commit).await;
    world.start_landfall().await;
    world.adopts_main().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.acting_as(&robot).approves(&shop).await;
    shop.shows(WAITING, &[&robot.username, "does not count: it is a bot's"])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

/// More addresses than anybody works under: whose they are is not asked for all of them, so one admin is not enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_among_hundreds() {
    let world = World::start().await;
    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "--create", "shop"]);
    let mut people: Vec<String> = (0..60)
        .map(|number| format!("Co-authored-by: P <p{number}@example.test>"))
        .collect();
    for chunk in 0..4 {
        let names = people.split_off(people.len() - 15).join("\n");
        let content = format!("{SHOP}# {chunk}\n");
        clone.commit(SHOP_FILE, &content, &format!("Ask for a shop\n\n{names}"));
    }
    clone.run(&["push", "--quiet", "origin", "shop"]);
    let shop = world.dana().opens_from("shop").await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&shop).await;
    shop.shows(WAITING, &["Needs 2 sign-offs, of which 1 is there", "addresses"])
        .await;
    world.grace().approves(&shop).await;
    shop.shows(READY, &["Signed off by ada and grace"]).await;
    let asked = world.sandbox.access_log();
    let asked = asked
        .iter()
        .filter(|call| call.path.ends_with("/users") && call.query.contains("search"));
    assert!(asked.count() < 60);
}
