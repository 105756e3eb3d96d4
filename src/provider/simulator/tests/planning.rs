//! What stands, what would be done about it, and what others did to it.

use super::*;

#[tokio::test]
async fn a_plan_names_what_changes_from_what_to_what() {
    let world = World::start().await;
    let access = json!({ "type": "SSH", "publicKey": "ssh-ed25519 AAAA" });
    let properties = json!({ "size": "Small", "zones": ["a"], "access": access });
    let machine = resource("vm/worker", properties);
    world.finish(&order(1, Action::Create, machine.clone())).await;
    world.finish(&order(1, Action::Create, orders_database())).await;
    let known = |value: Value| Some(PlannedValue::Known(value));
    let change = |path: &str, before, after| PropertyChange {
        path: path.into(),
        before,
        after,
    };
    let cases = [
        (
            json!({ "size": "Small", "zones": ["a"], "access": access }),
            Action::NoOp,
            vec![],
        ),
        (
            json!({ "size": "Large", "zones": ["a"], "access": access }),
            Action::Update,
            vec![change("size", known(json!("Small")), known(json!("Large")))],
        ),
        (
            json!({ "size": "Small", "zones": ["a", "b"], "access": access, "diskSize": "30Gi" }),
            Action::Update,
            vec![
                change("diskSize", None, known(json!("30Gi"))),
                change("zones", known(json!(["a"])), known(json!(["a", "b"]))),
            ],
        ),
        (
            json!({ "zones": ["a"], "access": access }),
            Action::Update,
            vec![change("size", known(json!("Small")), None)],
        ),
        (
            json!({ "size": "Small", "zones": ["a"], "access": { "type": "Session" } }),
            Action::Replace,
            vec![
                change("access.publicKey", known(json!("ssh-ed25519 AAAA")), None),
                change("access.type", known(json!("SSH")), known(json!("Session"))),
            ],
        ),
        (
            json!({ "size": "Small", "zones": ["a"], "access": access, "accessLog": true }),
            Action::Update,
            vec![change("accessLog", None, known(json!(true)))],
        ),
    ];
    for (properties, action, expected) in cases {
        let desired = vec![orders_database(), resource("vm/worker", properties.clone())];
        let plan = world.plan(desired, vec!["storage/gone"]).await.unwrap();
        let names: Vec<_> = plan
            .changes
            .iter()
            .map(|change| change.resource.as_str())
            .collect();
        assert_eq!(
            names,
            ["database/orders", "storage/gone", "vm/worker"],
            "in order of name"
        );
        assert_eq!(plan.changes[0].action, Action::NoOp);
        assert_eq!(
            plan.changes[1].action,
            Action::NoOp,
            "what is gone already needs nothing"
        );
        assert_eq!(
            (plan.changes[2].action, &plan.changes[2].properties),
            (action, &expected),
            "{properties}"
        );
    }
}

#[tokio::test]
async fn a_pending_plan_becomes_ready_or_is_discarded() {
    let world = World::start().await;
    let planner = world.simulator.planner();
    world
        .simulator
        .order(Trouble::new(Call::Plan, 2, Effect::PlanPending))
        .await
        .unwrap();
    let mut question = question(vec![orders_database()], vec![]);
    let mut pending = 0;
    let plan = loop {
        match planner.plan(&question).await.unwrap() {
            Answer::Ready(plan) => break plan,
            Answer::Pending { token, poll_at } => {
                assert!(token.0.starts_with("landfall-plan-"), "{token:?}");
                pending += 1;
                question.pending = Some(token.clone());
                let early = planner.plan(&question).await.unwrap();
                assert_eq!(early, Answer::Pending { token, poll_at }, "asked too early");
                let now = crate::clock::Clock::now(&world.clock);
                world
                    .clock
                    .advance(poll_at.duration_since(now).try_into().unwrap());
            }
        }
    };
    assert_eq!(pending, 2);
    assert_eq!(plan.changes[0].action, Action::Create);

    let token = question.pending.take().unwrap();
    world.order_trouble(Call::Plan, Effect::PlanPending).await;
    let Answer::Pending { token: again, .. } = planner.plan(&question).await.unwrap() else {
        panic!("ready")
    };
    for token in [&again, &again, &token] {
        planner.discard(&question.scope, token).await.unwrap();
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM change_sets")
        .fetch_one(&mut *world.simulator.cloud.look().await.unwrap())
        .await
        .unwrap();
    assert_eq!(left, 0);
    question.pending = Some(again);
    assert!(
        matches!(planner.plan(&question).await.unwrap(), Answer::Ready(_)),
        "a lost token plans anew"
    );
}

#[tokio::test]
async fn a_planner_cannot_make_change_or_destroy_anything() {
    let world = World::start().await;
    world.finish(&order(1, Action::Create, orders_database())).await;
    world
        .start_order(&order(1, Action::Create, resource("vm/worker", json!({}))))
        .await;
    let planner = world.simulator.planner();
    for statement in [
        "INSERT INTO resources SELECT 'x', scope, resource, kind, owner, external_id, properties, step FROM resources",
        "INSERT OR REPLACE INTO resources SELECT * FROM resources",
        "UPDATE resources SET properties = '{}'",
        "DELETE FROM resources",
        "INSERT INTO operations VALUES ('a', 'b', 'c')",
        "UPDATE operations SET operation = '{}'",
        "INSERT INTO ledger SELECT 99, at, happening, step, resource, external_id, owner FROM ledger",
    ] {
        let mut transaction = planner.cloud.begin().await.unwrap();
        let refused = sqlx::query(statement)
            .execute(&mut *transaction)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("a planner"),
            "{statement}: {refused}"
        );
    }
}

