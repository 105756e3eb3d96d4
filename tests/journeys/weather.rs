//! Any weather: deliveries are lost, doubled, late and out of order, the forge stumbles, Landfall's token expires half-way.
//! People do what the comment says. The end is that of a quiet day.

use std::time::Duration;

use landfall::sandbox::{DeliveryAction, DeliveryFault, RequestAction, RequestFault};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use crate::support::follow::Followers;
use crate::support::people::{SHOP, SHOP_FILE, SHOP_IS_THERE, headline};
use crate::support::world::{Settings, World};

const CASES: u32 = 8;
/// A bad case is made smaller so often: each takes seconds.
const SHRINKS: u32 = 24;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What happens on the way, in the order in which it comes.
#[derive(Debug, Clone)]
struct Weather {
    /// To the first deliveries, one by one; those after them arrive.
    deliveries: Vec<DeliveryAction>,
    /// To calls of Landfall's: after so many that go well.
    calls: Vec<(usize, RequestAction)>,
    /// At each look of the people: which of the deliveries that are held arrives.
    releases: Vec<prop::sample::Index>,
    /// At which look the token expires, if it does, and after how many more there is a new one.
    expires: Option<(usize, usize)>,
    /// At which look the author pushes once more, if that is not too late.
    pushes: Option<usize>,
}

fn weather() -> impl Strategy<Value = Weather> {
    let delivery = prop_oneof![
        3 => Just(DeliveryAction::Drop),
        2 => Just(DeliveryAction::Double),
        3 => Just(DeliveryAction::Hold),
        2 => (0..200_u64).prop_map(|time| DeliveryAction::Delay(Duration::from_millis(time))),
    ];
    let call = prop_oneof![
        3 => prop::sample::select(vec![500, 502, 503]).prop_map(RequestAction::Status),
        3 => prop::sample::select(vec![500, 502, 503]).prop_map(RequestAction::LostAnswer),
        1 => (0..200_u64).prop_map(|time| RequestAction::Delay(Duration::from_millis(time))),
        1 => (1..90_u64).prop_map(|seconds| RequestAction::RateLimited {
            retry_after: Duration::from_secs(seconds),
        }),
    ];
    (
        prop::collection::vec(delivery, 0..16),
        prop::collection::vec((0..8_usize, call), 0..10),
        prop::collection::vec(any::<prop::sample::Index>(), 32),
        prop::option::of((0..30_usize, 1..10_usize)),
        prop::option::of(0..20_usize),
    )
        .prop_map(|(deliveries, calls, releases, expires, pushes)| Weather {
            deliveries,
            calls,
            releases,
            expires,
            pushes,
        })
}

/// Everything that is left at the end of a day.
#[derive(Debug, PartialEq, Eq)]
struct End {
    ledger: Vec<String>,
    comments: Vec<String>,
    status: String,
    dead: Vec<String>,
    issues: Vec<String>,
}

impl Weather {
    fn sets_in(&self, world: &World) {
        for action in &self.deliveries {
            world.sandbox.order_delivery_fault(DeliveryFault {
                event: None,
                times: 1,
                action: *action,
            });
        }
        for (after, action) in &self.calls {
            world.sandbox.order_request_fault(RequestFault {
                method: None,
                path_contains: String::new(),
                by: Some("landfall".into()),
                after: *after,
                times: 1,
                action: action.clone(),
            });
        }
    }
}

/// From the first push to the result.
async fn day(weather: &Weather) -> End {
    let mut world = World::with(Settings {
        sweep_seconds: 60,
        ..Settings::default()
    })
    .await;
    weather.sets_in(&world);
    let number = world.dana().asks_for_a_shop().await.number;
    let mut followers = Followers::default();
    let mut expired = None;
    let mut look = 0;
    loop {
        let over = {
            let merge_request = world.merge_request(number);
            let looks = followers.look(&world, &merge_request);
            world.patiently("somebody to look", looks).await
        };
        if over {
            break;
        }
        assert!(look < 2_000, "it never ends\n{}", world.everything().await);
        let held = world.sandbox.held();
        if let (Some(which), false) = (weather.releases.get(look), held.is_empty()) {
            world.sandbox.release(&[which.get(&held).clone()]).await;
        }
        if let Some((expires, lasts)) = weather.expires {
            if look == expires {
                world.token_expires();
                expired = Some(look + lasts);
            }
            if expired == Some(look) {
                world.gets_a_new_token();
            }
        }
        if weather.pushes == Some(look) && followers.nothing_done(number) {
            let bigger = SHOP.replace("size: Small", "size: Medium");
            world.dana().pushes("shop", &[(SHOP_FILE, Some(&bigger))]);
        }
        world.lets_time_pass().await;
        let next = world.clock.now().checked_add(LOOK_EVERY).unwrap();
        world.clock.sleep_until(next).await;
        look += 1;
    }
    world.sandbox.clear_faults();
    let held = world.sandbox.held();
    world.sandbox.release(&held).await;
    world.settles_between_sweeps().await;
    let merge_request = world.merge_request(number);
    let statuses = merge_request.statuses(&merge_request.head().await).await;
    let notes = world.notes(number).await;
    End {
        ledger: world.ledger().await,
        comments: notes
            .iter()
            .filter(|note| note.author == "landfall")
            .map(|note| headline(&note.body).to_owned())
            .collect(),
        status: statuses.last().map_or_else(String::new, |last| {
            last.split(':').next().unwrap_or_default().to_owned()
        }),
        dead: world.dead_keys().await,
        issues: world.issues().await,
    }
}

#[test]
fn in_any_weather_the_end_is_that_of_a_quiet_day() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let quiet_day = End {
        ledger: SHOP_IS_THERE.map(str::to_owned).to_vec(),
        comments: ["✅ Done", "✅ Done: 3 resources (simulated)"]
            .map(str::to_owned)
            .to_vec(),
        status: "success".into(),
        dead: vec![],
        issues: vec![],
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        max_shrink_iters: SHRINKS,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let result = runner.run(&weather(), |weather| {
        let end = runtime.block_on(day(&weather));
        prop_assert_eq!(&end, &quiet_day);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!("{CASES} days end as a quiet one");
}
