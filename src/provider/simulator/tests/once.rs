//! Whatever is repeated, lost or done at the same time: each thing happens once.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn the_same_order_does_the_thing_once_whatever_happens_in_between() {
    let world = World::start().await;
    let create = order(1, Action::Create, orders_database());
    let first = token_of(world.start_order(&create).await);
    assert_eq!(token_of(world.start_order(&create).await), first);
    world.clock.advance(LONG);
    let restarted = world.opened_again().await;
    let done = restarted.provider().start(&create).await;
    assert!(is_done(&done), "{done:?}");
    assert_eq!(world.poll(&first).await, done);
    assert_eq!(world.start_order(&create).await, done);

    let destroy = order(2, Action::Delete, orders_database());
    let destroyed = world.finish(&destroy).await;
    assert!(is_done(
        &world.finish(&order(3, Action::Create, orders_database())).await
    ));
    assert_eq!(
        world.finish(&destroy).await,
        destroyed,
        "a late repetition destroys nothing new"
    );

    assert_eq!(world.start_order(&create).await, done, "nor does it create anew");
    let expected = [
        "Created by run 1: database/orders",
        "Deleted by run 2: database/orders",
        "Created by run 3: database/orders",
    ];
    assert_eq!(world.ledger().await, expected);
}

#[tokio::test]
async fn destroying_what_is_not_there_succeeds() {
    let world = World::start().await;
    let destroyed = world
        .simulator
        .provider()
        .destroy(&order(1, Action::Delete, orders_database()))
        .await;
    assert!(is_done(&destroyed), "{destroyed:?}");
    assert!(world.ledger().await.is_empty());
}

#[tokio::test]
async fn what_is_done_by_the_time_it_is_cancelled_is_done() {
    let world = World::start().await;
    let create = order(1, Action::Create, orders_database());
    let token = token_of(world.start_order(&create).await);
    world.clock.advance(LONG);
    world.simulator.provider().cancel(&token).await.unwrap();
    assert!(is_done(&world.poll(&token).await));
    assert_eq!(world.ledger().await, ["Created by run 1: database/orders"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_at_once_do_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(START);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (path, clock) = (folder.path().to_owned(), clock.clone());
        tasks.spawn(async move {
            let provider = open(&path, &clock, Latency::NONE).await.provider();
            for text in ["vm/worker", "database/orders", "storage/assets"] {
                let create = order(1, Action::Create, resource(text, json!({})));
                if let Progress::Waiting { token, .. } = provider.start(&create).await {
                    let answers = provider.poll(&[token]).await.unwrap();
                    assert!(is_done(&answers[0].1), "{answers:?}");
                }
                assert!(is_done(&provider.start(&create).await));
            }
        });
    }
    tasks.join_all().await;
    let simulator = open(folder.path(), &clock, Latency::NONE).await;
    let ledger = simulator.ledger().await.unwrap();
    assert_eq!(ledger.len(), 3, "{ledger:?}");
    assert_eq!(
        ledger.iter().map(|entry| entry.number).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[tokio::test]
async fn the_ledger_is_only_added_to() {
    let world = World::start().await;
    world.finish(&order(1, Action::Create, orders_database())).await;
    for statement in ["DELETE FROM ledger", "UPDATE ledger SET step = 'x'"] {
        let mut transaction = world.simulator.cloud.begin().await.unwrap();
        assert!(
            sqlx::query(statement).execute(&mut *transaction).await.is_err(),
            "{statement}"
        );
    }
}

/// What a worker, its death and the cloud's moods can do to one step.
#[derive(Debug, Clone)]
enum Act {
    Start,
    Poll,
    Restart,
    Wait,
    Trouble(Call, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let calls = prop_oneof![Just(Call::Start), Just(Call::Work), Just(Call::Poll)];
    let act = prop_oneof![
        3 => Just(Act::Start),
        3 => Just(Act::Poll),
        1 => Just(Act::Restart),
        2 => Just(Act::Wait),
        2 => (calls, any::<bool>()).prop_map(|(call, after)| Act::Trouble(call, after)),
    ];
    proptest::collection::vec(act, 1..25)
}

async fn survive(acts: Vec<Act>, action: Action) -> Vec<String> {
    let mut world = World::start().await;
    if action == Action::Replace {
        world
            .finish(&order(
                1,
                Action::Create,
                resource("vm/worker", json!({ "image": "Ubuntu2204" })),
            ))
            .await;
    }
    let order = order(2, action, resource("vm/worker", json!({ "image": "Ubuntu2404" })));
    let mut token = Token("none yet".into());
    for act in acts {
        match act {
            Act::Start => {
                if let Progress::Waiting { token: given, .. } = world.start_order(&order).await {
                    token = given;
                }
            }
            // The answer is lost as often as not: what matters is what was done.
            Act::Poll => drop(
                world
                    .simulator
                    .provider()
                    .poll(std::slice::from_ref(&token))
                    .await,
            ),
            Act::Restart => world.simulator = world.opened_again().await,
            Act::Wait => world.clock.advance(Duration::from_millis(500)),
            Act::Trouble(call, true) => world.order_trouble(call, Effect::FailAfter(failure())).await,
            Act::Trouble(call, false) => world.order_trouble(call, Effect::Fail(failure())).await,
        }
    }
    // All troubles pass in the end, and whoever goes on trying gets there.
    for _ in 0..100 {
        if let Progress::Succeeded { .. } = world.start_order(&order).await {
            return world.ledger().await;
        }
        world.clock.advance(LONG);
    }
    panic!("it never got there");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_ever_done_twice_nor_left_out(acts in acts(), replace in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let action = if replace { Action::Replace } else { Action::Create };
        let ledger = runtime.block_on(survive(acts, action));
        let expected: &[&str] = if replace {
            &["Created by run 1: vm/worker", "Deleted by run 2: vm/worker", "Created by run 2: vm/worker"]
        } else {
            &["Created by run 2: vm/worker"]
        };
        prop_assert_eq!(ledger, expected);
    }
}
