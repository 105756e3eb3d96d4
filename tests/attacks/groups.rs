//! Somebody wants to be an admin by a group of the forge that `landfall.yaml` names: by one above it, by one that was
//! invited, at a low level, after their time, or by making a group of that path themselves.

use landfall::app::adopt::Adopted;
use reqwest::Method;
use serde_json::{Value, json};

use super::nothing_was_made;
use crate::support::people::{READY, REFUSED, WAITING};
use crate::support::world::{Settings, World, text};

const GRACE: &str = "        name: grace\n";
const NO_ADMIN: &str = "the accepted landfall.yaml does not name them as admin";

/// A world whose `landfall.yaml` names that as a group of admins, beside ada and grace. Nothing is accepted yet.
async fn world_naming(group: &str) -> World {
    let mut world = World::before_landfall(Settings::default()).await;
    // As a group token of `platform` would be.
    joins(&world, "platform", "landfall", json!({ "access_level": 40 })).await;
    writes_rules(&world, &rules_naming(&world, group)).await;
    world.start_landfall().await;
    world
}

fn rules_naming(world: &World, group: &str) -> String {
    world
        .rules()
        .replace(GRACE, &format!("{GRACE}    groups: [{group}]\n"))
}

async fn writes_rules(world: &World, rules: &str) {
    let action = json!({ "action": "update", "file_path": "landfall.yaml", "content": rules });
    let commit = json!({ "branch": "main", "commit_message": "Rules", "actions": [action] });
    let commits = format!("projects/{}/repository/commits", world.project);
    world.person("root").does(Method::POST, &commits, &commit).await;
}

/// The group `admins` in the group `platform`; answers its number.
async fn makes_admins(world: &World) -> u64 {
    let root = world.person("root");
    let platform = root.reads("groups/platform").await["id"].clone();
    let group = json!({ "name": "Admins", "path": "admins", "parent_id": platform });
    root.does(Method::POST, "groups", &group).await["id"]
        .as_u64()
        .unwrap()
}

async fn joins(world: &World, group: &str, name: &str, how: Value) {
    let mut member = how;
    member["user_id"] = json!(world.id_of(name));
    let path = format!("groups/{}/members", group.replace('/', "%2F"));
    world.person("root").does(Method::POST, &path, &member).await;
}

