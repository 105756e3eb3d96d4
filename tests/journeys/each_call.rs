//! Every call that a journey makes fails in turn: before it did anything, and after, so that its answer is lost and it
//! is made again. Which calls there are, the forge's own log of a quiet journey says.

use std::collections::BTreeSet;
use std::time::Duration;

use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::simulator::{Call, Effect, Happening, Matching, Trouble};
use landfall::sandbox::{AccessLogEntry, RequestAction, RequestFault};

use crate::support::follow::Followers;
use crate::support::people::{MergeRequest, SHOP, headline};
use crate::support::world::World;

/// So many worlds share the journeys.
const WORLDS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The things of a request, by name and kind.
const RESOURCES: [&str; 3] = ["database/orders", "storage/pictures", "virtual-machine/web"];

/// Somebody asks for a project of that name, and people do what the comments say until it is there.
async fn journey<'w>(world: &'w World, name: &str) -> MergeRequest<'w> {
    let content = SHOP.replace("name: shop", &format!("name: {name}"));
    lived(world, name, name, Some(&content)).await
}

/// Somebody pushes a file, or takes it away, and people do what the comments say until that is done.
async fn lived<'w>(world: &'w World, branch: &str, name: &str, content: Option<&str>) -> MergeRequest<'w> {
    let path = format!("requests/web-team/{name}.yaml");
    let merge_request = world.dana().opens(branch, &[(&path, content)]).await;
    let mut followers = Followers::default();
    let looks = async {
        while !followers.look(world, &merge_request).await {
            world.lets_time_pass().await;
            let next = world.clock.now().checked_add(LOOK_EVERY).unwrap();
            world.clock.sleep_until(next).await;
        }
        world.settles().await;
    };
    world.patiently(&format!("the end of {name}"), looks).await;
    merge_request
}

/// What is wrong with the end of a journey.
async fn wrong(world: &World, name: &str, merge_request: &MergeRequest<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let entries = world.cloud().ledger().await.unwrap();
    let mut made: Vec<String> = entries
        .iter()
        .filter(|entry| entry.owner.request.to_string() == format!("Project/{name}"))
        .inspect(|entry| assert_eq!(entry.happening, Happening::Created, "{entry:?}"))
        .map(|entry| entry.resource.to_string())
        .collect();
    made.sort();
    if made != RESOURCES {
        wrong.push(format!("made {made:?}"));
    }
    let notes = world.notes(merge_request.number).await;
    let ours: Vec<&str> = notes
        .iter()
        .filter(|note| note.author == "landfall")
        .map(|note| headline(&note.body))
        .collect();
    if ours != ["✅ Done", "✅ Done: 3 resources (simulated)"] {
        wrong.push(format!("comments {ours:?}"));
    }
    let statuses = merge_request.statuses(&merge_request.head().await).await;
    if !statuses.last().is_some_and(|last| last.starts_with("success: ")) {
        wrong.push(format!("statuses {statuses:?}"));
    }
    wrong.extend(world.dead_keys().await);
    wrong
}

fn calls(world: &World, mark: usize) -> Vec<AccessLogEntry> {
    let log = world.sandbox.access_log_since(mark);
    log.into_iter()
        .filter(|call| call.user.as_deref() == Some("landfall"))
        .collect()
}

