//! What the planner says of what stands on the forge, and that it changes nothing there.

use landfall::domain::plan::{Plan, PlannedValue};
use landfall::domain::step::FailureClass;
use landfall::provider::{Answer, Planner as _, Question};

use super::*;

/// With what is recorded of `site`, if anything is.
fn question(desired: Option<Value>, provenance: Option<Provenance>) -> Question {
    let name = || "repository/site".parse().unwrap();
    let is_recorded = provenance.as_ref().is_some_and(|one| !one.recorded.is_empty());
    let known = match is_recorded {
        true => vec![(name(), ResourceKind::Repository)],
        false => Vec::new(),
    };
    Question {
        scope: scope(),
        desired: desired.map(site).into_iter().collect(),
        modules: BTreeMap::new(),
        signed: BTreeMap::new(),
        known,
        provenance: provenance.map(|one| (name(), one)).into_iter().collect(),
        pending: None,
    }
}

async fn plan(world: &World, question: &Question) -> Plan {
    match world.planner().plan(question).await.unwrap() {
        Answer::Ready(plan) => plan,
        other => panic!("{other:?}"),
    }
}

/// `Create: path - → shop/web/site`, one line a property.
fn lines(plan: &Plan) -> Vec<String> {
    let text = |value: &Option<PlannedValue>| match value {
        Some(PlannedValue::Known(Value::String(text))) => text.clone(),
        None => "-".into(),
        other => format!("{other:?}"),
    };
    let mut lines = Vec::new();
    for change in &plan.changes {
        lines.push(format!("{:?} {}", change.action, change.resource));
        for property in &change.properties {
            let (before, after) = (text(&property.before), text(&property.after));
            lines.push(format!("{}: {before} → {after}", property.path));
        }
    }
    lines
}

#[tokio::test]
async fn a_plan_says_what_becomes_of_a_repository_and_of_everybody_in_it() {
    let world = World::start().await;
    let [dana, eve] = ["dana", "eve"].map(|name| world.users[name].id);
    let desired = question(Some(dana_and_eve()), None);
    let first = plan(&world, &desired).await;
    assert_eq!(
        lines(&first),
        [
            "Create repository/site".to_owned(),
            format!("collaborators.dana: - → Developer (user {dana})"),
            format!("collaborators.eve: - → Reporter (user {eve})"),
            "path: - → shop/web/site".into(),
            "protectedBranch: - → main".into(),
            "visibility: - → Private".into(),
        ]
    );
    let create = order(1, Action::Create, site(dana_and_eve()));
    world.makes(&create).await;
    let begun = question(Some(dana_and_eve()), Some(create.provenance));
    assert_eq!(
        plan(&world, &begun).await,
        first,
        "what was begun and is not recorded as made is still to be made, as it was signed"
    );
    let project = world.number().await;
    let known = || Some(recorded(&project));
    let made = question(Some(dana_and_eve()), known());
    assert_eq!(lines(&plan(&world, &made).await), ["NoOp repository/site"]);

    let public = json!({"visibility": "public"});
    world
        .does(Method::PUT, &format!("projects/{project}"), public)
        .await;
    let other = question(Some(json!({"dana": "Maintainer"})), known());
    assert_eq!(
        lines(&plan(&world, &other).await),
        [
            "Update repository/site".to_owned(),
            format!("collaborators.dana: Developer (user {dana}) → Maintainer (user {dana})"),
            format!("collaborators.eve: Reporter (user {eve}) → -"),
            "visibility: Public → Private".into(),
        ]
    );
    assert_eq!(
        lines(&plan(&world, &question(None, known())).await),
        ["Delete repository/site", "path: shop/web/site → -"]
    );
    let on_record = question(None, known()).provenance;
    let seen = world.planner().observe(&scope(), &on_record).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].resource.as_str(), "repository/site");
    world
        .does(Method::DELETE, &format!("projects/{project}"), Value::Null)
        .await;
    assert_eq!(
        lines(&plan(&world, &question(None, known())).await),
        ["NoOp repository/site"]
    );

    let by_planner = world.sandbox.access_log();
    let mark = by_planner.len();
    plan(&world, &desired).await;
    let asked = world.sandbox.access_log_since(mark);
    assert!(asked.iter().all(|call| call.method == "GET"), "{asked:?}");
}

#[tokio::test]
async fn who_takes_over_a_name_after_the_sign_off_is_another_plan() {
    let world = World::start().await;
    let desired = question(Some(json!({"dana": "Maintainer"})), None);
    let signed = plan(&world, &desired).await;
    let mut taken_over = signed.clone();
    for property in &mut taken_over.changes[0].properties {
        if property.path == "collaborators.dana" {
            property.after = Some(PlannedValue::Known(json!("Maintainer (user 666)")));
        }
    }
    assert!(!taken_over.is_contained_in(&signed));
}

#[tokio::test]
async fn what_cannot_be_is_said_before_anybody_signs_it() {
    let world = World::start().await;
    let none = RepositoryPlanner::new(Views::default());
    let desired = question(Some(json!({})), None);
    let failure = none.plan(&desired).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::User);
    assert!(
        failure
            .reason
            .contains("set provisioning_token of the repository requests"),
        "{failure}"
    );

    let mut elsewhere = desired.clone();
    elsewhere.desired[0]
        .properties
        .insert("group".into(), json!("shop/none"));
    let failure = world.planner().plan(&elsewhere).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::User);
    assert!(failure.reason.contains("no group shop/none"), "{failure}");

    let mut homeless = desired.clone();
    homeless.desired[0].properties.remove("group");
    let failure = world.planner().plan(&homeless).await.unwrap_err();
    assert!(failure.reason.contains("teams.web-team.group"), "{failure}");

    let people = question(Some(json!({"nobody": "Developer"})), None);
    let failure = world.planner().plan(&people).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::User);
    assert!(failure.reason.contains("no account nobody"), "{failure}");

    let web = world.reads("groups/shop%2Fweb").await["id"].clone();
    let foreign = json!({"name": "site", "path": "site", "namespace_id": web});
    let foreign = world.does(Method::POST, "projects", foreign).await;
    let failure = world.planner().plan(&desired).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::User);
    assert!(
        failure.reason.contains(&format!("project {}", foreign["id"])),
        "{failure}"
    );
}

#[tokio::test]
async fn a_copy_of_our_mark_changes_nothing() {
    let world = World::start().await;
    world.makes(&order(1, Action::Create, site(json!({})))).await;
    let ours = world.number().await;
    let web = world.reads("groups/shop%2Fweb").await["id"].clone();
    let topics = world.reads(&format!("projects/{ours}")).await["topics"].clone();
    let copy = json!({"name": "copy", "path": "copy", "namespace_id": web, "topics": topics});
    world.does(Method::POST, "projects", copy).await;
    let gone = question(None, Some(recorded(&ours)));
    assert_eq!(
        lines(&plan(&world, &gone).await),
        ["Delete repository/site", "path: shop/web/site → -"]
    );
    let delete = known_as(&ours, order(2, Action::Delete, site(json!({}))));
    let destroyed = world.provider().destroy(&delete).await;
    assert!(matches!(destroyed, Progress::Succeeded { .. }), "{destroyed:?}");
    assert_eq!(
        world.stands().await,
        [
            "shop/web/copy: private",
            "shop/web/copy: protected main push 40 merge 40 force false"
        ]
    );
}
