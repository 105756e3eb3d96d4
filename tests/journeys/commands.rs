//! What people say in comments, and what is made of it.

use std::time::Duration;

use landfall::sandbox::{AccessLogEntry, RequestAction, RequestFault};
use reqwest::Method;
use serde_json::json;

use crate::support::people::{READY, SHOP_IS_THERE, WAITING};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_may_sign_off_in_words() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["/landfall approve "]).await;
    let digest = merge_request.digest().await;
    let command = format!("/landfall approve {digest}");
    let words = format!("Looks good.\n\n{command}");
    world.ada().comments(&merge_request, &words).await;
    merge_request.answer(&["says more than the command in it"]).await;
    merge_request.shows(WAITING, &["Needs a sign-off"]).await;
    world.ada().comments(&merge_request, &command).await;
    merge_request
        .shows(READY, &["Signed off by ada", "merge it now"])
        .await;
    world.ada().merges(&merge_request).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_were_changed_afterwards_sign_nothing() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["/landfall approve "]).await;
    let digest = merge_request.digest().await;
    let note = world.ada().comments(&merge_request, "I will look at it.").await;
    world
        .ada()
        .edits(&merge_request, note, &format!("/landfall approve {digest}"))
        .await;
    world.settles().await;
    merge_request
        .shows(WAITING, &["Needs a sign-off from ada or grace"])
        .await;
    let whole = format!("/landfall approve {digest}");
    world.ada().comments(&merge_request, &whole).await;
    merge_request.shows(READY, &["Signed off by ada"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_admin_signs_nothing_in_words() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["/landfall approve "]).await;
    let digest = merge_request.digest().await;
    let command = format!("/landfall approve {digest}");
    world.eve().comments(&merge_request, &command).await;
    world.dana().comments(&merge_request, &command).await;
    merge_request
        .shows(
            WAITING,
            &[
                "The approval of eve does not count: the accepted landfall.yaml does not name them as admin",
                "The approval of dana does not count: the author cannot sign off their own change",
                "Needs a sign-off from ada or grace",
            ],
        )
        .await;
    world.ada().merges(&merge_request).await;
    merge_request
        .shows(
            "⛔ Held",
            &["**nothing was provisioned**", "it was merged without a sign-off"],
        )
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_for_another_plan_sign_nothing() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["/landfall approve "]).await;
    world
        .ada()
        .comments(
            &merge_request,
            "/landfall approve 0123456789abcdef0123456789abcdef",
        )
        .await;
    merge_request
        .shows(
            WAITING,
            &["The approval of ada does not count: it names the digest of another plan"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_command_is_answered_with_the_list_once() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.dana().comments(&merge_request, "/landfall nonsense").await;
    let answer = world
        .until("an answer", async || merge_request.written("answer").await.pop())
        .await;
    for said in [
        "`/landfall nonsense` is not a command",
        "`/landfall approve <digest>`",
        "`/landfall retry`",
    ] {
        assert!(answer.body.contains(said), "{}", answer.body);
    }
    world
        .ada()
        .comments(&merge_request, "What did you want to say?")
        .await;
    world.settles().await;
    assert_eq!(merge_request.written("answer").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_merged_too_early_can_be_signed_off_still() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["/landfall approve "]).await;
    let digest = merge_request.digest().await;
    world.ada().merges(&merge_request).await;
    let command = format!("/landfall approve {digest}");
    merge_request
        .shows("⛔ Held", &["may release it with a comment", &command])
        .await;
    world.eve().comments(&merge_request, &command).await;
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "eve may release nothing");
    merge_request
        .shows("⛔ Held", &["may release it with a comment"])
        .await;
    world.grace().comments(&merge_request, &command).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert!(merge_request.result().await.contains("@dana"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_work_here_is_not_obeyed() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    let digest = merge_request.digest().await;
    let eve = format!("projects/{}/members/{}", world.project, world.id_of("eve"));
    let level = json!({ "access_level": 20 });
    world.person("root").does(Method::PUT, &eve, &level).await;
    for (told, command) in landfall::domain::command::ALL.into_iter().enumerate() {
        let command = command.replace("<digest>", &digest);
        world.eve().comments(&merge_request, &command).await;
        let answer = merge_request
            .answer(&[match told {
                0..5 => "followed only from active members",
                _ => "older answer",
            }])
            .await;
        let refusals = answer.matches("eve: commands are followed only from active members");
        assert!(refusals.count() >= 1, "{answer}");
    }
    world.settles().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    assert!(world.ledger().await.is_empty());
}

/// The very first look at a merge request has read that there are no comments yet, and is at work still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_while_a_merge_request_is_looked_at_for_the_first_time_is_heard() {
    let world = World::start().await;
    world.sandbox.order_request_fault(RequestFault {
        method: None,
        path_contains: "/versions".into(),
        by: Some("landfall".into()),
        after: 0,
        times: 1,
        action: RequestAction::Delay(Duration::from_secs(2)),
    });
    let mark = world.sandbox.access_log_len();
    let merge_request = world.dana().asks_for_a_shop().await;
    world
        .until("the first look", async || {
            let calls = world.sandbox.access_log_since(mark);
            let looks = |call: &AccessLogEntry| {
                call.user.as_deref() == Some("landfall") && call.path.ends_with("/merge_requests/1")
            };
            calls.iter().any(looks).then_some(())
        })
        .await;
    world.dana().comments(&merge_request, "/landfall help").await;
    // No sweep comes for minutes.
    merge_request.answer(&["/landfall approve"]).await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
}
