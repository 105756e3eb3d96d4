//! What the provider does, once, whatever happens in between.

use landfall::domain::step::FailureClass;
use landfall::provider::Provider as _;
use landfall::sandbox::{RequestAction, RequestFault};

use super::*;

#[tokio::test]
async fn a_repository_is_made_as_it_was_asked_for_and_once() {
    let world = World::start().await;
    let create = order(1, Action::Create, site(dana_and_eve()));
    let outputs = world.makes(&create).await;
    assert_eq!(world.stands().await, SITE);
    let url = world.sandbox.url();
    assert_eq!(outputs["webUrl"], format!("{url}shop/web/site"));
    assert_eq!(outputs["cloneUrlHttp"], format!("{url}shop/web/site.git"));
    assert_eq!(outputs["cloneUrlSsh"], "git@127.0.0.1:shop/web/site.git");
    assert_eq!(outputs["path"], "shop/web/site");

    let project = world.reads("projects/shop%2Fweb%2Fsite").await;
    let readme = format!(
        "projects/{}/repository/files/README.md/raw?ref=main",
        project["id"]
    );
    let url = world
        .sandbox
        .url()
        .join("api/v4/")
        .unwrap()
        .join(&readme)
        .unwrap();
    let readme = world
        .client
        .get(url)
        .header("PRIVATE-TOKEN", &world.users["root"].token);
    let readme = readme.send().await.unwrap().text().await.unwrap();
    for word in ["Project/site", "web-team", "requests/web-team/"] {
        assert!(readme.contains(word), "{readme}");
    }

    assert_eq!(world.makes(&create).await, outputs);
    let mut again = order(2, Action::Create, site(dana_and_eve()));
    let failure = world.fails(&again).await;
    assert!(
        failure.reason.contains("did not record making"),
        "it is not this step's: {failure}"
    );
    again.provenance.begun.insert(create.mark.clone());
    assert_eq!(
        world.makes(&again).await,
        outputs,
        "a run that knows of the first finds it"
    );
    assert_eq!(world.stands().await, SITE);
}

/// Every call that makes the repository, by method and the end of its path.
#[rstest::rstest]
#[case::account("GET", "/users")]
#[case::look_by_topic("GET", "/api/v4/projects")]
#[case::look_in_group("GET", "/groups/shop%2Fweb/projects")]
#[case::group("GET", "/groups/shop%2Fweb")]
#[case::make("POST", "/api/v4/projects")]
#[case::look_at_protection("GET", "/protected_branches/main")]
#[case::first_commit("POST", "/repository/commits")]
#[case::own_user("GET", "/user")]
#[case::members("GET", "/members")]
#[case::all_members("GET", "/members/all")]
#[case::let_in("POST", "/members")]
#[tokio::test]
async fn each_call_fails_in_turn_and_a_retry_does_what_is_left(
    #[case] method: &str,
    #[case] path: &str,
    #[values(RequestAction::Status(503), RequestAction::LostAnswer(502))] action: RequestAction,
) {
    let world = World::start().await;
    world.sandbox.order_request_fault(RequestFault {
        method: Some(method.parse().unwrap()),
        path_contains: path.into(),
        by: None,
        after: 0,
        times: 1,
        action,
    });
    let create = order(1, Action::Create, site(dana_and_eve()));
    match world.provider().start(&create).await {
        Progress::Failed(failure) => assert_eq!(failure.class, FailureClass::Transient, "{failure}"),
        // A listing whose answer does not come is asked for again in smaller pages.
        Progress::Succeeded { .. } if method == "GET" => {}
        other => panic!("{other:?}"),
    }
    world.makes(&create).await;
    assert_eq!(world.stands().await, SITE);
}

#[tokio::test]
async fn what_stands_there_and_is_not_ours_is_left_alone() {
    let world = World::start().await;
    let web = world.reads("groups/shop%2Fweb").await["id"].clone();
    let foreign = json!({"name": "site", "path": "site", "namespace_id": web, "visibility": "internal"});
    world.does(Method::POST, "projects", foreign).await;
    let before = world.stands().await;
    let failure = world.fails(&order(1, Action::Create, site(dana_and_eve()))).await;
    assert_eq!(failure.class, FailureClass::User);
    assert!(
        failure.reason.contains(
            "a project stands there that Landfall did not record making for this request: shop/web/site"
        ),
        "{failure}"
    );
    assert!(failure.reason.contains("Ask for another name"), "{failure}");
    let destroyed = world
        .provider()
        .destroy(&order(2, Action::Delete, site(json!({}))))
        .await;
    assert!(matches!(destroyed, Progress::Succeeded { .. }), "{destroyed:?}");
    assert_eq!(world.stands().await, before);
}

