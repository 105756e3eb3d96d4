//! Things go wrong: on the way, at the forge, in the cloud, with Landfall itself. The end is the same.

use std::time::Duration;

use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::simulator::{Call, Effect, Matching, Trouble};
use landfall::sandbox::{DeliveryAction, DeliveryFault, RequestAction, RequestFault};
use reqwest::Method;
use serde_json::json;

use crate::support::people::{DONE, MergeRequest, READY, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::{Settings, World};

/// From the approval to the end.
async fn is_signed_off_and_merged(merge_request: &MergeRequest<'_>) {
    merge_request.is_done().await;
    let result = merge_request.result().await;
    assert!(result.contains("@dana, what you asked for is there"), "{result}");
}

/// Each thing is there once: in the cloud, and on the merge request.
async fn everything_is_there_once(world: &World, merge_request: &MergeRequest<'_>) {
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    for kind in ["report", "result"] {
        let written = merge_request.written(kind).await;
        assert_eq!(written.len(), 1, "{kind}: {written:?}");
    }
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

fn deliveries(action: DeliveryAction) -> DeliveryFault {
    DeliveryFault {
        event: None,
        times: usize::MAX,
        action,
    }
}

fn requests(method: Method, path: &str, times: usize, action: RequestAction) -> RequestFault {
    RequestFault {
        method: Some(method),
        path_contains: path.into(),
        by: None,
        after: 0,
        times,
        action,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_webhook_lost_the_end_is_the_same() {
    let world = World::with(Settings {
        sweep_seconds: 1,
        ..Settings::default()
    })
    .await;
    world
        .sandbox
        .order_delivery_fault(deliveries(DeliveryAction::Drop));
    let merge_request = world.dana().asks_for_a_shop().await;
    is_signed_off_and_merged(&merge_request).await;
    world.settles_between_sweeps().await;
    everything_is_there_once(&world, &merge_request).await;
    assert!(world.sandbox.deliveries().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_webhook_doubled_the_end_is_the_same() {
    let world = World::start().await;
    world
        .sandbox
        .order_delivery_fault(deliveries(DeliveryAction::Double));
    let merge_request = world.dana().asks_for_a_shop().await;
    is_signed_off_and_merged(&merge_request).await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_that_stumbles_is_asked_again() {
    let world = World::start().await;
    let wait = RequestAction::RateLimited {
        retry_after: Duration::from_secs(1),
    };
    // Only what Landfall asks for, and people do not.
    for fault in [
        requests(Method::GET, "/versions", 2, RequestAction::Status(500)),
        requests(Method::GET, "/versions", 1, wait.clone()),
        requests(Method::GET, "/approvals", 1, RequestAction::Status(502)),
        requests(Method::POST, "/statuses/", 1, wait),
        requests(Method::POST, "/statuses/", 1, RequestAction::LostAnswer(502)),
    ] {
        world.sandbox.order_request_fault(fault);
    }
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;
    let git = requests(Method::GET, "/info/refs", 2, RequestAction::Status(503));
    world.sandbox.order_request_fault(git);
    is_signed_off_and_merged(&merge_request).await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_whose_answer_was_lost_is_not_written_twice() {
    let world = World::start().await;
    let lost = requests(Method::POST, "/notes", 1, RequestAction::LostAnswer(502));
    world.sandbox.order_request_fault(lost);
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;
    world.ada().approves(&merge_request).await;
    merge_request.shows(READY, &["merge it now"]).await;
    let lost = requests(Method::POST, "/notes", 1, RequestAction::LostAnswer(502));
    world.sandbox.order_request_fault(lost);
    world.ada().merges(&merge_request).await;
    merge_request.shows(DONE, &["Nothing to do"]).await;
    merge_request.result().await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
}

/// A review that is under way while somebody merges sees the branch as it was, and the target branch as it is.
#[rstest::rstest]
#[case::with_a_merge_commit("merge", false)]
#[case::with_a_squash("ff", true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_merges_right_after_the_approval_gets_what_was_approved(
    #[case] method: &str,
    #[case] squash: bool,
) {
    let world = World::start().await;
    let project = format!("projects/{}", world.project);
    world
        .person("root")
        .does(Method::PUT, &project, &json!({ "merge_method": method }))
        .await;
    let merge_request = world
        .dana()
        .opens("shop", &[("README.md", Some("# Ours\n"))])
        .await;
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
    merge_request
        .shows_at(&head, WAITING, &["press **Approve**"])
        .await;
    world.settles().await;
    let late = RequestAction::Delay(Duration::from_millis(700));
    world
        .sandbox
        .order_request_fault(requests(Method::GET, "/info/refs", 1, late));
    world.ada().approves(&merge_request).await;
    world.sandbox.delivered().await;
    let options = json!({ "squash": squash });
    world.ada().merges_with(&merge_request, &options).await;
    merge_request.shows(DONE, &["Nothing to do"]).await;
    merge_request.result().await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_cloud_refuses_is_said_and_done_after_a_retry() {
    let world = World::start().await;
    let quota = Failure::new(FailureClass::Refused, "quota exceeded: 20 of 20 databases");
    let trouble = Trouble::new(Call::Start, 1, Effect::Fail(quota)).about("database/orders".parse().unwrap());
    world.cloud().order(trouble).await.unwrap();
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.lands().await;
    merge_request
        .shows(
            "❌ Failed",
            &[
                "`database/orders` of `Project/shop` could not be created (the cloud refused)",
                "An admin has to see to it first",
                "then comment `/landfall retry`",
                "quota exceeded: 20 of 20 databases",
            ],
        )
        .await;
    let result = merge_request.result().await;
    assert!(result.contains("@dana"), "{result}");
    assert!(result.contains("/landfall retry"), "{result}");
    world.settles().await;
    let made = world.ledger().await;
    assert!(!made.iter().any(|line| line.contains("database")), "{made:?}");

    world.dana().comments(&merge_request, "/landfall retry").await;
    merge_request.shows(DONE, &["Nothing to do"]).await;
    let results = merge_request.results(2).await;
    assert!(results[1].contains("✅ Done"), "{results:?}");
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(merge_request.written("result").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_landfall_that_is_stopped_in_the_midst_of_it_goes_on_where_it_was() {
    let mut world = World::start().await;
    let slow = Trouble::new(Call::Work, 1, Effect::Latency(Duration::from_secs(2)))
        .about("database/orders".parse().unwrap());
    world.cloud().order(slow).await.unwrap();
    let number = {
        let merge_request = world.dana().asks_for_a_shop().await;
        merge_request.lands().await;
        merge_request.shows("🚧 Provisioning", &["Nothing to do"]).await;
        world.ledger_reaches(1).await;
        merge_request.number
    };
    world.stop_landfall().await;
    assert!(
        world.ledger().await.len() < 3,
        "it was stopped in the midst of it"
    );
    world.start_landfall().await;
    let merge_request = world.merge_request(number);
    merge_request.shows(DONE, &["Nothing to do"]).await;
    merge_request.result().await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_landfall_was_away_is_made_up_for() {
    let mut world = World::start().await;
    let number = {
        let merge_request = world.dana().asks_for_a_shop().await;
        merge_request.shows(WAITING, &["press **Approve**"]).await;
        world.settles().await;
        merge_request.number
    };
    world.stop_landfall().await;
    {
        let merge_request = world.merge_request(number);
        world.ada().approves(&merge_request).await;
        world.ada().merges(&merge_request).await;
    }
    world.start_landfall().await;
    let merge_request = world.merge_request(number);
    merge_request.shows(DONE, &["Nothing to do"]).await;
    merge_request.result().await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_landfall_that_lost_its_database_finds_its_comment_again() {
    let mut world = World::start().await;
    let number = {
        let merge_request = world.dana().asks_for_a_shop().await;
        merge_request.shows(WAITING, &["press **Approve**"]).await;
        world.settles().await;
        merge_request.number
    };
    let before = world.merge_request(number).written("report").await.remove(0).id;
    world.stop_landfall().await;
    world.loses_its_database();
    world.start_landfall().await;
    let no_rules = "No landfall.yaml was ever accepted";
    world.merge_request(number).shows("❌ Refused", &[no_rules]).await;
    world.adopts_main().await;
    let merge_request = world.merge_request(number);
    world.dana().comments(&merge_request, "/landfall plan").await;
    is_signed_off_and_merged(&merge_request).await;
    world.settles().await;
    everything_is_there_once(&world, &merge_request).await;
    assert_eq!(merge_request.written("report").await[0].id, before);
}

/// Of two requests, the plan of one takes its time, and the other's is refused or fails: nobody would come back for what
/// is pending, so nothing is left of it.
#[rstest::rstest]
#[case::refused(FailureClass::Refused, false)]
#[case::refused_after_both_were_pending(FailureClass::Refused, true)]
#[case::a_passing_fault(FailureClass::Transient, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_is_pending_is_discarded_when_the_one_beside_it_fails(
    #[case] class: FailureClass,
    #[case] both: bool,
) {
    let world = World::start().await;
    let of = |request: &str, call, effect| Trouble {
        matching: Matching {
            request: Some(request.parse().unwrap()),
            ..Matching::default()
        },
        ..Trouble::new(call, 1, effect)
    };
    let not_now = Effect::Fail(Failure::new(class, "not now"));
    if both {
        let pending = of("Project/beta", Call::Plan, Effect::PlanPending);
        world.cloud().order(pending).await.unwrap();
    }
    for trouble in [
        of("Project/alpha", Call::Plan, Effect::PlanPending),
        of("Project/beta", Call::Plan, not_now),
        of("Project/alpha", Call::Discard, Effect::Latency(Duration::ZERO)),
    ] {
        world.cloud().order(trouble).await.unwrap();
    }
    let file = |name: &str| {
        let content = SHOP.replace("name: shop", &format!("name: {name}"));
        (format!("requests/web-team/{name}.yaml"), content)
    };
    let (alpha, beta) = (file("alpha"), file("beta"));
    let files = [
        (alpha.0.as_str(), Some(alpha.1.as_str())),
        (&beta.0, Some(&beta.1)),
    ];
    let merge_request = world.dana().opens("two", &files).await;
    let discarded = async || {
        world.lets_time_pass().await;
        world.cloud().troubles().await.unwrap().is_empty().then_some(())
    };
    world.until("the plan of alpha to be discarded", discarded).await;
    if class == FailureClass::Refused {
        merge_request.shows("🔎 Planning", &["not now"]).await;
        world.dana().comments(&merge_request, "/landfall plan").await;
    }
    let looks = async {
        while merge_request
            .written("report")
            .await
            .iter()
            .all(|report| !report.body.contains(WAITING))
        {
            world.lets_time_pass().await;
        }
    };
    world.patiently("the plan of both", looks).await;
}