/// What kind of call that is: its path without numbers and commits.
fn kind(call: &AccessLogEntry) -> String {
    let is_name = |part: &str| {
        part.parse::<u64>().is_ok() || (part.len() == 40 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let parts = call
        .path
        .split('/')
        .map(|part| if is_name(part) { "…" } else { part });
    format!("{} {}", call.method, parts.collect::<Vec<_>>().join("/"))
}

#[rstest::rstest]
#[case::before_anything_is_done(RequestAction::Status(500), 500)]
#[case::after_it_was_done(RequestAction::LostAnswer(502), 502)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_the_forge_may_fail(#[case] action: RequestAction, #[case] status: u16) {
    let quiet = World::start().await;
    let mark = quiet.sandbox.access_log_len();
    let merge_request = journey(&quiet, "quiet").await;
    assert_eq!(wrong(&quiet, "quiet", &merge_request).await, Vec::<String>::new());
    let expected = calls(&quiet, mark);
    let mut kinds: BTreeSet<String> = expected.iter().map(kind).collect();
    // Whose an account is, a Landfall asks once: in a world of several journeys only the first of them may meet it.
    kinds.remove("GET /api/v4/users/…");
    drop(quiet);

    // Answers which calls failed, and what was wrong with the end.
    let journey_with = async |world: &World, number: usize, name: &str| {
        let mark = world.sandbox.access_log_len();
        world.sandbox.order_request_fault(RequestFault {
            method: None,
            path_contains: String::new(),
            by: Some("landfall".into()),
            after: number,
            times: 1,
            action: action.clone(),
        });
        let merge_request = journey(world, name).await;
        world.sandbox.clear_faults();
        let made = calls(world, mark);
        let failed: BTreeSet<String> = made
            .iter()
            .filter(|call| call.status == status)
            .map(kind)
            .collect();
        let wrong = wrong(world, name, &merge_request).await;
        let wrong = (!wrong.is_empty()).then(|| format!("call {number}, {failed:?}: {wrong:?}"));
        (failed, wrong)
    };
    let share = async |first: usize| {
        let world = World::start().await;
        let (mut hit, mut all_wrong) = (BTreeSet::new(), Vec::new());
        for number in (first..expected.len()).step_by(WORLDS) {
            let (failed, wrong) = journey_with(&world, number, &format!("shop-{number}")).await;
            hit.extend(failed);
            all_wrong.extend(wrong);
        }
        (hit, all_wrong)
    };
    let shares = futures_util::future::join_all((0..WORLDS).map(share)).await;
    let (mut hit, mut all_wrong) = (BTreeSet::new(), Vec::new());
    for (one, wrong) in shares {
        hit.extend(one);
        all_wrong.extend(wrong);
    }
    // What goes side by side comes in any order: what was missed is aimed at once more, and around it.
    let world = World::start().await;
    for nearby in [0_isize, -1, 1, -2, 2, -3, 3] {
        for missed in kinds.difference(&hit.clone()) {
            let place = expected.iter().position(|call| kind(call) == *missed).unwrap();
            let Some(place) = place.checked_add_signed(nearby) else {
                continue;
            };
            let name = format!("again-{place}-{}", hit.len());
            let (failed, wrong) = journey_with(&world, place, &name).await;
            hit.extend(failed);
            all_wrong.extend(wrong);
        }
    }
    println!(
        "{} journeys, in each of which one call was answered {status}: {hit:#?}",
        expected.len()
    );
    assert!(all_wrong.is_empty(), "{all_wrong:#?}");
    let missed: Vec<&String> = kinds.difference(&hit).collect();
    assert!(missed.is_empty(), "never failed: {missed:?}");
}

/// What happened to a project in the cloud, sorted.
async fn happened(world: &World, name: &str) -> Vec<String> {
    let ledger = world.ledger().await;
    let of_it = format!(" of Project/{name}");
    ledger
        .iter()
        .filter_map(|line| line.strip_suffix(&of_it))
        .map(str::to_owned)
        .collect()
}

/// Each thing is made once, goes once, and the database's last snapshot is taken once.
const CAME_AND_WENT: [&str; 7] = [
    "created database/orders",
    "created storage/pictures",
    "created virtual-machine/web",
    "deleted database/orders",
    "deleted storage/pictures",
    "deleted virtual-machine/web",
    "snapshotted database/orders",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_the_cloud_may_fail_while_a_project_goes() {
    let failure = Failure::new(FailureClass::Transient, "not now");
    let world = World::start().await;
    let mut number = 0;
    for call in [Call::Plan, Call::Destroy, Call::Poll, Call::Work] {
        for effect in [Effect::Fail(failure.clone()), Effect::FailAfter(failure.clone())] {
            number += 1;
            let name = format!("shop-{number}");
            journey(&world, &name).await;
            let trouble = Trouble::new(call, 1, effect.clone());
            let trouble = if call == Call::Plan {
                trouble
            } else {
                trouble.about("database/orders".parse().unwrap())
            };
            world.cloud().order(trouble).await.unwrap();
            lived(&world, &format!("no-{name}"), &name, None).await;
            assert_eq!(
                happened(&world, &name).await,
                CAME_AND_WENT,
                "{call:?} {effect:?}"
            );
            assert!(
                world.cloud().troubles().await.unwrap().is_empty(),
                "it never happened: {call:?}"
            );
        }
    }
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
    assert!(world.cloud().resources().await.unwrap().is_empty(), "an orphan");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelling_may_fail_and_is_done_all_the_same() {
    let failure = Failure::new(FailureClass::Transient, "not now");
    let world = World::start().await;
    for (number, effect) in [Effect::Fail(failure.clone()), Effect::FailAfter(failure)]
        .into_iter()
        .enumerate()
    {
        let database = || "database/orders".parse().unwrap();
        let endless = Trouble::new(Call::Work, 1, Effect::NeverFinishes).about(database());
        world.cloud().order(endless).await.unwrap();
        world
            .cloud()
            .order(Trouble::new(Call::Cancel, 1, effect).about(database()))
            .await
            .unwrap();
        let name = format!("shop-{number}");
        let content = SHOP.replace("name: shop", &format!("name: {name}"));
        let path = format!("requests/web-team/{name}.yaml");
        let shop = world.dana().opens(&name, &[(&path, Some(&content))]).await;
        shop.shows("✋ Waiting for a sign-off", &["press **Approve**"])
            .await;
        world.ada().approves(&shop).await;
        shop.shows("✅ Ready to merge", &["merge it now"]).await;
        world.ada().merges(&shop).await;
        shop.shows("🚧 Provisioning", &["2 of 3 steps are done"]).await;
        world.dana().comments(&shop, "/landfall cancel").await;
        shop.shows("⏹️ Cancelled", &["`/landfall retry` goes on"]).await;
        assert_eq!(happened(&world, &name).await, CAME_AND_WENT[1..3]);
        world.dana().comments(&shop, "/landfall retry").await;
        shop.shows("✅ Done", &["Nothing to do"]).await;
        assert_eq!(happened(&world, &name).await, CAME_AND_WENT[..3]);
        assert!(world.cloud().troubles().await.unwrap().is_empty());
    }
}

/// Which calls of the cloud a journey makes; a new one has to be told of here.
fn is_made(call: Call) -> bool {
    match call {
        Call::Plan | Call::Start | Call::Poll | Call::Work => true,
        // Nothing is only looked at and nothing pending is given up; what is destroyed and what is cancelled have stories
        // of their own.
        Call::Observe | Call::Discard | Call::Destroy | Call::Cancel => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_the_cloud_may_fail() {
    let all = [
        Call::Observe,
        Call::Plan,
        Call::Discard,
        Call::Start,
        Call::Destroy,
        Call::Poll,
        Call::Cancel,
        Call::Work,
    ];
    let failure = Failure::new(FailureClass::Transient, "not now");
    let mut troubles = Vec::new();
    for call in all.into_iter().filter(|call| is_made(*call)) {
        for effect in [Effect::Fail(failure.clone()), Effect::FailAfter(failure.clone())] {
            troubles.push((call, effect.clone(), None));
            troubles.push((call, effect, Some("database/orders")));
        }
    }
    let share = async |first: usize| {
        let world = World::start().await;
        let mut all_wrong = Vec::new();
        for (number, (call, effect, resource)) in troubles.iter().enumerate().skip(first).step_by(WORLDS) {
            let times = if resource.is_some() { 2 } else { 1 };
            let trouble = Trouble {
                matching: Matching {
                    resource: resource.map(|name| name.parse().unwrap()),
                    ..Matching::default()
                },
                ..Trouble::new(*call, times, effect.clone())
            };
            world.cloud().order(trouble.clone()).await.unwrap();
            let name = format!("shop-{number}");
            let merge_request = journey(&world, &name).await;
            let mut wrong = wrong(&world, &name, &merge_request).await;
            let left = world.cloud().troubles().await.unwrap();
            if !left.is_empty() {
                wrong.push(format!("never happened: {left:?}"));
            }
            if !wrong.is_empty() {
                all_wrong.push(format!("{trouble:?}: {wrong:?}"));
            }
        }
        all_wrong
    };
    let shares = futures_util::future::join_all((0..WORLDS).map(share)).await;
    let all_wrong: Vec<String> = shares.into_iter().flatten().collect();
    println!(
        "{} journeys, in each of which a call of the cloud failed",
        troubles.len()
    );
    assert!(all_wrong.is_empty(), "{all_wrong:#?}");
}