#[tokio::test]
async fn people_who_are_nobody_are_named_before_anything_is_made() {
    let world = World::start().await;
    let eve = world.users["eve"].id;
    world
        .does(Method::POST, &format!("users/{eve}/block"), json!({}))
        .await;
    let people = json!({"dana": "Developer", "nobody": "Reporter", "eve": "Reporter"});
    let failure = world.fails(&order(1, Action::Create, site(people))).await;
    assert_eq!(failure.class, FailureClass::User);
    for words in ["no account nobody", "eve is not active"] {
        assert!(failure.reason.contains(words), "{failure}");
    }
    assert!(world.stands().await.is_empty());
}

#[tokio::test]
async fn an_update_gives_and_takes_what_the_request_says_and_nothing_that_people_gave() {
    let world = World::start().await;
    world.makes(&order(1, Action::Create, site(dana_and_eve()))).await;
    let project = world.reads("projects/shop%2Fweb%2Fsite").await["id"].clone();
    let members = format!("projects/{project}/members");
    let mallory = json!({"user_id": world.users["mallory"].id, "access_level": 30});
    world.does(Method::POST, &members, mallory).await;
    world
        .does(
            Method::PUT,
            &format!("projects/{project}"),
            json!({"visibility": "public"}),
        )
        .await;
    let rules = format!("projects/{project}/protected_branches");
    world
        .does(Method::DELETE, &format!("{rules}/main"), Value::Null)
        .await;
    let weak =
        json!({"name": "main", "push_access_level": 30, "merge_access_level": 30, "allow_force_push": true});
    world.does(Method::POST, &rules, weak).await;

    let update = known_as(
        &project,
        order(2, Action::Update, site(json!({"eve": "Maintainer"}))),
    );
    world.makes(&update).await;
    let expected = [
        "shop/web/site: commit Begin site",
        "shop/web/site: member eve 40",
        "shop/web/site: member mallory 30",
        "shop/web/site: private",
        "shop/web/site: protected main push 40 merge 40 force false",
    ];
    assert_eq!(world.stands().await, expected);
    world.makes(&update).await;
    assert_eq!(world.stands().await, expected);
}

#[rstest::rstest]
#[case::take_out("DELETE", "/members/")]
#[case::change("PUT", "/members/")]
#[case::make_private("PUT", "/projects/")]
#[case::unprotect("DELETE", "/protected_branches/")]
#[case::protect("POST", "/protected_branches")]
#[tokio::test]
async fn each_call_of_an_update_fails_in_turn_and_a_retry_does_what_is_left(
    #[case] method: &str,
    #[case] path: &str,
    #[values(RequestAction::Status(503), RequestAction::LostAnswer(502))] action: RequestAction,
) {
    let world = World::start().await;
    world.makes(&order(1, Action::Create, site(dana_and_eve()))).await;
    let project = world.reads("projects/shop%2Fweb%2Fsite").await["id"].clone();
    let public = json!({"visibility": "public"});
    world
        .does(Method::PUT, &format!("projects/{project}"), public)
        .await;
    let rules = format!("projects/{project}/protected_branches");
    world
        .does(Method::DELETE, &format!("{rules}/main"), Value::Null)
        .await;
    let weak = json!({"name": "main", "push_access_level": 30, "allow_force_push": true});
    world.does(Method::POST, &rules, weak).await;
    world.sandbox.order_request_fault(RequestFault {
        method: Some(method.parse().unwrap()),
        path_contains: path.into(),
        by: None,
        after: 0,
        times: 1,
        action,
    });
    let update = known_as(
        &project,
        order(2, Action::Update, site(json!({"eve": "Maintainer"}))),
    );
    let failure = world.fails(&update).await;
    assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    world.makes(&update).await;
    let expected = [
        "shop/web/site: commit Begin site",
        "shop/web/site: member eve 40",
        "shop/web/site: private",
        "shop/web/site: protected main push 40 merge 40 force false",
    ];
    assert_eq!(world.stands().await, expected);
}

#[tokio::test]
async fn who_is_in_by_the_group_needs_no_membership_of_their_own() {
    let world = World::start().await;
    let dana = json!({"user_id": world.users["dana"].id, "access_level": 40});
    world.does(Method::POST, "groups/shop%2Fweb/members", dana).await;
    world.makes(&order(1, Action::Create, site(dana_and_eve()))).await;
    let stands = world.stands().await;
    assert!(
        !stands.iter().any(|line| line.contains("member dana")),
        "{stands:?}"
    );
}

#[tokio::test]
async fn an_update_of_what_is_gone_makes_nothing_new() {
    let world = World::start().await;
    let failure = world.fails(&order(1, Action::Update, site(json!({})))).await;
    assert_eq!(failure.class, FailureClass::Conflict);
    assert!(world.stands().await.is_empty());
}

