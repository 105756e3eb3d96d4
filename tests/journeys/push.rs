//! What is pushed straight onto the target branch is shown in an issue, with its plan, and is released there by whoever
//! may: never by who pushed it, and never once something newer is there.

use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::simulator::{Call, Effect, Trouble};
use reqwest::Method;
use serde_json::json;

use crate::support::people::{DONE, MergeRequest, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::{Settings, World, text};

const SUPERSEDED: &str = "⏭️ Superseded";

/// The same request, asking for more.
fn bigger() -> String {
    SHOP.replace("size: Small", "size: Large")
}

/// Grace, who may sign off what others ask for, pushes the shop onto `main`.
async fn grace_pushes_a_shop(world: &World) -> MergeRequest<'_> {
    let commit = world.grace().pushes_to_main(&[(SHOP_FILE, Some(SHOP))]);
    let issue = world.issue_about(&commit).await;
    issue
        .shows(WAITING, &["3 to create", "/landfall approve ", "ada or grace"])
        .await;
    issue
}

async fn approves_by_digest(world: &World, who: &str, issue: &MergeRequest<'_>) {
    let command = format!("/landfall approve {}", issue.digest().await);
    world.person(who).comments(issue, &command).await;
}

async fn nothing_is_made(world: &World) {
    world.settles_between_sweeps().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

async fn is_closed(world: &World, issue: &MergeRequest<'_>) {
    world
        .until("the issue to be closed", async || {
            let issue = world.person("root").reads(&issue.at("")).await;
            (text(&issue["state"]) == "closed").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_admin_releases_a_push_and_it_is_made_once() {
    let world = World::start().await;
    let issue = grace_pushes_a_shop(&world).await;
    let shown = issue.written("report").await.remove(0).id;
    nothing_is_made(&world).await;
    approves_by_digest(&world, "ada", &issue).await;
    issue.shows(DONE, &["Nothing to do"]).await;
    let result = issue.result().await;
    assert!(result.contains("@grace, what you asked for is there"), "{result}");
    is_closed(&world, &issue).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(world.issues().await.len(), 1);
    assert_eq!(issue.written("result").await.len(), 1);
    assert_eq!(
        issue.written("report").await[0].id,
        shown,
        "it is edited in place"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pushed_it_cannot_release_it_nor_can_a_developer_nor_another_digest() {
    let world = World::start().await;
    let issue = grace_pushes_a_shop(&world).await;
    approves_by_digest(&world, "grace", &issue).await;
    issue
        .shows(WAITING, &["The approval of grace does not count: they pushed it"])
        .await;
    approves_by_digest(&world, "eve", &issue).await;
    let no_admin =
        "The approval of eve does not count: the accepted landfall.yaml does not name them as admin";
    issue.shows(WAITING, &[no_admin]).await;
    let another = format!("/landfall approve {}", "0a".repeat(16));
    world.ada().comments(&issue, &another).await;
    issue
        .shows(
            WAITING,
            &["The approval of ada does not count: it names the digest of another plan"],
        )
        .await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_in_the_issue_are_answered_and_edited_ones_sign_nothing() {
    let world = World::start().await;
    let issue = grace_pushes_a_shop(&world).await;
    world.dana().comments(&issue, "/landfall help").await;
    issue.answer(&["/landfall approve <digest>"]).await;
    world.dana().comments(&issue, "/landfall retry").await;
    issue.answer(&["There is nothing to try again here"]).await;
    let note = world.ada().comments(&issue, "I will look at it.").await;
    let command = format!("/landfall approve {}", issue.digest().await);
    world.ada().edits(&issue, note, &command).await;
    world.dana().comments(&issue, "/landfall plan").await;
    nothing_is_made(&world).await;
    issue
        .shows(WAITING, &["Needs a sign-off from ada or grace", "3 to create"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_newest_of_several_pushes_can_be_released() {
    let world = World::start().await;
    let older = grace_pushes_a_shop(&world).await;
    let digest = older.digest().await;
    let newest = world.grace().pushes_to_main(&[(SHOP_FILE, Some(&bigger()))]);
    let newest = world.issue_about(&newest).await;
    newest.shows(WAITING, &["`Large`", "/landfall approve "]).await;
    older
        .shows(SUPERSEDED, &["cannot be released any more", SHOP_FILE])
        .await;
    is_closed(&world, &older).await;
    world
        .ada()
        .comments(&older, &format!("/landfall approve {digest}"))
        .await;
    nothing_is_made(&world).await;
    approves_by_digest(&world, "ada", &newest).await;
    newest.shows(DONE, &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reverted_cannot_be_released() {
    let world = World::start().await;
    let issue = grace_pushes_a_shop(&world).await;
    let digest = issue.digest().await;
    let revert = world.dana().opens("revert", &[(SHOP_FILE, None)]).await;
    world.settles().await;
    world.ada().merges(&revert).await;
    issue.shows(SUPERSEDED, &["cannot be released any more"]).await;
    world
        .ada()
        .comments(&issue, &format!("/landfall approve {digest}"))
        .await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_with_findings_cannot_be_released() {
    let world = World::start().await;
    let broken = SHOP.replace("size: Small", "size: Enormous");
    let commit = world.grace().pushes_to_main(&[(SHOP_FILE, Some(&broken))]);
    let issue = world.issue_about(&commit).await;
    let line = 1 + broken.lines().position(|line| line.contains("Enormous")).unwrap();
    issue
        .shows(
            "❌ Refused",
            &["It cannot be released", &format!("{SHOP_FILE}:{line}")],
        )
        .await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_were_pushed_count_for_nobody_before_they_are_released() {
    let world = World::start().await;
    world.eve_is_maintainer().await;
    let eve = format!("      - id: {}\n        name: eve\n", world.id_of("eve"));
    let hers = world
        .rules()
        .replace("  admin:\n    users:\n", &format!("  admin:\n    users:\n{eve}"));
    assert_ne!(hers, world.rules());
    let rules = world.eve().pushes_to_main(&[("landfall.yaml", Some(&hers))]);
    let rules = world.issue_about(&rules).await;
    rules.shows(WAITING, &["landfall.yaml", "ada or grace"]).await;
    approves_by_digest(&world, "eve", &rules).await;
    rules
        .shows(WAITING, &["The approval of eve does not count"])
        .await;

    // Nor is she an admin of anything else by them.
    let shop = grace_pushes_a_shop(&world).await;
    approves_by_digest(&world, "eve", &shop).await;
    let no_admin =
        "The approval of eve does not count: the accepted landfall.yaml does not name them as admin";
    shop.shows(WAITING, &[no_admin]).await;
    nothing_is_made(&world).await;

    approves_by_digest(&world, "ada", &rules).await;
    rules.shows(DONE, &["it landed and is accepted"]).await;
    shop.shows(DONE, &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_webhook_is_lost_is_found_by_the_sweep() {
    let world = World::with(Settings {
        sweep_seconds: 1,
        ..Settings::default()
    })
    .await;
    let issue = grace_pushes_a_shop(&world).await;
    world.webhook_leads_to("http://127.0.0.1:9/nowhere").await;
    approves_by_digest(&world, "ada", &issue).await;
    issue.shows(DONE, &["Nothing to do"]).await;
    world.ledger_reaches(3).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_landfall_that_is_stopped_before_the_release_goes_on_afterwards() {
    let mut world = World::start().await;
    let commit = world.grace().pushes_to_main(&[(SHOP_FILE, Some(SHOP))]);
    let digest = {
        let issue = world.issue_about(&commit).await;
        issue.shows(WAITING, &["/landfall approve "]).await;
        issue.digest().await
    };
    world.settles().await;
    world.stop_landfall().await;
    {
        let issue = world.issue_about(&commit).await;
        world
            .ada()
            .comments(&issue, &format!("/landfall approve {digest}"))
            .await;
    }
    world.start_landfall().await;
    let issue = world.issue_about(&commit).await;
    issue.shows(DONE, &["Nothing to do"]).await;
    issue.result().await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(world.issues().await.len(), 1);
    assert_eq!(issue.written("report").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issue_that_is_rewritten_changes_nothing_that_is_signed() {
    let world = World::start().await;
    let issue = grace_pushes_a_shop(&world).await;
    let digest = issue.digest().await;
    let harmless = json!({ "description": "Nothing to see here." });
    world.grace().does(Method::PUT, &issue.at(""), &harmless).await;
    world
        .ada()
        .comments(&issue, &format!("/landfall approve {digest}"))
        .await;
    issue.shows(DONE, &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_after_a_release_is_tried_again_from_its_issue() {
    let world = World::start().await;
    let quota = Failure::new(FailureClass::Refused, "quota exceeded: 20 of 20 databases");
    let trouble = Trouble::new(Call::Start, 1, Effect::Fail(quota)).about("database/orders".parse().unwrap());
    world.cloud().order(trouble).await.unwrap();
    let issue = grace_pushes_a_shop(&world).await;
    approves_by_digest(&world, "ada", &issue).await;
    let advice = [
        "quota exceeded: 20 of 20 databases",
        "then comment `/landfall retry`",
    ];
    issue.shows("❌ Failed", &advice).await;
    let result = issue.result().await;
    assert!(
        result.contains("@grace") && result.contains("/landfall retry"),
        "{result}"
    );
    world.grace().comments(&issue, "/landfall retry").await;
    issue.shows(DONE, &["Nothing to do"]).await;
    is_closed(&world, &issue).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(issue.written("result").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_released_is_cancelled_and_goes_on_from_its_issue() {
    let world = World::start().await;
    let endless =
        Trouble::new(Call::Work, 1, Effect::NeverFinishes).about("database/orders".parse().unwrap());
    world.cloud().order(endless).await.unwrap();
    let issue = grace_pushes_a_shop(&world).await;
    approves_by_digest(&world, "ada", &issue).await;
    issue
        .shows(
            "🚧 Provisioning",
            &["2 of 3 steps are done", "`/landfall cancel`"],
        )
        .await;
    world.grace().comments(&issue, "/landfall cancel").await;
    issue.shows("⏹️ Cancelled", &["`/landfall retry` goes on"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE[1..]);
    world.grace().comments(&issue, "/landfall retry").await;
    issue.shows(DONE, &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}