/// Eve approves what dana asks for, and it is merged: she signed nothing.
async fn eve_signs_nothing(world: &World, because: &str) {
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.eve().approves(&shop).await;
    shop.shows(WAITING, &["The approval of eve does not count", because])
        .await;
    world.ada().merges(&shop).await;
    nothing_was_made(world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_developer_of_the_group_above() {
    let world = world_naming("platform/admins").await;
    makes_admins(&world).await;
    joins(&world, "platform", "eve", json!({ "access_level": 40 })).await;
    world.adopts_main().await;
    eve_signs_nothing(&world, NO_ADMIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_and_who_was_there_until_today() {
    let world = world_naming("platform/admins").await;
    makes_admins(&world).await;
    let today = world.clock.now().to_string();
    let past = json!({ "access_level": 40, "expires_at": today.split('T').next() });
    joins(&world, "platform/admins", "grace", past).await;
    joins(&world, "platform/admins", "eve", json!({ "access_level": 10 })).await;
    // Grace is an admin by the group alone.
    let rules = rules_naming(&world, "platform/admins");
    let grace = format!("      - id: {}\n{GRACE}", world.id_of("grace"));
    writes_rules(&world, &rules.replace(&grace, "")).await;
    world.adopts_main().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.grace().approves(&shop).await;
    world.eve().approves(&shop).await;
    shop.shows(
        WAITING,
        &[
            "The approval of eve does not count",
            "The approval of grace does not count",
            NO_ADMIN,
        ],
    )
    .await;
    world.ada().merges(&shop).await;
    nothing_was_made(&world, &shop, &["merged without a sign-off"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_a_group_that_was_invited() {
    let world = world_naming("platform/admins").await;
    let admins = makes_admins(&world).await;
    let root = world.person("root");
    let everybody = json!({ "name": "Everybody", "path": "everybody" });
    let everybody = root.does(Method::POST, "groups", &everybody).await["id"].clone();
    joins(&world, "everybody", "eve", json!({ "access_level": 40 })).await;
    let invitation = json!({ "group_id": everybody, "group_access": 40 });
    root.does(Method::POST, &format!("groups/{admins}/share"), &invitation)
        .await;
    world.adopts_main().await;
    eve_signs_nothing(&world, NO_ADMIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_yet_is_not_adopted() {
    let world = world_naming("admins").await;
    let Adopted::Refused { findings } = world.tries_to_adopt_main().await else {
        panic!("adopted, and whoever makes the group is an admin")
    };
    let told: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(
        told.len() == 1 && told[0].contains("`admins`") && findings[0].code.as_str() == "unknown-group",
        "{findings:?}"
    );
    assert_eq!(findings[0].place.path, "landfall.yaml");
    assert!(findings[0].place.line > 1, "{findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_yet_is_a_finding() {
    let world = World::start().await;
    let rules = rules_naming(&world, "admins");
    let asked = world
        .dana()
        .opens("rules", &[("landfall.yaml", Some(&rules))])
        .await;
    asked
        .shows(REFUSED, &["landfall.yaml", "`admins`", "unknown-group"])
        .await;
}

/// Who owns a group may give it another path, and then the old one is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_path_was_taken_over() {
    let world = world_naming("admins").await;
    let root = world.person("root");
    let made = json!({ "name": "Admins", "path": "admins", "visibility": "internal" });
    root.does(Method::POST, "groups", &made).await;
    joins(&world, "admins", "dana", json!({ "access_level": 30 })).await;
    world.adopts_main().await;
    root.does(Method::PUT, "groups/admins", &json!({ "path": "admins-of-old" }))
        .await;
    world.eve().does(Method::POST, "groups", &made).await;
    eve_signs_nothing(&world, "another group now than the one that was accepted").await;
}

/// Between the sign-off of the rules and their landing the group becomes another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_swapped_before_the_rules_land() {
    let world = World::start().await;
    let root = world.person("root");
    let made = json!({ "name": "Admins", "path": "admins", "visibility": "internal" });
    root.does(Method::POST, "groups", &made).await;
    let rules = rules_naming(&world, "admins");
    let asked = world
        .dana()
        .opens("rules", &[("landfall.yaml", Some(&rules))])
        .await;
    asked.is_signed_off().await;
    root.does(Method::DELETE, "groups/admins", &Value::Null).await;
    world.eve().does(Method::POST, "groups", &made).await;
    world.ada().merges(&asked).await;
    nothing_was_made(&world, &asked, &["merged without a sign-off"]).await;
    eve_signs_nothing(&world, NO_ADMIN).await;
}

/// The rules say which group it is: one of another number is a finding, whatever its path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_another_number_than_the_rules_say() {
    let world = World::start().await;
    let made = json!({ "name": "Admins", "path": "admins", "visibility": "internal" });
    let admins = world.eve().does(Method::POST, "groups", &made).await["id"].clone();
    let other = admins.as_u64().unwrap() - 1;
    let rules = rules_naming(&world, &format!("{{path: admins, id: {other}}}"));
    let asked = world
        .dana()
        .opens("rules", &[("landfall.yaml", Some(&rules))])
        .await;
    asked
        .shows(REFUSED, &["unknown-group", &format!("{other}")])
        .await;
}

/// A policy may ask for a group that the rules name, and for no other: whoever makes it would decide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_a_policy_asks_for_and_nobody_named() {
    let policy = "package leads\n\nimport rego.v1\n\napprovals contains {\"group\": \"leads\", \"reason\": \"a lead looks\"}\n";
    let world = World::with(Settings {
        files: vec![("policies/leads.rego", policy.to_owned())],
        ..Settings::default()
    })
    .await;
    let made = json!({ "name": "Leads", "path": "leads", "visibility": "internal" });
    world.eve().does(Method::POST, "groups", &made).await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(REFUSED, &["policies/leads.rego", "`leads`", "landfall.yaml"])
        .await;
}

/// What the rules say in words counts: members of the groups above, from a level on. And so do direct members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_meant_still_signs() {
    let world = world_naming("{path: platform/admins, inherited: true, from: Maintainer}").await;
    let admins = makes_admins(&world).await;
    joins(&world, "platform", "eve", json!({ "access_level": 30 })).await;
    joins(&world, "platform", "grace", json!({ "access_level": 40 })).await;
    let rules = rules_naming(
        &world,
        "{path: platform/admins, inherited: true, from: Maintainer}",
    );
    let grace = format!("      - id: {}\n{GRACE}", world.id_of("grace"));
    writes_rules(&world, &rules.replace(&grace, "")).await;
    world.adopts_main().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.eve().approves(&shop).await;
    shop.shows(WAITING, &["The approval of eve does not count", NO_ADMIN])
        .await;
    world.grace().approves(&shop).await;
    shop.shows(READY, &["Signed off by grace"]).await;
    // The same group under another path is the same group.
    let renamed = json!({ "path": "administrators" });
    world
        .person("root")
        .does(Method::PUT, &format!("groups/{admins}"), &renamed)
        .await;
    let group = world.person("root").reads(&format!("groups/{admins}")).await;
    assert_eq!(text(&group["full_path"]), "platform/administrators");
    world.ada().merges(&shop).await;
    shop.shows("✅ Done", &[]).await;
}
