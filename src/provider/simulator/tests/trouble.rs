//! Trouble that was ordered, and what is left when it has passed.

use super::*;

#[tokio::test]
async fn an_answer_that_is_lost_is_found_again() {
    for call in [Call::Start, Call::Work, Call::Poll] {
        let world = World::start().await;
        let create = order(1, Action::Create, orders_database());
        world.order_trouble(call, Effect::FailAfter(failure())).await;
        let started = world.start_order(&create).await;
        assert_eq!(matches!(started, Progress::Failed(_)), call == Call::Start);
        world.clock.advance(LONG);
        let token = token_of_step(&world, &create).await;
        let answer = world
            .simulator
            .provider()
            .poll(std::slice::from_ref(&token))
            .await;
        match call {
            Call::Poll => assert_eq!(answer.unwrap_err(), failure()),
            Call::Work => assert_eq!(answer.unwrap(), [(token, Progress::Failed(failure()))]),
            _ => assert!(is_done(&answer.unwrap()[0].1)),
        }
        assert_eq!(world.ledger().await.len(), 1, "{call}: it was done");

        let done = world.finish(&create).await;

        assert!(is_done(&done), "{call}: {done:?}");
        assert_eq!(
            world.ledger().await,
            ["Created by run 1: database/orders"],
            "{call}"
        );
    }
}

/// The token that a lost answer held: the same order is told it again, as long as nothing is done.
async fn token_of_step(world: &World, order: &Order) -> Token {
    let row: String = sqlx::query_scalar("SELECT token FROM operations WHERE step = ?")
        .bind(order.key.to_string())
        .fetch_one(&mut *world.simulator.cloud.look().await.unwrap())
        .await
        .unwrap();
    Token(row)
}

#[tokio::test]
async fn what_fails_before_it_acts_leaves_nothing_and_can_be_tried_again() {
    for call in [Call::Start, Call::Work, Call::Poll] {
        let world = World::start().await;
        let create = order(1, Action::Create, orders_database());
        world.order_trouble(call, Effect::Fail(failure())).await;
        let started = world.start_order(&create).await;
        if let Progress::Waiting { token, .. } = started {
            world.clock.advance(LONG);
            let answer = world.simulator.provider().poll(&[token]).await;
            let failed = answer.map_or_else(|failure| failure, |answers| failed(answers[0].1.clone()));
            assert_eq!(failed, failure(), "{call}");
        } else {
            assert_eq!(failed(started), failure(), "{call}");
        }
        assert!(world.ledger().await.is_empty(), "{call}");

        assert!(is_done(&world.finish(&create).await), "{call}");
        assert_eq!(world.ledger().await.len(), 1, "{call}");
    }
}

#[tokio::test]
async fn trouble_is_for_whom_it_was_ordered_and_as_often() {
    let world = World::start().await;
    let trouble = Trouble::new(Call::Start, 2, Effect::Fail(failure())).about(name("vm/worker"));
    world.simulator.order(trouble.clone()).await.unwrap();
    let of_another = Matching {
        request: Some("Project/other".parse().unwrap()),
        ..Matching::default()
    };
    let other = Trouble {
        matching: of_another,
        ..Trouble::new(Call::Start, 9, Effect::Fail(failure()))
    };
    world.simulator.order(other.clone()).await.unwrap();
    let kinds = Matching {
        kind: Some(ResourceKind::Storage),
        ..Matching::default()
    };
    let kinds = Trouble {
        matching: kinds,
        ..Trouble::new(Call::Start, 9, Effect::Fail(failure()))
    };
    world.simulator.order(kinds.clone()).await.unwrap();

    assert!(is_done(
        &world.finish(&order(1, Action::Create, orders_database())).await
    ));
    let machine = order(1, Action::Create, resource("vm/worker", json!({})));
    assert_eq!(failed(world.start_order(&machine).await), failure());
    let restarted = world.opened_again().await;
    let left = vec![Trouble { times: 1, ..trouble }, other.clone(), kinds.clone()];
    assert_eq!(
        restarted.troubles().await.unwrap(),
        left,
        "it outlives the process"
    );
    assert_eq!(failed(restarted.provider().start(&machine).await), failure());
    assert!(is_done(&world.finish(&machine).await));
    assert_eq!(world.simulator.troubles().await.unwrap(), [other, kinds]);

    let nonsense = Trouble::new(Call::Start, 1, Effect::PlanPending);
    let refused = world.simulator.order(nonsense).await.unwrap_err();
    assert_eq!(refused.to_string(), "a pending plan cannot happen at start");
}

#[tokio::test]
async fn work_can_be_slow_or_never_end_and_be_cancelled() {
    let world = World::start().await;
    world
        .order_trouble(Call::Work, Effect::Latency(Duration::from_secs(3_600)))
        .await;
    let slow = token_of(
        world
            .start_order(&order(1, Action::Create, orders_database()))
            .await,
    );
    world.order_trouble(Call::Work, Effect::NeverFinishes).await;
    let endless_order = order(1, Action::Create, resource("vm/worker", json!({})));
    let endless = token_of(world.start_order(&endless_order).await);
    world.clock.advance(LONG);
    assert_eq!(token_of(world.poll(&slow).await), slow);
    world.clock.advance(Duration::from_secs(3_600));
    assert!(is_done(&world.poll(&slow).await));
    assert_eq!(token_of(world.poll(&endless).await), endless);

    let provider = world.simulator.provider();
    for _ in 0..2 {
        provider.cancel(&endless).await.unwrap();
        provider.cancel(&slow).await.unwrap();
        provider.cancel(&Token("unheard of".into())).await.unwrap();
    }

    let cancelled = failed(world.poll(&endless).await);
    assert_eq!(
        cancelled.reason,
        "vm/worker was cancelled before it was done: nothing was changed"
    );
    assert_eq!(
        failed(world.start_order(&endless_order).await),
        cancelled,
        "it stays cancelled"
    );
    assert!(is_done(&world.poll(&slow).await), "what was done stays done");
    assert_eq!(world.ledger().await, ["Created by run 1: database/orders"]);
}

#[tokio::test]
async fn a_slow_call_answers_when_its_time_has_come() {
    let world = World::start().await;
    world.order_trouble(Call::Observe, Effect::Latency(LONG)).await;
    let planner = world.simulator.planner();
    let observing = tokio::spawn(async move { planner.observe(&scope("shop"), &BTreeMap::new()).await });
    while !world.simulator.troubles().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!observing.is_finished());
    // The call reads the clock and then waits: move on until it is through.
    while !observing.is_finished() {
        world.clock.advance(LONG);
        tokio::task::yield_now().await;
    }
    assert_eq!(observing.await.unwrap().unwrap(), []);
}