#[rstest::rstest]
#[case::at_once(None)]
#[case::after_a_failure(Some(RequestAction::Status(503)))]
#[case::after_a_lost_answer(Some(RequestAction::LostAnswer(502)))]
#[tokio::test]
async fn a_repository_is_deleted_under_whatever_name_it_goes_now(#[case] fault: Option<RequestAction>) {
    let world = World::start().await;
    world.makes(&order(1, Action::Create, site(dana_and_eve()))).await;
    let fails_first = fault.is_some();
    if let Some(action) = fault {
        world.sandbox.order_request_fault(RequestFault {
            method: Some(Method::DELETE),
            path_contains: "/projects/".into(),
            by: None,
            after: 0,
            times: 1,
            action,
        });
    }
    // As it is known once its request is gone: its name alone.
    let gone = Resource {
        properties: BTreeMap::new(),
        ..site(json!({}))
    };
    let number = world.number().await;
    let path = format!("projects/{number}");
    world
        .does(Method::PUT, &path, json!({"path": "renamed", "topics": []}))
        .await;
    let delete = known_as(&number, order(2, Action::Delete, gone));
    if fails_first {
        let failed = world.provider().destroy(&delete).await;
        assert!(matches!(failed, Progress::Failed(_)), "{failed:?}");
    }
    for _ in 0..2 {
        let done = world.provider().destroy(&delete).await;
        assert!(matches!(done, Progress::Succeeded { .. }), "{done:?}");
    }
    assert!(world.stands().await.is_empty());
}

/// Puts something in the place of a repository that a step made and did not live to record.
#[derive(Debug, Clone, Copy)]
enum InItsPlace {
    /// Somebody else's project, with the mark that its owner read on ours.
    CopyOfTheMark,
    /// Another repository that we made and recorded, with that mark.
    AnotherOfOurs,
    /// A fork of ours.
    Fork,
}

#[rstest::rstest]
#[case(InItsPlace::CopyOfTheMark)]
#[case(InItsPlace::AnotherOfOurs)]
#[case(InItsPlace::Fork)]
#[tokio::test]
async fn what_was_put_in_the_place_of_one_that_was_not_recorded_is_not_taken_for_it(
    #[case] instead: InItsPlace,
) {
    let world = World::start().await;
    let mut create = order(1, Action::Create, site(json!({})));
    world.makes(&create).await;
    let ours = world.number().await;
    let topics = world.reads(&format!("projects/{ours}")).await["topics"].clone();
    assert_eq!(topics, json!([create.mark.to_string()]));
    let rename = json!({"path": "aside"});
    world.does(Method::PUT, &format!("projects/{ours}"), rename).await;
    let web = world.reads("groups/shop%2Fweb").await["id"].clone();
    let other = match instead {
        InItsPlace::CopyOfTheMark => {
            let copy = json!({"name": "site", "path": "site", "namespace_id": web, "topics": topics});
            world.does(Method::POST, "projects", copy).await["id"].clone()
        }
        InItsPlace::Fork => {
            let fork = json!({"path": "site", "namespace_id": web});
            let fork = world
                .does(Method::POST, &format!("projects/{ours}/fork"), fork)
                .await["id"]
                .clone();
            world
                .does(
                    Method::PUT,
                    &format!("projects/{fork}"),
                    json!({"topics": topics}),
                )
                .await;
            fork
        }
        InItsPlace::AnotherOfOurs => {
            let mut blog = site(json!({}));
            blog.name = "repository/blog".parse().unwrap();
            world.makes(&order(2, Action::Create, blog)).await;
            let blog = world.reads("projects/shop%2Fweb%2Fblog").await["id"].clone();
            let swapped = json!({"path": "site", "topics": topics});
            world
                .does(Method::PUT, &format!("projects/{blog}"), swapped)
                .await;
            create.provenance.taken.insert(blog.to_string());
            blog
        }
    };
    let before = world.stands().await;
    let failure = world.fails(&create).await;
    assert!(
        failure
            .reason
            .contains(&format!("shop/web/site (project {other}")),
        "{failure}"
    );
    assert!(failure.reason.contains("did not record making"), "{failure}");
    assert_eq!(world.stands().await, before);

    // Without anything in its place it is told where ours went, and none is made beside it.
    world
        .does(Method::DELETE, &format!("projects/{other}"), Value::Null)
        .await;
    let before = world.stands().await;
    let failure = world.fails(&create).await;
    assert!(
        failure
            .reason
            .contains("moved before it was recorded: shop/web/aside"),
        "{failure}"
    );
    assert_eq!(world.stands().await, before);
}