#[tokio::test]
async fn changes_behind_our_back_are_seen_and_stand_in_the_ledger() {
    let world = World::start().await;
    let (shop, orders) = (scope("shop"), name("database/orders"));
    let simulator = &world.simulator;
    let nothing = simulator
        .remove_behind_our_back(&shop, &orders)
        .await
        .unwrap_err();
    assert_eq!(
        nothing.to_string(),
        "there is no database/orders of Project/shop in the simulated cloud"
    );
    world.finish(&order(1, Action::Create, orders_database())).await;

    simulator
        .change_behind_our_back(&shop, &orders, "size", json!("Large"))
        .await
        .unwrap();
    let seen = simulator
        .planner()
        .observe(&shop, &BTreeMap::new())
        .await
        .unwrap();
    assert_eq!(seen[0].properties["size"], "Large");
    let plan = world.plan(vec![orders_database()], vec![]).await.unwrap();
    assert_eq!(plan.changes[0].action, Action::Update);

    simulator.remove_behind_our_back(&shop, &orders).await.unwrap();
    assert_eq!(
        simulator
            .planner()
            .observe(&shop, &BTreeMap::new())
            .await
            .unwrap(),
        []
    );
    let update = failed(world.finish(&order(2, Action::Update, orders_database())).await);
    assert_eq!(update.class, FailureClass::Conflict);
    let plan = world
        .plan(vec![orders_database()], vec!["database/orders"])
        .await
        .unwrap();
    assert_eq!(plan.changes[0].action, Action::Create);
    let expected = [
        "Created by run 1: database/orders",
        "Updated by nobody of ours: database/orders",
        "Deleted by nobody of ours: database/orders",
    ];
    assert_eq!(world.ledger().await, expected);
}

#[tokio::test]
async fn what_bears_anothers_tags_is_refused_and_left_alone() {
    let world = World::start().await;
    let (shop, orders) = (scope("shop"), name("database/orders"));
    world.finish(&order(1, Action::Create, orders_database())).await;
    let other = Owner {
        repository: RepositoryId::new("finance").unwrap(),
        ..Owner::from(&scope("books"))
    };
    world
        .simulator
        .retag_behind_our_back(&shop, &orders, other)
        .await
        .unwrap();

    let mut failures = vec![
        world
            .simulator
            .planner()
            .observe(&shop, &BTreeMap::new())
            .await
            .unwrap_err(),
        world.plan(vec![orders_database()], vec![]).await.unwrap_err(),
        world.plan(vec![], vec!["database/orders"]).await.unwrap_err(),
    ];
    for action in [Action::Create, Action::Update, Action::Replace, Action::Delete] {
        failures.push(failed(world.finish(&order(2, action, orders_database())).await));
    }

    for failure in failures {
        assert_eq!(failure.class, FailureClass::Refused);
        let words = "belongs to Project/books of repository finance in development";
        assert!(failure.reason.contains(words), "{failure}");
    }
    assert_eq!(world.ledger().await.len(), 2, "made, and retagged");
}
