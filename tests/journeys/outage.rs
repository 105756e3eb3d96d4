//! A forge that is down, or that tells of the same thing ten times: it is asked no more often than it should be, and the
//! end is the same.

use std::time::Duration;

use landfall::sandbox::{DeliveryAction, DeliveryFault, RequestAction, RequestFault};

use crate::support::people::{DONE, MergeRequest, READY, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::{Settings, World};

const HOUR: Duration = Duration::from_secs(3_600);
const LOOK_EVERY: Duration = Duration::from_millis(10);

fn of_landfall(path: &str, times: usize, action: RequestAction) -> RequestFault {
    RequestFault {
        method: None,
        path_contains: path.into(),
        by: Some("landfall".into()),
        after: 0,
        times,
        action,
    }
}

/// How often Landfall called since then, with a path that ends so.
fn calls(world: &World, mark: usize, end: &str) -> usize {
    let log = world.sandbox.access_log_since(mark);
    log.iter()
        .filter(|call| call.user.as_deref() == Some("landfall") && call.path.ends_with(end))
        .count()
}

/// Lets time pass, from one thing that is due to the next.
async fn time_passes(world: &World, time: Duration) {
    let end = world.clock.now().checked_add(time).unwrap();
    while world.clock.now() < end {
        world.lets_time_pass().await;
        let next = world.clock.now().checked_add(LOOK_EVERY).unwrap();
        world.clock.sleep_until(next).await;
    }
}

async fn is_merged_and_there(world: &World, merge_request: &MergeRequest<'_>) {
    merge_request.shows(READY, &["merge it now"]).await;
    world.ada().merges(merge_request).await;
    merge_request.shows(DONE, &["Nothing to do"]).await;
    merge_request.result().await;
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(merge_request.written("report").await.len(), 1);
    assert_eq!(merge_request.written("result").await.len(), 1);
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

#[rstest::rstest]
// Each key is tried after 1, 2, 4 … seconds, then every five minutes; there are a review, a landing and a sweep, and what
// tells of the first two that they do not go on, after five minutes and with each try of theirs.
#[case::down(RequestAction::Status(503), 7 * 21)]
#[case::that_knows_us_no_more(RequestAction::Status(401), 7 * 21)]
// Somebody tries after each minute, and who finds the forge busy says so to all others; who set out in the same moment
// does not hear of it in time.
#[case::that_limits_calls(RequestAction::RateLimited { retry_after: Duration::from_secs(60) }, 2 * 60)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_that_is_of_no_use_for_an_hour_is_left_alone_mostly(
    #[case] action: RequestAction,
    #[case] most_calls: usize,
) {
    let world = World::with(Settings {
        sweep_seconds: 300,
        ..Settings::default()
    })
    .await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.settles_between_sweeps().await;

    let mark = world.sandbox.access_log_len();
    world
        .sandbox
        .order_request_fault(of_landfall("", usize::MAX, action));
    let bigger = SHOP.replace("size: Small", "size: Large");
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(&bigger))]);
    time_passes(&world, HOUR).await;
    let during = calls(&world, mark, "");

    world.sandbox.clear_faults();
    let mark = world.sandbox.access_log_len();
    time_passes(&world, Duration::from_secs(600)).await;
    merge_request
        .shows_at(&head, WAITING, &["press **Approve**"])
        .await;
    let reviews = calls(&world, mark, "/merge_requests/1");
    println!("{during} of {most_calls} calls in an hour, {reviews} reviews in the ten minutes after it");
    assert!(during <= most_calls, "{during} calls");
    assert!(reviews <= 4, "{reviews} reviews");
    world.ada().approves(&merge_request).await;
    is_merged_and_there(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_pushes_end_in_one_review() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;

    world.sandbox.order_delivery_fault(DeliveryFault {
        event: None,
        times: usize::MAX,
        action: DeliveryAction::Hold,
    });
    let mut head = String::new();
    for size in 1..=10 {
        let content = SHOP.replace("diskSize: 30Gi", &format!("diskSize: {}Gi", 30 + size));
        head = world.dana().pushes("shop", &[(SHOP_FILE, Some(&content))]);
    }
    world.sandbox.delivered().await;
    let held = world.sandbox.held();
    assert!(held.len() >= 10, "{} deliveries", held.len());
    world.sandbox.clear_faults();
    // The first of them finds the forge slow, so that all others come meanwhile.
    let mark = world.sandbox.access_log_len();
    let slow = RequestAction::Delay(Duration::from_secs(2));
    world
        .sandbox
        .order_request_fault(of_landfall("/merge_requests/1", 1, slow));
    world.sandbox.release(&held).await;
    merge_request
        .shows_at(&head, WAITING, &["press **Approve**"])
        .await;
    world.settles().await;
    let (reviews, fetches) = (
        calls(&world, mark, "/merge_requests/1"),
        calls(&world, mark, "/info/refs"),
    );
    println!("{} deliveries, {reviews} reviews, {fetches} fetches", held.len());
    // The one that was under way, and one for all that came meanwhile.
    assert!(reviews <= 2, "{reviews} reviews");
    assert!(fetches <= 2, "{fetches} fetches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_read_though_its_webhook_is_lost() {
    use landfall::domain::step::{Failure, FailureClass};
    use landfall::provider::simulator::{Call, Effect, Trouble};

    let world = World::with(Settings {
        sweep_seconds: 300,
        ..Settings::default()
    })
    .await;
    let quota = Failure::new(FailureClass::Refused, "quota exceeded");
    let trouble = Trouble::new(Call::Start, 1, Effect::Fail(quota)).about("database/orders".parse().unwrap());
    world.cloud().order(trouble).await.unwrap();
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.lands().await;
    merge_request.shows("❌ Failed", &["/landfall retry"]).await;
    merge_request.result().await;
    world.settles_between_sweeps().await;

    world.sandbox.order_delivery_fault(DeliveryFault {
        event: None,
        times: usize::MAX,
        action: DeliveryAction::Drop,
    });
    world.dana().comments(&merge_request, "/landfall retry").await;
    time_passes(&world, Duration::from_secs(900)).await;
    merge_request.shows(DONE, &["Nothing to do"]).await;
    merge_request.results(2).await;
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    let head = merge_request.head().await;
    let statuses = merge_request.statuses(&head).await;
    assert!(
        statuses.last().unwrap().starts_with("success: Done"),
        "{statuses:?}"
    );

    // What is done is not asked after any more.
    let mark = world.sandbox.access_log_len();
    time_passes(&world, Duration::from_secs(900)).await;
    assert_eq!(calls(&world, mark, "/notes"), 0);
    assert_eq!(calls(&world, mark, "/merge_requests/1"), 0);
}

/// Nobody starts anything again: whoever replaces a token that ran out writes the new one into its file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_in_the_old_ones_file_is_enough() {
    let mut world = World::start().await;
    {
        let merge_request = world.dana().asks_for_a_shop().await;
        merge_request.shows(WAITING, &["press **Approve**"]).await;
        world.ada().approves(&merge_request).await;
        merge_request.shows(READY, &["merge it now"]).await;
        world.token_expires();
        world.ada().merges(&merge_request).await;
    }
    let mark = world.sandbox.access_log_len();
    world
        .until("a call that is refused", async || {
            let calls = world.sandbox.access_log_since(mark);
            calls.iter().any(|call| call.status == 401).then_some(())
        })
        .await;
    world.gets_a_new_token();
    let done = async {
        while world.ledger().await != SHOP_IS_THERE {
            world.lets_time_pass().await;
            let next = world.clock.now().checked_add(LOOK_EVERY).unwrap();
            world.clock.sleep_until(next).await;
        }
    };
    world.patiently("what was merged to be made", done).await;
}
